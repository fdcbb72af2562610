//! The watch over a generation on trial: what its requests come to beside those of the generation before. Pure; what is counted is
//! passed in.

use std::time::Duration;

use super::Watched;
use super::machine::Fault;
use crate::status::Tally;

/// Requests below which a rate says nothing.
const MIN_REQUESTS: u64 = 20;

/// Faults per hundred requests that a generation may have more than the one before.
const MORE_FAULTS_PERCENT: u64 = 5;

/// How many times as long its requests may take on average.
const SLOWER: u32 = 3;

/// Slower than this many times, but by less than so much each, is noise.
const SLOWER_BY: Duration = Duration::from_millis(20);

/// Workers that may be lost during a trial.
const MAX_LOST_WORKERS: u64 = 1;

/// What was counted before the switch, and since.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trial {
    /// Of the generation before, since the daemon's start.
    before: Tally,
}

impl Trial {
    /// The switch is now: what is counted from here on is the new generation's.
    pub fn begin(&mut self, counted: Tally) {
        self.before = counted;
    }

    /// What `counted`, since the daemon's start, says of the generation.
    pub fn judge(&self, counted: Tally) -> Watched {
        let now = counted.since(self.before);
        if now.lost_workers > MAX_LOST_WORKERS {
            let reason = format!("{} workers panicked or hung since it serves", now.lost_workers);
            return Watched::Badly(Fault::new("workers", reason));
        }
        if now.requests < MIN_REQUESTS {
            return Watched::Well;
        }
        // Without enough requests before, nothing but what a working device has is compared with.
        let before = if self.before.requests < MIN_REQUESTS { Tally::default() } else { self.before };
        let (faults, faults_before) = (now.faults_percent(), before.faults_percent());
        if faults > faults_before + MORE_FAULTS_PERCENT {
            let reason = format!(
                "{faults} of 100 requests failed since it serves ({} of {}), {faults_before} of 100 before",
                now.faults, now.requests
            );
            return Watched::Badly(Fault::new("faults", reason));
        }
        let (mean, mean_before) = (now.mean(), before.mean());
        if before.requests > 0 && mean > mean_before * SLOWER && mean > mean_before + SLOWER_BY {
            let reason = format!(
                "a request takes {} ms on average since it serves, {} ms before",
                mean.as_millis(),
                mean_before.as_millis()
            );
            return Watched::Badly(Fault::new("slow", reason));
        }
        Watched::Well
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(requests: u64, faults: u64, each_ms: u64) -> Tally {
        Tally { requests, faults, ran: Duration::from_millis(each_ms * requests), lost_workers: 0 }
    }

    fn verdict(before: Tally, since: Tally) -> Option<String> {
        let mut trial = Trial::default();
        trial.begin(before);
        match trial.judge(before.plus(since)) {
            Watched::Badly(fault) => Some(fault.code),
            Watched::Well => None,
            Watched::Unsure(fault) => panic!("{fault:?}"),
        }
    }

    #[test]
    fn a_generation_is_held_against_the_one_before_once_there_are_enough_requests() {
        let good = tally(1000, 10, 100);
        for (since, code) in [
            (tally(0, 0, 0), None),
            (tally(19, 19, 100), None),
            (tally(100, 1, 100), None),
            (tally(100, 6, 100), None),
            (tally(100, 7, 100), Some("faults")),
            (tally(100, 1, 299), None),
            (tally(100, 1, 301), Some("slow")),
        ] {
            assert_eq!(verdict(good, since).as_deref(), code, "{since:?}");
        }
    }

    #[test]
    fn without_requests_before_only_faults_count() {
        assert_eq!(verdict(tally(3, 3, 1), tally(100, 5, 9000)), None);
        assert_eq!(verdict(tally(3, 3, 1), tally(100, 6, 1)).as_deref(), Some("faults"));
    }

    #[test]
    fn a_fast_generation_that_gets_a_little_slower_is_not_slow() {
        assert_eq!(verdict(tally(1000, 0, 1), tally(100, 0, 20)), None);
    }

    #[test]
    fn lost_workers_end_a_trial_without_any_request() {
        let lost = Tally { lost_workers: 2, ..Tally::default() };
        assert_eq!(verdict(Tally::default(), lost).as_deref(), Some("workers"));
        let one = Tally { lost_workers: 1, ..Tally::default() };
        assert_eq!(verdict(Tally { lost_workers: 7, ..tally(50, 0, 1) }, one), None);
    }
}
