//! Answers as bytes, and what the device says of itself.

use std::time::Instant;

use base64::Engine;
use linnet::job::Priority;
use linnet::status::LinkCount;
use linnet_proto::ErrorCode;
use rumqttc::v5::mqttbytes::v5::{PubAckReason, PublishProperties};

use crate::fixture::{Fixture, REQUEST, heard, intake, refusal, reply_to, settings};
use crate::harness::{PATIENCE, eventually};
use crate::scripted_broker::{ScriptedBroker, Seen, no_properties};

#[test]
fn an_answer_has_the_format_that_was_asked_for() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    for (format, content_type, begins) in [
        ("", "application/json", "{\"text\":\"hello\",\"words\":"),
        ("json", "application/json", "{\"text\":\"hello\""),
        ("text", "text/plain; charset=utf-8", "hello\n"),
        ("srt", "text/plain; charset=utf-8", ""),
        ("vtt", "text/vtt; charset=utf-8", "WEBVTT"),
        ("verbose_json", "application/json", "{\"task\":\"transcribe\""),
    ] {
        let mut properties = reply_to("site/a", "c");
        properties.user_properties.push(("format".into(), format.into()));
        peer.deliver(1, REQUEST, b"x", properties);
        fixture.bench.take().answer("hello");
        let answer = peer.answer_taken();
        let properties = answer.properties.expect("properties");
        assert_eq!(properties.content_type.as_deref(), Some(content_type), "{format}");
        assert_eq!(properties.payload_format_indicator, Some(1), "{format}");
        let text = String::from_utf8(answer.payload.to_vec()).expect("UTF-8");
        assert!(text.starts_with(begins), "{format}: {text}");
        assert!(!answer.retain);
    }
}

#[test]
fn the_priority_of_a_message_is_that_of_its_job() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    for (given, wanted) in [
        (Some("high"), Priority::High),
        (Some("normal"), Priority::Normal),
        (Some("low"), Priority::Low),
        (None, Priority::Normal),
    ] {
        let mut properties = reply_to("site/a", "c");
        properties.user_properties.extend(given.map(|given| ("priority".into(), given.into())));
        peer.deliver(1, REQUEST, b"x", properties);
        let job = fixture.bench.take();
        assert_eq!(job.request.priority, wanted);
        job.answer("words");
        peer.answer_taken();
    }
    let payload = br#"{"audio": "YQ==", "priority": "high"}"#;
    peer.deliver(2, &format!("{REQUEST}/7"), payload, PublishProperties::default());
    assert_eq!(fixture.bench.take().request.priority, Priority::High, "for clients without properties");
}

#[test]
fn json_with_base64_and_options_is_what_an_old_client_sends() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    // Large enough to be read off the link's own task.
    let audio = vec![b'a'; 40_000];
    let json = serde_json::json!({
        "audio": base64::engine::general_purpose::STANDARD.encode(&audio),
        "content_type": "audio/wav",
        "language": "en",
        "format": "text",
    });
    for id in ["small", "large"] {
        let payload =
            if id == "small" { br#"{"audio":"YQ==","format":"text"}"#.to_vec() } else { json.to_string().into_bytes() };
        peer.deliver(1, &format!("{REQUEST}/{id}"), &payload, PublishProperties::default());
        let job = fixture.bench.take();
        assert_eq!(job.audio(), if id == "small" { "a".to_owned() } else { "a".repeat(40_000) });
        job.answer("words");
        assert_eq!(peer.answer_taken().payload, "words\n");
    }
}

#[test]
fn state_tells_the_largest_packet_and_is_told_again_when_it_changes() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    assert_eq!(peer.next(), Seen::Status("online".into()));
    peer.deliver(1, REQUEST, b"x", reply_to("site/a", "c"));
    fixture.bench.take().answer("words");
    peer.answer_taken();
    assert_eq!(peer.states.len(), 1);
    assert_eq!(peer.states[0].limits.max_packet_bytes, 64 * 1024);
    fixture.transport.as_ref().expect("it runs").state_changed();
    assert_eq!(peer.ack(), 1);
    eventually("state comes again", || {
        let _ = peer.next_within(std::time::Duration::from_millis(50));
        (peer.states.len() == 2).then_some(())
    });
}

#[test]
fn an_answer_larger_than_the_broker_takes_becomes_an_error_that_fits() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept();
    let mut properties = no_properties();
    properties.max_packet_size = Some(2000);
    peer.connect_with(false, Some(properties));
    peer.subscribe();
    peer.deliver(1, REQUEST, b"x", reply_to("site/a", "c"));
    fixture.bench.take().answer(&"word ".repeat(1000));
    assert_eq!(refusal(&peer.answer_taken()), ErrorCode::TooLarge);
    assert_eq!(peer.ack(), 1);
    peer.deliver(2, REQUEST, b"y", reply_to("site/a", "c"));
    fixture.bench.take().answer("short");
    assert_eq!(heard(&peer.answer_taken()), "short");
}

