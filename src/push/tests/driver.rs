//! The driver over actions that are told what to answer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use linnet_proto::fleet::PushState;

use crate::push::bounds::{FETCH_LIMIT, JUDGE_LIMIT, MAX_PAUSE, MAX_WATCH_GAP, PROBE_GRACE, SWITCH_LIMIT};
use crate::push::table::Action;
use crate::push::{
    Decision, Driver, Effects, Fault, Moment, Outcome, Persisted, Progress, Settings, Step, Wanted, Watched,
};

const SETTINGS: Settings =
    Settings { probe: Duration::from_secs(100), trial: Duration::from_secs(60), watch_every: Duration::from_secs(10) };

const DONE: Progress = Progress::Ended(Outcome::Done);

fn fault(code: &str) -> Fault {
    Fault::new(code, format!("because of {code}"))
}

/// Answers as it was told; `Done` where it was told nothing.
#[derive(Default)]
struct Told {
    time: Duration,
    /// Seconds by the wall clock, which jumps where a test says so.
    wall: u64,
    answers: BTreeMap<Action, VecDeque<Progress>>,
    looks: VecDeque<Watched>,
    cannot_save: bool,
    saved: Vec<PushState>,
    /// Actions in order, and what was given up.
    done: Vec<Action>,
    given_up: Vec<Action>,
    reports: Vec<(PushState, Option<String>)>,
    live: u64,
}

impl Told {
    fn tell(&mut self, action: Action, answers: impl IntoIterator<Item = Progress>) {
        self.answers.entry(action).or_default().extend(answers);
    }

    fn answer(&mut self, action: Action, update: &Persisted) -> Progress {
        assert!(
            self.cannot_save || self.saved.last() == Some(&update.state),
            "{action:?} acts in a state that was not saved"
        );
        self.done.push(action);
        self.answers.get_mut(&action).and_then(VecDeque::pop_front).unwrap_or(DONE)
    }
}

impl Effects for Told {
    fn now(&mut self) -> Moment {
        Moment { since_epoch_secs: self.wall, monotonic: self.time }
    }
    fn save(&mut self, update: &Persisted) -> Result<(), Fault> {
        if self.cannot_save {
            return Err(fault("disk"));
        }
        self.saved.push(update.state);
        Ok(())
    }
    fn is_refused(&mut self, _: &Wanted) -> bool {
        false
    }
    fn live(&mut self) -> u64 {
        self.live
    }
    fn judge(&mut self, update: &Persisted) -> Progress {
        self.answer(Action::Judge, update)
    }
    fn fetch(&mut self, update: &Persisted) -> Progress {
        self.answer(Action::Fetch, update)
    }
    fn probe(&mut self, update: &Persisted) -> Progress {
        self.answer(Action::Probe, update)
    }
    fn activate(&mut self, update: &Persisted) -> Progress {
        self.answer(Action::Activate, update)
    }
    fn watch(&mut self, update: &Persisted) -> Watched {
        self.answer(Action::Watch, update);
        self.looks.pop_front().unwrap_or(Watched::Well)
    }
    fn confirm(&mut self, update: &Persisted) -> Progress {
        self.answer(Action::Confirm, update)
    }
    fn discard(&mut self, update: &Persisted) -> Progress {
        self.answer(Action::Discard, update)
    }
    fn roll_back(&mut self, update: &Persisted) -> Progress {
        self.answer(Action::RollBack, update)
    }
    fn give_up(&mut self, action: Action) {
        self.given_up.push(action);
    }
    fn report(&mut self, update: &Persisted, waiting: Option<&Fault>) {
        self.reports.push((update.state, waiting.map(|fault| fault.code.clone())));
    }
}

fn wanted(generation: u64) -> Wanted {
    Wanted { generation, attempt: 1, sha256: format!("{generation:064x}") }
}

/// A driver that was offered generation 2.
fn offered(told: &mut Told) -> Driver {
    told.live = 1;
    let now = told.now();
    let mut driver = Driver::new(None, SETTINGS, now);
    assert_eq!(driver.offer(&wanted(2), told), Ok(Decision::Begin));
    driver
}

