//! Bad input: one clear error, nothing lost, and the next request is answered.

use std::time::Duration;

use bytes::BytesMut;
use linnet::limits::mqtt::MAX_USER_PROPERTY_BYTES;
use linnet::status::LinkCount;
use linnet_proto::ErrorCode;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};

use crate::fixture::{Fixture, REQUEST, heard, refusal, reply_to, settings, topic};
use crate::harness::eventually;
use crate::scripted_broker::{Peer, ScriptedBroker, Seen};

/// A request after the bad one is answered, so nothing was lost and nothing hangs.
fn next_is_answered(fixture: &Fixture, peer: &mut Peer) {
    peer.deliver(99, REQUEST, b"next", reply_to("site/next", "n"));
    fixture.bench.take().answer("still here");
    let answer = peer.answer_taken();
    assert_eq!((topic(&answer), heard(&answer).as_str()), ("site/next", "still here"));
}

fn with_options(pairs: &[(&str, &str)]) -> PublishProperties {
    let mut properties = reply_to("site/a", "c");
    properties.user_properties = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    properties
}

fn typed(content_type: &str) -> PublishProperties {
    PublishProperties { content_type: Some(content_type.into()), ..reply_to("site/a", "c") }
}

#[test]
fn each_bad_message_gets_one_typed_error() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    let expired = PublishProperties { message_expiry_interval: Some(0), ..reply_to("site/a", "c") };
    let cases: Vec<(&str, &str, &[u8], PublishProperties, ErrorCode)> = vec![
        ("an empty payload", REQUEST, b"", reply_to("site/a", "c"), ErrorCode::EmptyAudio),
        ("text as audio", REQUEST, b"hello", typed("text/plain"), ErrorCode::UnsupportedMedia),
        ("broken JSON", REQUEST, b"{\"audio\":", reply_to("site/a", "c"), ErrorCode::InvalidRequest),
        (
            "JSON with an unknown key",
            REQUEST,
            b"{\"audio\":\"UklG\",\"colour\":1}",
            typed("application/json"),
            ErrorCode::InvalidOption,
        ),
        ("an unknown option", REQUEST, b"x", with_options(&[("colour", "red")]), ErrorCode::InvalidOption),
        ("an unknown format", REQUEST, b"x", with_options(&[("format", "docx")]), ErrorCode::InvalidOption),
        ("an unknown priority", REQUEST, b"x", with_options(&[("priority", "urgent")]), ErrorCode::InvalidOption),
        ("a request in the past", REQUEST, b"x", expired, ErrorCode::DeadlineExceeded),
        ("an unknown task", "linnet/k/request/dance/1", b"x", Default::default(), ErrorCode::NotFound),
        (
            "a wildcard to answer to",
            "linnet/k/request/transcribe/1",
            b"x",
            reply_to("site/+", "c"),
            ErrorCode::Forbidden,
        ),
        (
            "a command to answer to",
            "linnet/k/request/transcribe/2",
            b"x",
            reply_to("homeassistant/x", "c"),
            ErrorCode::Forbidden,
        ),
    ];
    let number = cases.len();
    for (packet_id, (what, topic, payload, properties, code)) in (1..).zip(cases) {
        peer.deliver(packet_id, topic, payload, properties);
        assert_eq!(refusal(&peer.answer_taken()), code, "{what}");
        assert_eq!(peer.ack(), packet_id, "{what}");
    }
    assert_eq!(fixture.bench.admitted(), 0);
    assert_eq!(fixture.link.counted(LinkCount::Received), number as u64);
    next_is_answered(&fixture, &mut peer);
}

/// User properties of `bytes` bytes in all, names and values, in as many pieces.
fn tags(bytes: usize, pieces: usize) -> PublishProperties {
    let name = "x-tag";
    let value = "v".repeat(bytes / pieces - name.len());
    let rest = "v".repeat(bytes - (bytes / pieces) * (pieces - 1) - name.len());
    let pairs: Vec<_> = (1..pieces).map(|_| (name, value.as_str())).chain([(name, rest.as_str())]).collect();
    let properties = with_options(&pairs);
    assert_eq!(properties.user_properties.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>(), bytes);
    properties
}

