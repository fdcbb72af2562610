//! Prefix beam search (Hannun et al., "First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional
//! Recurrent DNNs", 2014) in the log domain, with a word n-gram model and hot words.
//!
//! A prefix is a sequence of units. Its score is `ln(P(ends in blank) + P(ends in its last unit)) + bonus`, where the
//! bonus depends on the prefix alone:
//!
//! - for each whole word `lm_weight · ln P(word | words before) + word_bonus`; a word is whole when another begins;
//! - while the word at hand begins no word of the vocabulary, `lm_weight · ln P(unknown | words before)` ahead of time;
//! - `hot_word_boost` for each hot phrase that ended, and that share of it for which a phrase is spelled.
//!
//! A hot word that the model does not know is scored as if every word were equally likely, because the caller has
//! said that it is one.

use super::super::hot_words::{HotState, HotWords};
use super::super::lexicon::Prefix;
use super::super::lm::{FIRST_WORD, LmState, NgramLm, UNKNOWN};
use super::super::units::Units;
use super::{LogProbs, SearchParams};

/// What the search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// The units.
    pub units: Vec<u32>,
    /// Natural-log score: posterior and bonuses.
    pub score: f64,
}

/// Frames between two looks at whether to go on. The widest search takes some milliseconds for so many on a small
/// processor; a look takes a ten-thousandth of that.
pub const FRAMES_PER_CHECKPOINT: usize = 16;

/// No node.
const NONE: u32 = u32::MAX;

/// A prefix, as the last unit on top of another prefix. Children form a list, so that a prefix is made only once.
#[derive(Debug, Clone, Copy)]
struct Node {
    parent: u32,
    unit: u32,
    first_child: u32,
    next_sibling: u32,
    /// Place in the beam, or `NONE`.
    slot: u32,
    spelling: Spelling,
}

/// What a prefix's bonus is made of, and what extending it needs.
#[derive(Debug, Clone, Copy)]
struct Spelling {
    /// Bonus of the whole words.
    settled: f64,
    /// With what the word at hand is credited or charged ahead of time.
    bonus: f64,
    lm_state: LmState,
    /// The word at hand, in the model's vocabulary and among the hot words.
    word: Prefix,
    hot_word: Prefix,
    hot: HotState,
    /// Whether the word at hand has any text.
    open: bool,
    /// Whether there is a whole word.
    said: bool,
}

/// A prefix's probabilities: of the paths that end in blank, and of those that end in its last unit.
#[derive(Debug, Clone, Copy)]
struct Paths {
    blank: f64,
    unit: f64,
}

impl Paths {
    fn total(self) -> f64 {
        add_logs(self.blank, self.unit)
    }
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// An existing node, or `NONE` for `unit` on top of `parent`.
    node: u32,
    parent: u32,
    unit: u32,
    paths: Paths,
    spelling: Spelling,
    score: f64,
}

/// The search with its buffers: used again, they grow to the longest segment and stay.
#[derive(Debug, Default)]
pub struct BeamSearch {
    nodes: Vec<Node>,
    beam: Vec<(u32, Paths)>,
    stays: Vec<Paths>,
    candidates: Vec<Candidate>,
    /// Units that may extend prefixes in this frame.
    active: Vec<u32>,
}