/// Steps, with their pauses in virtual time, until nothing is left to do or a restart is asked for.
fn drive(driver: &mut Driver, told: &mut Told) -> Step {
    for _ in 0..100_000 {
        match driver.step(told) {
            Step::Again(pause) => {
                told.time += pause;
                told.wall += pause.as_secs();
            }
            end => return end,
        }
    }
    panic!("it does not come to an end: {:?}", driver.update());
}

fn state(driver: &Driver) -> PushState {
    driver.update().expect("an update").state
}

fn code(driver: &Driver) -> Option<&str> {
    driver.update().expect("an update").code.as_deref()
}

#[test]
fn a_good_update_is_saved_and_reported_in_each_state_and_saved_before_it_acts() {
    let mut told = Told::default();
    let mut driver = offered(&mut told);
    assert_eq!(drive(&mut driver, &mut told), Step::Idle);
    let way = &PushState::ALL[..6];
    assert_eq!(told.saved, way);
    assert_eq!(told.reports, way.iter().map(|&state| (state, None)).collect::<Vec<_>>());
    assert_eq!(told.done.first(), Some(&Action::Judge));
    assert_eq!(told.done.last(), Some(&Action::Confirm));
    assert_eq!(driver.step(&mut told), Step::Idle);
    assert_eq!(told.reports.len(), 6, "nothing is said twice");
}

#[test]
fn each_action_that_fails_or_hangs_ends_the_update_with_its_reason() {
    for (action, end, limit) in [
        (Action::Judge, PushState::Rejected, JUDGE_LIMIT),
        (Action::Fetch, PushState::Rejected, FETCH_LIMIT),
        (Action::Probe, PushState::Rejected, SETTINGS.probe + PROBE_GRACE),
        (Action::Activate, PushState::RolledBack, SWITCH_LIMIT),
    ] {
        let mut told = Told::default();
        told.tell(action, [Progress::Ended(Outcome::Failed(fault("canary")))]);
        let mut driver = offered(&mut told);
        assert_eq!(drive(&mut driver, &mut told), Step::Idle);
        assert_eq!((state(&driver), code(&driver)), (end, Some("canary")), "{action:?}");
        let last = if end == PushState::Rejected { Action::Discard } else { Action::RollBack };
        assert_eq!(told.done.last(), Some(&last));

        let mut told = Told::default();
        let step = (limit / 10).min(MAX_PAUSE);
        let steps = limit.as_secs() / step.as_secs() + 1;
        told.tell(action, (0..99).map(|_| Progress::Working(step)));
        let mut driver = offered(&mut told);
        drive(&mut driver, &mut told);
        let named = format!("{}_timeout", action.as_str());
        assert_eq!((state(&driver), code(&driver)), (end, Some(&*named)));
        assert_eq!(told.given_up, [action], "what hangs is ended");
        assert_eq!(told.done.iter().filter(|done| **done == action).count() as u64, steps);
    }
}

#[test]
fn a_link_that_is_down_for_a_month_ends_nothing_and_is_said_once() {
    let mut told = Told::default();
    let day = Duration::from_secs(24 * 3600);
    told.tell(Action::Fetch, (0..30).map(|_| Progress::Waiting(fault("link"), day)));
    told.tell(Action::Fetch, [Progress::Working(Duration::ZERO)]);
    let mut driver = offered(&mut told);
    drive(&mut driver, &mut told);
    assert_eq!(state(&driver), PushState::Confirmed);
    let waits: Vec<_> = told.reports.iter().filter(|(state, _)| *state == PushState::Verified).collect();
    let verified = PushState::Verified;
    assert_eq!(waits, [&(verified, None), &(verified, Some("link".into())), &(verified, None)]);
}

