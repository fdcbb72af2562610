//! Carries an update through the table: one bounded step at a time, over whatever brings the actions about.
//!
//! The daemon's agent and the simulation drive the same code: nothing here waits, sleeps or reads a clock.

use std::time::Duration;

use linnet_proto::fleet::PushState;

use super::bounds::{MAX_PAUSE, MAX_WATCH_GAP, RETRY_FIRST, RETRY_MOST};
use super::machine::{Decision, Fault, Now, Outcome, Persisted, Wanted, decide};
use super::table::{Action, Row, Then};

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970-01-01 UTC; marks only, for it may jump.
    pub since_epoch_secs: u64,
    /// Since some fixed moment; never goes back while the process runs.
    pub monotonic: Duration,
}

/// How far an action has come in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It has ended.
    Ended(Outcome),
    /// It goes on: the next step is due after so long (0: at once). This time counts against the action's limit.
    Working(Duration),
    /// It cannot go on for now, for no fault of the generation's: a link that is down, a disk that cannot be written. The next step is due after so
    /// long, which does not count against the limit. The reason is reported.
    Waiting(Fault, Duration),
}

/// What one look at a generation on trial saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// It does as well as the last one: the time since the look before counts.
    Well,
    /// Nothing can be said for now; the trial's clock stands still. The reason is reported.
    Unsure(Fault),
    /// It does worse.
    Badly(Fault),
}

/// What brings the actions about; one method for each.
///
/// Each call does one bounded step and says how far it has come. Each action is begun again after a restart, and when its state could not be saved:
/// what was done before must then be found done. An action for another update than the last time gives up that one's.
pub trait Effects {
    /// Both clocks.
    fn now(&mut self) -> Moment;
    /// Makes the update's state durable before it returns ([`super::save`]).
    fn save(&mut self, update: &Persisted) -> Result<(), Fault>;
    /// Whether this attempt, or a higher one, is remembered as refused.
    fn is_refused(&mut self, wanted: &Wanted) -> bool;
    /// The generation that the store calls live.
    fn live(&mut self) -> u64;
    /// [`Action::Judge`]. It begins with what an earlier update left: `collect_garbage` for all but this one.
    fn judge(&mut self, update: &Persisted) -> Progress;
    /// [`Action::Fetch`], which ends with the generation installed.
    fn fetch(&mut self, update: &Persisted) -> Progress;
    /// [`Action::Probe`].
    fn probe(&mut self, update: &Persisted) -> Progress;
    /// [`Action::Activate`]: the store's `set_live`, then the switch; [`Outcome::ByRestart`] where the process must restart for it.
    fn activate(&mut self, update: &Persisted) -> Progress;
    /// [`Action::Watch`]: one look.
    fn watch(&mut self, update: &Persisted) -> Watched;
    /// [`Action::Confirm`] ([`super::settle`]).
    fn confirm(&mut self, update: &Persisted) -> Progress;
    /// [`Action::Discard`] ([`super::settle`]).
    fn discard(&mut self, update: &Persisted) -> Progress;
    /// [`Action::RollBack`]: the switch back, then [`super::settle`]. Failed only where the switch cannot be done within the process; a disk that
    /// refuses is waited for.
    fn roll_back(&mut self, update: &Persisted) -> Progress;
    /// Ends what an action has under way: a child process, a download.
    fn give_up(&mut self, action: Action);
    /// Says where the update stands, and what is waited for.
    fn report(&mut self, update: &Persisted, waiting: Option<&Fault>);
}

/// Settings of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long a probe may take.
    pub probe: Duration,
    /// How long a generation is watched before it is confirmed.
    pub trial: Duration,
    /// Pause between two looks.
    pub watch_every: Duration,
}

/// What to do after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing until something is offered.
    Idle,
    /// The next step after so long.
    Again(Duration),
    /// The process must end in order and start anew.
    Restart,
}

