//! Texts as token ids: pairs of a source and a target, and documents.
//!
//! - Pairs are tab-separated, a pair a line: source, target, and what follows is not read.
//! - Documents are parted by a line that holds [`DOCUMENT_END`] alone.
//!
//! Nothing that is held out comes through for training, and nothing else for evaluation.

use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use tokenizers::Tokenizer;

use crate::error::{Failure, Result};
use crate::heldout::HeldOut;
use crate::manifest::Purpose;
use crate::text::{for_each_line, normalize};

/// The line between two documents.
pub const DOCUMENT_END: &str = "<|endoftext|>";

/// A source and its target as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Line of the file, from 1.
    pub line: usize,
    /// The source.
    pub source: String,
    /// The target.
    pub target: String,
}

/// What a file gave.
#[derive(Debug, Clone, Default)]
pub struct Texts<T> {
    /// What may be used for the purpose.
    pub kept: Vec<T>,
    /// Left out because it is held out (for evaluation: because it is not).
    pub held_out: usize,
    /// Left out because it is no pair, or empty.
    pub broken: usize,
}

/// Whether a text may be used: for training what is not held out, for evaluation only what is.
fn may(hidden: bool, purpose: Purpose) -> bool {
    hidden == (purpose == Purpose::Evaluation)
}

/// Reads pairs. A pair is hidden where its source or its target is.
pub fn pairs(path: &Path, purpose: Purpose, held_out: &HeldOut) -> Result<Texts<Pair>> {
    let mut texts = Texts { kept: Vec::new(), held_out: 0, broken: 0 };
    for_each_line(path, |line, text| {
        let mut columns = text.split('\t').map(str::trim);
        match (columns.next(), columns.next()) {
            (Some(source), Some(target)) if !source.is_empty() && !target.is_empty() => {
                texts.kept.push(Pair { line, source: source.into(), target: target.into() });
            }
            _ => texts.broken += 1,
        }
        Ok(())
    })?;
    let hides = |pair: &Pair| [&pair.source, &pair.target].iter().any(|text| held_out.hides_text(&normalize(text)));
    let hidden: Vec<bool> = texts.kept.par_iter().map(hides).collect();
    let read = texts.kept.len();
    let mut hidden = hidden.into_iter();
    texts.kept.retain(|_| hidden.next().is_some_and(|hidden| may(hidden, purpose)));
    texts.held_out = read - texts.kept.len();
    Ok(texts)
}

/// Reads documents. One that is held out is left out for training; of the others only the paragraphs that hold a held-out
/// sentence are.
pub fn documents(path: &Path, purpose: Purpose, held_out: &HeldOut) -> Result<Texts<String>> {
    let mut texts = Texts { kept: Vec::new(), held_out: 0, broken: 0 };
    let mut paragraphs: Vec<String> = Vec::new();
    let mut end = |paragraphs: &mut Vec<String>| {
        let document = paragraphs.join("\n");
        let lines = std::mem::take(paragraphs);
        let document = document.trim();
        if document.is_empty() {
            return;
        }
        let hidden = held_out.is_listed(&normalize(document));
        match (hidden, purpose) {
            (true, Purpose::Evaluation) => texts.kept.push(document.to_owned()),
            (true, Purpose::Training) | (false, Purpose::Evaluation) => texts.held_out += 1,
            (false, Purpose::Training) => {
                let hides: Vec<bool> = lines.par_iter().map(|line| held_out.hides_text(&normalize(line))).collect();
                texts.held_out += hides.iter().filter(|hides| **hides).count();
                let kept = lines.iter().zip(hides).filter(|(_, hides)| !hides).map(|(line, _)| line.as_str());
                let document = kept.collect::<Vec<_>>().join("\n");
                if !document.trim().is_empty() {
                    texts.kept.push(document.trim().to_owned());
                }
            }
        }
    };
    for_each_line(path, |_, line| {
        if line.trim() == DOCUMENT_END {
            end(&mut paragraphs);
        } else {
            paragraphs.push(line);
        }
        Ok(())
    })?;
    end(&mut paragraphs);
    Ok(texts)
}

/// A tokenizer and its special tokens.
pub struct Vocabulary {
    tokenizer: Tokenizer,
    json: Vec<u8>,
    unknown: Option<u32>,
}

impl Vocabulary {
    /// Reads `tokenizer.json`.
    pub fn load(path: &Path) -> Result<Self> {
        let json = std::fs::read(path).map_err(|error| Failure::read(path, error))?;
        Self::from_json(json).map_err(|error| Failure::data(format!("{}: {error}", path.display())))
    }

    /// From the bytes of `tokenizer.json`.
    pub fn from_json(json: Vec<u8>) -> Result<Self> {
        let tokenizer =
            Tokenizer::from_bytes(&json).map_err(|error| Failure::data(format!("not a tokenizer.json: {error}")))?;
        let unknown = tokenizer.token_to_id(UNKNOWN);
        Ok(Self { tokenizer, json, unknown })
    }

    /// The bytes of `tokenizer.json`.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// A tokenizer has tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses a tokenizer that is not of the model in `dir`, which has `tokens`.
    pub fn fits(&self, tokens: usize, dir: &Path) -> Result<()> {
        if self.len() == tokens {
            return Ok(());
        }
        let (dir, has) = (dir.display(), self.len());
        Err(Failure::data(format!(
            "{dir}: tokenizer.json has {has} tokens and model.json {tokens}; are both of one model?"
        )))
    }

    /// The id of a token; refused by name where there is none.
    pub fn id(&self, token: &str) -> Result<u32> {
        self.tokenizer.token_to_id(token).ok_or_else(|| {
            Failure::data(format!("the tokenizer has no token `{token}`; `linnet-train vocabulary` makes one that has"))
        })
    }

    /// Ids of texts, without special tokens; in a text that holds an unknown character one of them is unknown.
    pub fn encode<'t>(&self, texts: impl IntoParallelIterator<Item = &'t str>) -> Result<Vec<Arc<[u32]>>> {
        let encode = |text: &str| self.tokenizer.encode_fast(text, false).map(|encoding| Arc::from(encoding.get_ids()));
        let made: Result<Vec<_>, tokenizers::Error> = texts.into_par_iter().map(encode).collect();
        made.map_err(|error| Failure::data(format!("a text cannot be cut into tokens: {error}")))
    }

    /// Whether one of `ids` stands for an unknown character.
    pub fn is_unknown(&self, ids: &[u32]) -> bool {
        self.unknown.is_some_and(|unknown| ids.contains(&unknown))
    }

    /// The text of ids, special tokens left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let text = self.tokenizer.decode(ids, true);
        text.map_err(|error| Failure::data(format!("tokens cannot be spelled: {error}")))
    }
}

/// The token for characters that no other spells.
pub const UNKNOWN: &str = "<unk>";
/// The token that begins a text.
pub const BEGIN: &str = "<s>";
/// The token that ends a text.
pub const END: &str = "</s>";
/// The token that pads.
pub const PAD: &str = "<pad>";
