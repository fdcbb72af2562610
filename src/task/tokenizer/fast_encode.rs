//! Encoding by the `tokenizers` crate, with a say in which added tokens a text may become.
//!
//! The crate's own `encode` knows all special tokens or none. Here they are found as it finds them
//! (`AddedVocabulary::find_matches`), and those that the text must not become are left as text.

use std::cell::Cell;

use tokenizers::normalizer::Range as Place;
use tokenizers::{Model, NormalizedString, Normalizer, OffsetType, PreTokenizedString, PreTokenizer, Result, Token};

use super::added::Allowed;
use super::encoded::Encoded;
use super::fast::Fast;
use super::trie::Trie;

/// What an error says when there are more tokens than asked for. Never shown: it is turned into [`super::EncodeError`].
const TOO_LONG: &str = "more tokens than asked for";

type Parts = Vec<(NormalizedString, Option<Vec<Token>>)>;

impl Fast {
    /// Ids of a text, without special tokens around it. `None`: more than `most`.
    pub(super) fn encode(&self, text: &str, allowed: Allowed<'_>, most: usize) -> Result<Option<Encoded>> {
        let mut cut = PreTokenizedString::from(text);
        cut.split(|_, part| self.find(part, &self.plain, allowed))?;
        let normalizer = self.tokenizer.get_normalizer();
        cut.split(|_, mut part| {
            if let Some(normalizer) = normalizer {
                normalizer.normalize(&mut part)?;
            }
            self.find(part, &self.normalized, allowed)
        })?;
        if let Some(pre_tokenizer) = self.tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut cut)?;
        }
        let count = Cell::new(0);
        let counted = cut.tokenize(|part| {
            let tokens = self.model_tokens(part.get(), allowed)?;
            count.set(count.get() + tokens.len());
            if count.get() > most { Err(TOO_LONG.into()) } else { Ok(tokens) }
        });
        match counted {
            Err(error) if error.to_string() == TOO_LONG => return Ok(None),
            counted => counted?,
        }
        let encoding = cut.into_encoding(None, 0, OffsetType::Byte)?;
        if encoding.len() > most {
            return Ok(None);
        }
        // Offsets are trimmed here, where the post-processor does so.
        let encoding = self.tokenizer.post_process(encoding, None, false)?;
        let mut out = Encoded::default();
        for (id, (from, to)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            out.push(*id, *from..*to);
        }
        Ok(Some(out))
    }

    /// Cuts a part at the added tokens of `trie`.
    fn find(&self, part: NormalizedString, trie: &Trie, allowed: Allowed<'_>) -> Result<Parts> {
        let text = part.get();
        if trie.is_empty() || text.is_empty() {
            return Ok(vec![(part, None)]);
        }
        let mut found: Parts = Vec::new();
        let slice = |from: usize, to: usize| {
            part.slice(Place::Normalized(from..to)).ok_or("a token lies across a character of the text")
        };
        let (mut from, mut at) = (0, 0);
        while let Some(character) = text[at..].chars().next() {
            let Some((length, id)) = trie.longest_prefix(&text.as_bytes()[at..]) else {
                at += character.len_utf8();
                continue;
            };
            let (mut start, mut stop) = (at, at + length);
            at = stop;
            let Some(token) = self.added.get(id) else { continue };
            if self.added.is_control(id) && !allows(&part, start, stop, allowed) {
                continue;
            }
            if token.single_word && (text[..start].ends_with(is_word) || text[stop..].starts_with(is_word)) {
                continue;
            }
            if token.lstrip {
                start = text[..start].trim_end().len().max(from);
            }
            if token.rstrip {
                stop = text.len() - text[stop..].trim_start().len();
                at = at.max(stop);
            }
            if from < start {
                found.push((slice(from, start)?, None));
            }
            let whole = slice(start, stop)?;
            let value = whole.get().to_owned();
            let length = value.len();
            found.push((whole, Some(vec![Token::new(id, value, (0, length))])));
            from = stop;
        }
        if from < text.len() {
            found.push((slice(from, text.len())?, None));
        }
        Ok(found)
    }

    /// What the model makes of a part. A model whose vocabulary holds `</s>` may find it in the text: it is taken apart.
    fn model_tokens(&self, text: &str, allowed: Allowed<'_>) -> Result<Vec<Token>> {
        let tokens = self.tokenizer.get_model().tokenize(text)?;
        let is_wrong = |t: &Token| self.added.is_control(t.id) && Some(t.id) != self.special.unk;
        if matches!(allowed, Allowed::All) || !tokens.iter().any(is_wrong) {
            return Ok(tokens);
        }
        let mut out = Vec::with_capacity(tokens.len());
        for token in tokens {
            if !is_wrong(&token) {
                out.push(token);
                continue;
            }
            let (from, to) = token.offsets;
            let part = text.get(from..to).unwrap_or_default();
            let head = part.chars().next().map_or(0, char::len_utf8);
            if head == 0 || head == part.len() {
                // Nothing to take apart: unknown, or nothing.
                out.extend(self.special.unk.map(|unk| Token { id: unk, ..token }));
                continue;
            }
            for (at, half) in [(from, &part[..head]), (from + head, &part[head..])] {
                let tokens = self.model_tokens(half, allowed)?.into_iter();
                out.extend(tokens.map(|t| Token { offsets: (t.offsets.0 + at, t.offsets.1 + at), ..t }));
            }
        }
        Ok(out)
    }
}

/// Whether these bytes of a part may become a token that steers, seen from where they stand in the text.
fn allows(part: &NormalizedString, start: usize, stop: usize, allowed: Allowed<'_>) -> bool {
    if !matches!(allowed, Allowed::Outside(_)) {
        return allowed.allows(&(start..stop));
    }
    let begin = part.offsets_original().0;
    match part.convert_offsets(Place::Normalized(start..stop)) {
        Some(range) => allowed.allows(&(begin + range.start..begin + range.end)),
        None => false,
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
