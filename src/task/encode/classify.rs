//! Labels of a text, by the model's own head or, for labels that somebody thinks of, by entailment.

use linnet_proto::text::{ClassifyRequest, Inputs, Label, Nested, Results};
use linnet_proto::{ErrorCode, WireError};
use serde_json::{Value, json};

use super::graph::Encoder;
use super::{best, sigmoid, softmax};
use crate::task::TaskContext;

/// What a label completes when nothing says.
const HYPOTHESIS: &str = "This example is {}.";
/// Most words that are left out one by one to explain a score.
const MOST_OCCLUSIONS: usize = 256;

pub(super) fn classify(
    encoder: &mut Encoder,
    request: &ClassifyRequest,
    ctx: &TaskContext,
) -> Result<Results<Nested<Label>>, WireError> {
    let mut all = Vec::new();
    let mut explanations = Vec::new();
    for text in request.input.texts() {
        ctx.checkpoint()?;
        let labels = labels(encoder, text, request, ctx)?;
        if request.explain {
            explanations.push(occlusion(encoder, text, request, &labels, ctx)?);
        }
        let shown = request.top_k.map_or(labels.len(), |k| k as usize);
        all.push(Nested::One(labels.into_iter().take(shown).collect()));
    }
    let results = match (&request.input, all.len()) {
        (Inputs::One(_), 1) => all.remove(0),
        _ => Nested::Many(all),
    };
    let explanation = request.explain.then(|| json!(explanations));
    Ok(Results { results, model: encoder.shared.name.clone(), explanation })
}

/// All labels of one text, best first.
pub(super) fn labels(
    encoder: &mut Encoder,
    text: &str,
    request: &ClassifyRequest,
    ctx: &TaskContext,
) -> Result<Vec<Label>, WireError> {
    if !request.labels.is_empty() {
        return zero_shot(encoder, text, request, ctx);
    }
    let input = match &request.text_pair {
        Some(pair) => encoder.encode_pair(text, pair)?,
        None => encoder.encode(text)?,
    };
    let logits = encoder.run_for(&input, "logits")?;
    let config = &encoder.shared.config;
    if logits.width != config.labels.len() {
        let message = format!(
            "the graph gives {} scores, but config.json names {} labels; both must come from one export",
            logits.width,
            config.labels.len()
        );
        return Err(WireError::new(ErrorCode::ModelFailed, message));
    }
    let several = request.multi_label.unwrap_or(config.multi_label || logits.width == 1);
    let scores: Vec<f32> =
        if several { logits.data.iter().map(|x| sigmoid(*x)).collect() } else { softmax(&logits.data) };
    Ok(ranked(&scores, &config.labels))
}

/// Entailment of "this is LABEL" by the text, as transformers' `zero-shot-classification` pipeline scores it.
fn zero_shot(
    encoder: &mut Encoder,
    text: &str,
    request: &ClassifyRequest,
    ctx: &TaskContext,
) -> Result<Vec<Label>, WireError> {
    let config = &encoder.shared.config;
    let Some(entailment) = config.label_like("entail") else {
        let message = format!(
            "the model {} has its own labels ({}); labels of a request need a model of entailment",
            encoder.shared.name,
            config.labels.join(", ")
        );
        return Err(WireError::new(ErrorCode::UnsupportedTask, message).with_param("labels"));
    };
    let contradiction =
        config.label_like("contra").unwrap_or(if entailment == 0 { config.labels.len() - 1 } else { 0 });
    let template = request.hypothesis_template.as_deref().unwrap_or(HYPOTHESIS);
    if !template.contains("{}") {
        let message = "hypothesis_template holds no {}, where the label goes";
        return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("hypothesis_template"));
    }
    let mut logits = Vec::with_capacity(request.labels.len());
    for label in &request.labels {
        ctx.checkpoint()?;
        let input = encoder.encode_pair(text, &template.replace("{}", label))?;
        let row = encoder.run_for(&input, "logits")?;
        let of = |id: usize| row.data.get(id).copied().unwrap_or(f32::NEG_INFINITY);
        logits.push([of(contradiction), of(entailment)]);
    }
    let scores: Vec<f32> = if request.multi_label.unwrap_or(request.labels.len() == 1) {
        logits.iter().map(|pair| softmax(pair)[1]).collect()
    } else {
        softmax(&logits.iter().map(|pair| pair[1]).collect::<Vec<_>>())
    };
    Ok(ranked(&scores, &request.labels))
}

fn ranked(scores: &[f32], labels: &[String]) -> Vec<Label> {
    best(scores, scores.len()).into_iter().map(|i| Label { label: labels[i].clone(), score: scores[i] }).collect()
}

/// What leaving out each word does to the best label's score: one more run of the model for each word.
fn occlusion(
    encoder: &mut Encoder,
    text: &str,
    request: &ClassifyRequest,
    labels: &[Label],
    ctx: &TaskContext,
) -> Result<Value, WireError> {
    let Some(first) = labels.first() else { return Ok(Value::Null) };
    let words: Vec<(usize, &str)> = words(text);
    let mut changes = Vec::new();
    for (start, word) in words.iter().take(MOST_OCCLUSIONS) {
        ctx.checkpoint()?;
        let without = format!("{}{}", &text[..*start], &text[start + word.len()..]);
        if without.trim().is_empty() {
            continue;
        }
        let again = self::labels(encoder, &without, request, ctx)?;
        let score = again.iter().find(|label| label.label == first.label).map_or(0.0, |label| label.score);
        changes.push(json!({ "word": word, "start": text[..*start].chars().count(), "change": first.score - score }));
    }
    Ok(json!({
        "label": first.label,
        "method": "occlusion",
        "words": changes,
        "runs": changes.len(),
        "complete": words.len() <= MOST_OCCLUSIONS,
    }))
}

/// Words of a text with the bytes where they begin.
fn words(text: &str) -> Vec<(usize, &str)> {
    text.split_whitespace().map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word)).collect()
}
