//! Penalties on tokens that were there before.

use std::collections::BTreeMap;

use super::{History, Process};

/// Divides positive scores and multiplies negative ones of every token of prompt and answer.
#[derive(Debug)]
pub struct RepetitionPenalty(f32);

impl RepetitionPenalty {
    /// `None` for the penalty that does nothing.
    pub fn new(penalty: f64) -> Option<Self> {
        (penalty != 1.0).then_some(Self(penalty as f32))
    }
}

impl Process for RepetitionPenalty {
    fn apply(&self, history: &History<'_>, scores: &mut [f32]) {
        penalize(scores, distinct(history.ids), self.0);
    }
}

/// The reverse for tokens of the encoder's input: above 1 it keeps an answer near to it.
#[derive(Debug)]
pub struct EncoderRepetitionPenalty {
    penalty: f32,
    heard: Vec<u32>,
}

impl EncoderRepetitionPenalty {
    /// `None` for the penalty that does nothing, or without an encoder.
    pub fn new(penalty: f64, heard: Option<&[u32]>) -> Option<Self> {
        let heard = distinct(heard?);
        (penalty != 1.0).then(|| Self { penalty: (1.0 / penalty) as f32, heard })
    }
}

impl Process for EncoderRepetitionPenalty {
    fn apply(&self, _history: &History<'_>, scores: &mut [f32]) {
        penalize(scores, self.heard.iter().copied(), self.penalty);
    }
}

/// OpenAI's penalties: of each written token's score, `frequency` is taken once for each time, and `presence` once.
#[derive(Debug)]
pub struct WrittenPenalty {
    frequency: f32,
    presence: f32,
}

impl WrittenPenalty {
    /// `None` for the penalties that do nothing.
    pub fn new(frequency: f32, presence: f32) -> Option<Self> {
        (frequency != 0.0 || presence != 0.0).then_some(Self { frequency, presence })
    }
}

impl Process for WrittenPenalty {
    fn apply(&self, history: &History<'_>, scores: &mut [f32]) {
        let mut counts = BTreeMap::<u32, u32>::new();
        history.written().iter().for_each(|id| *counts.entry(*id).or_default() += 1);
        for (id, count) in counts {
            if let Some(score) = scores.get_mut(id as usize) {
                *score -= self.frequency * count as f32 + self.presence;
            }
        }
    }
}

fn penalize(scores: &mut [f32], ids: impl IntoIterator<Item = u32>, penalty: f32) {
    for id in ids {
        if let Some(score) = scores.get_mut(id as usize) {
            *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
        }
    }
}

fn distinct(ids: &[u32]) -> Vec<u32> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}
