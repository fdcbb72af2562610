//! At least one answer, acknowledgements in order, and what a crash leaves.

use std::time::Duration;

use linnet_proto::ErrorCode;

use crate::bench::HeldJob;
use crate::fixture::{Fixture, REQUEST, correlation, heard, refusal, reply_to, settings};
use crate::harness::eventually;
use crate::scripted_broker::{ScriptedBroker, Seen};

fn state() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

/// The daemon dies while it holds `job`, which never ends.
fn die(fixture: Fixture, job: HeldJob) {
    drop(fixture);
    drop(job);
}

#[test]
fn a_request_is_acknowledged_only_when_its_answer_is() {
    let (broker, state) = (ScriptedBroker::start(), state());
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    peer.deliver(11, REQUEST, b"one", reply_to("site/a", "1"));
    fixture.bench.take().answer("first");
    let first = peer.answer();
    assert_eq!((heard(&first).as_str(), correlation(&first).as_str()), ("first", "1"));
    peer.deliver(12, REQUEST, b"two", reply_to("site/a", "2"));
    fixture.bench.take().answer("second");
    // Were the first request acknowledged with its answer, it would have been before the second answer.
    let second = peer.answer_before_any_ack();
    peer.acknowledge(first.pkid);
    assert_eq!(peer.next(), Seen::Ack(11));
    peer.acknowledge(second.pkid);
    assert_eq!(peer.next(), Seen::Ack(12));
}

#[test]
fn acknowledgements_leave_in_order_of_receipt() {
    let (broker, state) = (ScriptedBroker::start(), state());
    let fixture = Fixture::with(settings(broker.port(), state.path()), 3);
    let mut peer = broker.accept_up(false);
    for id in [21, 22, 23] {
        peer.deliver(id, REQUEST, id.to_string().as_bytes(), reply_to("site/a", &id.to_string()));
    }
    let mut jobs: Vec<_> = (0..3).map(|_| fixture.bench.take()).collect();
    for wanted in ["23", "22", "21"] {
        jobs.pop().expect("three jobs").answer(wanted);
        let answer = peer.answer();
        assert_eq!(correlation(&answer), wanted);
        peer.acknowledge(answer.pkid);
    }
    assert_eq!([peer.ack(), peer.ack(), peer.ack()], [21, 22, 23]);
}

#[test]
fn an_acknowledgement_never_crosses_into_the_next_connection() {
    let (broker, state) = (ScriptedBroker::start(), state());
    let fixture = Fixture::start(broker.port(), &state);
    let mut first = broker.accept_up(false);
    first.deliver(5, REQUEST, b"A", reply_to("site/a", "A"));
    let a = fixture.bench.take();
    drop(first);
    let mut second = broker.accept_up(true);
    // The same packet id is another request's now, and the old request has another id.
    second.deliver(5, REQUEST, b"B", reply_to("site/a", "B"));
    second.deliver_again(9, REQUEST, b"A", reply_to("site/a", "A"));
    let b = fixture.bench.take();
    assert_eq!((a.audio().as_str(), b.audio().as_str()), ("A", "B"));
    a.answer("A");
    assert_eq!(correlation(&second.answer_taken()), "A");
    b.answer("B");
    // Had 5 been acknowledged for A, it would have been before this answer.
    let answer = second.answer_before_any_ack();
    second.acknowledge(answer.pkid);
    assert_eq!([second.ack(), second.ack()], [5, 9]);
    assert_eq!(fixture.bench.admitted(), 2, "a request that the broker delivers again joins the running one");
}

#[test]
fn an_answer_outlives_a_lost_connection_and_a_lost_session() {
    let (broker, state) = (ScriptedBroker::start(), state());
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    peer.deliver(1, REQUEST, b"x", reply_to("site/a", "c"));
    fixture.bench.take().answer("once heard");
    let lost = peer.answer();
    drop(peer);
    // The broker remembers nothing: rumqttc alone would drop the answer here.
    let mut peer = broker.accept_up(false);
    let again = peer.answer_taken();
    assert_eq!((heard(&again), correlation(&again)), (heard(&lost), "c".into()));
    // The old request is not acknowledged on the new connection: it is no packet of it.
    peer.deliver(1, REQUEST, b"y", reply_to("site/a", "d"));
    fixture.bench.take().answer("next");
    let next = peer.answer_before_any_ack();
    peer.acknowledge(next.pkid);
    assert_eq!(peer.ack(), 1);
}

#[test]
fn an_answer_that_nobody_took_outlives_the_daemon() {
    let (broker, state) = (ScriptedBroker::start(), state());
    let mut fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    peer.deliver(1, REQUEST, b"x", reply_to("site/a", "c"));
    let job = fixture.bench.take();
    drop(peer);
    let port = broker.port();
    drop(broker);
    job.answer("kept");
    let drained = fixture.drain(Duration::from_secs(30));
    assert_eq!(fixture.runtime.block_on(drained).expect("it drains"), 0);
    drop(fixture);

    let broker = ScriptedBroker::start();
    assert_ne!(port, 0);
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(true);
    let answer = peer.answer_taken();
    assert_eq!((heard(&answer).as_str(), correlation(&answer).as_str()), ("kept", "c"));
    // And the request that the broker still holds gets the kept answer, not a second run.
    peer.deliver_again(3, REQUEST, b"x", reply_to("site/a", "c"));
    assert_eq!(heard(&peer.answer_taken()), "kept");
    assert_eq!(peer.ack(), 3);
    assert_eq!(fixture.bench.admitted(), 0);
}

