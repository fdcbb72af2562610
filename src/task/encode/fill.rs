//! Words for masks, as transformers' `fill-mask` pipeline gives them.

use linnet_proto::text::{FillCandidate, FillRequest, Nested, Results};
use linnet_proto::{ErrorCode, WireError};
use serde_json::json;

use super::graph::Encoder;
use super::{best, refused, softmax};
use crate::task::TaskContext;
use crate::task::tokenizer::{Encode, Encoded};

/// Candidates for each mask when nothing says.
const DEFAULT_TOP_K: u32 = 5;
/// What people write for a mask, whatever the model's own is.
const MASKS: [&str; 2] = ["[MASK]", "<mask>"];

pub(super) fn fill(
    encoder: &mut Encoder,
    request: &FillRequest,
    ctx: &TaskContext,
) -> Result<Results<Nested<FillCandidate>>, WireError> {
    let mut all = Vec::new();
    let mut explanations = Vec::new();
    for text in request.input.texts() {
        ctx.checkpoint()?;
        let (found, explanation) = fill_one(encoder, text, request)?;
        all.push(found);
        explanations.push(explanation);
    }
    let results = match (&request.input, all.len()) {
        (linnet_proto::text::Inputs::One(_), 1) => all.remove(0),
        _ => Nested::Many(all),
    };
    let explanation = request.explain.then(|| json!(explanations));
    Ok(Results { results, model: encoder.shared.name.clone(), explanation })
}

fn fill_one(
    encoder: &mut Encoder,
    text: &str,
    request: &FillRequest,
) -> Result<(Nested<FillCandidate>, serde_json::Value), WireError> {
    let bad = |message: &str| WireError::new(ErrorCode::InvalidRequest, message).with_param("input");
    let mask = encoder.shared.tokenizer.special().mask;
    let Some(mask) = mask else { return Err(bad("the model's tokenizer has no mask token; it cannot fill masks")) };
    let input = encode(encoder, text, mask)?;
    let places: Vec<usize> = (0..input.len()).filter(|i| input.ids[*i] == mask).collect();
    if places.is_empty() {
        return Err(bad("the input holds no mask; write [MASK] or <mask> where a word is missing"));
    }
    let logits = encoder.run_for(&input, "logits")?;
    let targets = targets(encoder, &request.targets)?;
    let top_k = request.top_k.unwrap_or(DEFAULT_TOP_K) as usize;
    let tokenizer = &encoder.shared.tokenizer;
    let pad = tokenizer.special().pad;
    let mut explained = Vec::new();
    let lists: Vec<Vec<FillCandidate>> = places
        .iter()
        .map(|&place| {
            let probabilities = softmax(logits.at(place));
            let entropy: f32 = probabilities.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
            explained.push(json!({ "mask": place, "entropy": entropy, "rule": "softmax over the vocabulary" }));
            let ids: Vec<usize> = match targets.as_slice() {
                [] => best(&probabilities, top_k),
                ids => {
                    let of: Vec<f32> = ids.iter().map(|id| probabilities[*id]).collect();
                    best(&of, top_k).into_iter().map(|i| ids[i]).collect()
                }
            };
            ids.into_iter()
                .map(|id| {
                    let mut filled = input.ids.clone();
                    filled[place] = id as u32;
                    filled.retain(|own| Some(*own) != pad);
                    FillCandidate {
                        token_str: tokenizer.decode(&[id as u32], false),
                        token: id as u32,
                        score: probabilities[id],
                        // With several masks the others must stay to be seen.
                        sequence: tokenizer.decode(&filled, places.len() == 1),
                    }
                })
                .collect()
        })
        .collect();
    let mut lists = lists;
    let nested = match lists.len() {
        1 => Nested::One(lists.remove(0)),
        _ => Nested::Many(lists.into_iter().map(Nested::One).collect()),
    };
    Ok((nested, json!(explained)))
}

/// Ids of a text whose masks, and nothing else in it, are special tokens.
fn encode(encoder: &Encoder, text: &str, mask: u32) -> Result<Encoded, WireError> {
    let own = encoder.shared.tokenizer.id_to_token(mask).unwrap_or_default();
    let mut written = String::with_capacity(text.len());
    let mut inside = Vec::new();
    let mut rest = text;
    while let Some((at, marker)) = MASKS
        .iter()
        .copied()
        .chain(std::iter::once(own.as_str()))
        .filter(|marker| !marker.is_empty())
        .filter_map(|marker| Some((rest.find(marker)?, marker)))
        .min_by_key(|(at, _)| *at)
    {
        written.push_str(&rest[..at]);
        let start = written.len();
        written.push_str(&own);
        inside.push(start..written.len());
        rest = &rest[at + marker.len()..];
    }
    written.push_str(rest);
    let in_mask = |at: usize| inside.iter().any(|mask| mask.start < at && at < mask.end);
    let guards: Vec<usize> = (0..=written.len()).filter(|at| !in_mask(*at)).collect();
    let how = Encode { max_tokens: encoder.shared.config.max_tokens, ..Encode::default() };
    encoder.shared.tokenizer.encode_guarded(&written, &guards, how).map_err(|e| refused(&e))
}

/// Ids of the words that alone are wanted.
fn targets(encoder: &Encoder, words: &[String]) -> Result<Vec<usize>, WireError> {
    let tokenizer = &encoder.shared.tokenizer;
    let plain = Encode { add_special: false, ..Encode::default() };
    words
        .iter()
        .map(|word| {
            if let Some(id) = tokenizer.token_to_id(word) {
                return Ok(id as usize);
            }
            let ids = tokenizer.encode(word, plain).map_err(|e| refused(&e))?.ids;
            match ids.as_slice() {
                [id] => Ok(*id as usize),
                _ => {
                    let message =
                        format!("{word:?} is not one token of the model's vocabulary, so that no mask can hold it");
                    Err(WireError::new(ErrorCode::InvalidOption, message).with_param("targets"))
                }
            }
        })
        .collect()
}
