//! The options of decoding as OpenAI's bodies name them, and vLLM's beside them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::fields::{Fields, wrong};
use crate::generate::{Constraint, DecodeOptions, MAX_CONSTRAINT_BYTES, Overflow};
use crate::{ErrorCode, WireError};

/// Members that OpenAI's clients send and that have nothing to act on here.
pub(super) const WITHOUT_EFFECT: &[&str] = &[
    "user",
    "store",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "verbosity",
    "prediction",
    "parallel_tool_calls",
];

/// Takes every option that completions and chats share.
pub(super) fn read(fields: &mut Fields) -> Result<DecodeOptions, WireError> {
    let mut options = DecodeOptions {
        max_tokens: fields.whole("max_tokens")?,
        min_tokens: fields.whole("min_tokens")?,
        temperature: fields.number("temperature")?,
        top_k: top_k(fields)?,
        top_p: fields.number("top_p")?,
        min_p: fields.number("min_p")?,
        typical_p: fields.number("typical_p")?,
        repetition_penalty: fields.number("repetition_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        presence_penalty: fields.number("presence_penalty")?,
        no_repeat_ngram_size: fields.whole_u32("no_repeat_ngram_size")?,
        logit_bias: logit_bias(fields)?,
        bad_words: fields.texts("bad_words")?,
        // OpenAI's is signed; which seed is which does not matter.
        seed: fields.signed("seed")?.map(i64::cast_unsigned),
        num_beams: fields.whole_u32("num_beams")?,
        length_penalty: fields.number("length_penalty")?,
        early_stopping: fields.switch("early_stopping")?,
        n: fields.whole_u32("n")?,
        stop: fields.texts("stop")?,
        stop_token_ids: fields.ids("stop_token_ids")?,
        ignore_eos: fields.switch("ignore_eos")?.unwrap_or_default(),
        return_token_ids: fields.switch("return_token_ids")?.unwrap_or_default(),
        keep_special_tokens: !fields.switch("skip_special_tokens")?.unwrap_or(true),
        allow_special_tokens: fields.switch("allow_special_tokens")?.unwrap_or_default(),
        constraint: constraint(fields)?,
        overflow: match fields.word("overflow", &["refuse", "slide"])? {
            Some("slide") => Overflow::Slide,
            _ => Overflow::Refuse,
        },
        explain: fields.switch("explain")?.unwrap_or_default(),
        forced_prefix: fields.ids("forced_prefix")?,
        source_language: fields.text("source_language")?,
        target_language: fields.text("target_language")?,
        ..DecodeOptions::default()
    };
    options.stop.retain(|stop| !stop.is_empty());
    Ok(options)
}

/// vLLM's -1 and 0 take all tokens.
fn top_k(fields: &mut Fields) -> Result<Option<u32>, WireError> {
    Ok(match fields.signed("top_k")? {
        None => None,
        Some(-1 | 0) => Some(u32::MAX),
        Some(k) => match u32::try_from(k) {
            Ok(k) => Some(k),
            Err(_) => {
                let message = format!("top_k is {k}; it must be a whole number from 1 on, or -1 for all tokens");
                return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("top_k"));
            }
        },
    })
}

/// OpenAI writes the ids as texts.
fn logit_bias(fields: &mut Fields) -> Result<BTreeMap<u32, f32>, WireError> {
    let mut biases = BTreeMap::new();
    for (id, bias) in fields.object("logit_bias")? {
        let bias = bias.as_f64().ok_or_else(|| wrong("logit_bias", &bias, "an object of token ids and numbers"))?;
        let id = id.parse().map_err(|_| {
            let message = "logit_bias has a name that is no token id; write it as {\"50256\": -100}";
            WireError::new(ErrorCode::InvalidOption, message).with_param("logit_bias")
        })?;
        biases.insert(id, bias as f32);
    }
    Ok(biases)
}

