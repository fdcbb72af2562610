//! A tokenizer as decoding sees it.

use std::fmt;
use std::sync::Arc;

use crate::task::decode::text::{Piece, Spell, Spelling};
use crate::task::tokenizer::TextTokenizer;

/// How many ids of what stands before a text are looked at: enough for a blank or a character that goes over the border.
const CONTEXT: usize = 8;

/// Spells by a package's tokenizer; without one every text is empty.
#[derive(Debug)]
pub(super) struct Speller(Option<Arc<TextTokenizer>>);

impl Speller {
    pub(super) fn new(tokenizer: Option<Arc<TextTokenizer>>) -> Self {
        Self(tokenizer)
    }
}

impl Spell for Speller {
    fn piece(&self, id: u32) -> Option<Piece> {
        let tokenizer = self.0.as_ref()?;
        Some(Piece { bytes: tokenizer.token_bytes(id)?, special: tokenizer.is_control(id) })
    }

    fn begin(&self, context: &[u32], keep_special: bool) -> Box<dyn Spelling> {
        let Some(tokenizer) = &self.0 else { return Box::new(Silent) };
        let context = context[context.len().saturating_sub(CONTEXT)..].to_vec();
        let said = tokenizer.decode(&context, !keep_special).len();
        Box::new(Growing { tokenizer: Arc::clone(tokenizer), keep_special, ids: context, said, base: 0 })
    }
}

/// A text without a tokenizer.
#[derive(Debug, Clone)]
struct Silent;

impl Spelling for Silent {
    fn push(&mut self, _: u32) -> String {
        String::new()
    }

    fn finish(&mut self) -> String {
        String::new()
    }

    fn fork(&self) -> Box<dyn Spelling> {
        Box::new(self.clone())
    }
}

/// How many ids are decoded again for each new one at most; older ones cannot change any more.
const WINDOW: usize = 64;

/// A text that grows. The ids of a window are decoded again for each new one, and what is new at the end is given: so blanks and characters over
/// the border of tokens come out as the tokenizer's own decoder gives them.
#[derive(Clone)]
struct Growing {
    tokenizer: Arc<TextTokenizer>,
    keep_special: bool,
    /// The window.
    ids: Vec<u32>,
    /// Bytes of the window's text that were given.
    said: usize,
    /// Ids that left the window.
    base: usize,
}

impl fmt::Debug for Growing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Growing").field("ids", &(self.base + self.ids.len())).finish_non_exhaustive()
    }
}

impl Growing {
    fn text(&self) -> String {
        self.tokenizer.decode(&self.ids, !self.keep_special)
    }

    fn give(&mut self, text: &str, end: usize) -> String {
        let new = text.get(self.said..end).unwrap_or_default().to_owned();
        self.said = self.said.max(end);
        new
    }
}

impl Spelling for Growing {
    fn push(&mut self, id: u32) -> String {
        self.ids.push(id);
        let text = self.text();
        // A character whose bytes are not all there yet shows as U+FFFD at the end.
        let whole = text.trim_end_matches('\u{FFFD}').len();
        let new = self.give(&text, whole);
        if self.ids.len() > WINDOW && whole == text.len() {
            let left = self.ids.len() - CONTEXT;
            self.ids.drain(..left);
            self.base += left;
            self.said = self.text().len();
        }
        new
    }

    fn finish(&mut self) -> String {
        let text = self.text();
        self.give(&text, text.len())
    }

    fn fork(&self) -> Box<dyn Spelling> {
        Box::new(self.clone())
    }
}
