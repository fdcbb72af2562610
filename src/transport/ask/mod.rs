//! Requests as JSON, for every transport: a body becomes jobs and the shape that their answer is to have. Pure.

mod kind;
mod shape;
mod terms;
mod turns;
mod writer;

#[cfg(test)]
mod tests;

pub use kind::Kind;
pub use shape::{Shape, other_task};
pub use terms::{Terms, TermsTaken};
pub use turns::{Step, Turns};
pub use writer::Writer;

use linnet_proto::WireError;
use serde_json::{Map, Value};

use crate::job::TaskRequest;

/// A body, read and checked.
#[derive(Debug)]
pub struct Asked {
    /// The jobs, run in turn; at least one, and more than one only for several prompts.
    pub jobs: Vec<TaskRequest>,
    /// How their answers become one.
    pub shape: Shape,
    /// Deadline and priority.
    pub terms: TermsTaken,
    /// Members that did nothing.
    pub without_effect: Vec<&'static str>,
}

impl Asked {
    /// Reads `body` as a request of `kind`, within `terms`.
    pub fn read(kind: Kind, mut body: Map<String, Value>, terms: Terms) -> Result<Self, WireError> {
        let terms = terms.take(&mut body)?;
        let (jobs, shape, without_effect) = kind.read(body)?;
        Ok(Self { jobs, shape, terms, without_effect })
    }
}
