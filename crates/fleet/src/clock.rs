//! The time by which metadata are judged.
//!
//! Many devices wake in 1970 and learn the time minutes later, or never. So expiry is judged on a synchronised clock only; while the
//! clock is not, the last time that was known is a lower bound, which is enough to refuse what had expired by then.
//!
//! What that costs, for the threat model:
//! - A device that never had the time refuses nothing as expired: whoever can keep old signed metadata and stand between it and its
//!   sources can hold it there, but never below the versions that it has seen.
//! - A synchronised clock is believed in both directions. Who governs a device's time source can make everything expire (nothing is
//!   installed until the clock is right again) or hide an expiry (the device can be held at what it has, as by a cut cable).
//! - A clock that was wrong while it counted as synchronised can leave a known time in the future. That mark does no harm while a
//!   synchronised clock is there. Without one, everything counts as expired until a higher root version arrives, which resets the
//!   mark. The price of the reset: right after a new root, a device without a clock has no lower bound, and an online key's old
//!   metadata (of versions that it has not yet passed) are accepted although they have expired.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Where the time comes from: the kernel's clock in the daemon, [`VirtualClock`] in tests and simulations.
pub trait Clock: Send + Sync {
    /// Seconds since 1970-01-01 UTC, right or wrong.
    fn now_secs(&self) -> u64;

    /// Whether the clock is synchronised.
    fn trusted(&self) -> bool;
}

/// The latest time that a synchronised clock has shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownTime {
    /// Seconds since 1970-01-01 UTC; 0 where the time was never known.
    pub secs: u64,
    /// Version of the trusted root when it was noted: under a higher one it counts no more.
    pub root_version: u64,
}

impl KnownTime {
    /// The mark as it counts under a root of `version`: itself, or nothing known where the root has risen since.
    pub fn under_root(self, version: u64) -> Self {
        if version > self.root_version { Self { secs: 0, root_version: version } } else { self }
    }

    /// The time by which expiry is judged, seconds: the clock's where it is synchronised, else this mark.
    pub fn judge(self, clock: &dyn Clock) -> u64 {
        if clock.trusted() { clock.now_secs() } else { self.secs }
    }

    /// The mark after a look at the clock: never lower, and raised by a synchronised clock only.
    pub fn noted(self, clock: &dyn Clock) -> Self {
        if clock.trusted() { Self { secs: self.secs.max(clock.now_secs()), ..self } } else { self }
    }
}

/// A clock that stands until it is set: for tests and simulations.
#[derive(Debug)]
pub struct VirtualClock {
    secs: AtomicU64,
    trusted: AtomicBool,
}

impl VirtualClock {
    /// Synchronised, at `secs` since 1970-01-01 UTC.
    pub fn at(secs: u64) -> Self {
        Self { secs: AtomicU64::new(secs), trusted: AtomicBool::new(true) }
    }

    /// Not synchronised, at `secs` since 1970-01-01 UTC.
    pub fn unsynchronised_at(secs: u64) -> Self {
        Self { secs: AtomicU64::new(secs), trusted: AtomicBool::new(false) }
    }

    /// Sets it, forward or back.
    pub fn set(&self, secs: u64) {
        self.secs.store(secs, Ordering::Relaxed);
    }

    /// Moves it forward.
    pub fn advance(&self, secs: u64) {
        self.secs.fetch_add(secs, Ordering::Relaxed);
    }

    /// Says whether it is synchronised from now on.
    pub fn set_trusted(&self, trusted: bool) {
        self.trusted.store(trusted, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now_secs(&self) -> u64 {
        self.secs.load(Ordering::Relaxed)
    }

    fn trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }
}

/// A time as people read it.
pub fn date(secs: u64) -> String {
    let instant = i64::try_from(secs).ok().and_then(|secs| jiff::Timestamp::from_second(secs).ok());
    instant.map_or_else(|| format!("second {secs}"), |instant| instant.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_synchronised_clock_raises_the_mark_and_nothing_lowers_it() {
        let clock = VirtualClock::unsynchronised_at(900);
        let mark = KnownTime { secs: 500, root_version: 1 };
        assert_eq!(mark.noted(&clock), mark);
        clock.set_trusted(true);
        assert_eq!(mark.noted(&clock).secs, 900);
        clock.set(100);
        assert_eq!(mark.noted(&clock), mark);
    }

    #[test]
    fn a_synchronised_clock_judges_and_without_one_the_mark_does() {
        let clock = VirtualClock::at(900);
        let mark = KnownTime { secs: 500, root_version: 1 };
        assert_eq!(mark.judge(&clock), 900);
        clock.set(100);
        assert_eq!(mark.judge(&clock), 100, "a mark in the future harms no device whose clock is right");
        clock.set_trusted(false);
        for anything in [0, 100, u64::MAX] {
            clock.set(anything);
            assert_eq!(mark.judge(&clock), 500, "an unsynchronised clock says nothing");
        }
    }

    #[test]
    fn a_higher_root_resets_the_mark() {
        let mark = KnownTime { secs: 500, root_version: 3 };
        assert_eq!(mark.under_root(3), mark);
        assert_eq!(mark.under_root(2), mark);
        assert_eq!(mark.under_root(4), KnownTime { secs: 0, root_version: 4 });
    }
}
