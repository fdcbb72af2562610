//! Repeats: the same request joins the running one or gets the kept answer; nobody gets another's words.

use linnet::status::LinkCount;
use linnet_proto::ErrorCode;

use crate::bench::Bench;
use crate::fixture::{Fixture, REQUEST, correlation, heard, refusal, reply_to, settings, topic};
use crate::harness::eventually;
use crate::scripted_broker::ScriptedBroker;

#[test]
fn the_same_id_twice_at_once_is_one_job() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    let id = format!("{REQUEST}/7");
    peer.deliver(1, &id, b"x", Default::default());
    peer.deliver(2, &id, b"x", Default::default());
    peer.deliver(3, &format!("{REQUEST}/8"), b"x", Default::default());
    let (seven, eight) = (fixture.bench.take(), fixture.bench.take());
    eight.answer("eight");
    assert_eq!(topic(&peer.answer_taken()), "linnet/k/response/8");
    seven.answer("seven");
    let answer = peer.answer_taken();
    assert_eq!((topic(&answer), heard(&answer).as_str()), ("linnet/k/response/7", "seven"));
    assert_eq!([peer.ack(), peer.ack(), peer.ack()], [1, 2, 3]);
    assert_eq!(fixture.bench.admitted(), 2);
    assert_eq!(fixture.link.counted(LinkCount::Repeated), 1);
}

#[test]
fn whoever_joins_a_running_request_is_answered_where_he_asked_to_be() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    let id = format!("{REQUEST}/7");
    peer.deliver(1, &id, b"x", reply_to("site/a", "first"));
    peer.deliver(2, &id, b"x", reply_to("site/b", "second"));
    // A marker behind both, so that both have been seen when it runs.
    peer.deliver(3, REQUEST, b"marker", reply_to("site/m", "marker"));
    let (job, marker) = (fixture.bench.take(), fixture.bench.take());
    marker.answer("marker");
    assert_eq!(topic(&peer.answer_taken()), "site/m");
    job.answer("words");
    for (wanted_topic, wanted_correlation) in [("site/a", "first"), ("site/b", "second")] {
        let answer = peer.answer_taken();
        assert_eq!((topic(&answer), correlation(&answer).as_str()), (wanted_topic, wanted_correlation));
        assert_eq!(heard(&answer), "words");
    }
}

#[test]
fn a_repeat_of_an_answered_request_gets_the_kept_answer() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    for (packet_id, round) in [(1, 0), (2, 1), (3, 2)] {
        peer.deliver(packet_id, REQUEST, b"x", reply_to("site/a", "c"));
        if round == 0 {
            fixture.bench.take().answer("kept");
        }
        let answer = peer.answer_taken();
        assert_eq!((heard(&answer).as_str(), correlation(&answer).as_str()), ("kept", "c"));
        assert_eq!(peer.ack(), packet_id);
    }
    assert_eq!(fixture.bench.admitted(), 1);
}

#[test]
fn the_same_id_with_another_payload_or_other_options_is_another_request() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::with(settings(broker.port(), state.path()), 3);
    let mut peer = broker.accept_up(false);
    let id = format!("{REQUEST}/7");
    let in_text = || {
        let mut properties = rumqttc::v5::mqttbytes::v5::PublishProperties::default();
        properties.user_properties.push(("format".into(), "text".into()));
        properties
    };
    peer.deliver(1, &id, b"x", Default::default());
    peer.deliver(2, &id, b"y", Default::default());
    peer.deliver(3, &id, b"x", in_text());
    for words in ["of x", "of y"] {
        fixture.bench.take().answer(words);
        assert_eq!(heard(&peer.answer_taken()), words);
    }
    fixture.bench.take().answer("of x in text");
    assert_eq!(peer.answer_taken().payload, "of x in text\n");
    assert_eq!(fixture.bench.admitted(), 3);
}

#[test]
fn a_redelivery_does_not_double_an_answer_that_waits() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    peer.deliver(1, REQUEST, b"x", reply_to("site/a", "c"));
    fixture.bench.take().answer("once");
    let answer = peer.answer();
    peer.deliver_again(2, REQUEST, b"x", reply_to("site/a", "c"));
    peer.deliver(3, REQUEST, b"marker", reply_to("site/m", "m"));
    fixture.bench.take().answer("marker");
    // Doubled, the answer would come before the marker's.
    assert_eq!(topic(&peer.answer_taken()), "site/m");
    peer.acknowledge(answer.pkid);
    assert_eq!([peer.ack(), peer.ack(), peer.ack()], [1, 2, 3]);
}

#[test]
fn a_refusal_that_may_pass_is_not_kept() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    let id = format!("{REQUEST}/7");
    peer.deliver(1, &id, b"x", Default::default());
    fixture.bench.take().fail(ErrorCode::Internal);
    assert_eq!(refusal(&peer.answer_taken()), ErrorCode::Internal);
    peer.deliver(2, &id, b"x", Default::default());
    fixture.bench.take().answer("this time");
    assert_eq!(heard(&peer.answer_taken()), "this time");
    peer.deliver(3, &id, b"x", Default::default());
    assert_eq!(heard(&peer.answer_taken()), "this time");
    assert_eq!(fixture.bench.admitted(), 2);
}

