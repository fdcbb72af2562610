//! A few sums over all requests, for who compares one stretch of time with another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What requests came to since the daemon's start, or over a stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that a worker ran.
    pub requests: u64,
    /// Those that ended by a fault of the daemon or of its models: what callers did wrong does not count.
    pub faults: u64,
    /// Time that workers spent on them.
    pub ran: Duration,
    /// Workers that panicked or hung.
    pub lost_workers: u64,
}

impl Tally {
    /// What came since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            faults: self.faults.saturating_sub(before.faults),
            ran: self.ran.saturating_sub(before.ran),
            lost_workers: self.lost_workers.saturating_sub(before.lost_workers),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            faults: self.faults + other.faults,
            ran: self.ran + other.ran,
            lost_workers: self.lost_workers + other.lost_workers,
        }
    }

    /// Faults in a hundred requests; 0 without requests.
    pub fn faults_percent(self) -> u64 {
        (self.faults * 100).checked_div(self.requests).unwrap_or(0)
    }

    /// Time of a request; 0 without requests.
    pub fn mean(self) -> Duration {
        u32::try_from(self.requests).ok().and_then(|n| self.ran.checked_div(n)).unwrap_or_default()
    }
}

/// The sums while they are being counted.
#[derive(Debug, Default)]
pub(super) struct Sums {
    requests: AtomicU64,
    faults: AtomicU64,
    ran_micros: AtomicU64,
    lost_workers: AtomicU64,
}

impl Sums {
    pub(super) fn ran(&self, took: Duration, is_fault: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.faults.fetch_add(u64::from(is_fault), Ordering::Relaxed);
        self.ran_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn lost_worker(&self) {
        self.lost_workers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn tally(&self) -> Tally {
        let read = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        Tally {
            requests: read(&self.requests),
            faults: read(&self.faults),
            ran: Duration::from_micros(read(&self.ran_micros)),
            lost_workers: read(&self.lost_workers),
        }
    }
}
