//! A word n-gram language model with back-off, small enough for a speaker's flash.
//!
//! `docs/formats.md` gives the file byte by byte; [`mod@file`] reads and writes it, [`estimate`] makes a model from counts.

pub mod estimate;
pub mod file;

pub use estimate::{Counts, EstimateError, Pruning};
pub use file::{LmError, MAX_FILE_BYTES};

use super::lexicon::Lexicon;

/// Longest n-grams.
pub const MAX_ORDER: usize = 5;

/// Most words, specials not counted: ids are 16 bits.
pub const MAX_WORDS: usize = 60_000;

/// Logs are stored as whole multiples of −1/1024 nat in 16 bits: 0 to −63.999.
pub const STEPS_PER_NAT: f64 = 1024.0;

/// Id of any word that is not in the vocabulary.
pub const UNKNOWN: u16 = 0;
/// Id of a sentence's beginning.
pub const BEGIN: u16 = 1;
/// Id of a sentence's end.
pub const END: u16 = 2;
/// Id of the first word of the vocabulary.
pub const FIRST_WORD: u16 = 3;

/// The words before the next one: as many as the model's order needs, the newest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LmState {
    words: [u16; MAX_ORDER - 1],
    len: u8,
}

impl LmState {
    /// The words, oldest first.
    pub fn words(&self) -> &[u16] {
        &self.words[..self.len as usize]
    }

    /// The state after one more word, for a model of `order`.
    fn then(mut self, word: u16, order: usize) -> Self {
        if order < 2 {
            return Self::default();
        }
        if self.len as usize == order - 1 {
            self.words.copy_within(1..order - 1, 0);
            self.len -= 1;
        }
        self.words[self.len as usize] = word;
        self.len += 1;
        self
    }
}

/// All n-grams of one order, sorted by their words, so that those with one context stand together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Level {
    /// Last word of each n-gram. Empty for order 1, where the place is the word.
    pub(crate) words: Vec<u16>,
    /// Negated natural-log probability in steps.
    pub(crate) cost: Vec<u16>,
    /// Negated natural-log back-off weight in steps; empty at the highest order.
    pub(crate) back_off: Vec<u16>,
    /// N-grams of the next order that extend n-gram `i` are `children[i]..children[i + 1]`; empty at the highest order.
    pub(crate) children: Vec<u32>,
}

/// A word n-gram model, immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NgramLm {
    pub(crate) vocabulary: Lexicon,
    pub(crate) levels: Vec<Level>,
}

impl NgramLm {
    /// Longest n-grams that it holds.
    pub fn order(&self) -> usize {
        self.levels.len()
    }

    /// The words, sorted; word `i` has id `i + FIRST_WORD`.
    pub fn vocabulary(&self) -> &Lexicon {
        &self.vocabulary
    }

    /// Number of n-grams by order, unigrams first (specials counted).
    pub fn ngram_counts(&self) -> Vec<usize> {
        self.levels.iter().map(|level| level.cost.len()).collect()
    }

    /// Memory, bytes.
    pub fn memory_bytes(&self) -> usize {
        let level = |l: &Level| 2 * (l.words.len() + l.cost.len() + l.back_off.len()) + 4 * l.children.len();
        self.vocabulary.memory_bytes() + self.levels.iter().map(level).sum::<usize>()
    }

    /// Id of `word`, [`UNKNOWN`] when it is not in the vocabulary.
    pub fn id(&self, word: &str) -> u16 {
        self.vocabulary.position(word).map_or(UNKNOWN, |place| place as u16 + FIRST_WORD)
    }

    /// The state before a sentence's first word.
    pub fn begin(&self) -> LmState {
        LmState::default().then(BEGIN, self.order())
    }

    /// Natural-log probability of `word` after `state`, and the state after it. For [`UNKNOWN`] it is the probability
    /// of one particular unknown word, so that a made-up word costs more than a rare one.
    pub fn score(&self, state: LmState, word: u16) -> (f64, LmState) {
        let next = state.then(word, self.order());
        let mut back_off_steps = 0u32;
        for skip in 0..=state.words().len() {
            let Some(context) = self.find(&state.words()[skip..]) else { continue };
            match self.child(context, word) {
                Some(place) => {
                    let steps = back_off_steps + u32::from(self.levels[context.depth].cost[place]);
                    return (-f64::from(steps) / STEPS_PER_NAT, next);
                }
                None => back_off_steps += u32::from(self.levels[context.depth - 1].back_off[context.place]),
            }
        }
        // Ids come from `id` or are specials, and every one of them has a unigram.
        debug_assert!(false, "id {word} is not of this model");
        (f64::from(u16::MAX) / -STEPS_PER_NAT, next)
    }

    /// Natural-log probability that the sentence ends after `state`.
    pub fn score_end(&self, state: LmState) -> f64 {
        self.score(state, END).0
    }

    /// Natural-log probability of a whole sentence, its end included.
    pub fn score_sentence<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> f64 {
        let mut state = self.begin();
        let mut total = 0.0;
        for word in words {
            let (score, next) = self.score(state, self.id(word));
            (total, state) = (total + score, next);
        }
        total + self.score_end(state)
    }

    /// The n-gram `words` as a context.
    fn find(&self, words: &[u16]) -> Option<Context> {
        let mut context = Context { depth: 0, place: 0 };
        for &word in words {
            context = Context { place: self.child(context, word)?, depth: context.depth + 1 };
        }
        Some(context)
    }

    /// The n-gram that extends `context` by `word`: its place at level `context.depth`.
    fn child(&self, context: Context, word: u16) -> Option<usize> {
        let level = self.levels.get(context.depth)?;
        if context.depth == 0 {
            return (usize::from(word) < level.cost.len()).then_some(usize::from(word));
        }
        let children = &self.levels[context.depth - 1].children;
        let (start, end) = (children[context.place] as usize, children[context.place + 1] as usize);
        level.words[start..end].binary_search(&word).ok().map(|found| start + found)
    }
}

/// An n-gram of `depth` words at `place` of its level (`depth - 1`).
#[derive(Debug, Clone, Copy)]
struct Context {
    depth: usize,
    place: usize,
}

/// A probability as steps, rounded so that it never grows: sums stay at most 1.
pub(crate) fn steps(probability: f64) -> u16 {
    // `as` saturates; a probability of 0 is stored as the smallest one.
    (-probability.ln() * STEPS_PER_NAT).ceil().max(0.0) as u16
}

#[cfg(test)]
mod tests;
