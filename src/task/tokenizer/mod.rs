//! Text to token ids and back, with the ids that `transformers` gives.
//!
//! [`TextTokenizer::load`] takes a package as people have it: `tokenizer.json`, or the SentencePiece files of T5, Marian,
//! M2M100, NLLB, mBART, XLM-R, Llama and Gemma, or `vocab.json` with `merges.txt`, or `vocab.txt`, each with
//! `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` where they are there. No conversion by hand.
//!
//! **Somebody's words never steer.** Unless [`Encode::allow_special_in_text`] is set, a text that holds `<|im_end|>` or `</s>`
//! becomes the tokens of those letters. What steers: special tokens, those written `<|…|>`, and added tokens that the
//! package's chat template names (`<tool_call>`). Other added tokens (runs of spaces, tags of HTML) are ordinary words.
//! [`TextTokenizer::encode_guarded`] takes a text of which parts are trusted: a rendered chat template.

mod added;
mod byte_chars;
mod class;
mod cleanup;
mod convert;
mod encoded;
mod error;
mod family;
mod fast;
mod fast_decode;
mod fast_encode;
mod languages;
mod layout;
mod package;
pub(crate) mod sentencepiece;
mod slow;
mod slow_decode;
mod special;
mod stream;
pub(in crate::task) mod trie;
mod vocabulary;

#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tokenizers::Model;

use crate::limits::MAX_TEXT_BYTES;
use added::{Added, Allowed};
use class::Class;
use fast::Fast;
use languages::Languages;
use layout::Layout;
use package::Package;
use sentencepiece::{Kind, SPACE_MARK};
use slow::Slow;

pub use encoded::{Encoded, Origin};
pub use error::EncodeError;
pub(in crate::task) use slow::is_python_space;
pub use special::SpecialIds;
pub use stream::StreamDecoder;

/// How a text is encoded.
#[derive(Debug, Clone, Copy)]
pub struct Encode<'a> {
    /// Whether the model's special tokens are put around the text: `<s>`, `</s>`, a language.
    pub add_special: bool,
    /// Whether special tokens that stand in the text are made from it. For trusted text only.
    pub allow_special_in_text: bool,
    /// The language of the text, as the model calls it (`eng_Latn`, `en`, `en_XX`); the package's default without one.
    pub source_lang: Option<&'a str>,
    /// The language that the text is to be translated to, for models that are told it before the text (Marian: `fra`).
    pub target_lang: Option<&'a str>,
    /// Refuses a text of more tokens, those around it counted.
    pub max_tokens: usize,
}

impl Default for Encode<'_> {
    fn default() -> Self {
        Self {
            add_special: true,
            allow_special_in_text: false,
            source_lang: None,
            target_lang: None,
            max_tokens: usize::MAX,
        }
    }
}

/// A tokenizer, shared and immutable.
#[derive(Debug)]
pub struct TextTokenizer {
    backend: Backend,
    clean_up: bool,
    /// `bos_token` and the like, as they are written.
    named: BTreeMap<String, String>,
    /// `additional_special_tokens`.
    additional: Vec<String>,
    /// Whisper's times, which are no text.
    times: BTreeSet<u32>,
}

#[derive(Debug)]
enum Backend {
    Fast(Box<Fast>),
    Slow(Box<Slow>),
}

impl TextTokenizer {
    /// From the directory of a package. The error is one sentence that names the file.
    pub fn load(dir: &Path) -> Result<Self, String> {
        let package = Package::open(dir)?;
        let (has_merges, has_words) = (package.has("merges.txt"), package.has("vocab.txt"));
        let is_json = package.has("tokenizer.json");
        let backend = if is_json {
            Backend::Fast(Box::new(fast::load(&package)?))
        } else if package.has("vocab.json") && has_merges {
            Backend::Fast(Box::new(fast::build(&package, "vocab.json", &convert::byte_level_bpe(&package)?)?))
        } else if has_words {
            Backend::Fast(Box::new(fast::build(&package, "vocab.txt", &convert::word_piece(&package)?)?))
        } else {
            Backend::Slow(Box::new(family::load(&package).map_err(|why| {
                format!("{} has no tokenizer that can be read: there is no tokenizer.json, and {why}", dir.display())
            })?))
        };
        // BERT's Python class cleans up unless told otherwise; its Rust one has that in its decoder.
        let by_default = !is_json && has_words && !has_merges;
        let clean_up = package.flag("clean_up_tokenization_spaces").unwrap_or(by_default);
        let special = package.special_tokens();
        let named = package::ROLES.iter().zip(&special.roles);
        let named =
            named.filter_map(|(role, token)| Some(((*role).to_owned(), token.as_ref()?.content.clone()))).collect();
        let additional = special.additional.iter().map(|token| token.content.clone()).collect();
        let mut tokenizer = Self { backend, clean_up, named, additional, times: BTreeSet::new() };
        if package.class == Class::Whisper {
            let is_time = |content: &str| {
                let inner = content.strip_prefix("<|").and_then(|c| c.strip_suffix("|>"));
                let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
                inner.and_then(|i| i.split_once('.')).is_some_and(|(a, b)| digits(a) && digits(b))
            };
            tokenizer.times = tokenizer.added().iter().filter(|(_, t)| is_time(&t.content)).map(|(id, _)| id).collect();
        }
        Ok(tokenizer)
    }

