//! The state of the link to the broker, set by the MQTT transport and read by everything that reports it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

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

/// The handle: clones share one state, which begins as [`LinkState::Off`].
#[derive(Debug, Clone, Default)]
pub struct BrokerLink(Arc<AtomicU8>);

impl BrokerLink {
    /// Sets the state and returns the one before.
    pub fn set(&self, state: LinkState) -> LinkState {
        Self::of(self.0.swap(state as u8, Ordering::AcqRel))
    }

    /// The state now.
    pub fn get(&self) -> LinkState {
        Self::of(self.0.load(Ordering::Acquire))
    }

    fn of(byte: u8) -> LinkState {
        LinkState::ALL.get(usize::from(byte)).copied().unwrap_or(LinkState::Off)
    }
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
}
