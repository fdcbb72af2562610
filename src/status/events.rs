//! What happens to the daemon, once: one call writes the log line and counts.
//!
//! Each kind has a `MESSAGE_ID`, so that `journalctl MESSAGE_ID=…` finds all of it. No line at info or above holds a
//! word of anybody's speech or text: requests appear by id, task, model, times and code, and a panic by its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use linnet_proto::{ErrorCode, WireError};

use super::tally::Sums;
use super::{LinkState, Metrics, Tally};
use crate::job::{Answer, Origin};

/// A request was answered.
pub const REQUEST_ANSWERED: &str = "70008b1c148d48e5aa460da64f95962e";
/// A request ended with an error after it was admitted.
pub const REQUEST_FAILED: &str = "9924c2b11fa54a5c94501b1d47a3c2f2";
/// A request was refused at admission.
pub const REQUEST_REFUSED: &str = "422ba76521c84a528e46ebcf0c513db5";
/// Requests are refused because the queue or the memory for uploads is full.
pub const OVERLOADED: &str = "fa6102dfe2694743ad42651ab5b60313";
/// A worker panicked and was replaced.
pub const WORKER_PANICKED: &str = "58f024664cc646f993f4ab85a67cb8db";
/// A worker hung and was abandoned.
pub const WORKER_STUCK: &str = "3acbf83317714aa092c7d28a891caa22";
/// A worker that was abandoned came back.
pub const WORKER_RETURNED: &str = "ec2d77249c214726b3746b5a32aa83e8";
/// A model serves.
pub const MODEL_READY: &str = "42ea3f4db132456f9f8777bfb483311a";
/// A model does not serve.
pub const MODEL_FAILED: &str = "65f0d6a829fd46a6839d1959860ebec9";
/// The link to the broker changed.
pub const LINK_CHANGED: &str = "a494662ab7e14231babaa472ceb728c6";
/// A thread panicked.
pub const PANICKED: &str = "0aecb5a3eec9484cb8452a010b6b06c8";

/// Time between two lines about overload; the requests in between are counted.
const OVERLOAD_LINE_EVERY: Duration = Duration::from_secs(10);

/// Which request an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// `REQUEST_ID`.
    pub id: String,
    /// Where it came from.
    pub origin: Origin,
    /// `TASK`.
    pub task: &'static str,
    /// `MODEL`; empty while it is not known.
    pub model: String,
}

/// Writes the log and counts. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    metrics: Metrics,
    sums: Sums,
    began: Instant,
    /// Milliseconds since `began` of the last line about overload, plus one; 0 before the first.
    overload_line_ms: AtomicU64,
    /// Refusals since then.
    overload_quiet: AtomicU64,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            metrics: Metrics::default(),
            sums: Sums::default(),
            began: Instant::now(),
            overload_line_ms: AtomicU64::new(0),
            overload_quiet: AtomicU64::new(0),
        }
    }
}

impl Events {
    /// What was counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Sums over all requests since the daemon's start.
    pub fn tally(&self) -> Tally {
        self.0.sums.tally()
    }

    /// An admitted request ended: counts it. Its line is written by [`Ended::tell`], after the answer has left: whoever waits
    /// for the answer need not wait for the log's reader. `ran` is absent when no worker ran it.
    pub fn request_ended(
        &self,
        of: &Subject,
        waited: Duration,
        ran: Option<Duration>,
        outcome: &Result<Answer, WireError>,
    ) -> Ended {
        let metrics = &self.0.metrics;
        metrics.request(of.task, of.origin, outcome.as_ref().map(|_| ()).map_err(|e| e.code));
        if let Some(ran) = ran {
            metrics.waited(of.task, waited);
            self.0.sums.ran(ran, outcome.as_ref().is_err_and(|e| is_own_fault(e.code)));
        }
        let how = match outcome {
            Ok(Answer::Transcript(transcript)) => {
                let rtf = heard(transcript.duration_secs, transcript.rtf);
                metrics.answered(of.task, &of.model, ran.unwrap_or_default(), rtf);
                How::Heard { audio_secs: transcript.duration_secs }
            }
            Ok(answer) => {
                metrics.answered(of.task, &of.model, ran.unwrap_or_default(), None);
                How::Answered { tokens: written(answer) }
            }
            Err(error) => How::Failed(error.clone()),
        };
        Ended { how, queue_ms: ms(waited), run_ms: ms(ran.unwrap_or_default()) }
    }

