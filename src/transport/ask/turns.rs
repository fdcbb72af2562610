//! The jobs of one request, run in turn: the next one is admitted when the one before has answered, so that a request of many
//! prompts takes one place in the queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use linnet_proto::{ErrorCode, WireError};
use tokio::time::{Instant, timeout_at};

use crate::job::{Admit, Answer, OnStart, Origin, Part, Priority, Reply, Request, TaskRequest, place};

/// What happens next.
#[derive(Debug)]
pub enum Step {
    /// A part of the answer of the job that runs.
    Part(Part),
    /// The job that ran has answered.
    Answer(Answer),
    /// All jobs have answered.
    End,
}

/// The jobs of a request.
pub struct Turns {
    admit: Arc<dyn Admit>,
    id: String,
    origin: Origin,
    priority: Priority,
    waiting: VecDeque<TaskRequest>,
    /// Which job it is, from 0.
    number: usize,
    running: Option<Reply>,
    deadline: Instant,
    timeout: Duration,
    slack: Duration,
}

impl Turns {
    /// Admits the first of `jobs` or refuses at once. `slack` is how long behind the deadline a job's own answer is awaited.
    pub fn begin(
        admit: Arc<dyn Admit>,
        request: Request,
        more: impl IntoIterator<Item = TaskRequest>,
        slack: Duration,
        on_start: Option<OnStart>,
    ) -> Result<Self, WireError> {
        let (id, origin, priority, timeout) = (request.id.clone(), request.origin, request.priority, request.timeout);
        let running = match on_start {
            Some(on_start) => admit.admit_marked(request, on_start)?,
            None => admit.admit(request)?,
        };
        let deadline = Instant::now() + timeout;
        let (waiting, running) = (more.into_iter().collect(), Some(running));
        Ok(Self { admit, id, origin, priority, waiting, number: 0, running, deadline, timeout, slack })
    }

    /// The model that answers now; empty where the admission did not tell.
    pub fn model(&self) -> &str {
        self.running.as_ref().map_or("", Reply::model)
    }

    /// What happens next. After an error or [`Step::End`] nothing follows.
    pub async fn next(&mut self) -> Result<Step, WireError> {
        if self.running.is_none() {
            let Some(task) = self.waiting.pop_front() else { return Ok(Step::End) };
            self.number += 1;
            let request = Request {
                id: format!("{}.{}", self.id, self.number),
                origin: self.origin,
                task,
                timeout: self.timeout,
                priority: self.priority,
            };
            self.running = Some(place(&*self.admit, &request, self.deadline.into_std()).await?);
        }
        let Some(reply) = &mut self.running else { return Ok(Step::End) };
        match timeout_at(self.deadline + self.slack, reply.next()).await {
            Ok(Some(Ok(Part::Done(answer)))) => {
                self.running = None;
                Ok(Step::Answer(answer))
            }
            Ok(Some(Ok(part))) => Ok(Step::Part(part)),
            Ok(Some(Err(error))) => Err(error),
            Ok(None) => Err(WireError::new(ErrorCode::Internal, "the job ended without an answer; the log says why")),
            Err(_) => Err(self.late()),
        }
    }

    fn late(&self) -> WireError {
        let message =
            format!("no answer within {} ms; ask for less, or name a longer timeout_ms", self.timeout.as_millis());
        WireError::new(ErrorCode::DeadlineExceeded, message)
    }
}
