//! Text generation: what is asked of a decoder or of a sequence-to-sequence model, and what comes back.
//!
//! This is Linnet's own shape, which every transport hands to the daemon. OpenAI's and Ollama's shapes are read
//! into it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::{length_within, list_within, number_within, whole_within};
use crate::transcribe::MAX_NAME_BYTES;
use crate::{ErrorCode, WireError};

/// Most answers to one prompt (`n`).
pub const MAX_CHOICES: u32 = 16;
/// Most tokens that one answer may be asked to have.
pub const MAX_NEW_TOKENS: u64 = 1 << 20;
/// Most strings to stop at.
pub const MAX_STOPS: usize = 16;
/// Longest string to stop at, bytes.
pub const MAX_STOP_BYTES: usize = 1024;
/// Most alternatives that are reported at each token.
pub const MAX_TOP_LOGPROBS: u32 = 20;
/// Widest beam of a generation.
pub const MAX_BEAMS: u32 = 16;
/// Largest prompt, bytes of text over all parts.
pub const MAX_PROMPT_BYTES: usize = 4 << 20;
/// Most ids of a prompt of tokens.
pub const MAX_PROMPT_TOKENS: usize = 1 << 20;
/// Largest schema, regular expression or grammar, bytes.
pub const MAX_CONSTRAINT_BYTES: usize = 256 << 10;
/// Most texts to choose from.
pub const MAX_CONSTRAINT_CHOICES: usize = 1024;

/// A request to write text.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// Model name or alias; the daemon's default for the task when absent.
    pub model: Option<String>,
    /// What is written about.
    pub input: GenerateInput,
    /// How it is written.
    pub options: DecodeOptions,
    /// Send text as it is written.
    pub stream: bool,
}

/// What a model continues or answers.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerateInput {
    /// Text; special tokens are added as the model's tokenizer does, and none is read from the text.
    Text(String),
    /// Token ids, used as they are: nothing is added. A sequence-to-sequence model reads them as its encoder's input.
    Tokens(Vec<u32>),
    /// Code between a beginning and an end.
    Infill {
        /// What stands before.
        prefix: String,
        /// What stands behind.
        suffix: String,
    },
    /// A conversation, laid out by the model's chat template.
    Chat(Chat),
}

/// A conversation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Chat {
    /// What was said, in order.
    pub messages: Vec<Message>,
    /// Functions that the model may call, each as OpenAI describes one (`{"type":"function","function":{…}}`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Value>,
    /// Which of them may or must be called.
    #[serde(default)]
    pub tool_choice: ToolChoice,
    /// Variables handed to the template as they are (`enable_thinking`, …).
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub template_variables: serde_json::Map<String, Value>,
}

/// One message of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or what the template knows.
    pub role: String,
    /// Its text.
    pub content: Content,
    /// Calls that an assistant's message made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Name of the speaker or of the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What a message holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Text.
    Text(String),
    /// Parts in order.
    Parts(Vec<ContentPart>),
    /// Nothing (`null`): an assistant's message that only calls tools.
    #[default]
    Empty,
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentPart {
    /// Text.
    Text {
        /// It.
        text: String,
    },
    /// Speech; it is transcribed first and its words take its place.
    InputAudio {
        /// It.
        input_audio: InputAudio,
    },
}

/// Speech in a message, as OpenAI sends it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputAudio {
    /// Base64.
    pub data: String,
    /// `wav`, `mp3`, …; the bytes decide themselves.
    #[serde(default)]
    pub format: String,
}

/// Which tools may be called.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Function(String),
}

/// A function call that a model made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Unique within the conversation.
    #[serde(default)]
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    /// What is called.
    pub function: FunctionCall,
}

fn function() -> String {
    "function".to_owned()
}

/// Name and arguments of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// The function.
    pub name: String,
    /// Its arguments, JSON as text.
    pub arguments: String,
}

