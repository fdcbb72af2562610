//! The scheduler's promises, on pipelines that follow a script.

mod admission;
mod catalogs;
mod endings;
mod holds;
mod schedules;
mod supervision;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use linnet_features::audio::Media;
use linnet_proto::{ErrorCode, TranscribeOptions, WireError};

use super::{Scheduler, SchedulerSettings};
use crate::engine::fake::Gate;
use crate::job::{Admit, Answer, OnStart, Origin, Priority, Reply, Request, TaskRequest, TranscribeRequest};
use crate::status::Events;
use crate::task::TaskContext;
use crate::task::catalog::{Catalog, CatalogHandle, Entry};
use crate::task::fake::{FakePipeline, transcript};

/// Longest wait for something that must happen; no test waits that long when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

/// A scheduler on one fake model. What a job does follows from the beginning of its id: `held…` waits for the gate with
/// checkpoints, `hung…` without, `panic…` panics, `fail…` fails, anything else answers with its id.
struct Bench {
    scheduler: Scheduler,
    pipeline: FakePipeline,
    events: Events,
    gate: Gate,
    ran: Arc<Mutex<Vec<String>>>,
    marked: Arc<Mutex<Vec<String>>>,
}

fn settings(workers: usize, queue_length: usize) -> SchedulerSettings {
    SchedulerSettings { workers, queue_length, ..SchedulerSettings::default() }
}

fn list(of: &Mutex<Vec<String>>) -> Vec<String> {
    of.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Bench {
    fn new(settings: SchedulerSettings) -> Self {
        let (gate, ran) = (Gate::default(), Arc::<Mutex<Vec<String>>>::default());
        let (held, seen) = (gate.clone(), Arc::clone(&ran));
        let pipeline = FakePipeline::new(move |job, ctx| {
            seen.lock().expect("the list").push(job.request.id.clone());
            follow(&job.request.id, ctx, &held)
        });
        let catalog = Catalog::new(vec![Entry::Ready(pipeline.served("fake"))], None);
        let events = Events::default();
        let handle = CatalogHandle::new(Arc::new(catalog));
        let scheduler = Scheduler::start(settings, handle, events.clone()).expect("threads start");
        scheduler.open();
        Self { scheduler, pipeline, events, gate, ran, marked: Arc::default() }
    }

    fn ask(&self, id: &str) -> Result<Reply, WireError> {
        self.ask_as(id, Priority::Normal, PATIENCE)
    }

    fn ask_as(&self, id: &str, priority: Priority, timeout: Duration) -> Result<Reply, WireError> {
        let (marked, name) = (Arc::clone(&self.marked), id.to_owned());
        let mark = OnStart::new(move || marked.lock().expect("the list").push(name.clone()));
        self.scheduler.admit_marked(request(id, priority, timeout), mark)
    }

    /// Admits a job that must find a place.
    fn must(&self, id: &str) -> Reply {
        self.ask(id).unwrap_or_else(|e| panic!("{id} is refused: {e}"))
    }

    /// Admits a job and waits until a worker runs it.
    fn running(&self, id: &str) -> Reply {
        let reply = self.must(id);
        eventually("the job runs", || list(&self.ran).iter().any(|r| r == id));
        reply
    }

    fn counted(&self, outcome: Result<(), ErrorCode>) -> u64 {
        self.events.metrics().requests("transcribe", Origin::Internal, outcome)
    }

    /// Requests that ended in any way.
    fn counted_in_all(&self) -> u64 {
        ErrorCode::ALL.iter().map(|code| self.counted(Err(*code))).sum::<u64>() + self.counted(Ok(()))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.gate.open();
    }
}

fn follow(id: &str, ctx: &mut TaskContext, gate: &Gate) -> Result<Answer, WireError> {
    match id.trim_end_matches(|c: char| !c.is_ascii_lowercase()) {
        "held" => {
            while !gate.is_open() {
                ctx.checkpoint()?;
                thread::sleep(Duration::from_millis(1));
            }
        }
        "hung" => gate.wait(),
        "panic" => std::panic::panic_any(format!("the secret words of {id}")),
        "fail" => return Err(WireError::new(ErrorCode::InvalidAudio, "not audio")),
        _ => {}
    }
    Ok(transcript(id))
}

fn request(id: &str, priority: Priority, timeout: Duration) -> Request {
    Request {
        id: id.to_owned(),
        origin: Origin::Internal,
        task: TaskRequest::Transcribe(TranscribeRequest {
            audio: Bytes::from_static(b"audio"),
            media: Media::Detect,
            options: TranscribeOptions::default(),
            translate: false,
        }),
        timeout,
        priority,
    }
}

/// The answer's text, or the code of its error.
fn end_of(reply: Reply) -> Result<String, WireError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, reply.answer()).await });
    let Answer::Transcript(transcript) = answer.expect("an answer comes in time")? else {
        unreachable!("the tests ask for speech");
    };
    Ok(transcript.text)
}

fn code_of(reply: Reply) -> Option<ErrorCode> {
    end_of(reply).err().map(|e| e.code)
}

/// Waits until `holds`; fails when it never does.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "it never comes true that {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
