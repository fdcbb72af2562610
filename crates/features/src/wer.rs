//! Word and character errors: the least edits that turn a reference into what was heard.
//!
//! The counts equal those of `jiwer` (`tests/goldens/wer`), also where several alignments have the same number of edits.

use std::ops::{Add, AddAssign};

/// Edits, and what they are measured against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErrorCounts {
    /// Words (or characters) that were heard as another.
    pub substitutions: u64,
    /// Words of the reference that were not heard.
    pub deletions: u64,
    /// Words that were heard and are not in the reference.
    pub insertions: u64,
    /// Words of the reference.
    pub reference: u64,
}

impl ErrorCounts {
    /// All edits.
    pub fn errors(&self) -> u64 {
        self.substitutions + self.deletions + self.insertions
    }

    /// Edits per word of the reference: the word error rate of everything added up. `None` without a reference.
    pub fn rate(&self) -> Option<f64> {
        (self.reference > 0).then(|| self.errors() as f64 / self.reference as f64)
    }
}

impl Add for ErrorCounts {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for ErrorCounts {
    fn add_assign(&mut self, other: Self) {
        self.substitutions += other.substitutions;
        self.deletions += other.deletions;
        self.insertions += other.insertions;
        self.reference += other.reference;
    }
}

impl std::iter::Sum for ErrorCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

/// Errors in words, parted by white space. Normalise both texts first ([`crate::text::normalize_text`]).
pub fn word_errors(reference: &str, heard: &str) -> ErrorCounts {
    let reference: Vec<&str> = reference.split_whitespace().collect();
    let heard: Vec<&str> = heard.split_whitespace().collect();
    edits(&reference, &heard)
}

/// Errors in characters, blanks between words counted, those at the ends left out.
pub fn char_errors(reference: &str, heard: &str) -> ErrorCounts {
    let reference: Vec<char> = reference.trim().chars().collect();
    let heard: Vec<char> = heard.trim().chars().collect();
    edits(&reference, &heard)
}

/// Edits of the alignment that `rapidfuzz` (and so `jiwer`) picks: what both have in common at their ends is left out;
/// then, from the end, a deletion where one is optimal, else an insertion where what it leaves is nearer than without
/// the reference's last item, else a substitution or a match. Each cell carries the edits of its own alignment, so two
/// rows are enough.
fn edits<T: PartialEq>(reference: &[T], heard: &[T]) -> ErrorCounts {
    let length = reference.len() as u64;
    let start = reference.iter().zip(heard).take_while(|(a, b)| a == b).count();
    let (reference, heard) = (&reference[start..], &heard[start..]);
    let end = reference.iter().rev().zip(heard.iter().rev()).take_while(|(a, b)| a == b).count();
    let (reference, heard) = (&reference[..reference.len() - end], &heard[..heard.len() - end]);

    // Rows run over what was heard, columns over the reference.
    let deleted = |n: usize| ErrorCounts { deletions: n as u64, ..ErrorCounts::default() };
    let mut above: Vec<ErrorCounts> = (0..=reference.len()).map(deleted).collect();
    let mut row = above.clone();
    for (index, item) in heard.iter().enumerate() {
        row[0] = ErrorCounts { insertions: index as u64 + 1, ..ErrorCounts::default() };
        for column in 1..=reference.len() {
            let same = *item == reference[column - 1];
            let (diagonal, up, left) = (above[column - 1], above[column], row[column - 1]);
            let least = (diagonal.errors() + u64::from(!same)).min(up.errors() + 1).min(left.errors() + 1);
            row[column] = if left.errors() + 1 == least {
                ErrorCounts { deletions: left.deletions + 1, ..left }
            } else if up.errors() + 1 == diagonal.errors() {
                ErrorCounts { insertions: up.insertions + 1, ..up }
            } else {
                ErrorCounts { substitutions: diagonal.substitutions + u64::from(!same), ..diagonal }
            };
        }
        std::mem::swap(&mut row, &mut above);
    }
    ErrorCounts { reference: length, ..above[reference.len()] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Case {
        reference: String,
        heard: String,
        words: [u64; 4],
        chars: [u64; 4],
    }

    fn numbers(c: ErrorCounts) -> [u64; 4] {
        [c.substitutions, c.deletions, c.insertions, c.reference]
    }

    #[test]
    fn counts_equal_jiwers() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/wer/cases.json");
        let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path).expect("the golden is there"))
            .expect("the golden is a list of cases");
        assert!(cases.len() >= 200);
        for case in cases {
            let words = word_errors(&case.reference, &case.heard);
            assert_eq!(numbers(words), case.words, "words of {:?} and {:?}", case.reference, case.heard);
            let chars = char_errors(&case.reference, &case.heard);
            assert_eq!(numbers(chars), case.chars, "characters of {:?} and {:?}", case.reference, case.heard);
        }
    }

    #[test]
    fn an_empty_side_is_all_insertions_or_deletions() {
        assert_eq!(numbers(word_errors("", "")), [0, 0, 0, 0]);
        assert_eq!(numbers(word_errors(" a  b ", "")), [0, 2, 0, 2]);
        assert_eq!(numbers(word_errors("", "a b c")), [0, 0, 3, 0]);
        assert_eq!(word_errors("", "a").rate(), None);
    }

    #[test]
    fn rates_of_many_texts_are_of_their_sums() {
        let total: ErrorCounts = [("a b c d", "a b c"), ("a", "b c")].map(|(r, h)| word_errors(r, h)).into_iter().sum();
        assert_eq!(numbers(total), [1, 1, 1, 5]);
        assert_eq!(total.rate(), Some(0.6));
    }
}
