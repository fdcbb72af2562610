//! Requests that take several models, one after the other: speech in a chat, translation over a third language, a language that
//! has to be found first, summaries and answers by a model that only chats.
//!
//! [`Chains`] stands between the transports and the scheduler. A request that one model does alone passes through; of any
//! other the first job is admitted or refused at once, and a task on the transports' runtime hands each answer to the next
//! job. Models run where they always do.

mod audio_chat;
mod plan;
mod prompted;
mod speech;
mod steps;
mod translation;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use linnet_proto::{ErrorCode, WireError};

use super::offers::Offers;
use super::{Admit, Answer, Foreseen, OnStart, Origin, Part, Reply, Request};
use plan::Plan;
use steps::Steps;

/// Parts that may wait for a slow reader of a chain's last job.
const PARTS: usize = 16;

/// An [`Admit`] that knows what takes several models.
pub struct Chains {
    inner: Arc<dyn Admit>,
}

impl Chains {
    /// Chains of jobs that `inner` admits.
    pub fn new(inner: Arc<dyn Admit>) -> Self {
        Self { inner }
    }

    fn enter(&self, mut request: Request, on_start: Option<OnStart>) -> Result<Reply, WireError> {
        let offers = self.inner.offers();
        let task = request.task.name();
        let refused = |e: &WireError| self.inner.turned_away(&request.id, request.origin, task, e);
        let plan = plan::of(request.task.clone(), &offers).inspect_err(refused)?;
        match plan {
            Plan::Direct(task) => {
                request.task = *task;
                match on_start {
                    Some(on_start) => self.inner.admit_marked(request, on_start),
                    None => self.inner.admit(request),
                }
            }
            Plan::Answered(answer) => Ok(answered(*answer)),
            Plan::Chain { first, then, model } => {
                let handle = tokio::runtime::Handle::try_current().map_err(|_| {
                    WireError::new(ErrorCode::Internal, "a chain of models runs on the transports' runtime only")
                })?;
                request.task = *first;
                let (steps, first) = Steps::begin(Arc::clone(&self.inner), request, on_start)?;
                let (parts, _, reply) = Reply::channel(PARTS + 1);
                let place = parts
                    .clone()
                    .try_reserve_owned()
                    .map_err(|_| WireError::new(ErrorCode::Internal, "a new reply has no place for its answer"))?;
                handle.spawn(async move {
                    let outcome = tokio::select! {
                        // The caller is gone: what runs is dropped with this, and so cancelled.
                        () = parts.closed() => return,
                        outcome = then.run(steps, first, offers, &parts) => outcome,
                    };
                    place.send(outcome.map(Part::Done));
                });
                Ok(reply.by(model))
            }
        }
    }
}

/// A reply that is there already.
fn answered(answer: Answer) -> Reply {
    let (parts, _, reply) = Reply::channel(1);
    let reply = reply.by(answer.model());
    // The only part, and its reader is at hand.
    let _ = parts.try_send(Ok(Part::Done(answer)));
    reply
}

impl Admit for Chains {
    fn admit(&self, request: Request) -> Result<Reply, WireError> {
        self.enter(request, None)
    }

    fn admit_marked(&self, request: Request, on_start: OnStart) -> Result<Reply, WireError> {
        self.enter(request, Some(on_start))
    }

    fn foresee(&self) -> Result<Foreseen, WireError> {
        self.inner.foresee()
    }

    fn turned_away(&self, id: &str, origin: Origin, task: &'static str, error: &WireError) {
        self.inner.turned_away(id, origin, task, error);
    }

    fn offers(&self) -> Arc<Offers> {
        self.inner.offers()
    }
}

/// The pipeline of a step does not keep to its task.
fn other_task() -> WireError {
    WireError::new(ErrorCode::Internal, "the model answered another task than the one that was asked")
}