#[test]
fn user_properties_up_to_their_bound_are_taken_and_beyond_it_they_are_what_is_refused() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let mut settings = settings(broker.port(), state.path());
    // The packet itself is small enough in every case.
    settings.max_packet_bytes = 1 << 20;
    let fixture = Fixture::with(settings, 2);
    let mut peer = broker.accept_up(false);
    peer.deliver(1, REQUEST, b"x", tags(MAX_USER_PROPERTY_BYTES, 32));
    fixture.bench.take().answer("words");
    assert_eq!(heard(&peer.answer_taken()), "words");
    assert_eq!(peer.ack(), 1);
    // The longest value that MQTT can carry has 65,535 bytes.
    for (packet_id, (bytes, pieces)) in
        (2..).zip([(MAX_USER_PROPERTY_BYTES + 1, 32), (65_540, 1), (64 << 10, 64), (512 << 10, 512), (512 << 10, 10)])
    {
        peer.deliver(packet_id, REQUEST, b"x", tags(bytes, pieces));
        let answer = peer.answer_taken();
        assert_eq!(refusal(&answer), ErrorCode::TooLarge, "{bytes} bytes");
        let error: serde_json::Value = serde_json::from_slice(&answer.payload).expect("JSON");
        assert_eq!(error["error"]["param"], "user_properties", "{bytes} bytes: {error}");
        assert_eq!(peer.ack(), packet_id);
    }
    assert_eq!(fixture.bench.admitted(), 1);
    next_is_answered(&fixture, &mut peer);
}

#[test]
fn missing_correlation_data_is_no_fault() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    let properties = PublishProperties { response_topic: Some("site/a".into()), ..PublishProperties::default() };
    peer.deliver(1, REQUEST, b"x", properties);
    fixture.bench.take().answer("words");
    let answer = peer.answer_taken();
    assert_eq!(answer.properties.expect("a content type").correlation_data, None);
}

#[test]
fn a_message_that_nobody_can_be_told_about_is_counted_and_dropped() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    peer.deliver(1, REQUEST, b"x", PublishProperties::default());
    peer.deliver(2, REQUEST, b"x", reply_to("site/#", "c"));
    peer.deliver(3, "linnet/k/request/transcribe/a/b/c", b"x", PublishProperties::default());
    // A broker must not let it through, and one that does is not to be crashed by.
    let mut invalid = Publish::new("linnet/k/request/?", QoS::AtLeastOnce, &b"x"[..], None);
    invalid.pkid = 4;
    let mut bytes = BytesMut::new();
    Packet::Publish(invalid).write(&mut bytes, None).expect("a packet");
    let place = bytes.iter().position(|b| *b == b'?').expect("the place");
    bytes[place] = 0xff;
    peer.send_raw(&bytes);
    assert_eq!([peer.ack(), peer.ack(), peer.ack(), peer.ack()], [1, 2, 3, 4]);
    assert_eq!(fixture.link.counted(LinkCount::DroppedUnanswerable), 4);
    next_is_answered(&fixture, &mut peer);
}

#[test]
fn a_retained_request_is_ignored() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    let mut retained = Publish::new(REQUEST, QoS::AtLeastOnce, &b"x"[..], Some(reply_to("site/a", "c")));
    (retained.pkid, retained.retain) = (1, true);
    peer.send(&Packet::Publish(retained));
    assert_eq!(peer.ack(), 1);
    assert_eq!(fixture.link.counted(LinkCount::DroppedRetained), 1);
    next_is_answered(&fixture, &mut peer);
    assert_eq!(fixture.bench.admitted(), 1);
}

#[test]
fn beyond_the_queue_the_answer_is_overloaded_at_once() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    for id in 1..=5_u16 {
        peer.deliver(id, REQUEST, id.to_string().as_bytes(), reply_to("site/a", &id.to_string()));
    }
    // Nothing has ended, and yet three are answered.
    for _ in 3..=5 {
        let answer = peer.answer_taken();
        assert_eq!(refusal(&answer), ErrorCode::Overloaded);
        let text = String::from_utf8_lossy(&answer.payload).into_owned();
        assert!(text.contains("\"retry_after_ms\":250"), "{text}");
    }
    for words in ["1", "2"] {
        fixture.bench.take().answer(words);
        assert_eq!(heard(&peer.answer_taken()), words);
    }
    assert_eq!([peer.ack(), peer.ack(), peer.ack(), peer.ack(), peer.ack()], [1, 2, 3, 4, 5]);
}

