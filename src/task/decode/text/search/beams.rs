//! Beam search as `transformers` 4.57 does it (`GenerationMixin._beam_search`), and its sampling variant.
//!
//! Scores are sums of log-probabilities in 32 bits. Each step takes the best `(1 + ends) · beams` continuations of all beams (at
//! least twice the beams); those that end and are among the best `beams` compete, divided by their length to the power of
//! `length_penalty`, for the places of the finished.

use linnet_proto::generate::{Choice, Delta};
use linnet_proto::{ErrorCode, WireError};

use super::super::config::EarlyStopping;
use super::super::dice::Dice;
use super::super::options::{Choosing, ResolvedOptions};
use super::super::vocabulary::Vocabulary;
use super::choices::Next;
use super::scoring::{Scored, Scoring};
use super::writing::Writing;
use crate::task::model::Logits;

/// What a score is lowered by to take a sequence out of the running; finite, as in the reference.
const OUT: f32 = -1.0e9;

/// A beam search.
#[derive(Debug)]
pub struct Beams {
    running: Vec<Beam>,
    finished: Vec<Finished>,
    width: usize,
    /// Continuations that are looked at in each step.
    looked_at: usize,
    most: usize,
    early_stopping: EarlyStopping,
    length_penalty: f64,
    choosing: Choosing,
    choices: usize,
    /// Whether a running beam may still become better than a finished one.
    improvable: bool,
    written: u64,
    done: bool,
    handed_out: bool,
}

#[derive(Debug, Clone)]
struct Beam {
    writing: Writing,
    score: f32,
}

#[derive(Debug, Clone)]
struct Finished {
    writing: Writing,
    score: f32,
    whole: bool,
}

/// A beam with one more token.
struct Candidate {
    parent: usize,
    writing: Writing,
    score: f32,
}

impl Candidate {
    fn ends(&self) -> bool {
        self.writing.finish().is_some()
    }
}

impl Beams {
    /// A search from `opening`, whose answers may have `most` tokens.
    pub fn new(options: &ResolvedOptions, opening: &Writing, most: usize) -> Self {
        let width = options.beams;
        let beam = |score| Beam { writing: opening.clone(), score };
        Self {
            // Only the first counts at first: all of them are alike.
            running: (0..width).map(|n| beam(if n == 0 { 0.0 } else { OUT })).collect(),
            finished: (0..width).map(|_| Finished { writing: opening.clone(), score: OUT, whole: false }).collect(),
            width,
            looked_at: (1 + options.ends.len()).max(2) * width,
            most,
            early_stopping: options.early_stopping,
            length_penalty: options.length_penalty,
            choosing: options.choosing,
            choices: options.choices,
            improvable: true,
            written: 0,
            done: opening.finish().is_some(),
            handed_out: false,
        }
    }

    /// Rows that the batch has now.
    pub fn rows(&self) -> usize {
        self.running.len()
    }

    /// The ids of the beam in `row`.
    pub fn ids(&self, row: usize) -> &[u32] {
        self.running[row].writing.ids()
    }

    /// Goes one token further. `logits` may have one row for all, behind the prompt that they share.
    pub fn advance(
        &mut self,
        logits: &Logits,
        scoring: &Scoring,
        vocabulary: &Vocabulary,
    ) -> Result<Option<Next>, WireError> {
        if self.done {
            return Ok(None);
        }
        let mut scored = Vec::with_capacity(self.running.len());
        for (row, beam) in self.running.iter_mut().enumerate() {
            scored.push(scoring.score(&mut beam.writing, logits.last(row.min(logits.rows() - 1)), true)?);
        }
        let candidates = self.candidates(&scored, scoring, vocabulary)?;
        let length = candidates.iter().map(|c| c.writing.written().len()).max().unwrap_or(0);
        if candidates.is_empty() {
            self.done = true;
            return self.none_left();
        }
        self.written = self.written.max(length as u64);
        let all_end = candidates.iter().all(Candidate::ends);
        let next = self.next_running(&candidates);
        self.settle(&candidates, length);
        let parents = next.iter().map(|place| candidates[*place].parent).collect();
        let ids = next.iter().filter_map(|place| candidates[*place].writing.ids().last().copied()).collect();
        self.running = next
            .iter()
            .map(|place| Beam { writing: candidates[*place].writing.clone(), score: candidates[*place].score })
            .collect();
        self.improvable &= self.may_improve(length);
        let full = self.early_stopping == EarlyStopping::WhenFull && self.finished.iter().all(|f| f.whole);
        self.done = !self.improvable || full || all_end || self.running.is_empty();
        Ok((!self.done).then_some(Next { rows: parents, ids }))
    }