/// How text is written. Absent options take the model's `generation_config.json`, then the reference's defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecodeOptions {
    /// Most tokens to write; the daemon's default when absent.
    pub max_tokens: Option<u64>,
    /// Fewest tokens to write before the end may come.
    pub min_tokens: Option<u64>,
    /// 0 takes the likeliest token; above, the logits are divided by it. 0.0 to 2.0.
    pub temperature: Option<f32>,
    /// Sample among the likeliest this many.
    pub top_k: Option<u32>,
    /// Sample among the likeliest that together reach this probability, 0.0 to 1.0.
    pub top_p: Option<f32>,
    /// Drop tokens below this share of the likeliest one's probability, 0.0 to 1.0.
    pub min_p: Option<f32>,
    /// Locally typical sampling's mass, 0.0 to 1.0.
    pub typical_p: Option<f32>,
    /// Divides the logits of tokens that stand in prompt or answer (above 1 discourages), 0.1 to 10.0.
    pub repetition_penalty: Option<f32>,
    /// OpenAI's: subtracted once for each time that a token was written, -2.0 to 2.0.
    pub frequency_penalty: Option<f32>,
    /// OpenAI's: subtracted once when a token was written, -2.0 to 2.0.
    pub presence_penalty: Option<f32>,
    /// No group of this many tokens comes twice.
    pub no_repeat_ngram_size: Option<u32>,
    /// Added to the logits of these tokens, -100.0 to 100.0.
    pub logit_bias: BTreeMap<u32, f32>,
    /// Texts that are never written.
    pub bad_words: Vec<String>,
    /// The same seed gives the same text.
    pub seed: Option<u64>,
    /// Beams; 1 searches none.
    pub num_beams: Option<u32>,
    /// Exponent of the length that a beam's score is divided by.
    pub length_penalty: Option<f32>,
    /// Stop when as many beams are finished as are kept.
    pub early_stopping: Option<bool>,
    /// Answers to give.
    pub n: Option<u32>,
    /// Strings to stop at; they are not part of the answer.
    pub stop: Vec<String>,
    /// Tokens to stop at, beside the model's own.
    pub stop_token_ids: Vec<u32>,
    /// Go on over the model's end token.
    pub ignore_eos: bool,
    /// Report the probability of each token, and of this many others.
    pub logprobs: Option<u32>,
    /// Put the prompt before the answer.
    pub echo: bool,
    /// Add `prompt_token_ids` and `token_ids` to the answer.
    pub return_token_ids: bool,
    /// Leave special tokens in the text.
    pub keep_special_tokens: bool,
    /// Read special tokens that stand in the prompt's text.
    pub allow_special_tokens: bool,
    /// What every answer must match.
    pub constraint: Option<Constraint>,
    /// What to do when prompt and answer outgrow the model's context.
    pub overflow: Overflow,
    /// Explain each token: probabilities, entropy, and the rule that chose it.
    pub explain: bool,
    /// Ids that the answer of a sequence-to-sequence model begins with (a language's token).
    pub forced_prefix: Vec<u32>,
    /// Language of the input, for models that are told (M2M100, NLLB, mBART).
    pub source_language: Option<String>,
    /// Language of the answer, for models that are told.
    pub target_language: Option<String>,
}

/// What an answer must match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// Any JSON object.
    JsonObject,
    /// JSON of this schema.
    JsonSchema(Value),
    /// Text that this regular expression matches as a whole.
    Regex(String),
    /// A grammar in llguidance's Lark dialect.
    Grammar(String),
    /// One of these texts.
    Choice(Vec<String>),
}

impl Constraint {
    /// What a caller names it by.
    pub fn name(&self) -> &'static str {
        match self {
            Self::JsonObject => "json_object",
            Self::JsonSchema(_) => "json_schema",
            Self::Regex(_) => "regex",
            Self::Grammar(_) => "grammar",
            Self::Choice(_) => "choice",
        }
    }

    /// Checks its size; whether it can be held is for the one who compiles it to say.
    pub fn check(&self) -> Result<(), WireError> {
        let bytes = match self {
            Self::JsonObject => 0,
            Self::JsonSchema(schema) => bytes_of(schema),
            Self::Regex(text) | Self::Grammar(text) => text.len(),
            Self::Choice(texts) => {
                list_within("choice", texts.len(), MAX_CONSTRAINT_CHOICES)?;
                if texts.is_empty() {
                    let message = "choice is an empty list; there is nothing to choose from";
                    return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("choice"));
                }
                texts.iter().map(String::len).sum()
            }
        };
        if bytes > MAX_CONSTRAINT_BYTES {
            let message = format!("{} has {bytes} bytes; at most {MAX_CONSTRAINT_BYTES} are taken", self.name());
            return Err(WireError::new(ErrorCode::TooLarge, message).with_param(self.name()));
        }
        Ok(())
    }
}

/// Bytes of the texts and a few for each value: about what it takes as JSON. Does not recurse, however deep the value is.
fn bytes_of(value: &Value) -> usize {
    let (mut bytes, mut left) = (0, vec![value]);
    while let Some(value) = left.pop() {
        bytes += 2;
        match value {
            Value::String(text) => bytes += text.len(),
            Value::Array(values) => left.extend(values),
            Value::Object(entries) => {
                bytes += entries.keys().map(|key| key.len() + 3).sum::<usize>();
                left.extend(entries.values());
            }
            _ => {}
        }
    }
    bytes
}

