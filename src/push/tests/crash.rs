//! Generations that take the process, or its workers, down when they have served for ten minutes: in virtual time, over the real store.

use std::collections::BTreeMap;
use std::time::Duration;

use linnet_proto::fleet::PushState;

use super::device::{Device, Fetched, Life, Run, SETTINGS, Source};
use crate::push::Settings;
use crate::push::bounds::MAX_OPENINGS;
use crate::store::generations::Options;
use crate::store::generations::faulty::{FaultyDisk, Loss};

const OPTIONS: Options = Options { free_margin_bytes: 1000, sync_every_bytes: 1 << 10 };

const MINUTE: Duration = Duration::from_secs(60);
/// When it happens.
const TEN: Duration = Duration::from_secs(600);

/// A device with generation 1, confirmed, and generation 2, which is offered to it.
struct Home {
    disk: FaultyDisk,
    source: Source,
}

impl Home {
    fn new() -> Self {
        let mut source = Source::in_pieces_of(1 << 10);
        source.publish(1, &[("speech", &[("model", b"the first model")])]);
        source.publish(2, &[("speech", &[("model", b"the second model, of which something grows")])]);
        let disk = FaultyDisk::new();
        let life = Device::live(&disk, &source, OPTIONS, &[], 1, &Fetched::default()).expect("sound").expect("opens");
        assert_eq!(life.device.serving, 1);
        Self { disk, source }
    }

    /// One run of the daemon with trials of this length. What it leaves to the kernel outlives it.
    fn live(&self, trial: Duration, run: Run) -> Life {
        let run = Run { settings: Settings { trial, ..SETTINGS }, ..run };
        let life = Device::live_so(&self.disk, &self.source, OPTIONS, run, 2, &Fetched::default());
        life.expect("sound").expect("opens")
    }

    /// The same under a generation 2 that takes the process down after ten minutes.
    fn live_deadly(&self, trial: Duration) -> Life {
        self.live(trial, Run { deadly: BTreeMap::from([(2, TEN)]), ..Run::default() })
    }
}

/// State, openings and code of the update.
fn stands(life: &Life) -> (PushState, u32, Option<&str>) {
    let update = life.update.as_ref().expect("an update");
    (update.state, update.boots, update.code.as_deref())
}

#[test]
fn a_generation_that_takes_the_daemon_down_after_ten_minutes_of_its_trial_goes_back_after_three_starts() {
    // Two of its runs are longer together than the trial: time before a crash counts for nothing.
    for (trial, loses_power) in [(11 * MINUTE, false), (15 * MINUTE, false), (60 * MINUTE, false), (60 * MINUTE, true)]
    {
        let mut home = Home::new();
        for opening in 1..=MAX_OPENINGS {
            let life = home.live_deadly(trial);
            assert_eq!((life.device.serving, life.died), (2, Some(TEN)), "{trial:?}, opening {opening}");
            assert_eq!(stands(&life), (PushState::Activated, opening, None), "{trial:?}");
            if loses_power {
                home.disk = home.disk.restart(Loss::All);
            }
        }
        let life = home.live_deadly(trial);
        assert_eq!((life.device.serving, life.died), (1, None), "the last good one serves, and lives");
        assert_eq!(stands(&life), (PushState::RolledBack, MAX_OPENINGS, Some("starts")));
        let reason = life.update.expect("an update").reason.expect("a reason");
        assert!(reason.contains("started 3 times without being confirmed"), "{reason}");
        assert_eq!(life.device.reports, [(PushState::RolledBack, None)]);
        assert_eq!((life.device.store.live(), life.device.store.good()), (1, 1));
        // It is offered again, and is not begun.
        let again = home.live_deadly(trial);
        assert_eq!((again.device.serving, again.died), (1, None));
        assert!(again.device.fetched.finished.is_empty(), "nothing of it is fetched again");
    }
}

#[test]
fn a_generation_that_crashes_after_it_was_confirmed_stays_however_often_it_does() {
    let home = Home::new();
    let life = home.live_deadly(5 * MINUTE);
    assert_eq!((life.device.serving, life.died), (2, Some(TEN)));
    assert_eq!(stands(&life), (PushState::Confirmed, 1, None), "it was confirmed before it crashed");
    // Nobody counts it: systemd starts it again, and tells of it when it does so too often.
    let operations = home.disk.operations();
    for _ in 0..2 * MAX_OPENINGS {
        let life = home.live_deadly(5 * MINUTE);
        assert_eq!((life.device.serving, life.died), (2, Some(TEN)));
        assert_eq!(stands(&life), (PushState::Confirmed, 1, None));
        assert_eq!((life.device.store.live(), life.device.store.good()), (2, 2));
    }
    assert_eq!(home.disk.operations(), operations, "and nothing is written for it");
}

#[test]
fn a_generation_that_loses_its_workers_after_ten_minutes_of_its_trial_goes_back_at_once() {
    let workers = || Run { loses_workers: BTreeMap::from([(2, TEN)]), ..Run::default() };
    let home = Home::new();
    let life = home.live(60 * MINUTE, workers());
    assert_eq!(life.device.serving, 1);
    assert_eq!(stands(&life), (PushState::RolledBack, 1, Some("workers")));
    let update = life.update.expect("an update");
    let (_, on_trial) = update.took.last().expect("the trial took its time");
    assert!((600..660).contains(on_trial), "{on_trial} seconds on trial");
    // One that was confirmed before is judged no more.
    let home = Home::new();
    let life = home.live(5 * MINUTE, workers());
    assert_eq!((life.device.serving, stands(&life)), (2, (PushState::Confirmed, 1, None)));
}
