//! Sequences and what is still to be run on them, in pieces small enough that others get in between.

use linnet_proto::generate::TokenLogprob;
use linnet_proto::{ErrorCode, WireError};

use super::bounds::PREFILL_CHUNK;
use super::distribution::log_softmax;
use super::logprobs::Report;
use super::vocabulary::Vocabulary;
use crate::engine::{EngineError, Positions};
use crate::task::model::{LanguageModel, Logits, Sequences};

/// The batch that a generation grows, with ids that wait to be run.
#[derive(Debug)]
pub struct Runner {
    sequences: Sequences,
    /// Ids behind the sequences, one list for each row, all of the same length.
    waiting: Vec<Vec<u32>>,
}

impl Runner {
    /// Goes on from `sequences`.
    pub fn new(sequences: Sequences) -> Self {
        Self { waiting: vec![Vec::new(); sequences.rows()], sequences }
    }

    /// The sequences, without what waits.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    /// Puts ids behind each row.
    pub fn queue(&mut self, rows: Vec<Vec<u32>>) {
        self.waiting = rows;
    }

    /// Keeps these rows, in this order.
    pub fn select(&mut self, rows: &[usize]) -> Result<(), WireError> {
        let same = rows.len() == self.sequences.rows() && rows.iter().enumerate().all(|(place, row)| place == *row);
        if same {
            return Ok(());
        }
        self.sequences.select(rows).map_err(failed)
    }

    /// Runs one piece of what waits; the logits behind the last id once nothing waits any more.
    pub fn step(&mut self, model: &mut dyn LanguageModel) -> Result<Option<Logits>, WireError> {
        let piece = self.next_piece();
        let logits = model.step(&mut self.sequences, &piece, Positions::Last).map_err(failed)?;
        Ok(self.waiting.first().is_none_or(Vec::is_empty).then_some(logits))
    }

    /// As [`Runner::step`] for one row, with a report on each id that comes next in the same row.
    pub fn step_reported(
        &mut self,
        model: &mut dyn LanguageModel,
        vocabulary: &Vocabulary,
        report: Report,
        reports: &mut Vec<Option<TokenLogprob>>,
    ) -> Result<Option<Logits>, WireError> {
        if self.sequences.is_empty() {
            reports.push(None);
        }
        let piece = self.next_piece();
        let logits = model.step(&mut self.sequences, &piece, Positions::All).map_err(failed)?;
        let followers = piece[0].iter().skip(1).chain(self.waiting[0].first());
        for (position, id) in followers.enumerate() {
            let log_probs = log_softmax(logits.at(0, position));
            reports.push(Some(report.of(vocabulary, &log_probs, *id, Some("given"))));
        }
        Ok(self.waiting[0].is_empty().then_some(logits))
    }

    fn next_piece(&mut self) -> Vec<Vec<u32>> {
        // A batch is as much work as one row of its size.
        let columns = (PREFILL_CHUNK / self.sequences.rows().max(1)).max(1);
        self.waiting
            .iter_mut()
            .map(|row| {
                let rest = row.split_off(columns.min(row.len()));
                std::mem::replace(row, rest)
            })
            .collect()
    }

    /// Begins again with `windows`, one for each row.
    pub fn restart(&mut self, model: &mut dyn LanguageModel, windows: Vec<Vec<u32>>) -> Result<(), WireError> {
        let mut sequences = model.begin().map_err(failed)?;
        if windows.len() > 1 {
            sequences.select(&vec![0; windows.len()]).map_err(failed)?;
        }
        self.sequences = sequences;
        self.waiting = windows;
        Ok(())
    }
}

/// What is left of a sequence that no longer fits: its `protected` first ids, and the newer half of the others, again until
/// fewer than `context` are left.
pub fn window(ids: &[u32], protected: usize, context: usize) -> Vec<u32> {
    let protected = protected.min(context / 2).min(ids.len());
    let (kept, mut rest) = ids.split_at(protected);
    while kept.len() + rest.len() >= context && rest.len() > 1 {
        rest = &rest[rest.len().div_ceil(2)..];
    }
    [kept, rest].concat()
}

/// The daemon's own failure.
pub(super) fn failed(error: EngineError) -> WireError {
    WireError::new(ErrorCode::Internal, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_keeps_the_protected_and_the_newest() {
        let ids: Vec<u32> = (0..10).collect();
        assert_eq!(window(&ids, 2, 10), [0, 1, 6, 7, 8, 9]);
        assert_eq!(window(&ids, 0, 10), [5, 6, 7, 8, 9]);
        assert_eq!(window(&ids, 2, 20), ids, "what fits stays");
        assert_eq!(window(&ids, 2, 5), [0, 1, 8, 9]);
        assert!(window(&ids, 9, 4).len() < 4, "protection ends at half of the context");
    }
}
