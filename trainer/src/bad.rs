//! What happens to bad training data: each row is named with its file and line, counted, and skipped or stopped at.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::error::{Failure, Result};

/// What `--on-bad` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OnBad {
    /// Name the row, leave it out, go on.
    #[default]
    Skip,
    /// Name the row and stop.
    Stop,
}

/// Rows that are named one by one; the rest is only counted, so that a wrong path does not bury the terminal.
const MOST_NAMED: usize = 200;

/// What is wrong with a row of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Not a JSON object with the keys of a manifest.
    Row(String),
    /// The audio file is absent or cannot be opened.
    MissingAudio(PathBuf, String),
    /// The file is no audio that can be read.
    Audio(PathBuf, String),
    /// Sampled at another rate.
    Rate(PathBuf, u32),
    /// No text, or one without a letter.
    EmptyText,
    /// A character that no unit spells.
    UnknownCharacter(char),
    /// More units than the model has frames for.
    TextTooLong {
        /// Frames that the text needs: its units, and one more between equal ones.
        needed: usize,
        /// Output frames of the audio.
        frames: usize,
    },
    /// The loss of this row is not a number.
    Loss(f64),
    /// A voice program could not say the sentence.
    Voice(String),
}

impl Fault {
    /// A few words under which faults of this kind are counted.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Row(_) => "unreadable rows",
            Self::MissingAudio(..) => "missing audio files",
            Self::Audio(..) => "unreadable audio files",
            Self::Rate(..) => "wrong sample rates",
            Self::EmptyText => "empty texts",
            Self::UnknownCharacter(_) => "unknown characters",
            Self::TextTooLong { .. } => "texts longer than their audio",
            Self::Loss(_) => "losses that are no number",
            Self::Voice(_) => "sentences that a voice could not say",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(reason) => write!(f, "the row cannot be read: {reason}"),
            Self::MissingAudio(path, reason) => {
                write!(f, "the audio file {} cannot be opened: {reason}", path.display())
            }
            Self::Audio(path, reason) => write!(f, "the audio file {} cannot be read: {reason}", path.display()),
            Self::Rate(path, rate) => {
                write!(f, "{} has {rate} samples per second; training audio must have 16000", path.display())
            }
            Self::EmptyText => f.write_str("the text is empty"),
            Self::UnknownCharacter(c) => write!(f, "the text holds `{c}`, which no unit spells"),
            Self::TextTooLong { needed, frames } => {
                write!(f, "the text needs {needed} frames but its audio has only {frames}")
            }
            Self::Loss(loss) => write!(f, "the loss is {loss}"),
            Self::Voice(reason) => write!(f, "the sentence was not said: {reason}"),
        }
    }
}

/// Counts bad rows and does with them what the user said.
#[derive(Debug)]
pub struct BadRows {
    policy: OnBad,
    counts: BTreeMap<&'static str, usize>,
    total: usize,
}

impl BadRows {
    /// None so far.
    pub fn new(policy: OnBad) -> Self {
        Self { policy, counts: BTreeMap::new(), total: 0 }
    }

    /// Takes in one bad row of `manifest`, `line` counted from 1. An error when the policy is to stop.
    pub fn report(&mut self, manifest: &Path, line: usize, fault: &Fault) -> Result<()> {
        let message = format!("{}:{line}: {fault}", manifest.display());
        if self.policy == OnBad::Stop {
            return Err(Failure::data(format!("{message} (--on-bad skip leaves such rows out)")));
        }
        *self.counts.entry(fault.kind()).or_default() += 1;
        self.total += 1;
        match self.total {
            ..=MOST_NAMED => eprintln!("skipped: {message}"),
            n if n == MOST_NAMED + 1 => eprintln!("skipped: more bad rows follow; they are only counted from here on"),
            _ => {}
        }
        Ok(())
    }

    /// Rows that were left out.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Rows that were left out because of one kind of fault (see [`Fault::kind`]).
    pub fn count(&self, kind: &str) -> usize {
        self.counts.get(kind).copied().unwrap_or(0)
    }

    /// `3 bad rows skipped: 2 empty texts, 1 wrong sample rates`; nothing when there were none.
    pub fn summary(&self) -> Option<String> {
        let kinds: Vec<String> = self.counts.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        (self.total > 0).then(|| format!("{} bad rows skipped: {}", self.total, kinds.join(", ")))
    }
}

/// Output frames that CTC needs for these units: one each, and a blank between two equal ones.
pub fn frames_needed(units: &[u32]) -> usize {
    units.len() + units.windows(2).filter(|pair| pair[0] == pair[1]).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_rows_are_counted_by_kind() {
        let mut bad = BadRows::new(OnBad::Skip);
        assert_eq!(bad.summary(), None);
        let path = Path::new("m.jsonl");
        bad.report(path, 1, &Fault::EmptyText).expect("skipped");
        bad.report(path, 2, &Fault::Rate("a.wav".into(), 8000)).expect("skipped");
        bad.report(path, 9, &Fault::EmptyText).expect("skipped");
        assert_eq!(bad.summary().as_deref(), Some("3 bad rows skipped: 2 empty texts, 1 wrong sample rates"));
        assert_eq!((bad.total(), bad.count("empty texts"), bad.count("unreadable rows")), (3, 2, 0));
    }

    #[test]
    fn stopping_names_file_line_and_fault() {
        let mut bad = BadRows::new(OnBad::Stop);
        let fault = Fault::TextTooLong { needed: 9, frames: 4 };
        let error = bad.report(Path::new("d/m.jsonl"), 17, &fault).expect_err("stops");
        assert!(error.to_string().starts_with("d/m.jsonl:17: the text needs 9 frames"), "{error}");
        assert_eq!(bad.total(), 0);
    }

    #[test]
    fn equal_neighbours_need_a_blank_between() {
        assert_eq!(frames_needed(&[]), 0);
        assert_eq!(frames_needed(&[1, 2, 2, 2, 3, 3]), 9);
    }
}
