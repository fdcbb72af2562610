//! How fast jobs are worked off, and so when a refused caller should come again.

use std::time::Duration;

use super::bounds::RETRY_AFTER;

/// Weight of the newest job in the mean: the last twenty or so count.
const NEWEST: f64 = 0.1;
/// What is told before anything was measured.
const UNKNOWN: Duration = Duration::from_secs(1);

/// Exponential mean of the time that a job keeps its worker.
#[derive(Debug, Default)]
pub(super) struct Pace {
    mean_secs: Option<f64>,
}

impl Pace {
    /// A job kept its worker for `took`.
    pub(super) fn ran(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.mean_secs = Some(self.mean_secs.map_or(took, |mean| mean + NEWEST * (took - mean)));
    }

    /// When a place is likely to be free for a caller who is refused while `waiting` jobs wait for `workers`: after a
    /// quarter of the time in which all of them are worked off, so that the queue does not run dry while callers wait, even
    /// when the crowd itself has slowed the jobs that were measured.
    pub(super) fn retry_after(&self, waiting: usize, workers: usize) -> Duration {
        let Some(mean) = self.mean_secs else { return UNKNOWN };
        let quarter = mean * (waiting + 1) as f64 / workers.max(1) as f64 / 4.0;
        Duration::try_from_secs_f64(quarter).unwrap_or(RETRY_AFTER.1).clamp(RETRY_AFTER.0, RETRY_AFTER.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_follows_queue_pace_and_workers_within_bounds() {
        let mut pace = Pace::default();
        assert_eq!(pace.retry_after(10, 2), UNKNOWN);
        pace.ran(Duration::from_secs(1));
        assert_eq!(pace.retry_after(9, 2), Duration::from_millis(1250));
        assert_eq!(pace.retry_after(9, 1), Duration::from_millis(2500));
        assert_eq!(pace.retry_after(10_000, 1), RETRY_AFTER.1);
        for _ in 0..200 {
            pace.ran(Duration::from_micros(10));
        }
        assert_eq!(pace.retry_after(0, 2), RETRY_AFTER.0);
    }
}