#[test]
fn a_trial_counts_only_the_time_from_one_good_look_to_the_next() {
    let well = |n| std::iter::repeat_n(Watched::Well, n);
    // Three looks are 20 seconds; while the broker is away the clock stands; then 60 less 20 seconds are left.
    let mut told = Told::default();
    told.looks.extend(well(3));
    told.looks.extend(std::iter::repeat_n(Watched::Unsure(fault("broker")), 1000));
    let mut driver = offered(&mut told);
    drive(&mut driver, &mut told);
    assert_eq!(state(&driver), PushState::Confirmed);
    assert_eq!(told.done.iter().filter(|done| **done == Action::Watch).count(), 3 + 1000 + 5);
    assert!(told.reports.contains(&(PushState::Activated, Some("broker".into()))));

    let mut told = Told::default();
    told.looks.extend(well(6));
    told.looks.push_back(Watched::Badly(fault("errors")));
    let mut driver = offered(&mut told);
    drive(&mut driver, &mut told);
    assert_eq!((state(&driver), code(&driver)), (PushState::RolledBack, Some("errors")));
}

#[test]
fn a_trial_that_nobody_watched_for_an_hour_is_not_over() {
    let mut told = Told::default();
    let mut driver = offered(&mut told);
    driver.set_settings(Settings { trial: MAX_WATCH_GAP * 3, ..SETTINGS });
    while state(&driver) != PushState::Activated {
        driver.step(&mut told);
    }
    for _ in 0..3 {
        driver.step(&mut told);
        told.time += Duration::from_secs(3600);
    }
    assert_eq!(state(&driver), PushState::Activated);
    driver.step(&mut told);
    assert_eq!(state(&driver), PushState::Confirmed);
}

#[test]
fn a_clock_that_jumps_both_ways_moves_nothing_but_marks() {
    let mut told = Told { wall: 1_800_000_000, ..Told::default() };
    told.tell(Action::Fetch, (0..5).map(|_| Progress::Working(Duration::from_secs(30))));
    let mut driver = offered(&mut told);
    for wall in [0, 4_000_000_000, 5].into_iter().cycle() {
        told.wall = wall;
        match driver.step(&mut told) {
            Step::Again(pause) => told.time += pause,
            Step::Idle => break,
            Step::Restart => panic!("nothing needs a restart"),
        }
    }
    let update = driver.update().expect("an update");
    assert_eq!(update.state, PushState::Confirmed);
    let spent: Vec<u64> = update.took.iter().map(|(_, secs)| *secs).collect();
    assert_eq!(spent, [0, 150, 0, 0, 60]);
}

#[test]
fn a_state_that_the_disk_does_not_take_is_not_acted_upon_and_is_tried_again() {
    let mut told = Told::default();
    let mut driver = offered(&mut told);
    told.cannot_save = true;
    for _ in 0..5 {
        let step = driver.step(&mut told);
        assert!(matches!(step, Step::Again(pause) if pause >= Duration::from_secs(5)), "{step:?}");
    }
    assert_eq!(state(&driver), PushState::Received);
    assert_eq!(told.reports.last(), Some(&(PushState::Received, Some("disk".into()))));
    assert!(told.done.iter().all(|action| *action == Action::Judge), "the action is asked again, and answers again");
    told.cannot_save = false;
    drive(&mut driver, &mut told);
    assert_eq!(state(&driver), PushState::Confirmed);
}

#[test]
fn a_bad_generation_is_taken_back_even_where_that_cannot_be_saved() {
    let mut told = Told::default();
    let mut driver = offered(&mut told);
    while state(&driver) != PushState::Activated {
        driver.step(&mut told);
    }
    told.cannot_save = true;
    told.looks.push_back(Watched::Badly(fault("errors")));
    for _ in 0..4 {
        driver.step(&mut told);
    }
    assert_eq!((state(&driver), told.done.last()), (PushState::RolledBack, Some(&Action::RollBack)));
    assert_ne!(told.saved.last(), Some(&PushState::RolledBack));
    told.cannot_save = false;
    assert_eq!(drive(&mut driver, &mut told), Step::Idle);
    assert_eq!(told.saved.last(), Some(&PushState::RolledBack), "it is saved once the disk takes it");
}