/// `response_format`, vLLM's `guided_…` and its newer `structured_outputs`. At most one may stand.
fn constraint(fields: &mut Fields) -> Result<Option<Constraint>, WireError> {
    let mut found: Vec<(&str, Constraint)> = Vec::new();
    if let Some(format) = fields.take("response_format") {
        found.extend(response_format(format)?.map(|c| ("response_format", c)));
    }
    let named = [
        ("guided_json", "json"),
        ("guided_regex", "regex"),
        ("guided_grammar", "grammar"),
        ("guided_choice", "choice"),
    ];
    for (guided, _) in named {
        if let Some(value) = fields.take(guided) {
            found.push((guided, guide(guided, guided, value)?));
        }
    }
    if let Some(outputs) = fields.take("structured_outputs") {
        let mut outputs = Fields::inner(outputs, "structured_outputs")?;
        for (guided, name) in named {
            if let Some(value) = outputs.take(name) {
                found.push(("structured_outputs", guide(guided, &outputs.path(name), value)?));
            }
        }
        outputs.finish()?;
    }
    if let [(first, _), (second, _), ..] = found.as_slice() {
        let message = format!("{first} and {second} both say what the answer must match; send one of them");
        return Err(WireError::new(ErrorCode::InvalidOption, message).with_param(*second));
    }
    let Some((name, constraint)) = found.pop() else { return Ok(None) };
    let bytes = size(&constraint);
    if bytes > MAX_CONSTRAINT_BYTES {
        let message = format!("{name} has {bytes} bytes; at most {MAX_CONSTRAINT_BYTES} are taken");
        return Err(WireError::new(ErrorCode::InvalidOption, message).with_param(name));
    }
    Ok(Some(constraint))
}

fn size(constraint: &Constraint) -> usize {
    match constraint {
        Constraint::JsonObject => 0,
        Constraint::JsonSchema(schema) => schema.to_string().len(),
        Constraint::Regex(text) | Constraint::Grammar(text) => text.len(),
        Constraint::Choice(choices) => choices.iter().map(String::len).sum(),
    }
}

fn guide(guided: &str, path: &str, value: Value) -> Result<Constraint, WireError> {
    match (guided, value) {
        ("guided_json", Value::String(text)) => match serde_json::from_str(&text) {
            Ok(schema) => Ok(Constraint::JsonSchema(schema)),
            Err(e) => {
                let message = format!("{path} is a text that is not JSON: {e}");
                Err(WireError::new(ErrorCode::InvalidOption, message).with_param(path))
            }
        },
        ("guided_json", schema @ (Value::Object(_) | Value::Bool(_))) => Ok(Constraint::JsonSchema(schema)),
        ("guided_json", other) => Err(wrong(path, &other, "a JSON schema")),
        ("guided_regex", Value::String(text)) => Ok(Constraint::Regex(text)),
        ("guided_grammar", Value::String(text)) => Ok(Constraint::Grammar(text)),
        ("guided_choice", Value::Array(items)) if !items.is_empty() => {
            let texts: Result<_, _> = items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    other => Err(wrong(path, &other, "a list of texts")),
                })
                .collect();
            texts.map(Constraint::Choice)
        }
        ("guided_choice", other) => Err(wrong(path, &other, "a list of texts, not empty")),
        (_, other) => Err(wrong(path, &other, "a text")),
    }
}

fn response_format(value: Value) -> Result<Option<Constraint>, WireError> {
    let mut format = Fields::inner(value, "response_format")?;
    let kind = format.word("type", &["text", "json_object", "json_schema"])?.ok_or_else(|| format.missing("type"))?;
    let constraint = match kind {
        "json_object" => Some(Constraint::JsonObject),
        "json_schema" => {
            let inner = format.take("json_schema").ok_or_else(|| format.missing("json_schema"))?;
            let mut inner = Fields::inner(inner, "response_format.json_schema")?;
            // Names and descriptions are for people, and an answer here always keeps to its schema.
            inner.take("name");
            inner.take("description");
            inner.switch("strict")?;
            let schema = inner.take("schema");
            let schema = schema.ok_or_else(|| inner.missing("schema"))?;
            inner.finish()?;
            Some(Constraint::JsonSchema(schema))
        }
        _ => None,
    };
    format.finish()?;
    Ok(constraint)
}
