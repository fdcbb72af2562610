//! Probabilities of tokens in OpenAI's two shapes: parallel lists of completions, a list of objects of chats.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::generate::TokenLogprob;

/// `logprobs` of a completion: one entry for each token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LegacyLogprobs {
    /// The tokens' texts.
    pub tokens: Vec<String>,
    /// Their log-probabilities; `null` where there is none (the first token of a prompt that is echoed).
    pub token_logprobs: Vec<Option<f32>>,
    /// The likeliest of each place, by text.
    pub top_logprobs: Vec<Option<Map<String, Value>>>,
    /// Characters of the text before each token.
    pub text_offset: Vec<usize>,
    /// Entropy of each distribution, nats, when `explain` asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entropy: Vec<Option<f32>>,
    /// The rule that chose each token, when `explain` asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<Option<String>>,
}

impl LegacyLogprobs {
    /// Of tokens that follow `offset` characters.
    pub fn of(tokens: &[TokenLogprob], offset: usize) -> Self {
        Self::behind_prompt(&[], tokens, offset)
    }

    /// The same behind the tokens of a prompt that is echoed. A token that nothing precedes has neither text nor probability.
    pub fn behind_prompt(prompt: &[Option<TokenLogprob>], tokens: &[TokenLogprob], offset: usize) -> Self {
        let mut whole = Self::default();
        let mut text_offset = offset;
        let explained = tokens.iter().any(|t| t.entropy.is_some() || t.rule.is_some());
        for token in prompt.iter().map(Option::as_ref).chain(tokens.iter().map(Some)) {
            let Some(token) = token else {
                whole.tokens.push(String::new());
                whole.token_logprobs.push(None);
                whole.text_offset.push(text_offset);
                whole.top_logprobs.push(None);
                if explained {
                    whole.entropy.push(None);
                    whole.rule.push(None);
                }
                continue;
            };
            whole.tokens.push(token.token.clone());
            whole.token_logprobs.push(finite(token.logprob));
            whole.text_offset.push(text_offset);
            text_offset += token.token.chars().count();
            let top: Map<_, _> = token.top.iter().map(|t| (t.token.clone(), finite(t.logprob).into())).collect();
            whole.top_logprobs.push((!top.is_empty()).then_some(top));
            if explained {
                whole.entropy.push(token.entropy);
                whole.rule.push(token.rule.clone());
            }
        }
        whole
    }
}

/// JSON has no infinities: a token that could not be written has no log-probability.
fn finite(logprob: f32) -> Option<f32> {
    logprob.is_finite().then_some(logprob)
}

/// OpenAI's number for a probability of (nearly) nothing.
const NEVER: f32 = -9999.0;

/// `logprobs` of a chat's answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatLogprobs {
    /// One entry for each token.
    pub content: Vec<ChatLogprob>,
    /// OpenAI's place for refusals; Linnet's models have none.
    pub refusal: Option<Vec<ChatLogprob>>,
}

/// One token of [`ChatLogprobs`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatLogprob {
    /// Its text.
    pub token: String,
    /// Its log-probability.
    pub logprob: f32,
    /// Its bytes.
    pub bytes: Option<Vec<u8>>,
    /// The likeliest of its place.
    #[serde(default)]
    pub top_logprobs: Vec<TopLogprob>,
    /// Entropy of the distribution, nats, when `explain` asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy: Option<f32>,
    /// The rule that chose it, when `explain` asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// One of the likeliest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TopLogprob {
    /// Its text.
    pub token: String,
    /// Its log-probability.
    pub logprob: f32,
    /// Its bytes.
    pub bytes: Option<Vec<u8>>,
}

impl ChatLogprobs {
    /// Of an answer's tokens.
    pub fn of(tokens: &[TokenLogprob]) -> Self {
        let content = tokens.iter().map(|token| ChatLogprob {
            token: token.token.clone(),
            logprob: finite(token.logprob).unwrap_or(NEVER),
            bytes: Some(token.bytes.clone()),
            top_logprobs: token.top.iter().map(TopLogprob::of).collect(),
            entropy: token.entropy,
            rule: token.rule.clone(),
        });
        Self { content: content.collect(), refusal: None }
    }
}

impl TopLogprob {
    fn of(token: &TokenLogprob) -> Self {
        Self {
            token: token.token.clone(),
            logprob: finite(token.logprob).unwrap_or(NEVER),
            bytes: Some(token.bytes.clone()),
        }
    }
}