#[test]
fn what_needs_a_restart_is_saved_first() {
    let mut told = Told::default();
    told.tell(Action::Activate, [Progress::Ended(Outcome::ByRestart)]);
    let mut driver = offered(&mut told);
    assert_eq!(drive(&mut driver, &mut told), Step::Restart);
    assert_eq!((state(&driver), told.saved.last()), (PushState::Activated, Some(&PushState::Activated)));
    assert_eq!(driver.update().expect("an update").boots, 0);
    // A switch back that fails within the process is brought about by its restart.
    let mut told = Told::default();
    told.looks.push_back(Watched::Badly(fault("errors")));
    told.tell(Action::RollBack, [Progress::Ended(Outcome::Failed(fault("memory")))]);
    let mut driver = offered(&mut told);
    assert_eq!(drive(&mut driver, &mut told), Step::Restart);
    assert_eq!((state(&driver), code(&driver)), (PushState::RolledBack, Some("errors")));
}

#[test]
fn an_end_that_cannot_be_brought_about_is_tried_again_with_longer_pauses() {
    let mut told = Told::default();
    told.tell(Action::Confirm, (0..20).map(|_| Progress::Ended(Outcome::Failed(fault("disk")))));
    let mut driver = offered(&mut told);
    while state(&driver) != PushState::Confirmed {
        if let Step::Again(pause) = driver.step(&mut told) {
            told.time += pause;
        }
    }
    let mut pauses = Vec::new();
    while let Step::Again(pause) = driver.step(&mut told) {
        pauses.push(pause.as_secs());
    }
    assert_eq!(pauses[..4], [5, 10, 20, 40]);
    assert_eq!((pauses.len(), pauses[19]), (20, 900));
    assert_eq!(state(&driver), PushState::Confirmed);
}

#[test]
fn a_newer_generation_takes_the_place_of_one_that_does_not_serve_yet() {
    let mut told = Told::default();
    told.tell(Action::Fetch, [Progress::Working(Duration::from_secs(1))]);
    let mut driver = offered(&mut told);
    driver.step(&mut told);
    driver.step(&mut told);
    assert_eq!(driver.offer(&wanted(2), &mut told), Ok(Decision::Known));
    assert_eq!(driver.offer(&wanted(3), &mut told), Ok(Decision::Begin));
    assert_eq!(told.given_up, [Action::Fetch]);
    while state(&driver) != PushState::Activated {
        driver.step(&mut told);
    }
    assert_eq!(driver.offer(&wanted(4), &mut told), Ok(Decision::Later), "what serves is judged first");
    drive(&mut driver, &mut told);
    assert_eq!(driver.update().expect("an update").generation, 3);
    assert_eq!(driver.offer(&wanted(4), &mut told), Ok(Decision::Begin));
    told.cannot_save = true;
    assert_eq!(driver.offer(&wanted(5), &mut told).expect_err("it cannot be saved").code, "disk");
    assert_eq!(driver.update().expect("an update").generation, 4, "what cannot be saved does not begin");
}

#[test]
fn a_push_during_a_roll_back_waits_for_its_end() {
    let mut told = Told::default();
    told.looks.push_back(Watched::Badly(fault("errors")));
    told.tell(Action::RollBack, [Progress::Working(Duration::from_secs(1))]);
    let mut driver = offered(&mut told);
    while told.done.last() != Some(&Action::RollBack) {
        driver.step(&mut told);
    }
    assert_eq!(driver.offer(&wanted(3), &mut told), Ok(Decision::Later));
    drive(&mut driver, &mut told);
    assert_eq!(driver.offer(&wanted(3), &mut told), Ok(Decision::Begin));
}

#[test]
fn from_any_state_a_start_leads_to_an_end() {
    for began in PushState::ALL {
        for boots in [0, 1, 3] {
            let mut update = Persisted::begin(&wanted(2), 5);
            (update.state, update.boots) = (began, boots);
            let plan = crate::push::machine::start(Some(&update), 1, 1, 9);
            let update = plan.update.expect("an update");
            let mut told = Told { live: 1, saved: vec![update.state], ..Told::default() };
            let now = told.now();
            let mut driver = Driver::new(Some(update), SETTINGS, now);
            assert_eq!(drive(&mut driver, &mut told), Step::Idle);
            assert!(state(&driver).is_end(), "{began:?}");
            assert!(matches!(told.done.last(), Some(Action::Confirm | Action::Discard | Action::RollBack)));
        }
    }
}
