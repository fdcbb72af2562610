//! Biases on tokens and on sequences of tokens; a bias of minus infinity is a bad word.

use std::collections::BTreeMap;

use super::{History, Process};

/// Adds to the score of each sequence's last token where the others came right before.
#[derive(Debug)]
pub struct SequenceBias {
    alone: Vec<(u32, f32)>,
    longer: Vec<(Vec<u32>, f32)>,
}

impl SequenceBias {
    /// `None` when there are none. Of two biases of the same sequence the later counts.
    pub fn new(biases: impl IntoIterator<Item = (Vec<u32>, f32)>) -> Option<Self> {
        let distinct: BTreeMap<Vec<u32>, f32> = biases.into_iter().filter(|(ids, _)| !ids.is_empty()).collect();
        let (alone, longer): (Vec<_>, Vec<_>) = distinct.into_iter().partition(|(ids, _)| ids.len() == 1);
        let alone: Vec<_> = alone.into_iter().map(|(ids, bias)| (ids[0], bias)).collect();
        (!alone.is_empty() || !longer.is_empty()).then_some(Self { alone, longer })
    }

    /// Sequences that are never completed. An end token alone is no bad word, as in `transformers`.
    pub fn bad_words(words: &[Vec<u32>], ends: &[u32]) -> Option<Self> {
        let kept = words.iter().filter(|word| !matches!(word.as_slice(), [only] if ends.contains(only)));
        Self::new(kept.map(|word| (word.clone(), f32::NEG_INFINITY)))
    }
}

impl Process for SequenceBias {
    fn apply(&self, history: &History<'_>, scores: &mut [f32]) {
        let mut sums: BTreeMap<u32, f32> = self.alone.iter().copied().collect();
        for (ids, bias) in &self.longer {
            let Some((last, before)) = ids.split_last() else { continue };
            // `transformers` passes over a sequence that is longer than what there is, the next token not counted.
            if ids.len() <= history.ids.len() && history.ids.ends_with(before) {
                *sums.entry(*last).or_default() += bias;
            }
        }
        for (id, bias) in sums {
            if let Some(score) = scores.get_mut(id as usize) {
                *score += bias;
            }
        }
    }
}
