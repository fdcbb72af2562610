//! A daemon's inside that a test holds in its hands: jobs end when the test says so.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use linnet::job::{Admit, Answer, CancelToken, OnStart, Origin, Part, Reply, Request, TaskRequest};
use linnet::status::StatusSource;
use linnet_proto::status::{Health, Limits, Status};
use linnet_proto::{ErrorCode, Transcript, WireError};
use tokio::sync::mpsc;

use crate::harness::PATIENCE;

/// Admits up to `places` jobs at once and holds them.
pub struct Bench {
    places: usize,
    /// The queue's length as the status tells it.
    told: usize,
    inside: Mutex<Inside>,
    changed: Condvar,
    /// What the next question after the status does to the one who asks.
    trap: Mutex<Option<Trap>>,
    turned_away: Mutex<Vec<TurnedAway>>,
}

/// A trap for the link, which asks after the status when it publishes `state`.
pub enum Trap {
    /// It panics.
    Panic,
    /// It blocks its thread until the other end is dropped.
    Block(std::sync::mpsc::Receiver<()>),
}

/// A request that the transport itself turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnedAway {
    /// Its id.
    pub id: String,
    /// Its task's label.
    pub task: &'static str,
    /// Why.
    pub code: ErrorCode,
}

#[derive(Default)]
struct Inside {
    waiting: VecDeque<HeldJob>,
    admitted: usize,
    in_hand: usize,
}

/// A job that the test has to end.
pub struct HeldJob {
    /// What was asked.
    pub request: Request,
    /// Set when nobody waits any more.
    pub cancel: CancelToken,
    parts: mpsc::Sender<Result<Part, WireError>>,
    on_start: OnStart,
    bench: Option<Arc<Bench>>,
}

impl Bench {
    /// With `places` for jobs.
    pub fn new(places: usize) -> Arc<Self> {
        Self::telling(places, places)
    }

    /// With `places` for jobs, and a status that tells of a queue of `told`.
    pub fn telling(places: usize, told: usize) -> Arc<Self> {
        Arc::new(Self {
            places,
            told,
            inside: Mutex::default(),
            changed: Condvar::new(),
            trap: Mutex::default(),
            turned_away: Mutex::default(),
        })
    }

    /// Sets a trap for the next one who asks after the status.
    pub fn set(&self, trap: Trap) {
        *self.trap.lock().expect("no panic") = Some(trap);
    }

    /// What the transport turned away so far.
    pub fn turned_away(&self) -> Vec<TurnedAway> {
        self.turned_away.lock().expect("no panic").clone()
    }

    /// The next job, in order of admission.
    pub fn take(self: &Arc<Self>) -> HeldJob {
        let until = Instant::now() + PATIENCE;
        let mut inside = self.inside.lock().expect("no panic");
        loop {
            if let Some(mut job) = inside.waiting.pop_front() {
                job.bench = Some(Arc::clone(self));
                return job;
            }
            let left = until.checked_duration_since(Instant::now()).expect("a job is admitted");
            inside = self.changed.wait_timeout(inside, left).expect("no panic").0;
        }
    }

    /// Jobs admitted so far.
    pub fn admitted(&self) -> usize {
        self.inside.lock().expect("no panic").admitted
    }
}

impl Admit for Bench {
    fn admit(&self, request: Request) -> Result<Reply, WireError> {
        self.admit_marked(request, OnStart::new(|| {}))
    }

    fn admit_marked(&self, request: Request, on_start: OnStart) -> Result<Reply, WireError> {
        let mut inside = self.inside.lock().expect("no panic");
        if inside.in_hand >= self.places {
            return Err(WireError::new(ErrorCode::Overloaded, "the bench is full").with_retry_after_ms(250));
        }
        let (parts, cancel, reply) = Reply::channel(4);
        inside.waiting.push_back(HeldJob { request, cancel, parts, on_start, bench: None });
        inside.admitted += 1;
        inside.in_hand += 1;
        self.changed.notify_all();
        Ok(reply)
    }

    fn turned_away(&self, id: &str, _origin: Origin, task: &'static str, error: &WireError) {
        let one = TurnedAway { id: id.to_owned(), task, code: error.code };
        self.turned_away.lock().expect("no panic").push(one);
    }
}

impl HeldJob {
    /// The job begins to run.
    pub fn begin(&self) {
        self.on_start.call();
    }

    /// The audio as text, which the tests send.
    pub fn audio(&self) -> String {
        let TaskRequest::Transcribe(request) = &self.request.task else { unreachable!("the tests ask for speech") };
        String::from_utf8_lossy(&request.audio).into_owned()
    }

    /// Ends the job with a transcript of `text`.
    pub fn answer(self, text: &str) {
        let transcript = Transcript {
            text: text.to_owned(),
            words: Vec::new(),
            segments: Vec::new(),
            model: "bench".into(),
            language: "en".into(),
            duration_secs: 1.0,
            rtf: 0.1,
            queue_ms: 0.0,
            inference_ms: 100.0,
        };
        self.end(Ok(Part::Done(Answer::Transcript(transcript))));
    }

    /// Sends a part of the answer.
    pub fn emit(&self, part: Part) {
        // The transport may have given the job up.
        let _ = self.parts.blocking_send(Ok(part));
    }

    /// Ends the job with an answer of any task.
    pub fn finish(self, answer: Answer) {
        self.end(Ok(Part::Done(answer)));
    }

    /// Ends the job with an error.
    pub fn fail(self, code: ErrorCode) {
        self.end(Err(WireError::new(code, "the bench says so")));
    }

    fn end(self, part: Result<Part, WireError>) {
        if let Some(bench) = &self.bench {
            bench.inside.lock().expect("no panic").in_hand -= 1;
        }
        // The transport may have given the job up.
        let _ = self.parts.blocking_send(part);
    }
}

impl StatusSource for Bench {
    fn status(&self) -> Status {
        let trap = self.trap.lock().expect("no panic").take();
        match trap {
            None => {}
            Some(Trap::Panic) => std::panic::resume_unwind(Box::new("trapped")),
            Some(Trap::Block(until)) => {
                // The end of the other end is what ends it.
                let _ = until.recv();
            }
        }
        Status {
            version: "0.0.0".into(),
            device: "k".into(),
            health: Health::Ready,
            uptime_secs: 1.0,
            models: Vec::new(),
            models_dir: None,
            generation: None,
            fleet_sources: Vec::new(),
            fleet_last_failure: None,
            provisioning: None,
            limits: Limits {
                max_upload_bytes: 1 << 20,
                max_audio_secs: 60,
                max_packet_bytes: 0,
                queue_length: self.told,
                default_deadline_ms: 30_000,
                max_deadline_ms: 60_000,
            },
            queue_depth: 0,
            workers: 1,
            worker_restarts: 0,
            workers_stuck: 0,
            mqtt: "up".into(),
            mqtt_reason: None,
            mqtt_contested: None,
            mqtt_storage: None,
            stalled: Vec::new(),
        }
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn metrics(&self) -> String {
        String::new()
    }
}
