//! The way of an update as data: one row for each state.

use std::time::Duration;

use linnet_proto::fleet::PushState;
use linnet_proto::fleet::PushState::{Activated, Confirmed, Probed, Received, Rejected, RolledBack, Staged, Verified};

use super::bounds::{FETCH_LIMIT, JUDGE_LIMIT, PROBE_GRACE, SWITCH_LIMIT};

/// What is done in a state. Each may be begun again after a restart, and must then come to the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Reads the generation and holds it against this device: form, versions, expiry, configuration, room on the disk.
    Judge,
    /// Fetches what is missing and installs it.
    Fetch,
    /// Tries the configuration and the models in a child process.
    Probe,
    /// Lets the generation serve.
    Activate,
    /// Watches it.
    Watch,
    /// Makes it the last good one; what it replaces goes.
    Confirm,
    /// Remembers that it was refused; what was fetched for it goes.
    Discard,
    /// Lets the last good one serve again; remembers and removes as [`Action::Discard`].
    RollBack,
}

/// What follows an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The next state.
    To(PushState),
    /// The update has ended, and what its end asks for is done.
    End,
    /// The action again, after a pause.
    Again,
    /// The process restarts, which brings about what could not be done within it.
    Restart,
}

/// How long an action may take within one run of the daemon, by the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Always the same.
    Fixed(Duration),
    /// The setting `probe_secs` and a grace.
    Probe,
    /// None: each step is bounded, and what hangs is ended by the watchdog and counted as an opening. The time of a trial stands still
    /// while the broker is away, however long that is.
    Unlimited,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The state.
    pub state: PushState,
    /// What is done in it.
    pub action: Action,
    /// When that is done.
    pub on_success: Then,
    /// When it failed.
    pub on_failure: Then,
    /// When its limit has passed.
    pub on_timeout: Then,
    /// The limit.
    pub limit: Limit,
}

/// Every state's row, in the order of the states.
#[rustfmt::skip]
pub const TABLE: [Row; 8] = [
    row(Received,   Action::Judge,    Then::To(Verified),  Then::To(Rejected),   Then::To(Rejected),   Limit::Fixed(JUDGE_LIMIT)),
    row(Verified,   Action::Fetch,    Then::To(Staged),    Then::To(Rejected),   Then::To(Rejected),   Limit::Fixed(FETCH_LIMIT)),
    row(Staged,     Action::Probe,    Then::To(Probed),    Then::To(Rejected),   Then::To(Rejected),   Limit::Probe),
    row(Probed,     Action::Activate, Then::To(Activated), Then::To(RolledBack), Then::To(RolledBack), Limit::Fixed(SWITCH_LIMIT)),
    row(Activated,  Action::Watch,    Then::To(Confirmed), Then::To(RolledBack), Then::To(RolledBack), Limit::Unlimited),
    row(Confirmed,  Action::Confirm,  Then::End,           Then::Again,          Then::Again,          Limit::Unlimited),
    row(Rejected,   Action::Discard,  Then::End,           Then::Again,          Then::Again,          Limit::Unlimited),
    row(RolledBack, Action::RollBack, Then::End,           Then::Restart,        Then::Restart,        Limit::Fixed(SWITCH_LIMIT)),
];

const fn row(
    state: PushState,
    action: Action,
    on_success: Then,
    on_failure: Then,
    on_timeout: Then,
    limit: Limit,
) -> Row {
    Row { state, action, on_success, on_failure, on_timeout, limit }
}

impl Row {
    /// The row of a state.
    pub fn of(state: PushState) -> &'static Self {
        // A test holds that each state has its row in the order of the states.
        &TABLE[state as usize]
    }
}

impl Limit {
    /// As a duration, for a probe that may take `probe`; `None` where there is none.
    pub fn duration(self, probe: Duration) -> Option<Duration> {
        match self {
            Self::Fixed(limit) => Some(limit),
            Self::Probe => Some(probe.saturating_add(PROBE_GRACE)),
            Self::Unlimited => None,
        }
    }
}

impl Action {
    /// For people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Judge => "reading it",
            Self::Fetch => "fetching it",
            Self::Probe => "its proof",
            Self::Activate => "the switch to it",
            Self::Watch => "its trial",
            Self::Confirm => "its confirmation",
            Self::Discard => "clearing it away",
            Self::RollBack => "the way back from it",
        }
    }

    /// For codes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Judge => "judge",
            Self::Fetch => "fetch",
            Self::Probe => "probe",
            Self::Activate => "activate",
            Self::Watch => "watch",
            Self::Confirm => "confirm",
            Self::Discard => "discard",
            Self::RollBack => "roll_back",
        }
    }
}