/// What to do at the end of the context.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// Refuse a prompt that does not fit; end the answer with `length`.
    #[default]
    Refuse,
    /// Forget the oldest tokens.
    Slide,
}

/// The answer to a [`GenerateRequest`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// One for each of `n`, in order.
    pub choices: Vec<Choice>,
    /// The prompt's ids, when `return_token_ids` asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// The model that answered.
    pub model: String,
    /// Probabilities of the prompt's tokens, when `echo` and `logprobs` asked; none for the first, which nothing precedes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompt_logprobs: Vec<Option<TokenLogprob>>,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the prompt that a kept prefix saved.
    pub cached_tokens: u64,
    /// Tokens written, over all choices.
    pub completion_tokens: u64,
    /// Time waited in the queue, milliseconds.
    pub queue_ms: f64,
    /// Time of the prompt's run, milliseconds.
    pub prefill_ms: f64,
    /// Time of writing, milliseconds.
    pub decode_ms: f64,
}

/// One answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// From 0.
    pub index: u32,
    /// What was written.
    pub text: String,
    /// Its ids, when `return_token_ids` asked; the token that ended it is among them, though not in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Probabilities, one for each of its ids, when asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprob>,
    /// Calls that it makes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Score of a beam: its log-probability over its length to the power of `length_penalty`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it, or a stop string did.
    #[default]
    Stop,
    /// `max_tokens` or the context's end.
    Length,
    /// It calls tools.
    ToolCalls,
}

/// One token's probability.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// Id.
    pub id: u32,
    /// Text; bytes that are no character alone appear as U+FFFD.
    pub token: String,
    /// Bytes of the text.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability before temperature and filters.
    pub logprob: f32,
    /// The likeliest, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<TokenLogprob>,
    /// Entropy of the distribution, nats, when `explain` asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy: Option<f32>,
    /// The rule that chose it (`greedy`, `sampled`, `beam`, `forced`, `constraint`), when `explain` asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// Text that was just written, while a generation streams.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Which choice, from 0.
    pub index: u32,
    /// Whole characters that follow what was sent before.
    pub text: String,
    /// The tokens behind it, when `return_token_ids` asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_ids: Vec<u32>,
    /// Their probabilities, when asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprob>,
    /// Why the choice ended, on its last piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
}

impl Delta {
    /// Puts what follows behind this.
    pub fn append(&mut self, later: Self) {
        self.text.push_str(&later.text);
        self.token_ids.extend(later.token_ids);
        self.logprobs.extend(later.logprobs);
        self.finish_reason = later.finish_reason.or(self.finish_reason);
    }
}

impl GenerateRequest {
    /// A request for `input` with every default.
    pub fn new(input: GenerateInput) -> Self {
        Self { model: None, input, options: DecodeOptions::default(), stream: false }
    }

    /// Checks every option against its rule, so that all transports refuse the same with the same words.
    pub fn check(&self) -> Result<(), WireError> {
        length_within("model", self.model.as_deref(), MAX_NAME_BYTES)?;
        let bytes = match &self.input {
            GenerateInput::Text(text) => text.len(),
            GenerateInput::Tokens(ids) => {
                if ids.is_empty() {
                    return Err(empty("prompt"));
                }
                return list_within("prompt", ids.len(), MAX_PROMPT_TOKENS).and_then(|()| self.options.check());
            }
            GenerateInput::Infill { prefix, suffix } => prefix.len() + suffix.len(),
            GenerateInput::Chat(chat) => {
                if chat.messages.is_empty() {
                    return Err(empty("messages"));
                }
                chat.messages.iter().map(|m| m.content.bytes()).sum()
            }
        };
        if bytes > MAX_PROMPT_BYTES {
            let message = format!("the prompt has {bytes} bytes; at most {MAX_PROMPT_BYTES} are taken");
            return Err(WireError::new(ErrorCode::TooLarge, message).with_param("prompt"));
        }
        self.options.check()
    }
}

fn empty(param: &str) -> WireError {
    WireError::new(ErrorCode::InvalidRequest, format!("{param} is empty; there is nothing to answer")).with_param(param)
}

impl Content {
    /// Bytes of its text and audio.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Parts(parts) => parts
                .iter()
                .map(|part| match part {
                    ContentPart::Text { text } => text.len(),
                    // Audio has its own limit.
                    ContentPart::InputAudio { .. } => 0,
                })
                .sum(),
            Self::Empty => 0,
        }
    }
}

