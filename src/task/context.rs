//! What a running job sees of the daemon: deadline, cancellation, heartbeat, and the way of its parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use linnet_features::audio::AudioLimits;
use linnet_proto::{ErrorCode, WireError};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::job::{CancelToken, Job, Part};

/// First and longest pause between two attempts to hand a part to a caller that reads slowly.
const SLOW_READER_PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// Counts marks of progress. The supervisor compares the count with the one that it saw before: a worker that runs a job
/// and makes no mark for long is stuck. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Marks progress.
    pub fn tick(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Marks so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A running job's view of the daemon.
#[derive(Debug)]
pub struct TaskContext {
    cancel: CancelToken,
    deadline: Instant,
    started: Instant,
    queued: Duration,
    heartbeat: Heartbeat,
    parts: mpsc::Sender<Result<Part, WireError>>,
    audio_limits: AudioLimits,
}

impl TaskContext {
    /// The context of `job`, which begins to run now and marks its progress on `heartbeat`.
    pub fn new(job: &Job, heartbeat: Heartbeat, audio_limits: AudioLimits) -> Self {
        let started = Instant::now();
        Self {
            cancel: job.cancel.clone(),
            deadline: job.deadline,
            started,
            queued: started.saturating_duration_since(job.admitted),
            heartbeat,
            parts: job.parts.clone(),
            audio_limits,
        }
    }

    /// Marks progress and says whether to go on: the error (`cancelled`, `deadline_exceeded`) is to be returned at once.
    /// Call it between segments, chunks and decode steps; it costs two atomic operations and a look at the clock.
    pub fn checkpoint(&self) -> Result<(), WireError> {
        self.heartbeat.tick();
        if self.cancel.is_cancelled() {
            return Err(WireError::new(ErrorCode::Cancelled, "the caller is gone"));
        }
        if Instant::now() >= self.deadline {
            return Err(deadline_exceeded("while it was running"));
        }
        Ok(())
    }

    /// Hands an intermediate part to the caller, waiting while the caller reads slowly, at most to the deadline.
    pub fn emit(&self, part: Part) -> Result<(), WireError> {
        let mut part = Ok(part);
        let mut pause = SLOW_READER_PAUSE.0;
        loop {
            self.checkpoint()?;
            match self.parts.try_send(part) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(_)) => {
                    return Err(WireError::new(ErrorCode::Cancelled, "the caller is gone"));
                }
                Err(TrySendError::Full(back)) => part = back,
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(SLOW_READER_PAUSE.1);
        }
    }

    /// Limits of the audio, from the configuration.
    pub fn audio_limits(&self) -> &AudioLimits {
        &self.audio_limits
    }

    /// How long the job waited in the queue.
    pub fn queued(&self) -> Duration {
        self.queued
    }

    /// How long the job has been running.
    pub fn running(&self) -> Duration {
        self.started.elapsed()
    }

    /// After this nobody wants the answer.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The caller's wish to stop, for code that runs deeper than a [`TaskContext`] reaches.
    pub fn cancel(&self) -> &CancelToken {
        &self.cancel
    }

    /// The progress mark, for code that runs deeper than a [`TaskContext`] reaches.
    pub fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }
}

/// The error of a job whose deadline passed; `when` completes the sentence.
pub fn deadline_exceeded(when: &str) -> WireError {
    WireError::new(
        ErrorCode::DeadlineExceeded,
        format!("the deadline of the request passed {when}; allow more time or send shorter audio"),
    )
}