#[test]
fn an_answer_that_the_broker_refuses_for_good_still_releases_its_request() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    peer.deliver(1, REQUEST, b"x", reply_to("site/forbidden", "c"));
    fixture.bench.take().answer("words");
    let answer = peer.answer();
    peer.refuse(answer.pkid, PubAckReason::NotAuthorized);
    assert_eq!(peer.ack(), 1);
    assert_eq!(fixture.link.counted(LinkCount::AnswersRefused), 1);
}

#[test]
fn an_answer_beyond_a_quota_is_sent_again() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    peer.deliver(1, REQUEST, b"x", reply_to("site/a", "c"));
    fixture.bench.take().answer("words");
    let answer = peer.answer();
    peer.refuse(answer.pkid, PubAckReason::QuotaExceeded);
    assert_eq!(heard(&peer.answer_taken()), "words");
    assert_eq!(peer.ack(), 1);
}

#[test]
fn many_answers_pass_through_a_narrow_window() {
    for receive_max in [None, Some(1), Some(2)] {
        let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
        let fixture = Fixture::with(settings(broker.port(), state.path()), 64);
        let mut peer = broker.accept();
        let mut properties = no_properties();
        properties.receive_max = receive_max;
        peer.connect_with(false, Some(properties));
        peer.subscribe();
        let window = usize::from(receive_max.unwrap_or(u16::MAX));
        for id in 1..=60_u16 {
            peer.deliver(id, REQUEST, id.to_string().as_bytes(), reply_to("site/a", &id.to_string()));
            fixture.bench.take().answer(&id.to_string());
        }
        let (mut unacknowledged, mut all_heard, mut acks) = (Vec::new(), Vec::new(), Vec::new());
        let until = Instant::now() + PATIENCE;
        while acks.len() < 60 {
            match peer.next_within(std::time::Duration::from_millis(20)) {
                Some(Seen::Answer(answer)) => {
                    all_heard.push(heard(&answer));
                    unacknowledged.push(answer.pkid);
                    assert!(unacknowledged.len() <= window, "more in flight than the broker takes");
                }
                Some(Seen::Ack(id)) => acks.push(id),
                Some(Seen::Status(_)) => {}
                // Quiet: it waits for acknowledgements. The newest first, as the worst broker would.
                None => {
                    assert!(Instant::now() < until, "{} of 60 acknowledged, and nothing comes", acks.len());
                    if let Some(newest) = unacknowledged.pop() {
                        peer.acknowledge(newest);
                    }
                }
                Some(other) => panic!("{other:?}"),
            }
        }
        // Two jobs that end at once may be answered in either order.
        all_heard.sort_by_key(|text: &String| text.parse::<u16>().expect("a number"));
        assert_eq!(all_heard, (1..=60).map(|n| n.to_string()).collect::<Vec<_>>(), "{receive_max:?}");
        assert_eq!(acks, (1..=60).collect::<Vec<u16>>(), "{receive_max:?}");
    }
}

#[test]
fn a_reload_of_limits_keeps_the_connection_and_one_of_the_device_moves_it() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    // No place for a job: what passes the limits is overload.
    let fixture = Fixture::with(settings(broker.port(), state.path()), 0);
    let mut peer = broker.accept_up(false);
    assert_eq!(peer.next(), Seen::Status("online".into()));
    let transport = fixture.transport.as_ref().expect("it runs");
    let smaller = linnet::config::transport::IntakeSettings { max_upload_bytes: 3, ..intake() };
    let here = settings(broker.port(), state.path());
    fixture.runtime.block_on(transport.reload(here.clone(), smaller)).expect("it reloads");
    eventually("the limit holds", || {
        peer.deliver(1, REQUEST, b"four", reply_to("site/a", "c"));
        (refusal(&peer.answer_taken()) == ErrorCode::TooLarge).then_some(())
    });
    let moved = linnet::config::transport::MqttSettings { device: "other".into(), ..here };
    let wrong = linnet::config::transport::MqttSettings { url: "http://x".into(), ..moved.clone() };
    assert!(fixture.runtime.block_on(transport.reload(wrong, intake())).is_err());
    fixture.runtime.block_on(transport.reload(moved, intake())).expect("it reloads");
    loop {
        match peer.next() {
            Seen::Ack(_) => {}
            Seen::Status(status) => break assert_eq!(status, "offline"),
            other => panic!("{other:?}"),
        }
    }
    let mut peer = broker.accept();
    peer.connect(true);
    let subscribe = peer.subscribe();
    assert_eq!(subscribe.filters[0].path, "linnet/other/request/#");
}