impl DecodeOptions {
    /// Checks every option against its rule.
    pub fn check(&self) -> Result<(), WireError> {
        whole_within("max_tokens", self.max_tokens, 0, MAX_NEW_TOKENS)?;
        whole_within("min_tokens", self.min_tokens, 0, MAX_NEW_TOKENS)?;
        number_within("temperature", self.temperature, 0.0, 2.0)?;
        number_within("top_p", self.top_p, 0.0, 1.0)?;
        number_within("min_p", self.min_p, 0.0, 1.0)?;
        number_within("typical_p", self.typical_p, 0.0, 1.0)?;
        number_within("repetition_penalty", self.repetition_penalty, 0.1, 10.0)?;
        number_within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?;
        number_within("presence_penalty", self.presence_penalty, -2.0, 2.0)?;
        number_within("length_penalty", self.length_penalty, -10.0, 10.0)?;
        whole_within("no_repeat_ngram_size", self.no_repeat_ngram_size.map(u64::from), 0, 1 << 16)?;
        whole_within("num_beams", self.num_beams.map(u64::from), 1, u64::from(MAX_BEAMS))?;
        whole_within("n", self.n.map(u64::from), 1, u64::from(MAX_CHOICES))?;
        whole_within("logprobs", self.logprobs.map(u64::from), 0, u64::from(MAX_TOP_LOGPROBS))?;
        list_within("logit_bias", self.logit_bias.len(), 1024)?;
        for bias in self.logit_bias.values() {
            number_within("logit_bias", Some(*bias), -100.0, 100.0)?;
        }
        list_within("bad_words", self.bad_words.len(), 256)?;
        list_within("stop", self.stop.len(), MAX_STOPS)?;
        list_within("stop_token_ids", self.stop_token_ids.len(), 256)?;
        list_within("forced_prefix", self.forced_prefix.len(), 1024)?;
        for (param, texts) in [("stop", &self.stop), ("bad_words", &self.bad_words)] {
            for text in texts {
                length_within(param, Some(text), MAX_STOP_BYTES)?;
                if text.is_empty() {
                    let message = format!("{param} holds an empty text, which is everywhere; leave it out");
                    return Err(WireError::new(ErrorCode::InvalidOption, message).with_param(param));
                }
            }
        }
        self.constraint.as_ref().map_or(Ok(()), Constraint::check)?;
        length_within("source_language", self.source_language.as_deref(), MAX_NAME_BYTES)?;
        length_within("target_language", self.target_language.as_deref(), MAX_NAME_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: DecodeOptions) -> String {
        let error = options.check().expect_err("outside its rule");
        error.param.expect("names the option")
    }

    #[test]
    fn an_option_outside_its_rule_is_refused_by_name() {
        let with = DecodeOptions::default;
        assert_eq!(refused(DecodeOptions { n: Some(1000), ..with() }), "n");
        assert_eq!(refused(DecodeOptions { max_tokens: Some(1_000_000_000_000), ..with() }), "max_tokens");
        assert_eq!(refused(DecodeOptions { temperature: Some(f32::NAN), ..with() }), "temperature");
        assert_eq!(refused(DecodeOptions { temperature: Some(-0.1), ..with() }), "temperature");
        assert_eq!(refused(DecodeOptions { stop: vec![String::new()], ..with() }), "stop");
        assert_eq!(refused(DecodeOptions { bad_words: vec![String::new()], ..with() }), "bad_words");
        assert_eq!(refused(DecodeOptions { constraint: Some(Constraint::Choice(Vec::new())), ..with() }), "choice");
        DecodeOptions::default().check().expect("the defaults are within");
    }

    #[test]
    fn a_schema_of_ten_thousand_levels_is_measured_without_recursion() {
        let mut schema = Value::String("x".repeat(64));
        for _ in 0..10_000 {
            schema = Value::Array(vec![schema]);
        }
        let constraint = Constraint::JsonSchema(schema);
        constraint.check().expect("it is small, if deep");
        // Dropping it level by level: serde_json's own drop recurses.
        let Constraint::JsonSchema(mut schema) = constraint else { unreachable!("built above") };
        while let Value::Array(mut inner) = schema {
            schema = inner.pop().unwrap_or_default();
        }
        let huge = Constraint::JsonSchema(Value::String("x".repeat(MAX_CONSTRAINT_BYTES)));
        assert_eq!(huge.check().expect_err("too large").code, ErrorCode::TooLarge);
    }
}
