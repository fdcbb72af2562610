//! How far an update has come, and how it goes on: pure. Nothing here reads a clock, a disk or a link.

use linnet_proto::fleet::{Attempt, PushState};
use linnet_proto::words::plain;
use serde::{Deserialize, Serialize};

use super::bounds::{MAX_CODE_BYTES, MAX_OPENINGS, MAX_REASON_BYTES};
use super::table::{Action, Row, Then};

/// Version of the persisted form.
const FORM: u32 = 1;

/// Which generation signed metadata means for this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its number.
    pub generation: u64,
    /// Which attempt at it.
    pub attempt: Attempt,
    /// SHA-256 of its document.
    pub sha256: String,
}

/// An update as it lies on the disk (`update.json`): each state before anything is done in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persisted {
    form: u32,
    /// The generation's number.
    pub generation: u64,
    /// Which attempt at it.
    pub attempt: Attempt,
    /// SHA-256 of its document.
    pub sha256: String,
    /// Where it stands.
    pub state: PushState,
    /// When the state began, seconds since 1970-01-01 UTC by the device's clock.
    pub since_secs: u64,
    /// How often the generation has been opened to serve, or is being opened for the first time.
    #[serde(default)]
    pub boots: u32,
    /// Why it was rejected or rolled back; one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Stable word for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Seconds in each state that has passed, in order; of a state that a restart fell into, those since the restart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub took: Vec<(PushState, u64)>,
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Stable word: `no_space`, `canary`, `probe_timeout`, …
    pub code: String,
    /// One sentence without anybody's words.
    pub reason: String,
}

impl Fault {
    /// One of this code and reason. Of several lines, as a configuration's faults are told, one is made: reports are tables. A reason may
    /// quote what a mirror wrote, so that what moves a cursor is left out, and what is too long is cut.
    pub fn new(code: impl Into<String>, reason: impl Into<String>) -> Self {
        let reason: String = reason.into();
        let lines = reason.lines().map(|line| plain(line.trim(), MAX_REASON_BYTES)).filter(|line| !line.is_empty());
        Self { code: code.into(), reason: cut(lines.collect::<Vec<_>>().join("; "), MAX_REASON_BYTES) }
    }
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Done,
    /// [`Action::Activate`] only: the generation is live on the disk, and the next start of the process opens it.
    ByRestart,
    /// Badly.
    Failed(Fault),
    /// Its limit passed.
    TimedOut,
}

/// Times that a transition is marked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Seconds since 1970-01-01 UTC, by a clock that may be wrong.
    pub since_epoch_secs: u64,
    /// Seconds since the state began or the daemon started, by the monotonic clock.
    pub in_state_secs: u64,
}

impl Persisted {
    /// An update begins.
    pub fn begin(wanted: &Wanted, since_secs: u64) -> Self {
        Self {
            form: FORM,
            generation: wanted.generation,
            attempt: wanted.attempt,
            sha256: wanted.sha256.clone(),
            state: PushState::Received,
            since_secs,
            boots: 0,
            reason: None,
            code: None,
            took: Vec::new(),
        }
    }

    /// Reads what [`Persisted::to_bytes`] wrote; a fault is what follows "the file": one clause.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(bytes).map_err(|e| format!("cannot be read: {e}"))?;
        let is_digest = read.sha256.len() == 64 && read.sha256.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        if read.form != FORM {
            return Err(format!("is written in form {}, form {FORM} is read", read.form));
        }
        if read.generation == 0 || !is_digest {
            return Err("names no generation".to_owned());
        }
        if read.reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON_BYTES)
            || read.code.as_ref().is_some_and(|code| code.len() > MAX_CODE_BYTES)
            || read.took.len() > PushState::ALL.len()
        {
            return Err("is longer than anything that was written".to_owned());
        }
        Ok(read)
    }

    /// As it is written: some hundred bytes of JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What is to be done now.
    pub fn next(&self) -> Action {
        Row::of(self.state).action
    }

    /// Whether it is this very attempt at this very generation.
    pub fn is_for(&self, wanted: &Wanted) -> bool {
        self.sha256 == wanted.sha256 && self.attempt == wanted.attempt
    }

    /// Where the update stands after its action ended so. An end stays what it is.
    pub fn on(&self, outcome: &Outcome, now: Now) -> Self {
        let row = Row::of(self.state);
        let (then, fault) = match outcome {
            Outcome::Done | Outcome::ByRestart => (row.on_success, None),
            Outcome::Failed(fault) => (row.on_failure, Some(fault.clone())),
            Outcome::TimedOut => {
                let (action, what) = (row.action.as_str(), row.action.in_words());
                let reason = format!("{what} took longer than it may, {} seconds so far", now.in_state_secs);
                (row.on_timeout, Some(Fault::new(format!("{action}_timeout"), reason)))
            }
        };
        let Then::To(state) = then else { return self.clone() };
        let mut next = self.to(state, now);
        if let Some(fault) = fault.filter(|_| state.is_failure()) {
            next.reason = Some(cut(fault.reason, MAX_REASON_BYTES));
            next.code = Some(cut(fault.code, MAX_CODE_BYTES));
        }
        match (state, outcome) {
            // Counted before it is opened: what ends the process while it opens must be known afterwards.
            (PushState::Probed, _) => next.boots = 1,
            // The start that opens it counts itself.
            (PushState::Activated, Outcome::ByRestart) => next.boots = 0,
            _ => {}
        }
        next
    }

    fn to(&self, state: PushState, now: Now) -> Self {
        let mut next = self.clone();
        // Each state passes once; more can only have been read.
        if next.took.len() < PushState::ALL.len() {
            next.took.push((self.state, now.in_state_secs));
        }
        next.state = state;
        next.since_secs = now.since_epoch_secs;
        next
    }

    /// The update when its opening cannot be counted: it goes back.
    pub(super) fn not_counted(&self, since_epoch_secs: u64) -> Self {
        let reason = "its openings cannot be counted, because the disk takes nothing".to_owned();
        self.fail("disk", reason, since_epoch_secs)
    }

    /// The update when what it brought cannot be served by this start: it goes back.
    pub(super) fn not_served(&self, fault: &Fault, since_epoch_secs: u64) -> Self {
        self.fail(&fault.code, fault.reason.clone(), since_epoch_secs)
    }

    fn fail(&self, code: &str, reason: String, since_epoch_secs: u64) -> Self {
        let mut next = self.to(PushState::RolledBack, Now { since_epoch_secs, in_state_secs: 0 });
        next.reason = Some(reason);
        next.code = Some(code.to_owned());
        next
    }
}