#[test]
fn a_repeat_joins_its_running_request_although_no_other_would_be_taken() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let mut settings = settings(broker.port(), state.path());
    settings.receive_maximum = 1;
    // The bench takes any number of jobs, so that it is the transport that says when there are too many.
    let fixture = Fixture::on(Bench::telling(1000, 0), settings);
    let mut peer = broker.accept();
    let most = peer.connect(false).properties.and_then(|p| p.receive_maximum).expect("it is set");
    peer.subscribe();
    let id = |n: u16| format!("{REQUEST}/{n}");
    for n in 1..=most {
        peer.deliver(n, &id(n), b"x", Default::default());
    }
    let mut jobs: Vec<_> = (0..most).map(|_| fixture.bench.take()).collect();
    drop(peer);
    // The broker delivers again what runs, and a client has repeated itself meanwhile.
    let mut peer = broker.accept_up(true);
    peer.deliver_again(1, &id(1), b"x", Default::default());
    peer.deliver(2, &id(2), b"x", reply_to("site/me", "mine"));
    // Another payload is another request, and one too many; so is another id.
    peer.deliver(3, &id(1), b"y", Default::default());
    peer.deliver(4, &id(9999), b"x", Default::default());
    for _ in 0..2 {
        assert_eq!(refusal(&peer.answer_taken()), ErrorCode::Overloaded);
    }
    assert_eq!(fixture.link.counted(LinkCount::Repeated), 2);
    let (first, second) = (jobs.remove(0), jobs.remove(0));
    first.answer("one");
    let answer = peer.answer_taken();
    assert_eq!((topic(&answer), heard(&answer).as_str()), ("linnet/k/response/1", "one"));
    second.answer("two");
    let mut topics = [peer.answer_taken(), peer.answer_taken()].map(|a| (topic(&a).to_owned(), heard(&a)));
    topics.sort();
    assert_eq!(topics, [("linnet/k/response/2".into(), "two".into()), ("site/me".into(), "two".into())]);
    assert_eq!([peer.ack(), peer.ack(), peer.ack(), peer.ack()], [1, 2, 3, 4]);
    assert_eq!(fixture.bench.admitted(), usize::from(most));
}

#[test]
fn a_repeat_joins_its_running_request_although_requests_hold_all_memory() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let mut settings = settings(broker.port(), state.path());
    settings.max_packet_bytes = 4 << 20;
    let fixture = Fixture::with(settings, 100);
    let mut peer = broker.accept_up(false);
    // 4 MiB in all, and each counts twice, since it might be base64.
    let payload = |id: u16| vec![id as u8; 900 * 1024];
    let to = |id: u16| reply_to("site/a", &id.to_string());
    for id in [1, 2] {
        peer.deliver(id, REQUEST, &payload(id), to(id));
    }
    let jobs = [fixture.bench.take(), fixture.bench.take()];
    peer.deliver(3, REQUEST, &payload(1), to(1));
    peer.deliver(4, REQUEST, &payload(4), to(4));
    assert_eq!(refusal(&peer.answer_taken()), ErrorCode::Overloaded, "a new one has no memory");
    // It is digested beside the link; answered before that, it would get the answer that is kept.
    eventually("the repeat has joined", || (fixture.link.counted(LinkCount::Repeated) == 1).then_some(()));
    for job in jobs {
        job.answer("words");
        assert_eq!(heard(&peer.answer_taken()), "words");
    }
    assert_eq!([peer.ack(), peer.ack(), peer.ack(), peer.ack()], [1, 2, 3, 4]);
    assert_eq!((fixture.bench.admitted(), fixture.link.counted(LinkCount::Repeated)), (2, 1));
}

#[test]
fn large_requests_that_the_broker_delivers_again_at_once_all_join_although_memory_is_spent() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let mut settings = settings(broker.port(), state.path());
    settings.max_packet_bytes = 4 << 20;
    let fixture = Fixture::with(settings, 100);
    let mut peer = broker.accept_up(false);
    // Half a MiB: larger than what is digested on the link's own task. Four take all 4 MiB, since each might be base64.
    let payload = |id: u16| vec![id as u8; 512 * 1024];
    let id = |id: u16| format!("{REQUEST}/{id}");
    for n in 1..=4 {
        peer.deliver(n, &id(n), &payload(n), Default::default());
    }
    let jobs: Vec<_> = (0..4).map(|_| fixture.bench.take()).collect();
    drop(peer);
    let mut peer = broker.accept_up(true);
    for n in 1..=4 {
        peer.deliver_again(n, &id(n), &payload(n), Default::default());
    }
    // The same id with another payload is looked at as closely, and is another request.
    peer.deliver(5, &id(1), &payload(5), Default::default());
    assert_eq!(refusal(&peer.answer_taken()), ErrorCode::Overloaded);
    eventually("all four join", || (fixture.link.counted(LinkCount::Repeated) == 4).then_some(()));
    for job in jobs {
        job.answer("words");
        assert_eq!(heard(&peer.answer_taken()), "words");
    }
    assert_eq!([(); 5].map(|()| peer.ack()), [1, 2, 3, 4, 5]);
    assert_eq!(fixture.bench.admitted(), 4);
}
