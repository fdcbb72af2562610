//! Checked settings of the scheduler.

use std::time::Duration;

use linnet_features::audio::AudioLimits;

/// Checked settings of the scheduler.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulerSettings {
    /// Worker threads, at least 1. Fixed from start to end.
    pub workers: usize,
    /// Jobs that may wait while every worker is busy; 0 admits only what a worker takes at once.
    pub queue_length: usize,
    /// Intermediate parts of an answer that may wait for a slow reader, at least 1. The final answer always has a place.
    pub parts_per_reply: usize,
    /// A worker that makes no mark of progress for as long while it runs a job is stuck.
    pub stuck_after: Duration,
    /// Limits of the audio, for the tasks.
    pub audio_limits: AudioLimits,
}

impl Default for SchedulerSettings {
    /// Two workers, 64 waiting jobs, 16 parts, one minute.
    fn default() -> Self {
        Self {
            workers: 2,
            queue_length: 64,
            parts_per_reply: 16,
            stuck_after: Duration::from_secs(60),
            audio_limits: AudioLimits::default(),
        }
    }
}
