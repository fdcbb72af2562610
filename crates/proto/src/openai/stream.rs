//! The events of a streamed completion or chat, as texts of JSON: what has gone out of each answer, so that all deltas together
//! are the text, whatever the pipeline sent early.

use serde::Serialize;

use super::chat_answer::ChatChunk;
use super::completions::Completion;
use super::usage::{Timings, Usage};
use super::{Delivery, Head};
use crate::WireError;
use crate::generate::{Delta, Generated};

/// The data of the event that ends every stream of OpenAI's.
pub const DONE: &str = "[DONE]";

/// Writes the events of one request.
#[derive(Debug)]
pub struct Events {
    head: Head,
    delivery: Delivery,
    /// Answers to each prompt of a completion; `None` writes a chat.
    completion: Option<u32>,
    model: String,
    /// What has gone out of each answer to the prompt that is answered now.
    sent: Vec<Option<Sent>>,
    answers: Vec<Generated>,
}

/// What has gone out of one answer.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    bytes: usize,
    characters: usize,
    tokens: usize,
}

impl Events {
    /// The events of a completion with `n` answers to each prompt.
    pub fn of_completion(head: Head, delivery: Delivery, n: u32) -> Self {
        Self::new(head, delivery, Some(n))
    }

    /// The events of a chat.
    pub fn of_chat(head: Head, delivery: Delivery) -> Self {
        Self::new(head, delivery, None)
    }

    fn new(head: Head, delivery: Delivery, completion: Option<u32>) -> Self {
        Self { head, delivery, completion, model: String::new(), sent: Vec::new(), answers: Vec::new() }
    }

    /// The next prompt is answered, by `model`.
    pub fn begin(&mut self, model: &str) {
        model.clone_into(&mut self.model);
        self.sent.clear();
    }

    /// Events of text that was just written.
    pub fn delta(&mut self, delta: Delta) -> Result<Vec<String>, WireError> {
        let prompt = self.answers.len();
        let mut events = self.opening(delta.index)?;
        let Some(sent) = self.sent.get_mut(delta.index as usize).and_then(Option::as_mut) else { return Ok(events) };
        let characters = sent.characters;
        sent.bytes += delta.text.len();
        sent.characters += delta.text.chars().count();
        sent.tokens += delta.token_ids.len().max(delta.logprobs.len());
        let (head, model) = (&self.head, self.model.as_str());
        events.push(match self.completion {
            Some(n) => text(&Completion::delta(head, self.delivery, n, prompt, model, delta, characters))?,
            None => text(&ChatChunk::delta(head, self.delivery, model, delta))?,
        });
        Ok(events)
    }

    /// Events that end the answer to the prompt of now.
    pub fn done(&mut self, answer: Generated) -> Result<Vec<String>, WireError> {
        let prompt = self.answers.len();
        answer.model.clone_into(&mut self.model);
        let mut events = Vec::new();
        for choice in &answer.choices {
            let sent = self.sent.get(choice.index as usize).copied().flatten().unwrap_or_default();
            // What went out is the beginning: the rest is what the pipeline kept to the end, or what a slow reader missed.
            let rest = Delta {
                index: choice.index,
                text: choice.text.get(sent.bytes..).unwrap_or_default().to_owned(),
                token_ids: choice
                    .token_ids
                    .as_deref()
                    .and_then(|ids| ids.get(sent.tokens..))
                    .unwrap_or_default()
                    .to_vec(),
                logprobs: choice.logprobs.get(sent.tokens..).unwrap_or_default().to_vec(),
                finish_reason: None,
            };
            if rest.text.is_empty() && rest.token_ids.is_empty() && rest.logprobs.is_empty() {
                events.extend(self.opening(choice.index)?);
            } else {
                events.extend(self.delta(rest)?);
            }
            match self.completion {
                Some(n) => events.push(text(&Completion::end(&self.head, n, prompt, &answer, choice))?),
                None => {
                    for event in ChatChunk::end(&self.head, &self.model, choice) {
                        events.push(text(&event)?);
                    }
                }
            }
        }
        // Counted at the end; the texts are not needed any more.
        self.answers.push(Generated { choices: Vec::new(), ..answer });
        Ok(events)
    }

    /// The prompt of now is answered, and nobody wants its events.
    pub fn skip(&mut self) {
        self.answers.push(Generated::default());
        self.sent.clear();
    }

    /// What ends the stream.
    pub fn end(&self) -> Result<Vec<String>, WireError> {
        let mut events = Vec::new();
        if self.delivery.include_usage {
            let (usage, timings) = (Usage::of(&self.answers), Timings::of(&self.answers));
            events.push(match self.completion {
                Some(_) => text(&Completion::counted(&self.head, &self.model, usage, timings))?,
                None => text(&ChatChunk::counted(&self.head, &self.model, usage, timings))?,
            });
        }
        events.push(DONE.to_owned());
        Ok(events)
    }

    /// The model that answers.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// A chat's answer begins with its role.
    fn opening(&mut self, index: u32) -> Result<Vec<String>, WireError> {
        let at = index as usize;
        if at >= crate::generate::MAX_CHOICES as usize {
            return Ok(Vec::new());
        }
        if self.sent.len() <= at {
            self.sent.resize(at + 1, None);
        }
        if self.sent[at].is_some() {
            return Ok(Vec::new());
        }
        self.sent[at] = Some(Sent::default());
        match self.completion {
            Some(_) => Ok(Vec::new()),
            None => Ok(vec![text(&ChatChunk::opening(&self.head, &self.model, index))?]),
        }
    }
}

fn text(event: &impl Serialize) -> Result<String, WireError> {
    serde_json::to_string(event).map_err(|e| crate::error::unserializable(&e))
}