/// Drives one update at a time.
#[derive(Debug)]
pub struct Driver {
    settings: Settings,
    update: Option<Persisted>,
    /// When its state began within this run, by the monotonic clock.
    began: Duration,
    /// Time spent on the action so far, waits left out.
    busy: Duration,
    /// The end of the last step that left the action at work.
    working_since: Option<Duration>,
    trial: TrialClock,
    /// Whether the end of the update has been brought about.
    is_settled: bool,
    /// A failure that the disk did not take: it is acted upon, and tried to be saved again.
    is_unsaved: bool,
    tries: u32,
    waiting: Option<Fault>,
    /// What of it was reported last.
    reported: Option<Option<Fault>>,
}

impl Driver {
    /// Goes on with an update as [`super::start()`] gave it.
    pub fn new(update: Option<Persisted>, settings: Settings, now: Moment) -> Self {
        // A failure that the start could not save is saved by the first step; one that was is not written twice.
        let is_unsaved = update.as_ref().is_some_and(|update| update.state.is_failure());
        Self {
            settings,
            update,
            began: now.monotonic,
            busy: Duration::ZERO,
            working_since: None,
            trial: TrialClock::default(),
            is_settled: false,
            is_unsaved,
            tries: 0,
            waiting: None,
            reported: None,
        }
    }

    /// The update in progress, or the last one.
    pub fn update(&self) -> Option<&Persisted> {
        self.update.as_ref()
    }

    /// What it waits for.
    pub fn waiting(&self) -> Option<&Fault> {
        self.waiting.as_ref()
    }

    /// Takes other settings; what is under way is measured by them at once.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Offers the generation that signed metadata means for this device; an error where it would begin and cannot be saved.
    pub fn offer(&mut self, wanted: &Wanted, effects: &mut dyn Effects) -> Result<Decision, Fault> {
        let (live, is_refused) = (effects.live(), effects.is_refused(wanted));
        let decision = decide(self.update.as_ref(), wanted, live, is_refused, self.is_settled);
        if decision == Decision::Begin {
            let now = effects.now();
            let update = Persisted::begin(wanted, now.since_epoch_secs);
            effects.save(&update)?;
            if let Some(before) = self.update.as_ref().filter(|before| !before.state.is_end()) {
                effects.give_up(before.next());
            }
            self.adopt(update, now);
        }
        Ok(decision)
    }

    /// Does one step.
    pub fn step(&mut self, effects: &mut dyn Effects) -> Step {
        let Some(update) = self.update.clone() else { return Step::Idle };
        if self.is_unsaved {
            self.is_unsaved = effects.save(&update).is_err();
        }
        self.report(effects);
        let row = Row::of(update.state);
        if self.is_settled {
            return if self.is_unsaved { Step::Again(self.pause()) } else { Step::Idle };
        }
        let before = effects.now();
        if let Some(since) = self.working_since.take() {
            self.busy += before.monotonic.saturating_sub(since);
        }
        let progress = match row.limit.duration(self.settings.probe) {
            Some(limit) if self.busy > limit => {
                effects.give_up(row.action);
                Progress::Ended(Outcome::TimedOut)
            }
            _ => self.act(row.action, &update, effects),
        };
        let now = effects.now();
        match progress {
            Progress::Working(pause) => {
                self.busy += now.monotonic.saturating_sub(before.monotonic);
                self.working_since = Some(now.monotonic);
                self.waits(None, effects);
                Step::Again(pause.min(MAX_PAUSE))
            }
            Progress::Waiting(fault, pause) => {
                self.waits(Some(fault), effects);
                Step::Again(pause.min(MAX_PAUSE))
            }
            Progress::Ended(outcome) => self.end(row, &update, &outcome, now, effects),
        }
    }