    /// The best continuations of all beams, best first; those that may not come are left out.
    fn candidates(
        &self,
        scored: &[Option<Scored>],
        scoring: &Scoring,
        vocabulary: &Vocabulary,
    ) -> Result<Vec<Candidate>, WireError> {
        let mut kept: Vec<(f64, f32, usize, u32)> = Vec::with_capacity(self.looked_at + 1);
        let step = self.running.first().map_or(0, |beam| beam.writing.written().len()) as u64;
        for (row, (scored, beam)) in scored.iter().zip(&self.running).enumerate() {
            let Some(scored) = scored else { continue };
            for (id, score) in scored.scores.iter().enumerate().filter(|(_, score)| **score > f32::NEG_INFINITY) {
                let sum = score + beam.score;
                let rank = match self.choosing {
                    Choosing::Greedy => f64::from(sum),
                    // Adding Gumbel noise and taking the highest is sampling without replacement.
                    Choosing::Sampled { seed } => {
                        let draw = (row * scored.scores.len() + id) as u64;
                        let chance = Dice::new(seed, 0).throw(step, draw).max(f64::MIN_POSITIVE);
                        f64::from(sum) - (-chance.ln()).ln()
                    }
                };
                if kept.len() == self.looked_at && kept.last().is_some_and(|(lowest, ..)| rank <= *lowest) {
                    continue;
                }
                let at = kept.partition_point(|(other, ..)| *other >= rank);
                kept.insert(at, (rank, sum, row, id as u32));
                kept.truncate(self.looked_at);
            }
        }
        let mut candidates = Vec::with_capacity(kept.len());
        for (_, score, parent, id) in kept {
            let Some(scored) = &scored[parent] else { continue };
            let mut writing = self.running[parent].writing.clone();
            writing.take(id, scoring.report(vocabulary, scored, id, "beam"))?;
            candidates.push(Candidate { parent, writing, score });
        }
        // A beam whose constraint is whole, in a model without an end token, ends where it is.
        for (parent, beam) in self.running.iter().enumerate().filter(|(row, _)| scored[*row].is_none()) {
            let mut writing = beam.writing.clone();
            writing.close();
            candidates.push(Candidate { parent, writing, score: beam.score });
        }
        Ok(candidates)
    }

    /// The places of the candidates that go on, best first.
    fn next_running(&self, candidates: &[Candidate]) -> Vec<usize> {
        let mut places: Vec<usize> = (0..candidates.len()).filter(|place| !candidates[*place].ends()).collect();
        places.sort_by(|a, b| candidates[*b].score.total_cmp(&candidates[*a].score));
        places.truncate(self.width);
        places
    }

    /// Has what just ended compete with what had ended before.
    fn settle(&mut self, candidates: &[Candidate], length: usize) {
        let full = self.early_stopping == EarlyStopping::WhenFull && self.finished.iter().all(|f| f.whole);
        if full || !self.improvable {
            return;
        }
        let divisor = (length as f64).powf(self.length_penalty) as f32;
        for candidate in candidates.iter().take(self.width).filter(|candidate| candidate.ends()) {
            let score = candidate.score / divisor;
            self.finished.push(Finished { writing: candidate.writing.clone(), score, whole: true });
        }
        // Stable: of equal ones the earlier stays.
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(self.width);
    }

    /// Whether the best running beam could still beat the worst finished one.
    fn may_improve(&self, length: usize) -> bool {
        let Some(best) = self.running.first() else { return false };
        let reach = match self.early_stopping {
            EarlyStopping::Never if self.length_penalty > 0.0 => self.most,
            _ => length,
        };
        let possible = best.score / (reach as f64).powf(self.length_penalty) as f32;
        let lowest = self.finished.iter().map(|f| f.score).fold(f32::INFINITY, f32::min);
        self.finished.iter().any(|f| possible > if f.whole { lowest } else { OUT })
    }

    /// Ends the search where it is: what runs competes as if it had ended.
    pub fn cut(&mut self) {
        self.done = true;
        let length = self.running.first().map_or(0, |beam| beam.writing.written().len());
        let divisor = (length.max(1) as f64).powf(self.length_penalty) as f32;
        for Beam { mut writing, score } in std::mem::take(&mut self.running) {
            writing.cut();
            self.finished.push(Finished { writing, score: score / divisor, whole: true });
        }
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(self.width);
    }

    fn none_left(&self) -> Result<Option<Next>, WireError> {
        if self.finished.iter().any(|f| f.whole) {
            return Ok(None);
        }
        Err(WireError::new(ErrorCode::InvalidOption, "no beam can go on: every token is banned; ban less"))
    }

    /// What was written, at the end: before it no beam is the answer.
    pub fn deltas(&mut self) -> Vec<Delta> {
        if !self.done || self.handed_out {
            return Vec::new();
        }
        self.handed_out = true;
        let whole = self.finished.iter_mut().filter(|finished| finished.whole);
        let answers = whole.take(self.choices).zip(0..);
        answers.filter_map(|(finished, index)| finished.writing.delta(index)).collect()
    }

    /// The best answers, and the tokens that they hold; fewer than asked for where a constraint has no more.
    pub fn finish(&self) -> (Vec<Choice>, u64) {
        let best = self.finished.iter().filter(|finished| finished.whole).take(self.choices);
        let written = best.clone().map(|f| f.writing.written().len() as u64).sum();
        (best.zip(0..).map(|(f, index)| f.writing.choice(index, Some(f.score))).collect(), written)
    }
}
