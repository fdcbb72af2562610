//! The pieces of a model: text, score and kind of each id.

use std::collections::HashMap;

use super::super::trie::Trie;
use super::proto::{ModelProto, PieceType};

/// What a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Found by the model.
    Normal,
    /// Stands for what the model has no piece for.
    Unknown,
    /// Never made from text, and no text: `<s>`, `</s>`.
    Control,
    /// Always cut out whole.
    UserDefined,
    /// Never in a result.
    Unused,
    /// One byte, by fall-back: `<0x41>`.
    Byte(u8),
}

/// Pieces by id.
#[derive(Debug, Clone)]
pub(super) struct Pieces {
    texts: String,
    /// End of each piece in `texts`.
    ends: Vec<u32>,
    scores: Vec<f32>,
    kinds: Vec<Kind>,
    /// Pieces that text can become.
    pub(super) trie: Trie,
    pub(super) user_defined: Trie,
    /// Unknown, control and byte pieces.
    reserved: HashMap<String, u32>,
    pub(super) unknown: u32,
    /// Of the 256 bytes, when the model falls back to bytes.
    pub(super) bytes: Option<Box<[u32; 256]>>,
    pub(super) min_score: f32,
    pub(super) max_score: f32,
}

impl Pieces {
    pub(super) fn new(model: &ModelProto) -> Result<Self, String> {
        let mut pieces = Self {
            texts: String::new(),
            ends: Vec::with_capacity(model.pieces.len()),
            scores: Vec::with_capacity(model.pieces.len()),
            kinds: Vec::with_capacity(model.pieces.len()),
            trie: Trie::default(),
            user_defined: Trie::default(),
            reserved: HashMap::new(),
            unknown: u32::MAX,
            bytes: None,
            min_score: f32::MAX,
            // As it stands in SentencePiece: the least positive number, not the least number.
            max_score: f32::MIN_POSITIVE,
        };
        let mut bytes = [u32::MAX; 256];
        for (id, piece) in (0_u32..).zip(&model.pieces) {
            let (text, score) = (piece.piece(), piece.score());
            if text.is_empty() {
                return Err(format!("its piece {id} is empty"));
            }
            if !score.is_finite() {
                return Err(format!("the score of its piece {id} ({text:?}) is no number"));
            }
            let kind = match piece.r#type() {
                PieceType::Normal => Kind::Normal,
                PieceType::Unknown => Kind::Unknown,
                PieceType::Control => Kind::Control,
                PieceType::UserDefined => Kind::UserDefined,
                PieceType::Unused => Kind::Unused,
                PieceType::Byte => {
                    Kind::Byte(byte_of(text).ok_or_else(|| format!("its byte piece {text:?} is no byte"))?)
                }
            };
            match kind {
                Kind::Normal => {
                    pieces.min_score = pieces.min_score.min(score);
                    pieces.max_score = pieces.max_score.max(score);
                }
                Kind::Unknown if pieces.unknown != u32::MAX => return Err("it has two unknown pieces".to_owned()),
                Kind::Unknown => pieces.unknown = id,
                Kind::Byte(byte) => bytes[usize::from(byte)] = id,
                _ => {}
            }
            if matches!(kind, Kind::Unknown | Kind::Control | Kind::Byte(_))
                && pieces.reserved.insert(text.to_owned(), id).is_some()
            {
                return Err(format!("its piece {text:?} is there twice"));
            }
            pieces.texts.push_str(text);
            pieces.ends.push(pieces.texts.len() as u32);
            pieces.scores.push(score);
            pieces.kinds.push(kind);
        }
        if pieces.unknown == u32::MAX {
            return Err("it has no unknown piece".to_owned());
        }
        if model.trainer_spec.as_ref().is_some_and(|spec| spec.byte_fallback()) {
            if bytes.contains(&u32::MAX) {
                return Err("it falls back to bytes, but lacks pieces for some of the 256".to_owned());
            }
            pieces.bytes = Some(Box::new(bytes));
        }
        let trie = pieces.trie_of(|kind| matches!(kind, Kind::Normal | Kind::UserDefined | Kind::Unused));
        let user_defined = pieces.trie_of(|kind| kind == Kind::UserDefined);
        Ok(Self { trie, user_defined, ..pieces })
    }

    fn trie_of(&self, is_wanted: fn(Kind) -> bool) -> Trie {
        Trie::new((0..self.len()).filter(|&id| is_wanted(self.kind(id))).map(|id| (self.text(id), id)))
    }

    pub(super) fn len(&self) -> u32 {
        self.ends.len() as u32
    }

    /// Panics where `id` is no piece.
    pub(super) fn text(&self, id: u32) -> &str {
        let id = id as usize;
        let from = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.texts[from as usize..self.ends[id] as usize]
    }

    pub(super) fn score(&self, id: u32) -> f32 {
        self.scores[id as usize]
    }

    pub(super) fn kind(&self, id: u32) -> Kind {
        self.kinds[id as usize]
    }

    /// The unknown piece where there is none.
    pub(super) fn id(&self, piece: &str) -> u32 {
        self.reserved.get(piece).copied().or_else(|| self.trie.get(piece)).unwrap_or(self.unknown)
    }
}

/// Of `<0x41>`.
fn byte_of(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_upper_hex = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
    (digits.len() == 2 && digits.bytes().all(is_upper_hex)).then(|| u8::from_str_radix(digits, 16).ok())?
}
