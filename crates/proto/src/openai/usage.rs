//! What a request cost.

use serde::{Deserialize, Serialize};

use crate::generate::Generated;

/// OpenAI's `usage`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompts.
    pub prompt_tokens: u64,
    /// Tokens written; absent of embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<u64>,
    /// Both together.
    pub total_tokens: u64,
    /// More about the prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<PromptTokensDetails>,
}

/// More about the prompts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptTokensDetails {
    /// Tokens that a kept prefix saved.
    pub cached_tokens: u64,
}

impl Usage {
    /// The usage of several answers together.
    pub fn of(answers: &[Generated]) -> Self {
        let sum = |count: fn(&Generated) -> u64| answers.iter().map(count).sum::<u64>();
        let (prompt_tokens, completion_tokens) = (sum(|a| a.prompt_tokens), sum(|a| a.completion_tokens));
        Self {
            prompt_tokens,
            completion_tokens: Some(completion_tokens),
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: Some(PromptTokensDetails { cached_tokens: sum(|a| a.cached_tokens) }),
        }
    }

    /// The usage of what only reads.
    pub fn of_input(tokens: u64) -> Self {
        Self { prompt_tokens: tokens, completion_tokens: None, total_tokens: tokens, prompt_tokens_details: None }
    }
}

/// Where the time went, milliseconds. Linnet's addition; clients of OpenAI's pass over it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Waited for a worker.
    pub queue_ms: f64,
    /// Read the prompt.
    pub prefill_ms: f64,
    /// Wrote.
    pub decode_ms: f64,
}

impl Timings {
    /// The times of several answers together.
    pub fn of(answers: &[Generated]) -> Self {
        let sum = |time: fn(&Generated) -> f64| answers.iter().map(time).sum::<f64>();
        Self { queue_ms: sum(|a| a.queue_ms), prefill_ms: sum(|a| a.prefill_ms), decode_ms: sum(|a| a.decode_ms) }
    }
}
