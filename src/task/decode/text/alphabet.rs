//! A tokenizer for tests: each id below 256 is that byte, some are longer texts, and some are control tokens.

use super::vocabulary::{Piece, Spell, Spelling};

/// The id that ends an answer.
pub const END: u32 = 256;
/// The id that begins a text.
pub const BEGIN: u32 = 257;
/// Longer tokens, from this id on.
pub const WORDS: u32 = 258;

/// Bytes, two control tokens, and words.
#[derive(Debug, Clone)]
pub struct Alphabet {
    words: Vec<String>,
}

impl Alphabet {
    /// Bytes and these words.
    pub fn new(words: &[&str]) -> Self {
        Self { words: words.iter().map(|word| (*word).to_owned()).collect() }
    }

    /// How many ids there are.
    pub fn size(&self) -> usize {
        WORDS as usize + self.words.len()
    }

    /// The ids of a text: its bytes.
    pub fn ids(text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }
}

impl Spell for Alphabet {
    fn piece(&self, id: u32) -> Option<Piece> {
        match id {
            0..=255 => Some(Piece { bytes: vec![id as u8], special: false }),
            END => Some(Piece { bytes: b"</s>".to_vec(), special: true }),
            BEGIN => Some(Piece { bytes: b"<s>".to_vec(), special: true }),
            _ => {
                let word = self.words.get((id - WORDS) as usize)?;
                Some(Piece { bytes: word.as_bytes().to_vec(), special: false })
            }
        }
    }

    fn begin(&self, _context: &[u32], keep_special: bool) -> Box<dyn Spelling> {
        Box::new(Bytes { alphabet: self.clone(), keep_special, waiting: Vec::new() })
    }
}

#[derive(Debug, Clone)]
struct Bytes {
    alphabet: Alphabet,
    keep_special: bool,
    waiting: Vec<u8>,
}

impl Spelling for Bytes {
    fn push(&mut self, id: u32) -> String {
        let piece = self.alphabet.piece(id).filter(|piece| !piece.special || self.keep_special);
        self.waiting.extend(piece.map(|piece| piece.bytes).unwrap_or_default());
        let whole = match std::str::from_utf8(&self.waiting) {
            Ok(_) => self.waiting.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            // What can never become a character is shown as such.
            Err(_) => self.waiting.len(),
        };
        let rest = self.waiting.split_off(whole);
        String::from_utf8_lossy(&std::mem::replace(&mut self.waiting, rest)).into_owned()
    }

    fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.waiting)).into_owned()
    }

    fn fork(&self) -> Box<dyn Spelling> {
        Box::new(self.clone())
    }
}
