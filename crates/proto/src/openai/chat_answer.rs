//! `POST /v1/chat/completions`: the answer, whole or as events.

use serde::{Deserialize, Serialize};

use super::logprobs::ChatLogprobs;
use super::usage::{Timings, Usage};
use super::{Delivery, Head};
use crate::generate::{Choice, Delta, FinishReason, Generated, ToolCall};

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletion {
    /// The request's id.
    pub id: String,
    /// Always `chat.completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answered.
    pub model: String,
    /// The answers.
    pub choices: Vec<ChatChoice>,
    /// What it cost.
    pub usage: Option<Usage>,
    /// Where the time went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// The prompt's ids, when `return_token_ids` asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
}

/// One answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatChoice {
    /// From 0.
    pub index: u32,
    /// What was said.
    pub message: ChatMessage,
    /// Probabilities, when asked.
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended.
    pub finish_reason: Option<FinishReason>,
    /// The answer's ids, when `return_token_ids` asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// An assistant's message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Always `assistant`.
    pub role: String,
    /// Its text; `null` where it only calls tools.
    pub content: Option<String>,
    /// OpenAI's place for refusals; always `null`.
    pub refusal: Option<String>,
    /// The calls that it makes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

/// One event of a streamed answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatChunk {
    /// The request's id.
    pub id: String,
    /// Always `chat.completion.chunk`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answers.
    pub model: String,
    /// What is new; empty in the event that counts tokens.
    pub choices: Vec<ChunkChoice>,
    /// What it cost, in the last event where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Where the time went, in the same event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
}

/// What is new of one answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChunkChoice {
    /// From 0.
    pub index: u32,
    /// It.
    pub delta: ChunkDelta,
    /// Probabilities of its tokens, when asked.
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended; `null` while it goes on.
    pub finish_reason: Option<FinishReason>,
    /// Its ids, when `return_token_ids` asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// The part of a message that is new.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChunkDelta {
    /// `assistant`, in the first event of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Text that follows what came before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Calls, each whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ChunkToolCall>,
}

/// A call in an event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChunkToolCall {
    /// From 0.
    pub index: u32,
    /// The call.
    #[serde(flatten)]
    pub call: Option<ToolCall>,
}

impl ChatCompletion {
    /// The whole answer.
    pub fn of(head: &Head, delivery: Delivery, answer: Generated) -> Self {
        let answers = std::slice::from_ref(&answer);
        let (usage, timings) = (Usage::of(answers), Timings::of(answers));
        let choices = answer.choices.into_iter().map(|choice| ChatChoice {
            index: choice.index,
            logprobs: delivery.logprobs.then(|| ChatLogprobs::of(&choice.logprobs)),
            finish_reason: Some(choice.finish_reason),
            token_ids: choice.token_ids,
            message: ChatMessage {
                role: "assistant".to_owned(),
                content: (!choice.text.is_empty() || choice.tool_calls.is_empty()).then_some(choice.text),
                refusal: None,
                tool_calls: choice.tool_calls,
            },
        });
        Self {
            id: id(head),
            object: "chat.completion".to_owned(),
            created: head.created,
            choices: choices.collect(),
            model: answer.model,
            usage: Some(usage),
            timings: Some(timings),
            prompt_token_ids: answer.prompt_token_ids,
        }
    }
}

impl ChatChunk {
    /// The event that opens answer number `index`.
    pub fn opening(head: &Head, model: &str, index: u32) -> Self {
        let delta =
            ChunkDelta { role: Some("assistant".to_owned()), content: Some(String::new()), ..ChunkDelta::default() };
        Self::one(head, model, ChunkChoice { index, delta, ..ChunkChoice::default() })
    }

    /// The event of text that was just written.
    pub fn delta(head: &Head, delivery: Delivery, model: &str, delta: Delta) -> Self {
        let choice = ChunkChoice {
            index: delta.index,
            logprobs: delivery.logprobs.then(|| ChatLogprobs::of(&delta.logprobs)),
            token_ids: delivery.token_ids.then_some(delta.token_ids),
            delta: ChunkDelta { content: Some(delta.text), ..ChunkDelta::default() },
            finish_reason: None,
        };
        Self::one(head, model, choice)
    }

    /// The events that end an answer.
    pub fn end(head: &Head, model: &str, choice: &Choice) -> Vec<Self> {
        let index = choice.index;
        let mut events = Vec::new();
        if !choice.tool_calls.is_empty() {
            let calls = choice.tool_calls.iter().zip(0..);
            let tool_calls = calls.map(|(call, index)| ChunkToolCall { index, call: Some(call.clone()) }).collect();
            let delta = ChunkDelta { tool_calls, ..ChunkDelta::default() };
            events.push(Self::one(head, model, ChunkChoice { index, delta, ..ChunkChoice::default() }));
        }
        let last = ChunkChoice { index, finish_reason: Some(choice.finish_reason), ..ChunkChoice::default() };
        events.push(Self::one(head, model, last));
        events
    }

    /// The last event, where `include_usage` asked for it.
    pub fn counted(head: &Head, model: &str, usage: Usage, timings: Timings) -> Self {
        Self {
            choices: Vec::new(),
            usage: Some(usage),
            timings: Some(timings),
            ..Self::one(head, model, ChunkChoice::default())
        }
    }

    fn one(head: &Head, model: &str, choice: ChunkChoice) -> Self {
        Self {
            id: id(head),
            object: "chat.completion.chunk".to_owned(),
            created: head.created,
            model: model.to_owned(),
            choices: vec![choice],
            usage: None,
            timings: None,
        }
    }
}

fn id(head: &Head) -> String {
    format!("chatcmpl-{}", head.id)
}
