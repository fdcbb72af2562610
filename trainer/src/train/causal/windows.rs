//! Documents cut into what a model sees at once.

use std::ops::Range;
use std::sync::Arc;

use crate::train::random::Random;

/// Part of a document: at least two tokens, the first of which is only seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Which document.
    pub document: usize,
    /// Which of its tokens.
    pub range: Range<usize>,
}

impl Window {
    /// Number of its tokens.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Its tokens.
    pub fn of<'a>(&self, documents: &'a [Arc<[u32]>]) -> &'a [u32] {
        &documents[self.document][self.range.clone()]
    }
}

/// Cuts documents of these lengths (tokens, at least 2) into windows in which `most` tokens are predicted. The first window of
/// a long document is of a random length where there is a `key`, so that each epoch cuts elsewhere. Every token but a
/// document's first is predicted once.
pub fn cut(lengths: &[usize], most: usize, key: Option<[u64; 2]>) -> Vec<Window> {
    let mut random = key.map(|[seed, epoch]| Random::new(&[seed, 0x7769_6e64, epoch]));
    let mut windows = Vec::new();
    for (document, length) in lengths.iter().copied().enumerate() {
        let mut end = most + 1;
        if length > end
            && let Some(random) = &mut random
        {
            end = 2 + random.below(most);
        }
        let mut start = 0;
        while start + 1 < length {
            windows.push(Window { document, range: start..end.min(length) });
            start = end - 1;
            end = start + most + 1;
        }
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_is_predicted_once() {
        let lengths = [2, 5, 9, 10, 40];
        for key in [None, Some([1, 2]), Some([1, 3])] {
            let windows = cut(&lengths, 8, key);
            for (document, length) in lengths.iter().enumerate() {
                let own = windows.iter().filter(|window| window.document == document);
                let predicted: Vec<usize> = own.clone().flat_map(|w| w.range.start + 1..w.range.end).collect();
                assert_eq!(predicted, (1..*length).collect::<Vec<_>>());
                assert!(own.clone().all(|window| (2..=9).contains(&window.len())));
            }
        }
        assert_ne!(cut(&lengths, 8, Some([1, 2])), cut(&lengths, 8, Some([1, 3])));
    }
}