#[test]
fn a_request_that_was_running_at_two_crashes_is_not_run_again() {
    let (broker, state) = (ScriptedBroker::start(), state());
    for crash in 0..2 {
        let fixture = Fixture::start(broker.port(), &state);
        let mut peer = broker.accept_up(crash > 0);
        peer.deliver(1, &format!("{REQUEST}/deadly"), b"x", Default::default());
        let job = fixture.bench.take();
        job.begin();
        die(fixture, job);
    }
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(true);
    peer.deliver_again(1, &format!("{REQUEST}/deadly"), b"x", Default::default());
    assert_eq!(refusal(&peer.answer_taken()), ErrorCode::Poisoned);
    assert_eq!(peer.ack(), 1);
    // Another payload under the same id is another request.
    peer.deliver(2, &format!("{REQUEST}/deadly"), b"y", Default::default());
    fixture.bench.take().answer("alive");
    assert_eq!(heard(&peer.answer_taken()), "alive");
    assert_eq!(fixture.bench.admitted(), 1);
}

#[test]
fn a_request_that_waited_at_two_crashes_is_run() {
    let (broker, state) = (ScriptedBroker::start(), state());
    for _ in 0..3 {
        let fixture = Fixture::start(broker.port(), &state);
        let mut peer = broker.accept_up(false);
        peer.deliver(1, &format!("{REQUEST}/patient"), b"x", Default::default());
        let job = fixture.bench.take();
        die(fixture, job);
    }
}

#[test]
fn an_orderly_end_waits_for_jobs_answers_them_and_says_goodbye() {
    let (broker, state) = (ScriptedBroker::start(), state());
    let mut fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    assert_eq!(peer.next(), Seen::Status("online".into()));
    peer.deliver(1, REQUEST, b"x", reply_to("site/a", "c"));
    let job = fixture.bench.take();
    let drained = fixture.drain(Duration::from_secs(30));
    // Draining is told in `state`; what comes from then on is left to the broker.
    eventually("draining has begun", || {
        assert_eq!(peer.next_within(Duration::from_millis(20)), None);
        (peer.states.len() >= 2).then_some(())
    });
    peer.deliver(2, REQUEST, b"late", reply_to("site/a", "late"));
    job.answer("done");
    assert_eq!(heard(&peer.answer_taken()), "done");
    assert_eq!(peer.next(), Seen::Ack(1));
    assert_eq!(peer.next(), Seen::Status("offline".into()));
    assert!(matches!(peer.next(), Seen::Disconnect | Seen::Closed));
    assert_eq!(fixture.runtime.block_on(drained).expect("it drains"), 0);
}

#[test]
fn a_job_that_outlasts_the_grace_is_left_to_the_broker_and_blamed_for_nothing() {
    let (broker, state) = (ScriptedBroker::start(), state());
    for _ in 0..3 {
        let mut fixture = Fixture::start(broker.port(), &state);
        let mut peer = broker.accept_up(false);
        peer.deliver(1, &format!("{REQUEST}/long"), b"x", Default::default());
        let job = fixture.bench.take();
        job.begin();
        let drained = fixture.drain(Duration::from_millis(20));
        assert_eq!(fixture.runtime.block_on(drained).expect("it drains"), 1);
        eventually("the job is cancelled", || job.cancel.is_cancelled().then_some(()));
        loop {
            match peer.next() {
                Seen::Status(_) => {}
                Seen::Disconnect | Seen::Closed => break,
                other => panic!("{other:?}: an unanswered request is acknowledged"),
            }
        }
    }
}

#[test]
fn an_end_that_is_cut_short_blames_nobody() {
    let (broker, state) = (ScriptedBroker::start(), state());
    for end in 0..3 {
        let fixture = Fixture::start(broker.port(), &state);
        let mut peer = broker.accept_up(end > 0);
        for id in ["runs", "waits"] {
            peer.deliver(1, &format!("{REQUEST}/{id}"), id.as_bytes(), Default::default());
        }
        let (runs, waits) = (fixture.bench.take(), fixture.bench.take());
        runs.begin();
        // The drain begins, another job begins in it, and a second signal ends the process.
        fixture.runtime.block_on(fixture.transport.as_ref().expect("it runs").stop_intake());
        waits.begin();
        die(fixture, runs);
        drop(waits);
    }
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(true);
    for id in ["runs", "waits"] {
        peer.deliver(1, &format!("{REQUEST}/{id}"), id.as_bytes(), Default::default());
        fixture.bench.take().answer(id);
        assert_eq!(heard(&peer.answer_taken()), id);
    }
}