    /// A request was refused at admission. Overload is told at most every ten seconds, with the number of refusals.
    pub fn request_refused(&self, of: &Subject, error: &WireError) {
        self.0.metrics.request(of.task, of.origin, Err(error.code));
        if is_own_fault(error.code) {
            self.0.sums.ran(Duration::ZERO, true);
        }
        let (id, model, transport, code) = (of.id.as_str(), of.model.as_str(), of.origin.as_str(), error.code.as_str());
        let level = if error.code == ErrorCode::Overloaded { log::Level::Debug } else { log::Level::Info };
        log::log!(
            level,
            MESSAGE_ID = REQUEST_REFUSED, REQUEST_ID = id, TASK = of.task, MODEL = model, MS = 0.0, CODE = code,
            TRANSPORT = transport;
            "{id}: {} over {transport} refused: {code}", of.task
        );
        if error.code == ErrorCode::Overloaded {
            self.overloaded(&error.message);
        }
    }

    fn overloaded(&self, why: &str) {
        let inner = &*self.0;
        let now_ms = u64::try_from(inner.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let quiet = inner.overload_quiet.fetch_add(1, Ordering::Relaxed) + 1;
        let last = inner.overload_line_ms.load(Ordering::Relaxed);
        let due = last == 0 || u128::from(now_ms.saturating_sub(last)) >= OVERLOAD_LINE_EVERY.as_millis();
        if due && inner.overload_line_ms.compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            inner.overload_quiet.fetch_sub(quiet, Ordering::Relaxed);
            log::warn!(
                MESSAGE_ID = OVERLOADED, REFUSED = quiet;
                "overloaded: {quiet} requests refused since the last such line, the latest because {why}"
            );
        }
    }

    /// A worker panicked while it ran a request, and is replaced.
    pub fn worker_panicked(&self, worker: usize, of: &Subject) {
        self.0.metrics.worker_restarted();
        self.0.sums.lost_worker();
        log::error!(
            MESSAGE_ID = WORKER_PANICKED, REQUEST_ID = of.id.as_str(), TASK = of.task, MODEL = of.model.as_str(),
            WORKER = worker;
            "worker {worker} panicked while it ran {}; the request is answered with an error and the worker replaced", of.id
        );
    }

    /// A worker hung while it ran a request, and is abandoned.
    pub fn worker_stuck(&self, worker: usize, of: &Subject, silent: Duration, replaced: bool) {
        self.0.metrics.worker_stuck();
        self.0.sums.lost_worker();
        if replaced {
            self.0.metrics.worker_restarted();
        }
        let then = if replaced {
            "replaced; the next one that hangs is not, and ends the watchdog's feeding"
        } else {
            "not replaced: the watchdog is no longer fed"
        };
        log::error!(
            MESSAGE_ID = WORKER_STUCK, REQUEST_ID = of.id.as_str(), TASK = of.task, MODEL = of.model.as_str(),
            MS = ms(silent), WORKER = worker;
            "worker {worker} made no progress for {:.1} s while it ran {}; it is abandoned and {then}",
            silent.as_secs_f64(), of.id
        );
    }

    /// A worker that was abandoned came back; its result is dropped.
    pub fn worker_returned(&self, worker: usize) {
        log::warn!(
            MESSAGE_ID = WORKER_RETURNED, WORKER = worker;
            "a worker that was abandoned in seat {worker} came back; its result is dropped and its thread ends"
        );
    }

    /// A model was loaded and proved.
    pub fn model_ready(&self, name: &str, version: &str, took: Duration, memory_bytes: u64) {
        let memory_mib = memory_bytes.div_ceil(1 << 20);
        log::info!(
            MESSAGE_ID = MODEL_READY, MODEL = name, MS = ms(took), MEMORY_MIB = memory_mib;
            "the model {name} {version} is ready after {:.0} ms; its weights take {memory_mib} MiB", ms(took)
        );
    }

