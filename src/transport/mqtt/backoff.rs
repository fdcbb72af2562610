//! How long to wait between attempts to connect: doubled each time, bounded, with jitter, so that a thousand devices do
//! not come back in step.

use std::time::Duration;

/// The waits between attempts in a row.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits from `first` to `longest`.
    pub fn new((first, longest): (Duration, Duration)) -> Self {
        Self { first, longest: longest.max(first), failures: 0 }
    }

    /// The next wait. `jitter`, from 0 to 1, takes up to half of it away.
    pub fn next(&mut self, jitter: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        doubled.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }

    /// A connection held: the next failure is the first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_longest_and_start_anew() {
        let mut backoff = Backoff::new((Duration::from_secs(1), Duration::from_secs(60)));
        let secs: Vec<u64> = (0..8).map(|_| backoff.next(0.0).as_secs()).collect();
        assert_eq!(secs, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.next(0.0), Duration::from_secs(1));
    }

    #[test]
    fn jitter_takes_at_most_half_away() {
        for jitter in [0.0, 0.3, 1.0, 7.0] {
            let mut backoff = Backoff::new((Duration::from_secs(1), Duration::from_secs(60)));
            for _ in 0..100 {
                let wait = backoff.next(jitter);
                assert!((Duration::from_millis(500)..=Duration::from_secs(60)).contains(&wait), "{wait:?}");
            }
        }
    }
}
