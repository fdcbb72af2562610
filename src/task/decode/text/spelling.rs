//! A package's tokenizer as decoding sees it.

use std::sync::Arc;

use super::vocabulary::{Piece, Spell, Spelling};
use crate::task::tokenizer::{StreamDecoder, TextTokenizer};

/// Ids of a prompt that tell how the text behind them begins: whether a blank stands before its first word.
const CONTEXT_IDS: usize = 8;

impl Spell for Arc<TextTokenizer> {
    fn piece(&self, id: u32) -> Option<Piece> {
        Some(Piece { bytes: self.token_bytes(id)?, special: self.is_control(id) })
    }

    fn begin(&self, context: &[u32], keep_special: bool) -> Box<dyn Spelling> {
        let skip_special = !keep_special;
        let context = &context[context.len().saturating_sub(CONTEXT_IDS)..];
        let mut stream = StreamDecoder::new(Arc::clone(self), skip_special);
        let given: usize = context.iter().map(|id| stream.push(*id).len()).sum();
        // What the stream still holds of the context is not the answer's. Bytes of half a character are: it becomes whole there.
        let whole = self.decode(context, skip_special);
        let held = whole.get(given..).filter(|held| !held.contains('\u{FFFD}')).unwrap_or_default().to_owned();
        Box::new(Behind { stream, held })
    }
}

/// Text behind a prompt's.
#[derive(Debug, Clone)]
struct Behind {
    stream: StreamDecoder<Arc<TextTokenizer>>,
    /// What is still to come of the prompt's own text.
    held: String,
}

impl Behind {
    /// `text` without the prompt's part.
    fn own(&mut self, text: String) -> String {
        if self.held.is_empty() {
            return text;
        }
        // Where an answer's bytes break a character, the prompt's bytes beside them break, too.
        let same = |(own, held): &(char, char)| own == held || *own == '\u{FFFD}';
        let pairs: Vec<(char, char)> = text.chars().zip(self.held.chars()).take_while(same).collect();
        let (own, held): (usize, usize) =
            pairs.iter().fold((0, 0), |(a, b), (own, held)| (a + own.len_utf8(), b + held.len_utf8()));
        let rest = self.held.split_off(held);
        // Where the text goes another way (a blank before a comma is cleaned away), what was held is no more.
        self.held = if own == text.len() { rest } else { String::new() };
        text[own..].to_owned()
    }
}

impl Spelling for Behind {
    fn push(&mut self, id: u32) -> String {
        let text = self.stream.push(id);
        self.own(text)
    }

    fn finish(&mut self) -> String {
        let text = self.stream.finish();
        self.own(text)
    }

    fn fork(&self) -> Box<dyn Spelling> {
        Box::new(self.clone())
    }
}
