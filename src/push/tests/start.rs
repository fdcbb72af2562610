//! The start over a store that is damaged, or cannot be written.

use linnet_proto::fleet::PushState;

use super::device::{Device, Fetched, Source};
use crate::push::bounds::MAX_OPENINGS;
use crate::push::{Fault, Persisted, Started, Wanted, save, settle, start, take_back};
use crate::store::generations::faulty::{FaultyDisk, Loss};
use crate::store::generations::{GenerationStore, Opened, Options, digest};

const OPTIONS: Options = Options { free_margin_bytes: 1000, sync_every_bytes: 16 };

/// A device that serves generation 1, and has 2 on trial, opened once.
fn on_trial() -> FaultyDisk {
    let mut source = Source::in_pieces_of(100);
    source.publish(1, &[("speech", &[("model", b"old")])]);
    source.publish(2, &[("speech", &[("model", b"new")])]);
    let disk = FaultyDisk::new();
    let live = |disk: &FaultyDisk, number| Device::live(disk, &source, OPTIONS, &[], number, &Fetched::default());
    drop(live(&disk, 1).expect("sound"));
    // The power goes at the first operation after generation 2 has been activated.
    let whole = disk.fork();
    drop(live(&whole, 2).expect("sound"));
    let activated = (disk.operations()..whole.operations()).find_map(|cut| {
        let fork = disk.fork();
        fork.cut_at(cut);
        drop(live(&fork, 2).expect("sound"));
        let fork = fork.restart(Loss::All);
        let update = store(&fork).store.update().map(Persisted::parse)?.ok()?;
        (update.state == PushState::Activated).then_some(fork)
    });
    activated.expect("it was activated")
}

fn store(disk: &FaultyDisk) -> Opened {
    GenerationStore::open(Box::new(disk.clone()), OPTIONS).expect("it can be read")
}

#[test]
fn a_generation_on_trial_is_opened_with_its_count_on_the_disk() {
    let disk = on_trial();
    for boots in 2..=MAX_OPENINGS {
        let started = start(&mut store(&disk).store, 9);
        assert_eq!((started.serve, started.said), (2, vec![]));
        let after = store(&disk.restart(Loss::All)).store;
        assert_eq!(Persisted::parse(after.update().expect("saved")).expect("sound").boots, boots);
    }
    let Started { serve, update, said } = start(&mut store(&disk).store, 9);
    let update = update.expect("the update");
    assert_eq!((serve, update.state, said), (1, PushState::RolledBack, vec![]));
    let mut after = store(&disk.restart(Loss::All)).store;
    assert_eq!((after.live(), after.good()), (1, 1), "the way back is durable before anything is opened");
    settle(&mut after, &update).expect("writes");
    assert!(after.is_refused(&update.sha256, update.attempt));
}

#[test]
fn a_generation_whose_openings_cannot_be_counted_is_not_opened() {
    let disk = on_trial();
    disk.set_writable(false);
    let Started { serve, update, said } = start(&mut store(&disk).store, 9);
    assert_eq!((serve, update.expect("the update").code.as_deref()), (1, Some("disk")));
    assert!(said.iter().any(|said| said.contains("generation 2 is not opened")), "{said:?}");
    // What is good is opened from a disk that cannot be written, and nothing is said of it.
    let disk = on_trial();
    let mut opened = store(&disk).store;
    opened.confirm().expect("writes");
    opened.collect_garbage(None).expect("removes");
    disk.set_writable(false);
    assert_eq!(start(&mut store(&disk).store, 9).serve, 2);
}

#[test]
fn a_generation_on_trial_that_cannot_be_served_goes_back_with_its_update() {
    let disk = on_trial();
    let mut opened = store(&disk).store;
    let mut update = start(&mut opened, 9).update;
    take_back(&mut opened, &mut update, &Fault::new("config", "it lacks a key"), 10).expect("writes");
    let mut after = store(&disk.restart(Loss::All)).store;
    assert_eq!((after.live(), after.good()), (1, 1));
    let saved = Persisted::parse(after.update().expect("saved")).expect("sound");
    assert_eq!(Some(&saved), update.as_ref());
    assert_eq!((saved.state, saved.code.as_deref()), (PushState::RolledBack, Some("config")));
    settle(&mut after, &saved).expect("writes");
    assert!(after.is_refused(&saved.sha256, saved.attempt), "it is not tried again");
}

#[test]
fn a_state_of_garbage_leads_to_the_last_good_generation_and_is_told() {
    for garbage in [&b""[..], b"\0\0\0", b"{\"form\":9}", b"[1,2", &[b'7'; 100_000]] {
        let disk = on_trial();
        disk.plant("update.json", garbage);
        let Opened { mut store, mut said } = store(&disk);
        let started = start(&mut store, 9);
        said.extend(started.said);
        assert_eq!((started.serve, started.update, store.live()), (1, None, 1));
        assert!(said.iter().any(|said| said.contains("the last good generation serves")), "{said:?}");
        // The next update is saved over it.
        let update = Persisted::begin(&Wanted { generation: 3, attempt: 1, sha256: digest(b"3") }, 1);
        save(&mut store, &update).expect("writes");
        assert_eq!(Persisted::parse(store.update().expect("saved")), Ok(update));
    }
}

#[test]
fn a_generation_on_trial_that_is_damaged_is_taken_back_with_its_reason() {
    let disk = on_trial();
    disk.uproot("generations/2/packages/speech/model");
    let Opened { mut store, said } = store(&disk);
    assert!(said.len() == 1 && said[0].contains("packages/speech/model is missing"), "{said:?}");
    let Started { serve, update, .. } = start(&mut store, 9);
    let update = update.expect("the update");
    assert_eq!((serve, update.state, update.code.as_deref()), (1, PushState::RolledBack, Some("damaged")));
}
