//! Writing one window: what stands before its text, then token by token, greedily or by chance.

use std::sync::Arc;

use linnet_proto::WireError;

use super::config::Settings;
use super::rules::{Rules, log_sum_exp};
use crate::engine::{EngineError, Positions, Tensor};
use crate::task::decode::text::dice::{Dice, pick};
use crate::task::decode::text::distribution::{self, softmax};
use crate::task::model::{LanguageModel, Sequences};

/// Ids that are run between two looks at the checkpoint.
const PREFILL_CHUNK: usize = 16;

/// Looks whether to go on; its error is returned at once.
pub(super) type Checkpoint<'a> = &'a mut dyn FnMut() -> Result<(), WireError>;

/// The ids that stand before a window's text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prefix {
    /// All of them.
    pub(super) ids: Vec<u32>,
    /// Where among them the start of the transcript stands.
    pub(super) start: usize,
}

/// A window whose prefix was run.
pub(super) struct Begun {
    pub(super) sequences: Sequences,
    /// Logits of the first token of text.
    pub(super) logits: Vec<f32>,
    /// Logits behind the start of the transcript, where languages and silence are told.
    pub(super) at_start: Vec<f32>,
    pub(super) prefix: usize,
}

/// A window's text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Hypothesis {
    /// Its tokens; the end is the last where it came.
    pub(super) tokens: Vec<u32>,
    /// Log-probability of each, after the rules.
    pub(super) logprobs: Vec<f32>,
    /// What each token but the last listened to when it was read: `[alignment heads, encoder positions]`.
    pub(super) attention: Vec<Arc<[f32]>>,
}

impl Hypothesis {
    /// Mean log-probability of its tokens, the end among them.
    pub(super) fn avg_logprob(&self) -> f32 {
        let sum: f64 = self.logprobs.iter().map(|p| f64::from(*p)).sum();
        if self.logprobs.is_empty() { 0.0 } else { (sum / self.logprobs.len() as f64) as f32 }
    }

    /// Its tokens without the end.
    pub(super) fn text_tokens(&self, end: u32) -> &[u32] {
        match self.tokens.split_last() {
            Some((last, rest)) if *last == end => rest,
            _ => &self.tokens,
        }
    }
}

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Choice {
    /// The likeliest.
    Greedy,
    /// By chance, from the likeliest at a temperature above 0.
    Sampled {
        /// Divides the logits.
        temperature: f32,
        /// What decides, together with the token's place.
        dice: Dice,
    },
}

/// Runs `prefix`.
pub(super) fn begin(
    model: &mut dyn LanguageModel,
    prefix: &Prefix,
    checkpoint: Checkpoint<'_>,
) -> Result<Begun, WireError> {
    let mut sequences = model.begin()?;
    let (before, behind) = prefix.ids.split_at(prefix.start + 1);
    let mut run = |ids: &[u32], sequences: &mut Sequences| -> Result<Option<Vec<f32>>, WireError> {
        let mut last = None;
        for chunk in ids.chunks(PREFILL_CHUNK) {
            checkpoint()?;
            last = Some(model.step(sequences, &[chunk.to_vec()], Positions::Last)?.last(0).to_vec());
        }
        Ok(last)
    };
    let at_start = run(before, &mut sequences)?
        .ok_or_else(|| EngineError::Run("a window began without the start of its transcript".into()))?;
    let logits = run(behind, &mut sequences)?.unwrap_or_else(|| at_start.clone());
    Ok(Begun { sequences, logits, at_start, prefix: prefix.ids.len() })
}

