//! The link's own health: a panic is survived and told, a standstill is named, a state directory that cannot be written is
//! done without.

use std::sync::mpsc::sync_channel;

use linnet::status::LinkState;
use linnet_proto::ErrorCode;

use crate::bench::Trap;
use crate::fixture::{Fixture, REQUEST, heard, refusal, reply_to, settings};
use crate::harness::eventually;
use crate::scripted_broker::{ScriptedBroker, Seen};

/// The link's loop asks after the status when `state` is due.
fn spring(fixture: &Fixture, trap: Trap) {
    fixture.bench.set(trap);
    fixture.transport.as_ref().expect("it runs").state_changed();
}

#[test]
fn a_panic_of_the_link_is_told_and_the_link_started_again() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    peer.deliver(1, &format!("{REQUEST}/1"), b"x", Default::default());
    let lost = fixture.bench.take();
    lost.begin();
    spring(&fixture, Trap::Panic);
    fixture.wait_for(LinkState::Down);
    let reason = fixture.link.reason().expect("a reason");
    assert!(reason.contains("panicked"), "{reason}");
    eventually("the job is cancelled", || lost.cancel.is_cancelled().then_some(()));
    while !matches!(peer.next(), Seen::Closed | Seen::Disconnect) {}

    // The broker delivers again what was not acknowledged, and nobody is to blame for the panic.
    let mut peer = broker.accept_up(true);
    fixture.wait_for(LinkState::Up);
    assert_eq!(fixture.link.reason(), None);
    peer.deliver_again(1, &format!("{REQUEST}/1"), b"x", Default::default());
    fixture.bench.take().answer("again");
    assert_eq!(heard(&peer.answer_taken()), "again");
    assert_eq!(peer.ack(), 1);
    let marks = || std::fs::read_dir(state.path().join("mqtt/running")).expect("a directory").count();
    eventually("no mark is left", || (marks() == 0).then_some(()));
    assert!(fixture.loops.standing_still().is_empty());
}

#[test]
fn an_answer_on_disk_outlives_a_panic_of_the_link() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    peer.deliver(0, REQUEST, b"x", reply_to("site/a", "c"));
    fixture.bench.take().answer("kept");
    let _never_acknowledged = peer.answer();
    let outbox = state.path().join("mqtt/outbox");
    // Whole or half written, and before or after the link knows of it.
    eventually("it is on disk", || (std::fs::read_dir(&outbox).expect("a directory").count() == 1).then_some(()));
    spring(&fixture, Trap::Panic);
    fixture.wait_for(LinkState::Down);
    let mut peer = broker.accept_up(true);
    assert_eq!(heard(&peer.answer_taken()), "kept");
    eventually("its file is removed", || (std::fs::read_dir(&outbox).expect("a directory").count() == 0).then_some(()));
}

#[test]
fn an_end_is_heard_while_a_panicked_link_rests() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let mut fixture = Fixture::start(broker.port(), &state);
    let _peer = broker.accept_up(false);
    spring(&fixture, Trap::Panic);
    fixture.wait_for(LinkState::Down);
    let drained = fixture.drain(std::time::Duration::from_secs(600));
    assert_eq!(fixture.runtime.block_on(drained).expect("it drains"), 0);
}

#[test]
fn a_link_that_waits_for_its_broker_lives_and_one_that_is_blocked_stands_still() {
    let state = tempfile::tempdir().expect("a directory");
    let mut settings = settings(crate::harness::free_port(), state.path());
    settings.backoff = (std::time::Duration::from_secs(3600), std::time::Duration::from_secs(3600));
    let resting = Fixture::with(settings.clone(), 1);
    resting.wait_for(LinkState::Down);

    let broker = ScriptedBroker::start();
    settings.url = format!("mqtt://127.0.0.1:{}", broker.port());
    let blocked = Fixture::with(settings, 1);
    let mut peer = broker.accept_up(false);
    assert_eq!(peer.next(), Seen::Status("online".into()));
    assert!(blocked.loops.standing_still().is_empty());
    let (until, wait) = sync_channel(1);
    spring(&blocked, Trap::Block(wait));
    eventually("the blocked link is named", || {
        (blocked.loops.standing_still().first().map(|still| still.name) == Some("the MQTT link")).then_some(())
    });
    assert!(resting.loops.standing_still().is_empty(), "to wait is not to stand still");
    drop(until);
    eventually("it lives again", || blocked.loops.standing_still().is_empty().then_some(()));
    peer.deliver(1, REQUEST, b"x", reply_to("site/a", "c"));
    blocked.bench.take().answer("on it goes");
    assert_eq!(heard(&peer.answer_taken()), "on it goes");
}

#[test]
fn without_a_state_directory_requests_are_answered_and_it_is_used_once_it_is_there() {
    let (broker, home) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    // Under a file there can be no directory, for root neither.
    let blocked = home.path().join("state");
    std::fs::write(&blocked, b"").expect("a file");
    let fixture = Fixture::with(settings(broker.port(), &blocked), 2);
    let reason = eventually("it is told from the start", || fixture.link.storage());
    assert!(reason.contains("state/mqtt: "), "{reason}");
    let mut peer = broker.accept_up(false);
    peer.deliver(1, REQUEST, b"x", reply_to("site/a", "1"));
    let job = fixture.bench.take();
    job.begin();
    job.answer("without");
    assert_eq!(heard(&peer.answer_taken()), "without");
    assert_eq!(peer.ack(), 1);

    std::fs::remove_file(&blocked).expect("removes");
    eventually("it is noticed", || fixture.link.storage().is_none().then_some(()));
    peer.deliver(0, REQUEST, b"y", reply_to("site/a", "2"));
    fixture.bench.take().answer("kept");
    let _never_acknowledged = peer.answer();
    let outbox = blocked.join("mqtt/outbox");
    eventually("it is on disk", || (std::fs::read_dir(&outbox).expect("a directory").count() == 1).then_some(()));
}

#[test]
fn what_the_transport_turns_away_is_told_with_its_id_and_its_task() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    peer.deliver(1, "linnet/k/request/dance", b"x", reply_to("site/a", "1"));
    assert_eq!(refusal(&peer.answer_taken()), ErrorCode::NotFound);
    peer.deliver(2, REQUEST, &vec![b'x'; 70 * 1024], reply_to("site/a", "2"));
    assert_eq!(refusal(&peer.answer_taken()), ErrorCode::TooLarge);
    peer.deliver(3, &format!("{REQUEST}/7"), b"x", reply_to("elsewhere", "3"));
    assert_eq!(refusal(&peer.answer_taken()), ErrorCode::Forbidden);
    peer.deliver(4, REQUEST, b"", reply_to("site/a", "4"));
    assert_eq!(refusal(&peer.answer_taken()), ErrorCode::EmptyAudio);
    let told = fixture.bench.turned_away();
    let labels: Vec<_> = told.iter().map(|one| (one.task, one.code)).collect();
    assert_eq!(
        labels,
        [
            ("unknown", ErrorCode::NotFound),
            ("transcribe", ErrorCode::TooLarge),
            ("transcribe", ErrorCode::Forbidden),
            ("transcribe", ErrorCode::EmptyAudio),
        ]
    );
    let mut ids: Vec<_> = told.iter().map(|one| one.id.as_str()).collect();
    assert!(ids.iter().all(|id| id.starts_with('m')), "{ids:?}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4, "each has its own");
}
