//! What tokens mean as text: the border between decoding, which sees ids, and a tokenizer, which knows their bytes.

use std::fmt::Debug;
use std::sync::OnceLock;

use super::constraint::Grammars;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The bytes that it adds in the middle of a text; a special token's name.
    pub bytes: Vec<u8>,
    /// Whether it is a control token, which is no part of a text.
    pub special: bool,
}

/// Tells how ids become text. Implemented by the tokenizers.
pub trait Spell: Send + Sync + Debug {
    /// One token; `None` for ids that are no tokens (the padding of a vocabulary).
    fn piece(&self, id: u32) -> Option<Piece>;

    /// Begins a text behind `context`, whose own text is not given again. With `keep_special`, control tokens appear by name.
    fn begin(&self, context: &[u32], keep_special: bool) -> Box<dyn Spelling>;
}

/// A text that grows by tokens. It gives whole characters only: bytes that end inside of one wait for the next token.
pub trait Spelling: Send + Debug {
    /// What the token adds.
    fn push(&mut self, id: u32) -> String;

    /// What waits still; bytes that never became a character are U+FFFD.
    fn finish(&mut self) -> String;

    /// A copy that goes its own way.
    fn fork(&self) -> Box<dyn Spelling>;
}

/// A model's tokens, with what is derived from them once and shared by all workers.
#[derive(Debug)]
pub struct Vocabulary {
    spell: Box<dyn Spell>,
    size: usize,
    ends: Vec<u32>,
    index: OnceLock<Index>,
    grammars: OnceLock<Result<Grammars, String>>,
}

/// Tokens by their bytes.
#[derive(Debug)]
struct Index {
    /// Bytes of all tokens that are text, one after the other.
    bytes: Vec<u8>,
    /// Where each id's begin; one more than there are ids.
    starts: Vec<usize>,
    /// Ids of tokens that are text, by their bytes.
    sorted: Vec<u32>,
}

impl Vocabulary {
    /// The tokens of a model with `size` logits. `ends` are those that end an answer (`eos_token_id`).
    pub fn new(spell: Box<dyn Spell>, size: usize, ends: &[u32]) -> Self {
        let ends = ends.iter().copied().filter(|id| (*id as usize) < size).collect();
        Self { spell, size, ends, index: OnceLock::new(), grammars: OnceLock::new() }
    }

    /// How many ids there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Tokens that end an answer.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// One token; `None` for ids that are no tokens.
    pub fn piece(&self, id: u32) -> Option<Piece> {
        self.spell.piece(id)
    }

    /// Begins a text, as [`Spell::begin`].
    pub fn begin(&self, context: &[u32], keep_special: bool) -> Box<dyn Spelling> {
        self.spell.begin(context, keep_special)
    }

    /// The bytes that `id` adds to a text; none for a special token.
    pub fn text_bytes(&self, id: u32) -> &[u8] {
        let index = self.index();
        let place = id as usize;
        match (index.starts.get(place), index.starts.get(place + 1)) {
            (Some(from), Some(to)) => &index.bytes[*from..*to],
            _ => &[],
        }
    }

    /// Tokens whose bytes begin with `start`.
    pub fn beginning_with(&self, start: &[u8]) -> &[u32] {
        let sorted = &self.index().sorted;
        let from = sorted.partition_point(|id| self.text_bytes(*id) < start);
        let count = sorted[from..].partition_point(|id| self.text_bytes(*id).starts_with(start));
        &sorted[from..from + count]
    }

    /// Tokens that are text, by their bytes.
    pub fn by_bytes(&self) -> &[u32] {
        &self.index().sorted
    }

    /// What compiles constraints for this vocabulary; made at the first call, which takes a moment.
    pub fn grammars(&self) -> Result<&Grammars, &str> {
        self.grammars.get_or_init(|| Grammars::new(self)).as_ref().map_err(String::as_str)
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let (mut bytes, mut starts, mut sorted) = (Vec::new(), vec![0], Vec::new());
            for id in 0..self.size as u32 {
                if let Some(piece) = self.spell.piece(id).filter(|piece| !piece.special && !piece.bytes.is_empty()) {
                    bytes.extend_from_slice(&piece.bytes);
                    sorted.push(id);
                }
                starts.push(bytes.len());
            }
            let of = |id: u32| &bytes[starts[id as usize]..starts[id as usize + 1]];
            sorted.sort_by(|a, b| of(*a).cmp(of(*b)));
            Index { bytes, starts, sorted }
        })
    }
}