/// Writes up to the end, at most to the model's longest sequence.
pub(super) fn write(
    model: &mut dyn LanguageModel,
    begun: &Begun,
    settings: &Settings,
    rules: &Rules<'_>,
    choice: Choice,
    checkpoint: Checkpoint<'_>,
) -> Result<Hypothesis, WireError> {
    let most = settings.max_length.saturating_sub(begun.prefix);
    let mut sequences = begun.sequences.fork();
    let mut scores = begun.logits.clone();
    let mut written = Hypothesis::default();
    while written.tokens.len() < most {
        checkpoint()?;
        rules.apply(&mut scores, &written.tokens);
        let token = match choice {
            Choice::Greedy => best(&scores),
            Choice::Sampled { temperature, dice } => {
                keep_best(&mut scores, settings.top_k);
                sample(&scores, temperature, dice.throw(written.tokens.len() as u64, 0))
            }
        };
        written.logprobs.push(scores[token as usize] - log_sum_exp(&scores));
        written.tokens.push(token);
        if token == settings.end || written.tokens.len() == most {
            break;
        }
        let logits = model.step(&mut sequences, &[vec![token]], Positions::Last)?;
        scores.clear();
        scores.extend_from_slice(logits.last(0));
        written.attention.extend(attention(model.attention(), settings, 0));
    }
    Ok(written)
}

/// What row `row` of the last step listened to; `None` where the graph does not tell. Without alignment heads those of the upper half of
/// the layers are taken, as OpenAI does.
pub(super) fn attention(layers: &[Tensor], settings: &Settings, row: usize) -> Option<Arc<[f32]>> {
    if layers.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    let mut take = |layer: usize, head: usize| -> Option<()> {
        let tensor = layers.get(layer)?;
        let [rows, heads, steps, positions] = tensor.shape[..] else { return None };
        let last = ((row * heads + head) * steps + steps.checked_sub(1)?) * positions;
        (row < rows && head < heads).then_some(())?;
        out.extend_from_slice(tensor.as_f32()?.get(last..last + positions)?);
        Some(())
    };
    match &settings.alignment_heads {
        Some(pairs) => pairs.iter().try_for_each(|(layer, head)| take(*layer, *head))?,
        None => {
            let heads = layers.first()?.shape.get(1).copied()?;
            (layers.len() / 2..layers.len()).try_for_each(|layer| (0..heads).try_for_each(|head| take(layer, head)))?;
        }
    }
    Some(out.into())
}

/// The likeliest token; of equal ones the lowest.
pub(super) fn best(scores: &[f32]) -> u32 {
    distribution::best(scores).unwrap_or_default() as u32
}

/// Puts −∞ everywhere but at the `most` best scores and what equals the last of them.
fn keep_best(scores: &mut [f32], most: usize) {
    if most == 0 || most >= scores.len() {
        return;
    }
    let mut ordered = scores.to_vec();
    let (_, least, _) = ordered.select_nth_unstable_by(most - 1, |a, b| b.total_cmp(a));
    let least = *least;
    scores.iter_mut().filter(|score| **score < least).for_each(|score| *score = f32::NEG_INFINITY);
}

/// A token by its probability at a temperature above 0.
fn sample(scores: &[f32], temperature: f32, chance: f64) -> u32 {
    let scaled: Vec<f32> = scores.iter().map(|score| score / temperature).collect();
    pick(&softmax(&scaled), chance).unwrap_or_default() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sampled_follows_the_probabilities() {
        let scores = [2f32.ln(), f32::NEG_INFINITY, 1f32.ln(), 1f32.ln()];
        let mut counts = [0; 4];
        (0..4000).for_each(|step| counts[sample(&scores, 1.0, Dice::new(1, 0).throw(step, 0)) as usize] += 1);
        assert_eq!(counts[1], 0, "what is forbidden never comes");
        assert!((1900..2100).contains(&counts[0]) && (900..1100).contains(&counts[2]), "{counts:?}");
        assert_eq!(sample(&scores, 0.01, 0.9), 0, "a low temperature leaves only the likeliest");
    }

    #[test]
    fn only_the_best_are_kept() {
        let mut scores = [1.0, 5.0, 3.0, 3.0, 2.0];
        keep_best(&mut scores, 2);
        assert_eq!(scores, [f32::NEG_INFINITY, 5.0, 3.0, 3.0, f32::NEG_INFINITY]);
    }
}
