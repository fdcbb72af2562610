//! OpenAI's requests and answers, as its API reference gives them, with vLLM's additions where DESIGN or its clients want them.
//! Each reading gives Linnet's own request; each answer is made of Linnet's own.

pub mod chat;
mod chat_answer;
pub mod completions;
pub mod embeddings;
mod logprobs;
mod options;
mod stream;
#[cfg(test)]
mod tests;
mod usage;

pub use chat_answer::{ChatChoice, ChatChunk, ChatCompletion, ChatMessage, ChunkChoice, ChunkDelta, ChunkToolCall};
pub use completions::{Completion, CompletionChoice};
pub use logprobs::{ChatLogprobs, LegacyLogprobs};
pub use stream::{DONE, Events};
pub use usage::{Timings, Usage};

/// Most prompts of one request; each is a job of its own.
pub const MAX_PROMPTS: usize = 256;

/// How a request wants its answer, beside what the model is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivery {
    /// As server-sent events.
    pub stream: bool,
    /// With one more event at the end that counts tokens.
    pub include_usage: bool,
    /// With token ids.
    pub token_ids: bool,
    /// With the probability of each token.
    pub logprobs: bool,
}

/// What every answer to one request has in common.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Head {
    /// The request's id.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
}
