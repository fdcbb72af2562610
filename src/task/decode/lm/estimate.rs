//! From counted sentences to a model: interpolated modified Kneser-Ney smoothing
//! (Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", 1998), stored as back-off.

use std::collections::{BTreeSet, HashMap};

use super::{BEGIN, END, FIRST_WORD, Level, MAX_FILE_BYTES, MAX_ORDER, MAX_WORDS, NgramLm, UNKNOWN, steps};
use crate::task::decode::lexicon::Lexicon;

/// The word ids of an n-gram, the rest 0. Only n-grams of one order are ever compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Gram {
    words: [u16; MAX_ORDER],
}

impl Gram {
    fn of(words: &[u16]) -> Self {
        let mut gram = Self { words: [0; MAX_ORDER] };
        gram.words[..words.len()].copy_from_slice(words);
        gram
    }
}

/// Why counts give no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EstimateError {
    /// Order out of range.
    #[error("the order is {0}; it must be 1 to {MAX_ORDER}")]
    Order(usize),
    /// Too many words.
    #[error("the vocabulary has {0} words; at most {MAX_WORDS} are taken: raise the least count")]
    Vocabulary(usize),
    /// A word is longer than the format's 255 bytes, or empty.
    #[error("a word of {0} bytes cannot be stored; words have 1 to 255 bytes")]
    Word(usize),
    /// Nothing was counted.
    #[error("no sentence was counted; give some text")]
    Empty,
    /// Even the unigrams are too large.
    #[error(
        "the model has {bytes} bytes with all longer n-grams pruned; at most {wanted} are wanted: use a smaller vocabulary"
    )]
    TooLarge {
        /// What is left.
        bytes: usize,
        /// The bound.
        wanted: usize,
    },
}

/// Least count that an n-gram needs to be kept, by order; orders beyond the list use its last entry. Unigrams are always kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruning(pub Vec<u32>);

impl Pruning {
    fn least(&self, order: usize) -> u32 {
        self.0.get(order - 1).or(self.0.last()).copied().unwrap_or(1)
    }
}

/// Counts of n-grams over sentences.
#[derive(Debug, Clone)]
pub struct Counts {
    order: usize,
    vocabulary: Lexicon,
    /// By order, from 1.
    raw: Vec<HashMap<Gram, u32>>,
    line: Vec<u16>,
}

impl Counts {
    /// Counts for a model of `order` over `vocabulary`; every other word is the one unknown word.
    pub fn new<S: AsRef<str>>(order: usize, vocabulary: impl IntoIterator<Item = S>) -> Result<Self, EstimateError> {
        if !(1..=MAX_ORDER).contains(&order) {
            return Err(EstimateError::Order(order));
        }
        let vocabulary = Lexicon::new(vocabulary);
        if vocabulary.len() > MAX_WORDS {
            return Err(EstimateError::Vocabulary(vocabulary.len()));
        }
        let lens = (0..vocabulary.len()).map(|i| vocabulary.get(i).len());
        if let Some(len) = lens.clone().find(|&len| len == 0 || len > 255) {
            return Err(EstimateError::Word(len));
        }
        Ok(Self { order, vocabulary, raw: vec![HashMap::new(); order], line: Vec::new() })
    }

