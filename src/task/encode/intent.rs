//! What somebody wants: by the model's own labels, or by sentences that show each intent.
//!
//! With examples the intent is the one whose nearest example is nearest to the input (cosine of their vectors). An example may hold
//! slots in braces (`turn on the {device}`): where the winner's examples match the input word by word, what stands in their place
//! are the slots.

use std::collections::BTreeMap;

use linnet_proto::text::{ClassifyRequest, Inputs, Intent, IntentRequest, Label, Tagged};
use linnet_proto::{ErrorCode, WireError};

use super::graph::Encoder;
use super::{classify, embed};
use crate::task::TaskContext;

/// Below this an input is out of scope when nothing says.
const DEFAULT_THRESHOLD: f32 = 0.5;
/// Names of labels that mean that nothing was meant.
const OUT_OF_SCOPE: [&str; 4] = ["oos", "out_of_scope", "none", "out-of-scope"];

pub(super) fn intent(encoder: &mut Encoder, request: &IntentRequest, ctx: &TaskContext) -> Result<Intent, WireError> {
    if request.input.trim().is_empty() {
        let message = "input is empty; nothing was said";
        return Err(WireError::new(ErrorCode::InvalidRequest, message).with_param("input"));
    }
    let labels = if request.intents.is_empty() {
        if !encoder.shared.tasks.iter().any(|task| task == "classify") {
            let message = format!(
                "the model {} knows no intents; give some, each with examples, as `intents`",
                encoder.shared.name
            );
            return Err(WireError::new(ErrorCode::UnsupportedTask, message).with_param("intents"));
        }
        let asked = ClassifyRequest { input: Inputs::One(request.input.clone()), ..ClassifyRequest::default() };
        classify::labels(encoder, &request.input, &asked, ctx)?
    } else {
        by_examples(encoder, request, ctx)?
    };
    let threshold = request.threshold.unwrap_or(DEFAULT_THRESHOLD);
    let best = labels.first().cloned().unwrap_or_default();
    let out_of_scope = best.score < threshold || OUT_OF_SCOPE.contains(&best.label.to_lowercase().as_str());
    let slots = match request.intents.get(&best.label).filter(|_| !out_of_scope) {
        Some(examples) => examples.iter().find_map(|example| slots(example, &request.input)).unwrap_or_default(),
        None => Vec::new(),
    };
    Ok(Intent {
        intent: (!out_of_scope).then_some(best.label),
        score: best.score,
        slots,
        out_of_scope,
        model: encoder.shared.name.clone(),
        candidates: if request.explain { labels } else { Vec::new() },
    })
}

/// Intents by the nearest of their examples, best first; the score is the cosine, from 0.
fn by_examples(encoder: &mut Encoder, request: &IntentRequest, ctx: &TaskContext) -> Result<Vec<Label>, WireError> {
    let own = vector(encoder, &request.input)?;
    let mut scores: BTreeMap<&str, f32> = BTreeMap::new();
    for (intent, examples) in &request.intents {
        for example in examples {
            ctx.checkpoint()?;
            let near = cosine(&own, &vector(encoder, &example.replace(['{', '}'], ""))?);
            let score = scores.entry(intent).or_insert(0.0);
            *score = score.max(near);
        }
    }
    let mut labels: Vec<Label> =
        scores.into_iter().map(|(label, score)| Label { label: label.to_owned(), score }).collect();
    labels.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(labels)
}

fn vector(encoder: &mut Encoder, text: &str) -> Result<Vec<f32>, WireError> {
    let input = encoder.encode(text)?;
    let pooling = encoder.shared.config.pooling;
    embed::vector(encoder, &input, pooling)
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot: f32 = a.iter().zip(b).map(|(x, y)| x * y).sum();
    let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    dot / (length(a) * length(b)).max(1e-12)
}

/// What stands in the places of an example's braces, when the rest of it matches the input word by word. A slot takes at least one word, and
/// as few as it can.
fn slots(example: &str, input: &str) -> Option<Vec<Tagged>> {
    let pattern: Vec<&str> = words(example).into_iter().map(|(_, word)| word).collect();
    if !pattern.iter().any(|word| slot_name(word).is_some()) {
        return None;
    }
    let words = words(input);
    let mut places = vec![(0, 0); pattern.len()];
    matches(&pattern, &words, 0, 0, &mut places).then(|| {
        pattern
            .iter()
            .zip(places)
            .filter_map(|(word, (from, to))| {
                let (start, end) = (words[from].0, words[to - 1].0 + words[to - 1].1.len());
                Some(Tagged {
                    label: slot_name(word)?.to_owned(),
                    score: 1.0,
                    word: input[start..end].to_owned(),
                    start: input[..start].chars().count(),
                    end: input[..end].chars().count(),
                })
            })
            .collect()
    })
}

fn slot_name(word: &str) -> Option<&str> {
    word.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).filter(|name| !name.is_empty())
}

fn matches(pattern: &[&str], words: &[(usize, &str)], at: usize, from: usize, places: &mut [(usize, usize)]) -> bool {
    let Some(wanted) = pattern.get(at) else { return from == words.len() };
    let most = if slot_name(wanted).is_some() { words.len() } else { (from + 1).min(words.len()) };
    for to in from + 1..=most {
        let fits = slot_name(wanted).is_some() || plain(wanted) == plain(words[from].1);
        if fits && matches(pattern, words, at + 1, to, places) {
            places[at] = (from, to);
            return true;
        }
    }
    false
}

fn plain(word: &str) -> String {
    word.trim_matches(|c: char| c.is_ascii_punctuation()).to_lowercase()
}

fn words(text: &str) -> Vec<(usize, &str)> {
    text.split_whitespace().map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_what_stands_where_the_example_has_braces() {
        let found =
            slots("set {room} lights to {colour}", "Set the living room lights to warm white.").expect("it matches");
        let shown: Vec<_> = found.iter().map(|s| (s.label.as_str(), s.word.as_str(), s.start, s.end)).collect();
        assert_eq!(shown, [("room", "the living room", 4, 19), ("colour", "warm white.", 30, 41)]);
        assert_eq!(slots("set {room} lights to {colour}", "set lights to red"), None, "a slot takes at least one word");
        assert_eq!(slots("turn it off", "turn it off"), None, "no slots, nothing to tell");
    }
}