    fn added(&self) -> &Added {
        match &self.backend {
            Backend::Fast(fast) => &fast.added,
            Backend::Slow(slow) => &slow.added,
        }
    }

    /// Whether decoded text is cleaned up; Gemma's class never does.
    fn cleans_up(&self) -> bool {
        let is_gemma = matches!(&self.backend, Backend::Slow(slow) if slow.style == slow::Style::Gemma);
        self.clean_up && !is_gemma
    }

    fn languages_of_model(&self) -> Option<&Languages> {
        match &self.backend {
            Backend::Fast(fast) => fast.languages.as_ref(),
            Backend::Slow(slow) => slow.languages.as_ref(),
        }
    }

    /// Ids of a text.
    pub fn encode(&self, text: &str, how: Encode<'_>) -> Result<Encoded, EncodeError> {
        let allowed = if how.allow_special_in_text { Allowed::All } else { Allowed::None };
        self.one(text, allowed, how)
    }

    /// Ids of a text in which special tokens are made, but for those that a guard lies within: `guards` are bytes of the text,
    /// sorted. [`Encode::allow_special_in_text`] has no say.
    pub fn encode_guarded(&self, text: &str, guards: &[usize], how: Encode<'_>) -> Result<Encoded, EncodeError> {
        self.one(text, Allowed::Outside(guards), how)
    }

    /// Ids of two texts, such as a question and where its answer stands.
    pub fn encode_pair(&self, first: &str, second: &str, how: Encode<'_>) -> Result<Encoded, EncodeError> {
        let allowed = if how.allow_special_in_text { Allowed::All } else { Allowed::None };
        let first = self.bare(first, allowed, how.max_tokens)?;
        let second = self.bare(second, allowed, how.max_tokens)?;
        within(self.with_special(&first, Some(&second), how)?, how.max_tokens)
    }

    /// Puts the special tokens around texts that were encoded without them ([`Encode::add_special`] `false`), or nothing but
    /// the second text behind the first where `how` adds none.
    pub fn with_special(
        &self,
        first: &Encoded,
        second: Option<&Encoded>,
        how: Encode<'_>,
    ) -> Result<Encoded, EncodeError> {
        let layout = if how.add_special { self.layout(how)? } else { Cow::Owned(Layout::around(&[], &[], &[])) };
        Ok(layout.apply(first, second))
    }

    /// How many tokens [`Self::with_special`] adds to one text, or to two.
    pub fn special_count(&self, is_pair: bool, how: Encode<'_>) -> Result<usize, EncodeError> {
        Ok(if how.add_special { self.layout(how)?.added(is_pair) } else { 0 })
    }

    fn layout(&self, how: Encode<'_>) -> Result<Cow<'_, Layout>, EncodeError> {
        if let Some(languages) = self.languages_of_model() {
            let layout = languages.layout(how.source_lang, how.target_lang);
            return layout.map(Cow::Owned).map_err(EncodeError::Language);
        }
        Ok(Cow::Borrowed(match &self.backend {
            Backend::Fast(fast) => &fast.layout,
            Backend::Slow(slow) => &slow.layout,
        }))
    }

    fn one(&self, text: &str, allowed: Allowed<'_>, how: Encode<'_>) -> Result<Encoded, EncodeError> {
        let bare = self.bare(text, allowed, how.max_tokens)?;
        let whole = if how.add_special { self.with_special(&bare, None, how)? } else { bare };
        within(whole, how.max_tokens)
    }

    fn bare(&self, text: &str, allowed: Allowed<'_>, most: usize) -> Result<Encoded, EncodeError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(EncodeError::TooLarge { bytes: text.len() });
        }
        let too_long = EncodeError::TooLong { most };
        match &self.backend {
            Backend::Slow(slow) => slow.encode(text, allowed, most).map_err(|_| too_long),
            Backend::Fast(fast) => match fast.encode(text, allowed, most) {
                Ok(encoded) => encoded.ok_or(too_long),
                Err(error) => Err(EncodeError::Failed(error.to_string())),
            },
        }
    }