impl BeamSearch {
    /// The best prefix after all frames, its last word settled. Deterministic: ties go to the prefix found first.
    /// `checkpoint` is passed before the first frame and then every [`FRAMES_PER_CHECKPOINT`]; its error ends the search.
    pub fn search<E>(
        &mut self,
        log_probs: LogProbs<'_>,
        units: &Units,
        lm: Option<&NgramLm>,
        hot: &HotWords,
        params: &SearchParams,
        checkpoint: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<Hypothesis, E> {
        let scorer = Scorer { units, lm, hot, params };
        self.nodes.clear();
        self.nodes.push(Node {
            parent: NONE,
            unit: NONE,
            first_child: NONE,
            next_sibling: NONE,
            slot: 0,
            spelling: scorer.start(),
        });
        self.beam.clear();
        self.beam.push((0, Paths { blank: 0.0, unit: f64::NEG_INFINITY }));
        for (index, frame) in log_probs.iter().enumerate() {
            if index % FRAMES_PER_CHECKPOINT == 0 {
                checkpoint()?;
            }
            self.choose_units(frame, units.blank(), params);
            self.extend(frame, &scorer);
            self.prune(params.beam_width.max(1));
        }
        let mut best = (0u32, f64::NEG_INFINITY);
        for entry in &self.beam {
            let score = self.final_score(entry, &scorer);
            if score > best.1 {
                best = (entry.0, score);
            }
        }
        Ok(Hypothesis { units: self.units_of(best.0), score: best.1 })
    }

    /// Every prefix that the last [`BeamSearch::search`] ended with, the best first; to be called with what that was called with.
    pub fn finalists(
        &self,
        units: &Units,
        lm: Option<&NgramLm>,
        hot: &HotWords,
        params: &SearchParams,
    ) -> Vec<Hypothesis> {
        let scorer = Scorer { units, lm, hot, params };
        let whole = |entry: &(u32, Paths)| Hypothesis {
            units: self.units_of(entry.0),
            score: self.final_score(entry, &scorer),
        };
        let mut finalists: Vec<_> = self.beam.iter().map(whole).collect();
        finalists.sort_by(|a, b| b.score.total_cmp(&a.score));
        finalists
    }

    fn final_score(&self, (node, paths): &(u32, Paths), scorer: &Scorer<'_>) -> f64 {
        paths.total() + scorer.finish(&self.nodes[*node as usize].spelling)
    }

    /// The likeliest units of the frame, by falling probability, then by id.
    fn choose_units(&mut self, frame: &[f32], blank: u32, params: &SearchParams) {
        self.active.clear();
        let likely = |unit: &u32| *unit != blank && frame[*unit as usize] >= params.least_unit_logprob;
        self.active.extend((0..frame.len() as u32).filter(likely));
        let by_falling = |a: &u32, b: &u32| frame[*b as usize].total_cmp(&frame[*a as usize]).then(a.cmp(b));
        if self.active.len() > params.top_units {
            self.active.select_nth_unstable_by(params.top_units, by_falling);
            self.active.truncate(params.top_units);
        }
        self.active.sort_unstable_by(by_falling);
    }

    /// One frame: every prefix stays as it is, or is extended by an active unit.
    fn extend(&mut self, frame: &[f32], scorer: &Scorer<'_>) {
        let blank = f64::from(frame[scorer.units.blank() as usize]);
        self.stays.clear();
        for &(node, paths) in &self.beam {
            let unit = match self.nodes[node as usize].unit {
                NONE => f64::NEG_INFINITY,
                unit => paths.unit + f64::from(frame[unit as usize]),
            };
            self.stays.push(Paths { blank: paths.total() + blank, unit });
        }
        self.candidates.clear();
        for at in 0..self.beam.len() {
            let (parent, paths) = self.beam[at];
            let last = self.nodes[parent as usize].unit;
            for &unit in &self.active {
                // A unit twice in a row needs a blank between.
                let before = if unit == last { paths.blank } else { paths.total() };
                if before == f64::NEG_INFINITY {
                    continue;
                }
                let logprob = before + f64::from(frame[unit as usize]);
                let node = self.child(parent, unit);
                let slot = if node == NONE { NONE } else { self.nodes[node as usize].slot };
                if slot != NONE {
                    let stay = &mut self.stays[slot as usize];
                    stay.unit = add_logs(stay.unit, logprob);
                    continue;
                }
                let spelling = match node {
                    NONE => scorer.extend(&self.nodes[parent as usize].spelling, unit),
                    node => self.nodes[node as usize].spelling,
                };
                self.candidates.push(Candidate {
                    node,
                    parent,
                    unit,
                    paths: Paths { blank: f64::NEG_INFINITY, unit: logprob },
                    spelling,
                    score: logprob + spelling.bonus,
                });
            }
        }
        for (&(node, _), &paths) in self.beam.iter().zip(&self.stays) {
            let Node { parent, unit, spelling, .. } = self.nodes[node as usize];
            let score = paths.total() + spelling.bonus;
            self.candidates.push(Candidate { node, parent, unit, paths, spelling, score });
        }
    }

    /// Keeps the best candidates as the next beam; makes nodes for the new ones among them.
    fn prune(&mut self, width: usize) {
        let by_falling = |a: &Candidate, b: &Candidate| {
            b.score.total_cmp(&a.score).then((a.parent, a.unit).cmp(&(b.parent, b.unit)))
        };
        if self.candidates.len() > width {
            self.candidates.select_nth_unstable_by(width, by_falling);
            self.candidates.truncate(width);
        }
        self.candidates.sort_unstable_by(by_falling);
        for &(node, _) in &self.beam {
            self.nodes[node as usize].slot = NONE;
        }
        self.beam.clear();
        for at in 0..self.candidates.len() {
            let candidate = self.candidates[at];
            let node = match candidate.node {
                NONE => self.add_child(candidate.parent, candidate.unit, candidate.spelling),
                node => node,
            };
            self.nodes[node as usize].slot = at as u32;
            self.beam.push((node, candidate.paths));
        }
    }

    fn child(&self, parent: u32, unit: u32) -> u32 {
        let mut node = self.nodes[parent as usize].first_child;
        while node != NONE && self.nodes[node as usize].unit != unit {
            node = self.nodes[node as usize].next_sibling;
        }
        node
    }

    fn add_child(&mut self, parent: u32, unit: u32, spelling: Spelling) -> u32 {
        let new = self.nodes.len() as u32;
        let next_sibling = std::mem::replace(&mut self.nodes[parent as usize].first_child, new);
        self.nodes.push(Node { parent, unit, first_child: NONE, next_sibling, slot: NONE, spelling });
        new
    }

    fn units_of(&self, mut node: u32) -> Vec<u32> {
        let mut units = Vec::new();
        while self.nodes[node as usize].parent != NONE {
            units.push(self.nodes[node as usize].unit);
            node = self.nodes[node as usize].parent;
        }
        units.reverse();
        units
    }
}

/// Everything that gives bonuses.
struct Scorer<'a> {
    units: &'a Units,
    lm: Option<&'a NgramLm>,
    hot: &'a HotWords,
    params: &'a SearchParams,
}

