//! From the pieces of a SentencePiece model to the ids of a family, and back.

use std::collections::HashMap;

use super::sentencepiece::{Kind, SentencePiece};
use super::trie::Trie;

/// The first four of a vocabulary that came from fairseq.
const FAIRSEQ_HEAD: [&str; 4] = ["<s>", "<pad>", "</s>", "<unk>"];

/// How a family numbers its tokens, added ones aside.
#[derive(Debug)]
pub(super) enum Vocabulary {
    /// As the model does: T5, Llama, Gemma.
    Same,
    /// One later than the model, with its own first four and some after the last: XLM-R, NLLB, mBART.
    Fairseq { tail: Vec<String> },
    /// By a `vocab.json`: Marian, M2M100.
    Listed(Listed),
}

/// A `vocab.json`.
#[derive(Debug)]
pub(super) struct Listed {
    tokens: HashMap<u32, String>,
    ids: Trie,
    unknown: u32,
    /// Ids of the pieces of the models that it was made for, by model.
    of_piece: Vec<u32>,
    count: u32,
}

impl Listed {
    /// The error continues a sentence that names the file.
    pub(super) fn new(vocabulary: Vec<(String, u32)>, unknown: &str, model: &SentencePiece) -> Result<Self, String> {
        let ids = Trie::new(vocabulary.iter().map(|(token, id)| (token.as_str(), *id)));
        let unknown = ids.get(unknown).ok_or_else(|| format!("lacks the unknown token {unknown:?}"))?;
        let of_piece =
            (0..model.len()).map(|id| model.piece(id).and_then(|piece| ids.get(piece)).unwrap_or(unknown)).collect();
        let count = vocabulary.len() as u32;
        let tokens = vocabulary.into_iter().map(|(token, id)| (id, token)).collect();
        Ok(Self { tokens, ids, unknown, of_piece, count })
    }

    pub(super) fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(&id).map(String::as_str)
    }

    pub(super) fn len(&self) -> u32 {
        self.count
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.tokens.iter().map(|(id, token)| (token.as_str(), *id))
    }
}

impl Vocabulary {
    /// How many ids there are without added tokens (`vocab_size` of `transformers`).
    pub(super) fn len(&self, model: &SentencePiece) -> u32 {
        match self {
            Self::Same => model.len(),
            Self::Fairseq { tail } => model.len() + 1 + tail.len() as u32,
            Self::Listed(listed) => listed.count,
        }
    }

    /// Id of a token; `None` where there is none of that text.
    pub(super) fn id(&self, model: &SentencePiece, token: &str) -> Option<u32> {
        let known = |id: u32| (id != model.unknown() || model.piece(id) == Some(token)).then_some(id);
        match self {
            Self::Same => known(model.id(token)),
            Self::Fairseq { tail } => {
                let head = FAIRSEQ_HEAD.iter().position(|t| *t == token).map(|at| at as u32);
                let tail = || tail.iter().position(|t| t == token).map(|at| model.len() + 1 + at as u32);
                head.or_else(tail).or_else(|| known(model.id(token)).filter(|&id| id != 0).map(|id| id + 1))
            }
            Self::Listed(listed) => listed.ids.get(token),
        }
    }

    /// Id of a piece that the model cut out. `text`: what it stands for, which counts where the model does not know it.
    pub(super) fn piece(&self, model: &SentencePiece, piece: u32, text: &str) -> u32 {
        match self {
            Self::Same => piece,
            // Their unknown token is the fourth.
            Self::Fairseq { .. } if piece == model.unknown() => 3,
            Self::Fairseq { .. } => piece + 1,
            Self::Listed(listed) if model.kind(piece) == Some(Kind::Unknown) => {
                listed.ids.get(text).unwrap_or(listed.unknown)
            }
            Self::Listed(listed) => listed.of_piece.get(piece as usize).copied().unwrap_or(listed.unknown),
        }
    }

    pub(super) fn unknown(&self, model: &SentencePiece) -> u32 {
        match self {
            Self::Same => model.unknown(),
            Self::Fairseq { .. } => 3,
            Self::Listed(listed) => listed.unknown,
        }
    }

    /// Text of an id; `None` where there is none.
    pub(super) fn token<'a>(&'a self, model: &'a SentencePiece, id: u32) -> Option<&'a str> {
        match self {
            Self::Same => model.piece(id),
            Self::Fairseq { tail } => match FAIRSEQ_HEAD.get(id as usize) {
                Some(token) => Some(token),
                None => model.piece(id - 1).or_else(|| tail.get((id - 1 - model.len()) as usize).map(String::as_str)),
            },
            Self::Listed(listed) => listed.token(id),
        }
    }
}
