//! A generation as it is written: OpenAI's events or Ollama's lines, each a text of JSON.

use linnet_proto::generate::{Delta, Generated};
use linnet_proto::ollama::Lines;
use linnet_proto::openai::Events;
use linnet_proto::{WireError, error};
use serde::Serialize;

use crate::sys::clock;

/// Writes what happens.
#[derive(Debug)]
pub enum Writer {
    /// OpenAI's.
    Events(Events),
    /// Ollama's.
    Lines(Lines),
}

impl Writer {
    /// The next prompt is answered, by `model`.
    pub fn begin(&mut self, model: &str) {
        match self {
            Self::Events(events) => events.begin(model),
            Self::Lines(lines) => lines.begin(model),
        }
    }

    /// Text was just written.
    pub fn delta(&mut self, delta: Delta) -> Result<Vec<String>, WireError> {
        match self {
            Self::Events(events) => events.delta(delta),
            Self::Lines(lines) => Ok(vec![json(&lines.delta(delta.text, now()))?]),
        }
    }

    /// The answer to the prompt of now is complete.
    pub fn done(&mut self, answer: Generated) -> Result<Vec<String>, WireError> {
        match self {
            Self::Events(events) => events.done(answer),
            Self::Lines(lines) => Ok(vec![json(&lines.done(&answer, now()))?]),
        }
    }

    /// The prompt of now is answered, and nobody wants to be told how.
    pub fn skip(&mut self) {
        if let Self::Events(events) = self {
            events.skip();
        }
    }

    /// Nothing follows.
    pub fn end(&self) -> Result<Vec<String>, WireError> {
        match self {
            Self::Events(events) => events.end(),
            Self::Lines(_) => Ok(Vec::new()),
        }
    }
}

/// The time of day, as Ollama gives it.
pub(super) fn now() -> String {
    clock::rfc3339(clock::since_epoch())
}

fn json(value: &impl Serialize) -> Result<String, WireError> {
    serde_json::to_string(value).map_err(|e| error::unserializable(&e))
}