    /// Text of ids. Ids that the tokenizer does not have are passed over.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut stream = self.stream(skip_special);
        let mut text = String::new();
        for id in ids {
            text.push_str(&stream.push(*id));
        }
        text.push_str(&stream.finish());
        text
    }

    /// Text of ids that come one by one.
    pub fn stream(&self, skip_special: bool) -> StreamDecoder<&Self> {
        StreamDecoder::new(self, skip_special)
    }

    /// Id of a token as the vocabulary writes it.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        match &self.backend {
            Backend::Fast(fast) => fast.tokenizer.token_to_id(token),
            Backend::Slow(slow) => slow.id(token),
        }
    }

    /// A token as the vocabulary writes it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        match &self.backend {
            // The crate gives added tokens as its normaliser writes them.
            Backend::Fast(fast) => match fast.added.get(id) {
                Some(token) => Some(token.content.clone()),
                None => fast.tokenizer.get_model().id_to_token(id),
            },
            Backend::Slow(slow) => slow.token(id).map(str::to_owned),
        }
    }

    /// The bytes that a token adds to a text: those of its letters, a blank for the mark of one, or the byte that it stands for.
    /// An added token's are its content. `None` where there is no such token.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        if let Some(token) = self.added().get(id) {
            return Some(token.content.clone().into_bytes());
        }
        match &self.backend {
            Backend::Fast(fast) => Some(fast.steps.bytes(&fast.tokenizer.get_model().id_to_token(id)?)),
            Backend::Slow(slow) => {
                let token = slow.token(id)?;
                let model = slow.decoding_model();
                match model.kind(model.id(token)) {
                    Some(Kind::Byte(byte)) => Some(vec![byte]),
                    _ => Some(token.replace(SPACE_MARK, " ").into_bytes()),
                }
            }
        }
    }

    /// Whether a token steers the model, so that it is never made from somebody's words.
    pub fn is_control(&self, id: u32) -> bool {
        self.added().is_control(id)
    }

    /// The tokens that steer, as they are written, and whether each is a special one.
    pub fn control_tokens(&self) -> impl Iterator<Item = (&str, bool)> {
        let added = self.added();
        added.iter().filter(|(id, _)| added.is_control(*id)).map(|(_, t)| (t.content.as_str(), t.special))
    }

    /// How many ids there are, added tokens included.
    pub fn vocab_size(&self) -> u32 {
        match &self.backend {
            Backend::Fast(fast) => fast.len(),
            Backend::Slow(slow) => slow.len(),
        }
    }

    /// Special tokens that have a role.
    pub fn special(&self) -> SpecialIds {
        match &self.backend {
            Backend::Fast(fast) => fast.special,
            Backend::Slow(slow) => slow.special,
        }
    }

    /// The special tokens as they are written, by `bos_token` and the like, and the additional ones.
    pub fn special_texts(&self) -> (&BTreeMap<String, String>, &[String]) {
        (&self.named, &self.additional)
    }

    /// The languages that the model is told by a token, as it calls them.
    pub fn languages(&self) -> Vec<&str> {
        self.languages_of_model().map(|l| l.codes().collect()).unwrap_or_default()
    }

    /// The token of a language: what a translation into it begins with (`forced_bos_token_id`).
    pub fn language_id(&self, code: &str) -> Result<u32, EncodeError> {
        let none = || EncodeError::Language("the model is not told languages by tokens".to_owned());
        self.languages_of_model().ok_or_else(none)?.id(code).map_err(EncodeError::Language)
    }
}

fn within(encoded: Encoded, most: usize) -> Result<Encoded, EncodeError> {
    if encoded.len() > most { Err(EncodeError::TooLong { most }) } else { Ok(encoded) }
}