    /// A model does not serve. `reason` is of the package's files, never of a caller's.
    pub fn model_failed(&self, name: &str, reason: &str) {
        log::error!(MESSAGE_ID = MODEL_FAILED, MODEL = name; "the model {name} does not serve: {reason}");
    }

    /// The link to the broker changed.
    pub fn link_changed(&self, from: LinkState, to: LinkState) {
        let level = if to == LinkState::Down { log::Level::Warn } else { log::Level::Info };
        log::log!(
            level, MESSAGE_ID = LINK_CHANGED, LINK = to.as_str();
            "the link to the MQTT broker is {} (it was {})", to.as_str(), from.as_str()
        );
    }
}

/// Whether an error is the daemon's or its model's fault, and not the caller's or of too many callers.
fn is_own_fault(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Internal | ErrorCode::Poisoned | ErrorCode::ModelFailed | ErrorCode::DeadlineExceeded)
}

/// To the microsecond: the journal shows every digit there is.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Tokens that an answer wrote.
/// How an admitted request ended, for the log.
#[derive(Debug)]
#[must_use = "the log has a line for each request"]
pub struct Ended {
    how: How,
    queue_ms: f64,
    run_ms: f64,
}

#[derive(Debug)]
enum How {
    Heard { audio_secs: f64 },
    Answered { tokens: u64 },
    Failed(WireError),
}

impl Ended {
    /// Writes the line.
    pub fn tell(self, of: &Subject) {
        let Self { how, queue_ms, run_ms } = self;
        let (id, model, transport) = (of.id.as_str(), of.model.as_str(), of.origin.as_str());
        match how {
            How::Heard { audio_secs } => log::info!(
                MESSAGE_ID = REQUEST_ANSWERED, REQUEST_ID = id, TASK = of.task, MODEL = model, MS = run_ms,
                QUEUE_MS = queue_ms, AUDIO_SECS = audio_secs, TRANSPORT = transport;
                "{id}: {} over {transport} by {model}: {audio_secs:.1} s of audio in {run_ms:.1} ms, queued {queue_ms:.1} ms",
                of.task
            ),
            How::Answered { tokens } => log::info!(
                MESSAGE_ID = REQUEST_ANSWERED, REQUEST_ID = id, TASK = of.task, MODEL = model, MS = run_ms,
                QUEUE_MS = queue_ms, TOKENS = tokens, TRANSPORT = transport;
                "{id}: {} over {transport} by {model} in {run_ms:.1} ms, queued {queue_ms:.1} ms",
                of.task
            ),
            How::Failed(error) => {
                let level = if error.code == ErrorCode::Internal { log::Level::Error } else { log::Level::Info };
                let code = error.code.as_str();
                // The code only: a message may quote what the caller sent.
                log::log!(
                    level,
                    MESSAGE_ID = REQUEST_FAILED, REQUEST_ID = id, TASK = of.task, MODEL = model, MS = run_ms,
                    QUEUE_MS = queue_ms, CODE = code, TRANSPORT = transport;
                    "{id}: {} over {transport} ended with {code} after {queue_ms:.1} ms in the queue and {run_ms:.1} ms of work",
                    of.task
                );
                log::debug!(REQUEST_ID = id; "{id}: {}", error.message);
            }
        }
    }
}

fn written(answer: &Answer) -> u64 {
    match answer {
        Answer::Generated(generated) => generated.completion_tokens,
        _ => 0,
    }
}

/// The real-time factor, where there was audio.
fn heard(duration_secs: f64, rtf: f64) -> Option<f64> {
    (duration_secs > 0.0 && rtf.is_finite()).then_some(rtf)
}

/// Has panics logged by their place alone: the text of a panic may quote what was being worked on (slicing a string
/// does), so it appears at debug level only.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("without a name");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        log::error!(MESSAGE_ID = PANICKED, THREAD = thread, PLACE = place.as_str(); "the thread {thread} panicked at {place}");
        log::debug!("panic: {}", info.payload_as_str().unwrap_or("without a text"));
    }));
}