    /// Counts one sentence; an empty one is passed over.
    pub fn add_sentence<'a>(&mut self, words: impl IntoIterator<Item = &'a str>) {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        line.push(BEGIN);
        let id = |w: &str| self.vocabulary.position(w).map_or(UNKNOWN, |place| place as u16 + FIRST_WORD);
        line.extend(words.into_iter().map(id));
        if line.len() > 1 {
            line.push(END);
            for end in 2..=line.len() {
                for order in 1..=self.order.min(end) {
                    let count = self.raw[order - 1].entry(Gram::of(&line[end - order..end])).or_default();
                    *count = count.saturating_add(1);
                }
            }
        }
        self.line = line;
    }

    /// Number of different n-grams by order.
    pub fn distinct(&self) -> Vec<usize> {
        self.raw.iter().map(HashMap::len).collect()
    }

    /// A model whose file has at most `max_bytes` (never more than [`MAX_FILE_BYTES`]): prunes with ever higher
    /// least counts, the highest order first, until it fits. `unknown_words` is the number of words of the language
    /// that the vocabulary lacks, among which the unknown word's probability is shared.
    pub fn estimate_within(&self, max_bytes: usize, unknown_words: u32) -> Result<NgramLm, EstimateError> {
        let max_bytes = max_bytes.min(MAX_FILE_BYTES);
        let mut pruning = Pruning((1..=self.order as u32).map(|n| if n > 2 { 2 } else { 1 }).collect());
        loop {
            let model = self.estimate(&pruning, unknown_words)?;
            let counts = model.ngram_counts();
            if model.file_bytes() <= max_bytes {
                return Ok(model);
            }
            // The order that takes most beyond unigrams gives way.
            let Some(largest) = (1..self.order).max_by_key(|&o| counts[o]).filter(|&o| counts[o] > 0) else {
                return Err(EstimateError::TooLarge { bytes: model.file_bytes(), wanted: max_bytes });
            };
            pruning.0[largest] += 1 + pruning.0[largest] / 4;
        }
    }

    /// A model of the n-grams that `pruning` keeps.
    pub fn estimate(&self, pruning: &Pruning, unknown_words: u32) -> Result<NgramLm, EstimateError> {
        if self.raw[0].is_empty() {
            return Err(EstimateError::Empty);
        }
        let mut model = Smoothed { probability: Vec::new(), back_off: Vec::new() };
        let kept = self.kept(pruning);
        for order in 1..=self.order {
            let counts = self.smoothing_counts(order);
            let discounts = Discounts::of(counts.values().copied());
            if order == 1 {
                model.add_unigrams(&counts, &discounts, self.vocabulary.len());
            } else {
                model.add_order(order, &counts, &discounts, &kept[order - 1]);
            }
        }
        let levels = (1..=self.order).map(|order| model.level(order, &kept, unknown_words)).collect();
        Ok(NgramLm { vocabulary: self.vocabulary.clone(), levels })
    }

    /// The n-grams to store, by order: those frequent enough, and all beginnings of kept ones, so that each has its place in the tree.
    fn kept(&self, pruning: &Pruning) -> Vec<BTreeSet<Gram>> {
        let mut kept: Vec<BTreeSet<Gram>> = vec![BTreeSet::new(); self.order];
        for order in (2..=self.order).rev() {
            let least = pruning.least(order);
            let frequent = self.raw[order - 1].iter().filter(|(_, count)| **count >= least).map(|(gram, _)| *gram);
            let beginnings: Vec<Gram> = match kept.get(order) {
                Some(longer) => longer.iter().map(|gram| Gram::of(&gram.words[..order])).collect(),
                None => Vec::new(),
            };
            kept[order - 1] = frequent.chain(beginnings).collect();
        }
        let ids = self.vocabulary.len() as u16 + FIRST_WORD;
        kept[0] = (0..ids).map(|id| Gram::of(&[id])).collect();
        kept
    }

    /// Raw counts at the highest order; below it the number of different words that precede the n-gram, as Kneser
    /// and Ney have it, but raw counts where nothing can precede: after a sentence's beginning.
    fn smoothing_counts(&self, order: usize) -> HashMap<Gram, u32> {
        if order == self.order {
            return self.raw[order - 1].clone();
        }
        let mut counts = HashMap::new();
        for gram in self.raw[order].keys() {
            *counts.entry(Gram::of(&gram.words[1..=order])).or_default() += 1;
        }
        for (gram, &count) in self.raw[order - 1].iter().filter(|(gram, _)| gram.words[0] == BEGIN) {
            counts.insert(*gram, count);
        }
        counts
    }
}

/// What is taken from counts of 1, 2 and more.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Discounts([f64; 3]);

impl Discounts {
    /// Chen and Goodman's closed forms; the plain absolute discount where the text is too small for them.
    fn of(counts: impl Iterator<Item = u32>) -> Self {
        let mut of_count = [0f64; 4];
        for count in counts {
            if let 1..=4 = count {
                of_count[count as usize - 1] += 1.0;
            }
        }
        let [n1, n2, n3, n4] = of_count;
        if n1 == 0.0 || n2 == 0.0 {
            return Self([0.5; 3]);
        }
        let y = n1 / (n1 + 2.0 * n2);
        let d1 = 1.0 - 2.0 * y * n2 / n1;
        let d2 = if n3 > 0.0 { 2.0 - 3.0 * y * n3 / n2 } else { y };
        let d3 = if n3 > 0.0 && n4 > 0.0 { 3.0 - 4.0 * y * n4 / n3 } else { d2 };
        // Odd counts of counts may give odd values; a discount lies between nothing and the count.
        Self([d1.clamp(0.1, 0.95), d2.clamp(0.1, 1.95), d3.clamp(0.1, 2.95)])
    }

