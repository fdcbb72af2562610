//! `POST /v1/completions` (<https://platform.openai.com/docs/api-reference/completions>).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::logprobs::LegacyLogprobs;
use super::usage::{Timings, Usage};
use super::{Delivery, Head, MAX_PROMPTS, options};
use crate::check::list_within;
use crate::fields::{Fields, ids, wrong};
use crate::generate::{Choice, Delta, FinishReason, GenerateInput, GenerateRequest, Generated, MAX_CHOICES};
use crate::{ErrorCode, WireError};

/// A request, read: one job for each prompt, all with the same options.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionRequest {
    /// The jobs, in the order of the prompts; at least one.
    pub jobs: Vec<GenerateRequest>,
    /// How the answer goes out.
    pub delivery: Delivery,
    /// Answers to each prompt.
    pub n: u32,
    /// Members that did nothing.
    pub without_effect: Vec<&'static str>,
}

/// Reads a body.
pub fn read(body: Map<String, Value>) -> Result<CompletionRequest, WireError> {
    let mut fields = Fields::new(body);
    let model = fields.text("model")?;
    let suffix = fields.text("suffix")?;
    let inputs = prompts(&mut fields, suffix)?;
    let mut options = options::read(&mut fields)?;
    options.echo = fields.switch("echo")?.unwrap_or_default();
    options.logprobs = fields.whole_u32("logprobs")?;
    let logprobs = options.logprobs.is_some() || options.explain;
    if options.explain {
        options.logprobs.get_or_insert(0);
    }
    let n = options.n.unwrap_or(1);
    match fields.whole_u32("best_of")? {
        Some(best_of) if best_of != n => {
            let message = format!("best_of is {best_of}; only as many as n ({n}) are written, so leave it out");
            return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("best_of"));
        }
        _ => {}
    }
    let delivery = delivery(&mut fields, options.return_token_ids, logprobs)?;
    fields.pass_over(options::WITHOUT_EFFECT);
    let without_effect = fields.finish()?;
    let job =
        |input| GenerateRequest { model: model.clone(), input, options: options.clone(), stream: delivery.stream };
    let jobs: Vec<_> = inputs.into_iter().map(job).collect();
    jobs.iter().try_for_each(GenerateRequest::check)?;
    Ok(CompletionRequest { jobs, delivery, n, without_effect })
}

/// `stream` and `stream_options`.
pub(super) fn delivery(fields: &mut Fields, token_ids: bool, logprobs: bool) -> Result<Delivery, WireError> {
    let stream = fields.switch("stream")?.unwrap_or_default();
    let mut include_usage = false;
    if let Some(options) = fields.take("stream_options") {
        if !stream {
            let message = "stream_options goes with stream: true; leave it out or stream";
            return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("stream_options"));
        }
        let mut options = Fields::inner(options, "stream_options")?;
        include_usage = options.switch("include_usage")?.unwrap_or_default();
        // OpenAI pads its events against listeners; a local socket has none.
        options.switch("include_obfuscation")?;
        options.finish()?;
    }
    Ok(Delivery { stream, include_usage, token_ids, logprobs })
}

/// A text, texts, ids, or lists of ids.
fn prompts(fields: &mut Fields, suffix: Option<String>) -> Result<Vec<GenerateInput>, WireError> {
    const EXPECTED: &str = "a text, a list of texts, a list of token ids, or a list of lists of token ids";
    let prompt = fields.take("prompt").ok_or_else(|| fields.missing("prompt"))?;
    let of_text = |text: String| match &suffix {
        Some(suffix) => GenerateInput::Infill { prefix: text, suffix: suffix.clone() },
        None => GenerateInput::Text(text),
    };
    let inputs = match prompt {
        Value::String(text) => vec![of_text(text)],
        Value::Array(items) => match items.first() {
            None => {
                return Err(WireError::new(ErrorCode::InvalidRequest, "prompt is an empty list").with_param("prompt"));
            }
            Some(Value::Number(_)) => vec![GenerateInput::Tokens(ids("prompt", &items)?)],
            Some(_) => {
                list_within("prompt", items.len(), MAX_PROMPTS)?;
                let each = items.into_iter().map(|item| match item {
                    Value::String(text) => Ok(of_text(text)),
                    Value::Array(items) => ids("prompt", &items).map(GenerateInput::Tokens),
                    other => Err(wrong("prompt", &other, EXPECTED)),
                });
                each.collect::<Result<_, _>>()?
            }
        },
        other => return Err(wrong("prompt", &other, EXPECTED)),
    };
    if suffix.is_some() && inputs.iter().any(|input| matches!(input, GenerateInput::Tokens(_))) {
        let message = "suffix goes with a prompt of text; lay out token ids yourself";
        return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("suffix"));
    }
    Ok(inputs)
}

