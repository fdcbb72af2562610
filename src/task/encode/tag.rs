//! Entities and parts of speech, as transformers' `token-classification` pipeline gives them.

use linnet_proto::text::{Inputs, Nested, Results, TagRequest, Tagged};
use linnet_proto::{ErrorCode, WireError};
use serde_json::json;

use super::graph::{Encoder, Rows};
use super::{best, softmax};
use crate::task::TaskContext;
use crate::task::tokenizer::{Encoded, Origin};

/// How tokens become entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregation {
    None,
    Simple,
    First,
    Average,
    Max,
}

impl Aggregation {
    fn parse(name: Option<&str>) -> Result<Self, WireError> {
        Ok(match name.unwrap_or("simple") {
            "none" => Self::None,
            "simple" => Self::Simple,
            "first" => Self::First,
            "average" => Self::Average,
            "max" => Self::Max,
            other => {
                let message = format!("aggregation is {other:?}; it must be one of none, simple, first, average, max");
                return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("aggregation"));
            }
        })
    }
}

/// One token, or one word, with its probabilities.
struct Unit {
    start: usize,
    end: usize,
    scores: Vec<f32>,
}

pub(super) fn tag(
    encoder: &mut Encoder,
    request: &TagRequest,
    ctx: &TaskContext,
) -> Result<Results<Nested<Tagged>>, WireError> {
    let aggregation = Aggregation::parse(request.aggregation.as_deref())?;
    let mut all = Vec::new();
    let mut explanations = Vec::new();
    for text in request.input.texts() {
        ctx.checkpoint()?;
        let input = encoder.encode(text)?;
        let logits = encoder.run_for(&input, "logits")?;
        let labels = &encoder.shared.config.labels;
        if logits.width != labels.len() {
            let message = format!(
                "the graph gives {} scores, but config.json names {} labels; both must come from one export",
                logits.width,
                labels.len()
            );
            return Err(WireError::new(ErrorCode::ModelFailed, message));
        }
        let units = units(encoder, text, &input, &logits, aggregation);
        if request.explain {
            let tokens = units.iter().map(|unit| {
                let top =
                    best(&unit.scores, 3).into_iter().map(|i| json!({ "label": labels[i], "score": unit.scores[i] }));
                json!({ "word": &text[unit.start..unit.end], "top": top.collect::<Vec<_>>() })
            });
            explanations.push(json!(tokens.collect::<Vec<_>>()));
        }
        all.push(Nested::One(entities(text, &units, labels, aggregation)));
    }
    let results = match (&request.input, all.len()) {
        (Inputs::One(_), 1) => all.remove(0),
        _ => Nested::Many(all),
    };
    let explanation = request.explain.then(|| json!(explanations));
    Ok(Results { results, model: encoder.shared.name.clone(), explanation })
}

/// Tokens of the text, or words where the aggregation goes by words.
fn units(encoder: &Encoder, text: &str, input: &Encoded, logits: &Rows, aggregation: Aggregation) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut counts: Vec<usize> = Vec::new();
    let by_words = !matches!(aggregation, Aggregation::None | Aggregation::Simple);
    for place in 0..input.len().min(logits.positions()) {
        let (start, end) = input.offsets[place];
        let (start, end) = (start as usize, end as usize);
        if input.origins[place] == Origin::Layout || start >= end || end > text.len() {
            continue;
        }
        let scores = softmax(logits.at(place));
        let joins = by_words && units.last().is_some() && continues_word(encoder, text, input.ids[place], start);
        match units.last_mut().filter(|_| joins) {
            None => {
                units.push(Unit { start, end, scores });
                counts.push(1);
            }
            Some(unit) => {
                unit.end = end;
                match aggregation {
                    Aggregation::Average => unit.scores.iter_mut().zip(&scores).for_each(|(sum, s)| *sum += s),
                    Aggregation::Max => {
                        let top = |scores: &[f32]| scores.iter().copied().fold(0.0, f32::max);
                        if top(&scores) > top(&unit.scores) {
                            unit.scores = scores;
                        }
                    }
                    _ => {}
                }
                if let Some(count) = counts.last_mut() {
                    *count += 1;
                }
            }
        }
    }
    if aggregation == Aggregation::Average {
        for (unit, count) in units.iter_mut().zip(&counts) {
            unit.scores.iter_mut().for_each(|score| *score /= *count as f32);
        }
    }
    units
}

/// Whether a token that begins at `start` goes on with the word before it: WordPiece says so, for others there is no blank between. As
/// transformers has it.
fn continues_word(encoder: &Encoder, text: &str, id: u32, start: usize) -> bool {
    if encoder.shared.config.word_pieces {
        return encoder.shared.tokenizer.id_to_token(id).is_some_and(|token| token.starts_with("##"));
    }
    let before = text[..start].chars().next_back();
    let first = text[start..].chars().next();
    before.is_some_and(|c| c != ' ') && first != Some(' ')
}

fn entities(text: &str, units: &[Unit], labels: &[String], aggregation: Aggregation) -> Vec<Tagged> {
    let chars = |at: usize| text[..at].chars().count();
    let tagged = |label: &str, score: f32, start: usize, end: usize| Tagged {
        label: label.to_owned(),
        score,
        word: text[start..end].trim().to_owned(),
        start: chars(start),
        end: chars(end),
    };
    let top = |unit: &Unit| best(&unit.scores, 1).first().map(|i| (labels[*i].as_str(), unit.scores[*i]));
    let mut found: Vec<Tagged> = Vec::new();
    if aggregation == Aggregation::None {
        let outside = |label: &str| label == "O";
        return units
            .iter()
            .filter_map(|unit| Some((unit, top(unit)?)))
            .filter(|(_, (label, _))| !outside(label))
            .map(|(unit, (label, score))| tagged(label, score, unit.start, unit.end))
            .collect();
    }
    // Neighbours of one kind are one entity, unless the second begins anew.
    let mut open: Option<(&str, Vec<f32>, usize, usize)> = None;
    let mut close = |open: Option<(&str, Vec<f32>, usize, usize)>| {
        if let Some((kind, scores, start, end)) = open {
            let mean = scores.iter().sum::<f32>() / scores.len() as f32;
            found.push(tagged(kind, mean, start, end));
        }
    };
    for unit in units {
        let Some((label, score)) = top(unit) else { continue };
        let (begins, kind) = match label.split_once('-') {
            Some(("B", kind)) => (true, kind),
            Some(("I", kind)) => (false, kind),
            _ => (false, label),
        };
        if kind == "O" {
            close(open.take());
            continue;
        }
        match &mut open {
            Some((own, scores, _, end)) if *own == kind && !begins => {
                scores.push(score);
                *end = unit.end;
            }
            _ => {
                close(open.take());
                open = Some((kind, vec![score], unit.start, unit.end));
            }
        }
    }
    close(open);
    found
}
