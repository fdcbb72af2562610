//! A permit or an immediate refusal.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use linnet_proto::{ErrorCode, WireError};

use super::Scheduler;
use super::bounds::MAX_TIMEOUT;
use super::hold::updating;
use super::state::{Ending, Phase, State, Waiting};
use crate::job::{Admit, Foreseen, Job, Offers, OnStart, Origin, Reply, Request};
use crate::status::Subject;
use crate::task::catalog::Served;
use crate::task::context::deadline_exceeded;

impl Admit for Scheduler {
    fn admit(&self, request: Request) -> Result<Reply, WireError> {
        self.enter(request, None)
    }

    fn admit_marked(&self, request: Request, on_start: OnStart) -> Result<Reply, WireError> {
        self.enter(request, Some(on_start))
    }

    fn foresee(&self) -> Result<Foreseen, WireError> {
        let state = self.shared.lock();
        state.has_place_beside(state.foreseen.load(Ordering::Acquire))?;
        // Counted under the lock, so that no two count on one place.
        Ok(Foreseen::of(&state.foreseen))
    }

    fn offers(&self) -> Arc<Offers> {
        self.shared.catalog.get().offers()
    }

    fn turned_away(&self, id: &str, origin: Origin, task: &'static str, error: &WireError) {
        let subject = Subject { id: id.to_owned(), origin, task, model: String::new() };
        self.shared.events.request_refused(&subject, error);
    }
}

impl Scheduler {
    fn enter(&self, request: Request, on_start: Option<OnStart>) -> Result<Reply, WireError> {
        let mut subject =
            Subject { id: request.id.clone(), origin: request.origin, task: request.task.name(), model: String::new() };
        let entered = self.serving(&request).and_then(|served| {
            subject.model.clone_from(&served.name);
            self.enqueue(request, served, on_start, subject.clone())
        });
        if let Err(error) = &entered {
            self.shared.events.request_refused(&subject, error);
        }
        entered
    }

    /// The model for `request`. Asked only when there is a place: an overloaded daemon refuses by one look.
    fn serving(&self, request: &Request) -> Result<Arc<Served>, WireError> {
        self.shared.lock().has_place()?;
        if request.timeout.is_zero() {
            return Err(deadline_exceeded("before it was admitted"));
        }
        self.shared.catalog.get().resolve(request.task.name(), request.task.model())
    }

    fn enqueue(
        &self,
        request: Request,
        served: Arc<Served>,
        on_start: Option<OnStart>,
        subject: Subject,
    ) -> Result<Reply, WireError> {
        let shared = &self.shared;
        let admitted = Instant::now();
        let deadline = admitted + request.timeout.min(MAX_TIMEOUT);
        let parts_per_reply = shared.lock().settings.parts_per_reply.max(1);
        // One place more than for intermediate parts, reserved now: a slow reader never holds up the final answer.
        let (parts, cancel, reply) = Reply::channel(parts_per_reply + 1);
        let without_effect = crate::task::without_effect(&served.manifest.family, &request.task);
        let reply = reply.by(&served.name).naming(without_effect);
        let permit = parts
            .clone()
            .try_reserve_owned()
            .map_err(|_| WireError::new(ErrorCode::Internal, "a new reply has no place for its answer"))?;
        let priority = request.priority;
        let job = Job { request, admitted, deadline, cancel: cancel.clone(), parts };
        let ending = Ending { subject, admitted, permit };
        let waiting = Waiting { job, served, on_start, ending };

        let mut state = shared.lock();
        // `reply` must not be dropped under the lock: its hook takes it.
        if let Err(refused) = state.has_place() {
            drop(state);
            return Err(refused);
        }
        let place = state.queue.place(priority);
        let weak = Arc::downgrade(shared);
        cancel.on_cancel(move || {
            if let Some(shared) = weak.upgrade() {
                shared.forget(place);
            }
        });
        state.queue.put(place, deadline, waiting);
        let late = state.supervisor_is_late_for(deadline);
        drop(state);
        shared.work.notify_one();
        if late {
            shared.wake_supervisor();
        }
        Ok(reply)
    }
}

impl State {
    /// Whether a job may enter. Idle workers are places, too: they take a job each before anything waits.
    fn has_place(&self) -> Result<(), WireError> {
        self.has_place_beside(0)
    }

    /// As [`State::has_place`], beside `foreseen` others that are still being read.
    fn has_place_beside(&self, foreseen: usize) -> Result<(), WireError> {
        match self.phase {
            Phase::Starting => return Err(unavailable("linnetd is starting; try again in a second", 1000)),
            Phase::Draining | Phase::Stopped => return Err(draining()),
            Phase::Open => {}
        }
        let workers = self.workers();
        if workers == 0 {
            return Err(workerless());
        }
        let idle = if self.holds > 0 { 0 } else { workers - self.running() };
        let waiting = self.queue.len() + foreseen;
        if waiting < self.settings.queue_length + idle {
            return Ok(());
        }
        if self.holds > 0 {
            return Err(updating());
        }
        let wait_ms = self.pace.retry_after(waiting, workers).as_millis();
        let wait_ms = u64::try_from(wait_ms).unwrap_or(u64::MAX);
        let message =
            format!("the queue is full: {waiting} requests wait for {workers} workers; try again in {wait_ms} ms");
        Err(WireError::new(ErrorCode::Overloaded, message).with_retry_after_ms(wait_ms))
    }
}

fn unavailable(message: &str, retry_after_ms: u64) -> WireError {
    WireError::new(ErrorCode::Unavailable, message).with_retry_after_ms(retry_after_ms)
}

/// The refusal of everything that comes, and of everything that is left, while the daemon ends.
pub(super) fn draining() -> WireError {
    unavailable("linnetd is ending and takes no new requests; try again in a few seconds", 5000)
}

/// The refusal when every worker hangs.
pub(super) fn workerless() -> WireError {
    unavailable("no worker is left that answers; linnetd has to be restarted, which its watchdog does", 5000)
}
