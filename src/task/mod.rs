//! What a request means: one pipeline per task, on engine sessions. Knows nothing of transports or threads.
//!
//! A loaded package becomes a [`Pipeline`]: weights, tokenizer and language model, shared and immutable. Each worker
//! asks it once for an [`Execute`], which owns the sessions and buffers of that worker, and keeps it for the next jobs.

pub mod catalog;
pub mod chat;
pub mod context;
pub mod decode;
pub mod detect;
pub mod encode;
pub mod fake;
pub mod generate;
pub mod model;
pub mod raw;
pub mod tokenizer;
pub mod transcribe;

use std::fmt::Debug;
use std::path::Path;

use linnet_proto::manifest::Canary;
use linnet_proto::{ErrorCode, WireError};

use crate::job::{Answer, Job, TaskRequest};

pub use context::{Heartbeat, TaskContext};

/// Runs jobs on one worker's thread. It may keep state between jobs (sessions, buffers), none of it about a caller.
///
/// Rules: call [`TaskContext::checkpoint`] at least once per chunk of work (a segment, a decode step) and return its
/// error at once; send finished segments with [`TaskContext::emit`]; return the final answer, never emit it. After a
/// panic the whole value is dropped and made anew.
pub trait Execute: Send {
    /// Answers `job`, or says in one sentence why not.
    fn execute(&mut self, job: &Job, ctx: &mut TaskContext) -> Result<Answer, WireError>;
}

/// Everything of one loaded package that workers share.
pub trait Pipeline: Send + Sync + Debug {
    /// Memory that the shared part takes, bytes: weights, language model, tokenizer.
    fn memory_bytes(&self) -> u64;

    /// A worker's own half. Cheap enough to be made again after a panic.
    fn executor(&self) -> Result<Box<dyn Execute>, WireError>;

    /// Runs the package's canned request on this machine and compares: the text must be equal, the fingerprint within
    /// its tolerance. It is the warm-up as well. The error is one sentence.
    fn prove(&self, canary: &Canary) -> Result<(), String>;

    /// The package's files lie in `dir` from now on, for what is read after the load: another generation has the same content, and that of
    /// the one that it was loaded from may be gone.
    fn lies_in(&self, _dir: &Path) {}

    /// Makes a canary of what the model answers now, to be proved later: `linnetd import` does. The error is one sentence.
    fn record(&self) -> Result<Canary, String> {
        Err("models of its family bring their own canary, and none can be recorded".to_owned())
    }
}

/// Options of a request that do nothing in a model of `family`, by their names on the wire.
pub fn without_effect(family: &str, request: &TaskRequest) -> Vec<&'static str> {
    match request {
        TaskRequest::Transcribe(request) => transcribe::without_effect(family, &request.options),
        _ => Vec::new(),
    }
}

/// The refusal of a pipeline that is handed a request of a task that its model does not do: the catalog lets none through.
pub(crate) fn wrong_task(request: &TaskRequest) -> WireError {
    WireError::new(ErrorCode::UnsupportedTask, format!("this model does not {}", request.name())).with_param("model")
}