#[test]
fn requests_that_hold_all_memory_are_overload() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let mut settings = settings(broker.port(), state.path());
    settings.max_packet_bytes = 4 << 20;
    let fixture = Fixture::with(settings, 100);
    let mut peer = broker.accept_up(false);
    // 4 MiB in all, and each counts twice, since it might be base64.
    for id in 1..=3_u16 {
        let payload = vec![id as u8; 900 * 1024];
        peer.deliver(id, REQUEST, &payload, reply_to("site/a", &id.to_string()));
    }
    assert_eq!(refusal(&peer.answer_taken()), ErrorCode::Overloaded);
    for words in ["one", "two"] {
        fixture.bench.take().answer(words);
        assert_eq!(heard(&peer.answer_taken()), words);
    }
    next_is_answered(&fixture, &mut peer);
}

#[test]
fn a_packet_that_is_too_large_is_told_so_where_the_broker_lets_it_through() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    peer.deliver(1, REQUEST, &vec![b'x'; 70 * 1024], reply_to("site/a", "c"));
    assert_eq!(refusal(&peer.answer_taken()), ErrorCode::TooLarge);
    assert_eq!(peer.ack(), 1);
    next_is_answered(&fixture, &mut peer);
}

#[test]
fn a_broker_that_sends_what_it_must_not_is_not_a_loop_for_ever() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut clean_starts = Vec::new();
    for round in 0..4 {
        let mut peer = broker.accept();
        let connect = peer.connect(round > 0);
        clean_starts.push(connect.clean_start);
        assert_eq!(connect.properties.expect("properties").max_packet_size, Some(128 * 1024));
        peer.subscribe();
        if connect.clean_start {
            // The session is gone, and the packet with it.
            next_is_answered(&fixture, &mut peer);
            break;
        }
        peer.deliver(1, REQUEST, &vec![b'x'; 300 * 1024], reply_to("site/a", "c"));
        loop {
            if let Seen::Closed | Seen::Disconnect = peer.next() {
                break;
            }
        }
    }
    assert_eq!(clean_starts, [false, false, false, true]);
}

#[test]
fn quality_zero_requests_are_answered_too() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    peer.deliver(0, REQUEST, b"x", reply_to("site/a", "c"));
    fixture.bench.take().answer("words");
    assert_eq!(heard(&peer.answer_taken()), "words");
    next_is_answered(&fixture, &mut peer);
}

#[test]
fn a_message_expiry_shortens_the_deadline_and_a_timeout_names_it() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::with(settings(broker.port(), state.path()), 4);
    let mut peer = broker.accept_up(false);
    let expiring = PublishProperties { message_expiry_interval: Some(7), ..reply_to("site/a", "1") };
    peer.deliver(1, REQUEST, b"a", expiring);
    let left = fixture.bench.take().request.timeout;
    assert!(left <= Duration::from_secs(7) && left > Duration::ZERO, "{left:?}");
    peer.deliver(2, REQUEST, b"b", with_options(&[("timeout_ms", "1500")]));
    assert_eq!(fixture.bench.take().request.timeout, Duration::from_millis(1500));
    peer.deliver(3, REQUEST, b"c", reply_to("site/a", "3"));
    assert_eq!(fixture.bench.take().request.timeout, Duration::from_secs(30), "the default");
}

#[test]
fn a_job_that_never_answers_is_answered_for() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    peer.deliver(1, REQUEST, b"x", with_options(&[("timeout_ms", "1")]));
    let job = fixture.bench.take();
    assert_eq!(refusal(&peer.answer_taken()), ErrorCode::DeadlineExceeded);
    eventually("the job is cancelled", || job.cancel.is_cancelled().then_some(()));
}
