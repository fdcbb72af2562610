//! SentencePiece models, read from their protobuf: text to pieces and back, id for id as the C++ library does it.
//!
//! The library's own arithmetic and order are kept where they decide (`f32` sums, ties, what a user's symbol is worth),
//! since `tokenizers`' conversion of such models differs in combining marks, runs of spaces and ties.

mod bpe;
mod charsmap;
mod decode;
mod normalizer;
mod pieces;
mod proto;
mod unigram;

#[cfg(test)]
mod tests;

use std::ops::Range;

use prost::Message;

pub(crate) use decode::PieceDecoder;
pub(crate) use normalizer::SPACE_MARK;
pub(crate) use pieces::Kind;

use normalizer::Normalizer;
use pieces::Pieces;
use proto::{ModelProto, ModelType, NormalizerSpec};

use super::trie::Trie;

/// Put in the place of `<unk>` in text, unless the model names something else.
const UNKNOWN_SURFACE: &str = " \u{2047} ";

/// A model, shared and immutable.
#[derive(Debug)]
pub(crate) struct SentencePiece {
    pieces: Pieces,
    normalizer: Normalizer,
    denormalizer: Option<Normalizer>,
    model: ModelType,
    unknown_surface: String,
}

/// One piece of an encoded text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Within the model; a family has its own ids.
    pub(crate) id: u32,
    /// What it stands for in [`Cut::normalized`]; that of a byte's whole character for a byte.
    pub(crate) normalized: Range<usize>,
    /// What it stands for in the text, bytes. All but the last byte of a character stand for nothing.
    pub(crate) origin: Range<usize>,
}

/// An encoded text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut {
    pub(crate) normalized: String,
    pub(crate) pieces: Vec<Piece>,
}

impl SentencePiece {
    /// From the bytes of a `.model` or `.spm` file. The error continues a sentence that names the file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let model = ModelProto::decode(bytes).map_err(|e| format!("it is no SentencePiece model ({e})"))?;
        if model.pieces.is_empty() {
            return Err("it is no SentencePiece model: it has no pieces".to_owned());
        }
        let trainer = model.trainer_spec.clone().unwrap_or_default();
        let kind = trainer.model_type();
        if kind == ModelType::Word {
            return Err("it is a model of whole words, which is not supported; unigram, bpe and char are".to_owned());
        }
        let spec = model.normalizer_spec.clone().unwrap_or_default();
        let normalizer = Normalizer::new(&spec, trainer.treat_whitespace_as_suffix())?;
        let denormalizer = denormalizer(model.denormalizer_spec.as_ref())?;
        let unknown_surface = trainer.unk_surface.clone().unwrap_or_else(|| UNKNOWN_SURFACE.to_owned());
        Ok(Self { pieces: Pieces::new(&model)?, normalizer, denormalizer, model: kind, unknown_surface })
    }

    /// How many pieces it has.
    pub(crate) fn len(&self) -> u32 {
        self.pieces.len()
    }

    /// Text of a piece; `None` where there is no such id.
    pub(crate) fn piece(&self, id: u32) -> Option<&str> {
        (id < self.len()).then(|| self.pieces.text(id))
    }

    /// What a piece is for; `None` where there is no such id.
    pub(crate) fn kind(&self, id: u32) -> Option<Kind> {
        (id < self.len()).then(|| self.pieces.kind(id))
    }

    /// Id of a piece, the unknown one's where there is none of that text.
    pub(crate) fn id(&self, piece: &str) -> u32 {
        self.pieces.id(piece)
    }

    /// Id of the unknown piece.
    pub(crate) fn unknown(&self) -> u32 {
        self.pieces.unknown
    }

    /// Without a blank of its own before a text, and without taking one away: the caller sees to it.
    pub(crate) fn without_dummy_prefix(mut self) -> Self {
        self.normalizer.add_dummy_prefix = false;
        self
    }

    /// Cuts `text` (below 4 GiB) into pieces.
    pub(crate) fn encode(&self, text: &str) -> Cut {
        let normalized = self.normalizer.normalize(text, &self.pieces.user_defined);
        let cut = match self.model {
            ModelType::Bpe => bpe::encode(&self.pieces, &normalized.text),
            ModelType::Char => self.characters(&normalized.text),
            _ => unigram::encode(&self.pieces, &normalized.text),
        };
        let origin = |at: usize| normalized.origin.get(at).map_or(text.len(), |&o| o as usize);
        let mut pieces: Vec<Piece> = Vec::with_capacity(cut.len());
        let (mut at, mut is_after_unknown) = (0, false);
        for (id, length) in cut {
            let range = at..at + length as usize;
            at = range.end;
            let from = origin(range.start)..origin(range.end);
            let is_unknown = id == self.pieces.unknown;
            match (&self.pieces.bytes, pieces.last_mut()) {
                (Some(bytes), _) if is_unknown => {
                    let last = range.len() - 1;
                    for (index, byte) in normalized.text[range.clone()].bytes().enumerate() {
                        let end = if index == last { from.end } else { from.start };
                        let id = bytes[usize::from(byte)];
                        pieces.push(Piece { id, normalized: range.clone(), origin: from.start..end });
                    }
                }
                // A run of unknown characters is one unknown piece.
                (None, Some(before)) if is_unknown && is_after_unknown => {
                    before.normalized.end = range.end;
                    before.origin.end = from.end;
                }
                _ => pieces.push(Piece { id, normalized: range, origin: from }),
            }
            is_after_unknown = is_unknown;
        }
        Cut { normalized: normalized.text, pieces }
    }

    fn characters(&self, text: &str) -> Vec<(u32, u32)> {
        let mut cut = Vec::new();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let whole = self.pieces.user_defined.longest_prefix(rest.as_bytes());
            let (part, after) = rest.split_at(whole.map_or(character.len_utf8(), |(length, _)| length));
            cut.push((self.pieces.trie.get(part).unwrap_or(self.pieces.unknown), part.len() as u32));
            rest = after;
        }
        cut
    }

    fn denormalize(&self, text: String) -> String {
        match &self.denormalizer {
            Some(rules) => rules.normalize(&text, &Trie::default()).text,
            None => text,
        }
    }
}

fn denormalizer(spec: Option<&NormalizerSpec>) -> Result<Option<Normalizer>, String> {
    let rules = spec.map(|spec| Normalizer::new(spec, false)).transpose()?;
    Ok(rules.filter(Normalizer::has_rules))
}