impl Scorer<'_> {
    fn start(&self) -> Spelling {
        Spelling {
            settled: 0.0,
            bonus: 0.0,
            lm_state: self.lm.map(NgramLm::begin).unwrap_or_default(),
            word: self.lm.map_or_else(Prefix::default, |lm| lm.vocabulary().start()),
            hot_word: self.hot.words().start(),
            hot: self.hot.start(),
            open: false,
            said: false,
        }
    }

    fn extend(&self, before: &Spelling, unit: u32) -> Spelling {
        let mut spelling = *before;
        if self.units.starts_word(unit) && spelling.open {
            self.settle(&mut spelling);
        }
        let text = self.units.text(unit).as_bytes();
        if !text.is_empty() {
            spelling.open = true;
            if let Some(lm) = self.lm {
                spelling.word = lm.vocabulary().advance(spelling.word, text);
            }
            spelling.hot_word = self.hot.words().advance(spelling.hot_word, text);
            spelling.hot = self.hot.advance(spelling.hot, text);
        }
        let credit = f64::from(self.hot.credit(spelling.hot));
        spelling.bonus = spelling.settled + f64::from(self.params.hot_word_boost) * credit;
        if let Some(lm) = self.lm
            && spelling.open
            && spelling.word.is_dead()
            && spelling.hot_word.is_dead()
        {
            spelling.bonus += f64::from(self.params.lm_weight) * lm.score(spelling.lm_state, UNKNOWN).0;
        }
        spelling
    }

    /// Ends the word at hand.
    fn settle(&self, spelling: &mut Spelling) {
        spelling.settled += f64::from(self.params.word_bonus);
        if let Some(lm) = self.lm {
            let id = lm.vocabulary().find(spelling.word).map_or(UNKNOWN, |place| place as u16 + FIRST_WORD);
            let (mut logprob, next) = lm.score(spelling.lm_state, id);
            if id == UNKNOWN && self.hot.words().find(spelling.hot_word).is_some() {
                logprob = -((lm.vocabulary().len() + 1) as f64).ln();
            }
            spelling.settled += f64::from(self.params.lm_weight) * logprob;
            spelling.lm_state = next;
            spelling.word = lm.vocabulary().start();
        }
        let (matches, next) = self.hot.end_word(spelling.hot);
        spelling.settled += f64::from(self.params.hot_word_boost) * f64::from(matches);
        spelling.hot = next;
        spelling.hot_word = self.hot.words().start();
        (spelling.open, spelling.said) = (false, true);
    }

    /// Bonus at the end of the audio, where the word at hand is whole.
    fn finish(&self, spelling: &Spelling) -> f64 {
        let mut spelling = *spelling;
        if spelling.open {
            self.settle(&mut spelling);
        }
        match self.lm {
            // Silence is not an empty sentence.
            Some(lm) if self.params.sentence_ends && spelling.said => {
                spelling.settled + f64::from(self.params.lm_weight) * lm.score_end(spelling.lm_state)
            }
            _ => spelling.settled,
        }
    }
}

/// `ln(exp(a) + exp(b))`.
fn add_logs(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}
