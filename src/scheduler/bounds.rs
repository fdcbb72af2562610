//! The bounds of the scheduler that no setting changes. The others are [`super::SchedulerSettings`].

use std::time::Duration;

/// Longest deadline that is believed: a larger one would only overflow the clock.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Executors that one worker keeps; the one that was used least recently makes room.
pub const MAX_EXECUTORS: usize = 8;
/// Stuck workers that are replaced. One more, and [`super::Scheduler::is_live`] turns false.
pub const MAX_REPLACED_STUCK: u64 = 1;
/// Bounds of the `retry_after_ms` that a refusal names.
pub const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));
/// How long the end of the scheduler waits for idle workers to end.
pub const EXIT_GRACE: Duration = Duration::from_secs(2);
/// Pause between two tries to lock the scheduler's state by one who must not block on it.
pub const LOCK_PAUSE: Duration = Duration::from_millis(1);
