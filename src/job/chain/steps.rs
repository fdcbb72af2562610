//! The jobs of a chain, each admitted when the one before has answered.

use std::sync::Arc;
use std::time::Instant;

use linnet_proto::WireError;
use tokio::sync::mpsc;

use super::super::place::place;
use super::super::{Admit, Answer, OnStart, Part, Reply, Request, TaskRequest};

/// Where a chain's parts go.
pub(super) type Parts = mpsc::Sender<Result<Part, WireError>>;

/// Admits the jobs of one chain.
pub(super) struct Steps {
    admit: Arc<dyn Admit>,
    /// Of which each job is a copy with a task of its own.
    request: Request,
    number: usize,
    deadline: Instant,
}

impl Steps {
    /// Admits the first job or refuses at once.
    pub(super) fn begin(
        admit: Arc<dyn Admit>,
        request: Request,
        on_start: Option<OnStart>,
    ) -> Result<(Self, Reply), WireError> {
        let deadline = Instant::now() + request.timeout;
        let first = match on_start {
            Some(on_start) => admit.admit_marked(request.clone(), on_start)?,
            None => admit.admit(request.clone())?,
        };
        Ok((Self { admit, request, number: 0, deadline }, first))
    }

    /// The next job's reply.
    pub(super) async fn next(&mut self, task: TaskRequest) -> Result<Reply, WireError> {
        self.number += 1;
        let id = format!("{}.{}", self.request.id, self.number);
        place(&*self.admit, &Request { id, task, ..self.request.clone() }, self.deadline).await
    }

    /// The next job's answer.
    pub(super) async fn ask(&mut self, task: TaskRequest) -> Result<Answer, WireError> {
        self.next(task).await?.answer().await
    }
}

/// Hands on all parts of the last job, and gives its answer.
pub(super) async fn forward(mut reply: Reply, parts: &Parts) -> Result<Answer, WireError> {
    loop {
        match reply.next().await {
            Some(Ok(Part::Done(answer))) => return Ok(answer),
            // Fails only when the caller is gone, and then this is dropped.
            Some(Ok(part)) => drop(parts.send(Ok(part)).await),
            Some(Err(error)) => return Err(error),
            None => return reply.answer().await,
        }
    }
}
