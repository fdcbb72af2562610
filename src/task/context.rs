//! What a running job sees of the daemon: deadline, cancellation, heartbeat, and the way of its parts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use linnet_features::audio::AudioLimits;
use linnet_proto::generate::Delta;
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
    /// Whether somebody reads segments as they come.
    streams_segments: bool,
    /// Text for a caller who reads slowly, joined; at most one entry for each answer, and all of it stands in the final answer, too.
    backlog: Mutex<Vec<Delta>>,
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
            streams_segments: job.request.task.streams_segments(),
            backlog: Mutex::default(),
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

    /// Hands an intermediate part to the caller. Text of a generation never waits: for a caller who reads slowly it is joined to
    /// what follows. Any other part waits while the caller reads slowly, at most to the deadline.
    pub fn emit(&self, part: Part) -> Result<(), WireError> {
        let part = match part {
            Part::Delta(delta) => {
                self.checkpoint()?;
                return self.write(delta);
            }
            // The whole answer holds it, and waking a reader who waits for that only costs the one who asked.
            Part::Segment(_) if !self.streams_segments => return self.checkpoint(),
            part => part,
        };
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

    fn write(&self, delta: Delta) -> Result<(), WireError> {
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        match backlog.iter_mut().find(|earlier| earlier.index == delta.index) {
            Some(earlier) => earlier.append(delta),
            None => backlog.push(delta),
        }
        while !backlog.is_empty() {
            match self.parts.try_reserve() {
                Ok(place) => place.send(Ok(Part::Delta(backlog.remove(0)))),
                Err(TrySendError::Full(())) => break,
                Err(TrySendError::Closed(())) => {
                    return Err(WireError::new(ErrorCode::Cancelled, "the caller is gone"));
                }
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Origin, Priority, Reply, Request, TaskRequest};

    #[test]
    fn text_for_a_reader_who_stands_still_is_joined_and_never_waits() {
        let (parts, cancel, mut reply) = Reply::channel(2);
        let now = Instant::now();
        let request = Request {
            id: "1".into(),
            origin: Origin::Internal,
            task: TaskRequest::Detect(Default::default()),
            timeout: Duration::from_secs(60),
            priority: Priority::Normal,
        };
        let job = Job { request, admitted: now, deadline: now + Duration::from_secs(60), cancel, parts };
        let ctx = TaskContext::new(&job, Heartbeat::default(), AudioLimits::default());
        for n in 0..100 {
            let text = format!("{n} ");
            ctx.emit(Part::Delta(Delta { text, token_ids: vec![n], ..Delta::default() })).expect("nothing waits");
        }
        assert!(now.elapsed() < Duration::from_secs(10));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut next = || match runtime.block_on(reply.next()) {
            Some(Ok(Part::Delta(delta))) => delta.text,
            other => panic!("{other:?}"),
        };
        assert_eq!((next(), next()), ("0 ".to_owned(), "1 ".to_owned()));
        ctx.emit(Part::Delta(Delta { text: "end".into(), ..Delta::default() })).expect("nothing waits");
        let rest = next();
        assert!(rest.starts_with("2 3 ") && rest.ends_with("99 end"), "{rest}");
    }
}
