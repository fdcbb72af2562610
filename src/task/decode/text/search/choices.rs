//! Greedy decoding and sampling: answers that grow side by side, each on its own.

use linnet_proto::WireError;
use linnet_proto::generate::{Choice, Delta};

use super::super::dice::{Dice, pick};
use super::super::distribution::{best, softmax};
use super::super::options::{Choosing, ResolvedOptions};
use super::super::vocabulary::Vocabulary;
use super::scoring::{Scored, Scoring};
use super::writing::Writing;
use crate::task::model::Logits;

/// Answers and the rows of the batch that they grow in.
#[derive(Debug)]
pub struct Choices {
    writings: Vec<Writing>,
    /// The answer of each row.
    rows: Vec<usize>,
    choosing: Choosing,
    /// How many times the one answer is given: what is greedy is alike.
    copies: usize,
}

/// What the model is to run next.
#[derive(Debug, PartialEq, Eq)]
pub struct Next {
    /// The rows that go on, in order.
    pub rows: Vec<usize>,
    /// The id behind each.
    pub ids: Vec<u32>,
}

impl Choices {
    /// As many answers as `options` asks for, all beginning as `opening`.
    pub fn new(options: &ResolvedOptions, opening: &Writing) -> Self {
        let copies = if options.is_sampled() { 1 } else { options.choices };
        let count = options.choices / copies;
        Self {
            writings: vec![opening.clone(); count],
            rows: if opening.finish().is_some() { Vec::new() } else { (0..count).collect() },
            choosing: options.choosing,
            copies,
        }
    }

    /// Rows that the batch has now.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The ids of the answer in `row`.
    pub fn ids(&self, row: usize) -> &[u32] {
        self.writings[self.rows[row]].ids()
    }

    /// Chooses the next token of each row. `logits` may have one row for all, behind the prompt that they share.
    pub fn advance(
        &mut self,
        logits: &Logits,
        scoring: &Scoring,
        vocabulary: &Vocabulary,
    ) -> Result<Option<Next>, WireError> {
        let mut next = Next { rows: Vec::new(), ids: Vec::new() };
        let mut going = Vec::new();
        for (row, place) in self.rows.iter().enumerate() {
            let writing = &mut self.writings[*place];
            let logits = logits.last(row.min(logits.rows() - 1));
            let Some(scored) = scoring.score(writing, logits, false)? else {
                writing.close();
                continue;
            };
            let (id, rule) = choose(self.choosing, &scored, *place, writing.written().len());
            let report = scoring.report(vocabulary, &scored, id, rule);
            writing.take(id, report)?;
            if writing.finish().is_none() {
                going.push(*place);
                next.rows.push(row);
                next.ids.push(id);
            }
        }
        self.rows = going;
        Ok((!self.rows.is_empty()).then_some(next))
    }

    /// Ends all answers where they are.
    pub fn cut(&mut self) {
        self.rows.clear();
        self.writings.iter_mut().for_each(Writing::cut);
    }

    /// What was written since the last call.
    pub fn deltas(&mut self) -> Vec<Delta> {
        let mut deltas = Vec::new();
        for (place, writing) in self.writings.iter_mut().enumerate() {
            let Some(delta) = writing.delta(place as u32) else { continue };
            deltas.extend((0..self.copies).map(|copy| Delta { index: (place + copy) as u32, ..delta.clone() }));
        }
        deltas
    }

    /// The answers, and the tokens that were chosen for them.
    pub fn finish(&self) -> (Vec<Choice>, u64) {
        let choices: Vec<Choice> = match self.copies {
            1 => self.writings.iter().zip(0..).map(|(writing, index)| writing.choice(index, None)).collect(),
            copies => (0..copies as u32).map(|index| self.writings[0].choice(index, None)).collect(),
        };
        let written: usize = self.writings.iter().map(|writing| writing.written().len()).sum();
        (choices, (written * self.copies) as u64)
    }
}

fn choose(choosing: Choosing, scored: &Scored, choice: usize, step: usize) -> (u32, &'static str) {
    // Something is possible: scoring sees to that, and warpers keep at least one.
    match choosing {
        Choosing::Greedy => (best(&scored.scores).unwrap_or(0) as u32, "greedy"),
        Choosing::Sampled { seed } => {
            let chance = Dice::new(seed, choice as u64).throw(step as u64, 0);
            (pick(&softmax(&scored.scores), chance).unwrap_or(0) as u32, "sampled")
        }
    }
}