    /// What is left of a count.
    fn left(&self, count: u32) -> f64 {
        let discount = self.0[(count.clamp(1, 3) - 1) as usize];
        (f64::from(count) - discount).max(0.0)
    }
}

/// Probabilities of kept n-grams and back-off weights of their contexts, by order.
struct Smoothed {
    probability: Vec<HashMap<Gram, f64>>,
    /// `back_off[n - 1]` belongs to contexts of `n` words; an absent one is 1.
    back_off: Vec<HashMap<Gram, f64>>,
}

impl Smoothed {
    /// Order 1: discounted, the rest spread evenly over the words, the end and the unknown word.
    fn add_unigrams(&mut self, counts: &HashMap<Gram, u32>, discounts: &Discounts, words: usize) {
        let total: f64 = counts.values().map(|&c| f64::from(c)).sum();
        let used: f64 = counts.values().map(|&c| discounts.left(c)).sum();
        let even = (1.0 - used / total) / (words + 2) as f64;
        let ids = (0..words as u16 + FIRST_WORD).filter(|&id| id != BEGIN);
        let probability = ids.map(|id| {
            let gram = Gram::of(&[id]);
            (gram, counts.get(&gram).map_or(0.0, |&c| discounts.left(c) / total) + even)
        });
        self.probability.push(probability.collect());
    }

    /// Order 2 and above. What the pruned n-grams had goes to their context's back-off, so that probabilities sum to 1.
    fn add_order(&mut self, order: usize, counts: &HashMap<Gram, u32>, d: &Discounts, kept: &BTreeSet<Gram>) {
        let mut totals: HashMap<Gram, (f64, f64)> = HashMap::new();
        for (gram, &count) in counts {
            let (total, used) = totals.entry(Gram::of(&gram.words[..order - 1])).or_default();
            *total += f64::from(count);
            if kept.contains(gram) {
                *used += d.left(count);
            }
        }
        let mut probability = HashMap::with_capacity(kept.len());
        for gram in kept {
            let (total, used) = totals[&Gram::of(&gram.words[..order - 1])];
            let own = d.left(counts[gram]) / total;
            let lower = self.probability(&gram.words[1..order]);
            probability.insert(*gram, own + (1.0 - used / total) * lower);
        }
        self.probability.push(probability);
        self.back_off.push(totals.into_iter().map(|(context, (total, used))| (context, 1.0 - used / total)).collect());
    }

    /// Probability of the last word after the others.
    fn probability(&self, words: &[u16]) -> f64 {
        if let Some(&p) = self.probability[words.len() - 1].get(&Gram::of(words)) {
            return p;
        }
        if words.len() == 1 {
            return 0.0;
        }
        let context = Gram::of(&words[..words.len() - 1]);
        let weight = self.back_off[words.len() - 2].get(&context).copied().unwrap_or(1.0);
        weight * self.probability(&words[1..])
    }

    /// The stored form of an order.
    fn level(&self, order: usize, kept: &[BTreeSet<Gram>], unknown_words: u32) -> Level {
        let mut level = Level::default();
        let longer = kept.get(order);
        let mut children = longer.map(|l| l.iter().peekable());
        if longer.is_some() {
            level.children.push(0);
        }
        for gram in &kept[order - 1] {
            let word = gram.words[order - 1];
            if order > 1 {
                level.words.push(word);
            }
            // The unknown word is a class; what is stored is one member's share.
            let share = if word == UNKNOWN { f64::from(unknown_words.max(1)) } else { 1.0 };
            let probability = self.probability[order - 1].get(gram).copied().unwrap_or(0.0);
            level.cost.push(steps(probability / share));
            if let Some(children) = &mut children {
                level.back_off.push(steps(self.back_off[order - 1].get(gram).copied().unwrap_or(1.0)));
                let before = level.children.last().copied().unwrap_or(0);
                let mut count = 0;
                while children.next_if(|child| child.words[..order] == gram.words[..order]).is_some() {
                    count += 1;
                }
                level.children.push(before + count);
            }
        }
        level
    }
}
