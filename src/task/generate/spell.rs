//! Text of a model without a tokenizer: none. Its requests are token ids, and so are its answers.

use crate::task::decode::text::{Piece, Spell, Spelling};

/// Spells nothing.
#[derive(Debug, Clone)]
pub(super) struct Silent;

impl Spell for Silent {
    fn piece(&self, _: u32) -> Option<Piece> {
        None
    }

    fn begin(&self, _: &[u32], _: bool) -> Box<dyn Spelling> {
        Box::new(self.clone())
    }
}

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
