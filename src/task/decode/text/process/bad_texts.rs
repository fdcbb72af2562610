//! Texts that are never written, however tokens cut them up.

use std::sync::Arc;

use super::super::vocabulary::Vocabulary;
use super::{History, Process, ban};

/// Bans each token that would complete one of the texts. Only the answer is looked at.
#[derive(Debug)]
pub struct BadTexts {
    vocabulary: Arc<Vocabulary>,
    texts: Vec<Vec<u8>>,
    /// Tokens that hold one of the texts whole.
    whole: Vec<u32>,
    /// Bytes of the answer's end that matter.
    tail: usize,
}

impl BadTexts {
    /// `None` when there are none. Looks through the whole vocabulary once.
    pub fn new(vocabulary: &Arc<Vocabulary>, texts: &[String]) -> Option<Self> {
        let texts: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).filter(|t| !t.is_empty()).collect();
        let tail = texts.iter().map(Vec::len).max()? - 1;
        let holds = |id: &u32| {
            let bytes = vocabulary.text_bytes(*id);
            texts.iter().any(|text| bytes.len() >= text.len() && bytes.windows(text.len()).any(|part| part == text))
        };
        let whole = vocabulary.by_bytes().iter().copied().filter(holds).collect();
        Some(Self { vocabulary: Arc::clone(vocabulary), texts, whole, tail })
    }

    /// The last bytes of the answer's text.
    fn tail(&self, written: &[u32]) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut bytes = 0;
        for id in written.iter().rev() {
            if bytes >= self.tail {
                break;
            }
            let part = self.vocabulary.text_bytes(*id);
            bytes += part.len();
            parts.push(part);
        }
        parts.into_iter().rev().flatten().copied().collect()
    }
}

impl Process for BadTexts {
    fn apply(&self, history: &History<'_>, scores: &mut [f32]) {
        ban(scores, self.whole.iter().copied());
        let tail = self.tail(history.written());
        for text in &self.texts {
            for begun in 1..text.len().min(tail.len() + 1) {
                if tail.ends_with(&text[..begun]) {
                    ban(scores, self.vocabulary.beginning_with(&text[begun..]).iter().copied());
                }
            }
        }
    }
}