fn cut(mut text: String, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.truncate(end);
    text
}

/// What a start of the daemon does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What serves.
    pub serve: Serve,
    /// The update as it stands now; where it differs from what was persisted, it must be persisted before [`Serve::Live`] is opened.
    pub update: Option<Persisted>,
}

/// Which of the two generations that the store points to is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serve {
    /// The live one.
    Live,
    /// The last good one, which becomes the live one.
    Good,
}

/// Decides what a start opens, by how far the update had come and what the store points to.
pub fn start(update: Option<&Persisted>, live: u64, good: u64, since_epoch_secs: u64) -> Plan {
    let plan = |serve, update: &Persisted| Plan { serve, update: Some(update.clone()) };
    let Some(update) = update else {
        // A trial that nobody knows of any more cannot be brought to its end.
        return Plan { serve: if live == good { Serve::Live } else { Serve::Good }, update: None };
    };
    let generation = update.generation;
    let is_on_trial = live != good && live == generation;
    match update.state {
        PushState::Received | PushState::Verified | PushState::Staged if live == good => plan(Serve::Live, update),
        PushState::Probed if live == good => plan(Serve::Live, update),
        PushState::Probed | PushState::Activated if is_on_trial && update.boots >= MAX_OPENINGS => {
            let reason = format!("it was started {MAX_OPENINGS} times without being confirmed");
            Plan { serve: Serve::Good, update: Some(update.fail("starts", reason, since_epoch_secs)) }
        }
        PushState::Probed | PushState::Activated if is_on_trial => {
            let mut opened = update.clone();
            opened.boots += 1;
            Plan { serve: Serve::Live, update: Some(opened) }
        }
        PushState::Activated if live == good && live == generation => {
            let now = Now { since_epoch_secs, in_state_secs: 0 };
            Plan { serve: Serve::Live, update: Some(update.on(&Outcome::Done, now)) }
        }
        PushState::Confirmed if live == good || is_on_trial => plan(Serve::Live, update),
        PushState::Confirmed | PushState::Rejected | PushState::RolledBack => plan(Serve::Good, update),
        // The pointers are not where this state leaves them: damage has led them back, or lost the state.
        PushState::Received | PushState::Verified | PushState::Staged | PushState::Probed | PushState::Activated => {
            let reason = "what was kept of it on the disk was damaged".to_owned();
            Plan { serve: Serve::Good, update: Some(update.fail("damaged", reason, since_epoch_secs)) }
        }
    }
}

/// What becomes of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It begins; an update that did not serve yet makes way.
    Begin,
    /// It is in progress, or has ended well.
    Known,
    /// It was refused or rolled back; a higher attempt would begin.
    Refused,
    /// It is not newer than what serves.
    NotNewer,
    /// Another one serves on trial, or is being taken back: it waits for that end.
    Later,
}

/// Decides about a generation that signed metadata means for this device. `live` serves; `is_refused`: the store remembers this attempt or a higher
/// one as refused; `is_settled`: the end of the last update has been brought about.
pub fn decide(update: Option<&Persisted>, wanted: &Wanted, live: u64, is_refused: bool, is_settled: bool) -> Decision {
    if is_refused {
        return Decision::Refused;
    }
    if let Some(update) = update {
        let same = update.sha256 == wanted.sha256;
        match update.state {
            // A higher attempt at what serves asks for nothing new.
            state if same && !state.is_failure() => {
                let is_served = state >= PushState::Probed && !(state.is_end() && live != update.generation);
                // What ended well and does not serve is gone since, by damage.
                let is_lost = state.is_end() && wanted.generation > live;
                let tries_anew = !is_served && (is_lost || wanted.attempt > update.attempt);
                return if tries_anew { Decision::Begin } else { Decision::Known };
            }
            _ if same && wanted.attempt <= update.attempt => return Decision::Refused,
            PushState::Probed | PushState::Activated => return Decision::Later,
            state if state.is_end() && !is_settled => return Decision::Later,
            state if !state.is_end() && wanted.generation < update.generation => return Decision::NotNewer,
            _ => {}
        }
    }
    if wanted.generation <= live { Decision::NotNewer } else { Decision::Begin }
}
