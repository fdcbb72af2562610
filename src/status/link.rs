//! The state of the link to the broker and what was counted on it, set by the MQTT transport and read by everything that
//! reports it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::limits::mqtt::CONTEST_WINDOW;

/// Whether the broker is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LinkState {
    /// MQTT is not configured.
    Off,
    /// The first attempt to connect is under way.
    Connecting,
    /// Connected and subscribed.
    Up,
    /// Lost or refused; attempts go on.
    Down,
}

impl LinkState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Off, Self::Connecting, Self::Up, Self::Down];

    /// The state as `status` and metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What is counted on the link since the daemon's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum LinkCount {
    /// Connections that came up.
    Connected,
    /// Attempts that failed and connections that were lost.
    Lost,
    /// Connections that ended because, as the broker said, another client came under the same client id.
    TakenOver,
    /// Messages on the request topics.
    Received,
    /// Requests that joined a running one or got the kept answer.
    Repeated,
    /// Messages dropped because they were retained.
    DroppedRetained,
    /// Messages dropped because they name no place for an answer.
    DroppedUnanswerable,
    /// QoS 0 requests dropped because the outbox is full.
    DroppedFull,
    /// Answers that the broker acknowledged.
    Answered,
    /// Answers that the broker refused for good.
    AnswersRefused,
}

impl LinkCount {
    /// Every count, in the order of declaration.
    pub const ALL: [Self; 10] = [
        Self::Connected,
        Self::Lost,
        Self::TakenOver,
        Self::Received,
        Self::Repeated,
        Self::DroppedRetained,
        Self::DroppedUnanswerable,
        Self::DroppedFull,
        Self::Answered,
        Self::AnswersRefused,
    ];

    /// The label's value in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Lost => "lost",
            Self::TakenOver => "taken_over",
            Self::Received => "received",
            Self::Repeated => "repeated",
            Self::DroppedRetained => "dropped_retained",
            Self::DroppedUnanswerable => "dropped_unanswerable",
            Self::DroppedFull => "dropped_full",
            Self::Answered => "answered",
            Self::AnswersRefused => "answers_refused",
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    state: AtomicU8,
    counts: [AtomicU64; LinkCount::ALL.len()],
    /// Why the link is down.
    reason: Mutex<Option<String>>,
    /// Why the state directory is done without.
    storage: Mutex<Option<String>>,
    /// That another client uses this one's id, and when that was seen last.
    contest: Mutex<Option<(String, Instant)>>,
}

/// The handle: clones share one state, which begins as [`LinkState::Off`], and one set of counts.
#[derive(Debug, Clone, Default)]
pub struct BrokerLink(Arc<Inner>);

impl BrokerLink {
    /// Sets the state and returns the one before.
    pub fn set(&self, state: LinkState) -> LinkState {
        if state != LinkState::Down {
            put(&self.0.reason, None);
        }
        Self::of(self.0.state.swap(state as u8, Ordering::AcqRel))
    }

    /// The link is down for `reason`, one sentence.
    pub fn down(&self, reason: &str) {
        put(&self.0.reason, Some(reason.to_owned()));
        self.set(LinkState::Down);
    }

    /// Why the link is down, while it is.
    pub fn reason(&self) -> Option<String> {
        get(&self.0.reason)
    }

    /// Says why what must outlive a restart does not, or that it does (`None`).
    pub fn set_storage(&self, trouble: Option<String>) {
        put(&self.0.storage, trouble);
    }

    /// Why what must outlive a restart does not, one sentence.
    pub fn storage(&self) -> Option<String> {
        get(&self.0.storage)
    }

    /// Another client uses this one's id: one sentence.
    pub fn contest(&self, reason: &str) {
        *self.0.contest.lock().unwrap_or_else(PoisonError::into_inner) = Some((reason.to_owned(), Instant::now()));
    }

    /// That another client uses this one's id, while it was seen within the last hour, whether or not the link is up.
    pub fn contested(&self) -> Option<String> {
        let contest = self.0.contest.lock().unwrap_or_else(PoisonError::into_inner);
        let (reason, _) = contest.as_ref().filter(|(_, seen)| seen.elapsed() < CONTEST_WINDOW)?;
        Some(reason.clone())
    }

    /// The state now.
    pub fn get(&self) -> LinkState {
        Self::of(self.0.state.load(Ordering::Acquire))
    }

    /// Counts one more.
    pub fn count(&self, what: LinkCount) {
        self.0.counts[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many were counted.
    pub fn counted(&self, what: LinkCount) -> u64 {
        self.0.counts[what as usize].load(Ordering::Relaxed)
    }

    fn of(byte: u8) -> LinkState {
        LinkState::ALL.get(usize::from(byte)).copied().unwrap_or(LinkState::Off)
    }
}

fn put(place: &Mutex<Option<String>>, text: Option<String>) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = text;
}

fn get(place: &Mutex<Option<String>>) -> Option<String> {
    place.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_comes_back_as_it_was_set_through_any_clone() {
        let link = BrokerLink::default();
        assert_eq!(link.get(), LinkState::Off);
        for state in LinkState::ALL {
            link.clone().set(state);
            assert_eq!(link.get(), state);
            assert_eq!(LinkState::ALL[state as usize], state);
        }
    }

    #[test]
    fn a_reason_stands_as_long_as_the_link_is_down() {
        let link = BrokerLink::default();
        link.down("the broker is asleep");
        assert_eq!((link.get(), link.reason().as_deref()), (LinkState::Down, Some("the broker is asleep")));
        link.set(LinkState::Down);
        assert!(link.reason().is_some(), "told once more that it is down, it is down for the same reason");
        link.set(LinkState::Up);
        assert_eq!(link.reason(), None);
    }

    #[test]
    fn a_contest_is_told_also_while_the_link_is_up() {
        let link = BrokerLink::default();
        assert_eq!(link.contested(), None);
        link.contest("two devices bear one name");
        link.clone().set(LinkState::Up);
        assert_eq!(link.contested().as_deref(), Some("two devices bear one name"));
    }

    #[test]
    fn every_count_is_its_own() {
        let link = BrokerLink::default();
        for (place, what) in LinkCount::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, place);
            for _ in 0..=place {
                link.clone().count(what);
            }
        }
        for (place, what) in LinkCount::ALL.into_iter().enumerate() {
            assert_eq!(link.counted(what), place as u64 + 1, "{}", what.as_str());
        }
    }
}