    fn act(&mut self, action: Action, update: &Persisted, effects: &mut dyn Effects) -> Progress {
        match action {
            Action::Judge => effects.judge(update),
            Action::Fetch => effects.fetch(update),
            Action::Probe => effects.probe(update),
            Action::Activate => effects.activate(update),
            Action::Confirm => effects.confirm(update),
            Action::Discard => effects.discard(update),
            Action::RollBack => effects.roll_back(update),
            Action::Watch => {
                let watched = effects.watch(update);
                let now = effects.now().monotonic;
                match watched {
                    Watched::Badly(fault) => Progress::Ended(Outcome::Failed(fault)),
                    Watched::Unsure(fault) => {
                        self.trial.pause();
                        Progress::Waiting(fault, self.settings.watch_every)
                    }
                    Watched::Well if self.trial.look(now) >= self.settings.trial => Progress::Ended(Outcome::Done),
                    Watched::Well => {
                        let left = self.settings.trial.saturating_sub(self.trial.counted);
                        Progress::Working(self.settings.watch_every.min(left))
                    }
                }
            }
        }
    }

    fn end(
        &mut self,
        row: &Row,
        update: &Persisted,
        outcome: &Outcome,
        now: Moment,
        effects: &mut dyn Effects,
    ) -> Step {
        let in_state_secs = now.monotonic.saturating_sub(self.began).as_secs();
        let next = update.on(outcome, Now { since_epoch_secs: now.since_epoch_secs, in_state_secs });
        if next.state == update.state {
            let then = match outcome {
                Outcome::Done | Outcome::ByRestart => row.on_success,
                Outcome::Failed(_) => row.on_failure,
                Outcome::TimedOut => row.on_timeout,
            };
            return match (then, outcome) {
                (Then::End | Then::To(_), _) => {
                    self.is_settled = true;
                    self.waits(None, effects);
                    if self.is_unsaved { Step::Again(Duration::ZERO) } else { Step::Idle }
                }
                (Then::Restart, _) => Step::Restart,
                (Then::Again, Outcome::Failed(fault)) => {
                    self.waits(Some(fault.clone()), effects);
                    Step::Again(self.pause())
                }
                (Then::Again, _) => Step::Again(self.pause()),
            };
        }
        let saved = effects.save(&next);
        match saved {
            Ok(()) => self.adopt(next, now),
            // A generation that failed must not go on because the disk does not take it.
            Err(_) if next.state.is_failure() => self.adopt(next, now),
            Err(fault) => {
                self.waits(Some(fault), effects);
                return Step::Again(self.pause());
            }
        }
        self.report(effects);
        let by_restart = *outcome == Outcome::ByRestart && row.state == PushState::Probed;
        if by_restart { Step::Restart } else { Step::Again(Duration::ZERO) }
    }

    fn adopt(&mut self, update: Persisted, now: Moment) {
        *self = Self::new(Some(update), self.settings, now);
    }

    fn waits(&mut self, waiting: Option<Fault>, effects: &mut dyn Effects) {
        self.waiting = waiting;
        self.report(effects);
    }

    /// Reports what was not reported yet. Of a wait the code counts: its reason may hold numbers that change with each try.
    fn report(&mut self, effects: &mut dyn Effects) {
        let Some(update) = &self.update else { return };
        let code = |fault: &Option<Fault>| fault.as_ref().map(|fault| fault.code.clone());
        if self.reported.as_ref().is_none_or(|reported| code(reported) != code(&self.waiting)) {
            effects.report(update, self.waiting.as_ref());
            self.reported = Some(self.waiting.clone());
        }
    }

    fn pause(&mut self) -> Duration {
        let doubled = RETRY_FIRST.saturating_mul(1 << self.tries.min(16));
        self.tries = self.tries.saturating_add(1);
        doubled.min(RETRY_MOST)
    }
}

/// Time under watch: it runs from one good look to the next, and stands still around any other.
#[derive(Debug, Default)]
struct TrialClock {
    counted: Duration,
    last: Option<Duration>,
}

impl TrialClock {
    /// A good look; the time that counts so far.
    fn look(&mut self, now: Duration) -> Duration {
        if let Some(last) = self.last.replace(now) {
            self.counted += now.saturating_sub(last).min(MAX_WATCH_GAP);
        }
        self.counted
    }

    fn pause(&mut self) {
        self.last = None;
    }
}