/// An answer, or one event of a streamed one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The request's id.
    pub id: String,
    /// Always `text_completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answered.
    pub model: String,
    /// The answers.
    pub choices: Vec<CompletionChoice>,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Where the time went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
}

/// One answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionChoice {
    /// Number over all prompts: that of the prompt times `n`, and that of the answer.
    pub index: u32,
    /// What was written.
    pub text: String,
    /// Probabilities, when asked.
    pub logprobs: Option<LegacyLogprobs>,
    /// Why it ended; `null` while it goes on.
    pub finish_reason: Option<FinishReason>,
    /// The prompt's ids, when `return_token_ids` asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// The answer's ids, when `return_token_ids` asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

impl Completion {
    /// The answer to all prompts, `answers` in their order.
    pub fn of(head: &Head, delivery: Delivery, n: u32, answers: Vec<Generated>) -> Self {
        let (usage, timings) = (Usage::of(&answers), Timings::of(&answers));
        let mut whole = Self::bare(head, answers.last().map_or("", |a| a.model.as_str()));
        for (prompt, answer) in answers.into_iter().enumerate() {
            let (prompt_token_ids, prompt_logprobs) = (answer.prompt_token_ids, answer.prompt_logprobs);
            whole.choices.extend(answer.choices.into_iter().map(|choice| {
                let logprobs = || LegacyLogprobs::behind_prompt(&prompt_logprobs, &choice.logprobs, 0);
                let logprobs = delivery.logprobs.then(logprobs);
                CompletionChoice {
                    index: number(prompt, n, choice.index),
                    text: choice.text,
                    logprobs,
                    finish_reason: Some(choice.finish_reason),
                    prompt_token_ids: prompt_token_ids.clone(),
                    token_ids: choice.token_ids,
                }
            }));
        }
        whole.usage = Some(usage);
        whole.timings = Some(timings);
        whole
    }

    /// The event of text that was just written to prompt number `prompt`. `offset` is how many characters went before it.
    pub fn delta(
        head: &Head,
        delivery: Delivery,
        n: u32,
        prompt: usize,
        model: &str,
        delta: Delta,
        offset: usize,
    ) -> Self {
        let logprobs = delivery.logprobs.then(|| LegacyLogprobs::of(&delta.logprobs, offset));
        let choice = CompletionChoice {
            index: number(prompt, n, delta.index),
            text: delta.text,
            logprobs,
            token_ids: delivery.token_ids.then_some(delta.token_ids),
            ..CompletionChoice::default()
        };
        Self { choices: vec![choice], ..Self::bare(head, model) }
    }

    /// The event that ends a choice.
    pub fn end(head: &Head, n: u32, prompt: usize, answer: &Generated, choice: &Choice) -> Self {
        let choice = CompletionChoice {
            index: number(prompt, n, choice.index),
            finish_reason: Some(choice.finish_reason),
            prompt_token_ids: answer.prompt_token_ids.clone(),
            ..CompletionChoice::default()
        };
        Self { choices: vec![choice], ..Self::bare(head, &answer.model) }
    }

    /// The last event, where `include_usage` asked for it.
    pub fn counted(head: &Head, model: &str, usage: Usage, timings: Timings) -> Self {
        Self { usage: Some(usage), timings: Some(timings), ..Self::bare(head, model) }
    }

    fn bare(head: &Head, model: &str) -> Self {
        Self {
            id: format!("cmpl-{}", head.id),
            object: "text_completion".to_owned(),
            created: head.created,
            model: model.to_owned(),
            ..Self::default()
        }
    }
}

fn number(prompt: usize, n: u32, index: u32) -> u32 {
    // At most 256 prompts of 16 answers.
    u32::try_from(prompt).unwrap_or(0) * n.min(MAX_CHOICES) + index
}
