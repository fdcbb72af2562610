//! Tokenizers on SentencePiece models, as the Python classes of `transformers` have them.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use super::added::{Added, Allowed};
use super::encoded::{Encoded, TooLong};
use super::languages::Languages;
use super::layout::Layout;
use super::sentencepiece::{SPACE_MARK, SentencePiece};
use super::special::SpecialIds;
use super::vocabulary::{Listed, Vocabulary};

/// How decoded pieces become a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// The model decodes what stands between special tokens; a blank before each such run. The first mark goes.
    T5,
    /// The same, but the model sees to the first mark.
    Mbart50,
    /// As T5, but no blank at the beginning, none at all unless `legacy` is set, and nothing stripped.
    Llama,
    /// A blank after each special token.
    Marian,
    /// No blanks of its own.
    M2m100,
    /// All pieces in a row, marks to blanks: NLLB, mBART, XLM-R.
    Joined,
    /// By ids: added tokens stand for themselves.
    Gemma,
}

/// A tokenizer of a SentencePiece family.
#[derive(Debug)]
pub(super) struct Slow {
    pub(super) source: SentencePiece,
    /// Decodes, where source and target have models of their own (Marian).
    pub(super) target: Option<SentencePiece>,
    pub(super) vocabulary: Vocabulary,
    /// Ids of target tokens, where they are others (Marian's `separate_vocabs`).
    pub(super) target_vocabulary: Option<Listed>,
    pub(super) added: Added,
    pub(super) special: SpecialIds,
    /// Tokens that are left out on request when decoding, as they are written.
    pub(super) all_special: HashSet<String>,
    /// Added tokens that decode to a text of their own between blanks.
    pub(super) apart: BTreeSet<u32>,
    pub(super) layout: Layout,
    pub(super) languages: Option<Languages>,
    pub(super) style: Style,
    /// T5 and Llama before the blank after special tokens was corrected; true for all others.
    pub(super) is_legacy: bool,
    pub(super) add_prefix_space: bool,
}

/// A text with where each of its bytes comes from; `None` where nothing was changed.
struct Prepared {
    text: String,
    origin: Option<Vec<u32>>,
}

impl Slow {
    pub(super) fn decoding_model(&self) -> &SentencePiece {
        self.target.as_ref().unwrap_or(&self.source)
    }

    /// Text of an id when decoding.
    pub(super) fn token(&self, id: u32) -> Option<&str> {
        if let Some(token) = self.added.get(id) {
            return Some(&token.content);
        }
        let (found, is_listed) = match &self.target_vocabulary {
            Some(listed) => (listed.token(id), true),
            None => (self.vocabulary.token(&self.source, id), matches!(self.vocabulary, Vocabulary::Listed(_))),
        };
        // A list may lack an id in its middle: then it is unknown. Beyond the last there is nothing.
        let unknown = || self.special.unk.filter(|_| is_listed && id < self.len()).and_then(|unk| self.added.get(unk));
        found.or_else(|| unknown().map(|t| t.content.as_str()))
    }

    /// How many ids there are, the highest one of an added token counted.
    pub(super) fn len(&self) -> u32 {
        let base = self.vocabulary.len(&self.source).max(self.target_vocabulary.as_ref().map_or(0, Listed::len));
        self.added.iter().map(|(id, _)| id + 1).max().unwrap_or(0).max(base)
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.added.id(token).or_else(|| self.vocabulary.id(&self.source, token))
    }

    /// Ids of a text, without special tokens around it.
    pub(super) fn encode(&self, text: &str, allowed: Allowed<'_>, most: usize) -> Result<Encoded, TooLong> {
        let prepared = self.prepare(text);
        let mut out = Encoded::default();
        let may_be = |id: u32, range: &Range<usize>| {
            !self.added.is_control(id) || allowed.allows(&(prepared.origin(range.start)..prepared.origin(range.end)))
        };
        let mut parts = self.added.split(&prepared.text, may_be);
        strip_around(&mut parts, &prepared.text, &self.added);
        let mut begins_with_mark = false;
        for (range, token) in parts {
            if range.is_empty() {
                continue;
            }
            match token {
                Some(id) => {
                    // The blank before a text that begins with a special token.
                    let is_special = self.added.get(id).is_some_and(|t| self.all_special.contains(&t.content));
                    if begins_with_mark && is_special && out.len() == 1 {
                        out.remove_first();
                    }
                    out.push(id, prepared.origin(range.start)..prepared.origin(range.end));
                }
                None => {
                    let is_first = out.is_empty();
                    let has_mark =
                        self.pieces(&prepared.text[range.clone()], range.start, &prepared, allowed, &mut out);
                    begins_with_mark |= is_first && has_mark && !self.is_legacy;
                }
            }
            if out.ids.len() > most {
                return Err(TooLong { most });
            }
        }
        Ok(out)
    }

    /// T5 and Llama, since they no longer leave the first blank to the model.
    fn prepare(&self, text: &str) -> Prepared {
        if self.is_legacy || text.is_empty() {
            return Prepared { text: text.to_owned(), origin: None };
        }
        let mut prepared = Prepared { text: String::with_capacity(text.len() + 3), origin: Some(Vec::new()) };
        if self.add_prefix_space {
            prepared.push(SPACE_MARK, 0);
        }
        for (at, character) in text.char_indices() {
            let mut bytes = [0; 4];
            let part = character.encode_utf8(&mut bytes);
            prepared.push(if part == SPACE_MARK { " " } else { part }, at);
        }
        if let Some(origin) = &mut prepared.origin {
            origin.push(text.len() as u32);
        }
        prepared
    }

    /// Cuts what lies between added tokens. Whether its first piece is a lone mark of a blank.
    fn pieces(&self, text: &str, at: usize, prepared: &Prepared, allowed: Allowed<'_>, out: &mut Encoded) -> bool {
        if let Some((code, rest)) = self.leading_code(text).filter(|_| matches!(allowed, Allowed::All)) {
            let end = at + text.len() - rest.len();
            out.push(self.vocabulary.id(&self.source, code).unwrap_or(self.vocabulary.unknown(&self.source)), at..end);
            self.pieces(rest, end, prepared, Allowed::None, out);
            return false;
        }
        // The model would take a first blank away: it is put behind a token that is cut off again.
        let guard = if !self.is_legacy && text.starts_with(['▁', ' ']) {
            self.source.piece(self.source.unknown())
        } else {
            None
        };
        let guard = guard.unwrap_or_default();
        let cut = self.source.encode(&format!("{guard}{text}"));
        let skipped = if guard.is_empty() { 0 } else { self.source.encode(guard).pieces.len() };
        let skipped = if cut.pieces.len() >= skipped { skipped } else { 0 };
        let mut is_first_mark = false;
        for (index, piece) in cut.pieces.iter().skip(skipped).enumerate() {
            let normalized = &cut.normalized[piece.normalized.clone()];
            let mut id = self.vocabulary.piece(&self.source, piece.id, normalized);
            if self.added.is_control(id) && id != self.vocabulary.unknown(&self.source) {
                // Text that the model does not know, and that is written as a special token is.
                id = self.vocabulary.unknown(&self.source);
            }
            is_first_mark |= index == 0 && normalized == SPACE_MARK;
            let place = |origin: usize| prepared.origin(at + origin.saturating_sub(guard.len()));
            out.push(id, place(piece.origin.start)..place(piece.origin.end));
        }
        is_first_mark
    }
}

impl Slow {
    /// Marian's `>>fra<<` before a text, and the text.
    fn leading_code<'a>(&self, text: &'a str) -> Option<(&'a str, &'a str)> {
        let end = text.find("<<").filter(|_| self.style == Style::Marian && text.starts_with(">>"))?;
        Some(text.split_at(end + 2))
    }
}

impl Prepared {
    fn push(&mut self, part: &str, from: usize) {
        self.text.push_str(part);
        if let Some(origin) = &mut self.origin {
            origin.resize(self.text.len(), from as u32);
        }
    }

    fn origin(&self, at: usize) -> usize {
        match &self.origin {
            Some(origin) => origin.get(at).or(origin.last()).map_or(at, |&o| o as usize),
            None => at,
        }
    }
}

/// What `str.strip` of Python takes away.
pub(in crate::task) fn is_python_space(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// White space that an added token takes along, and tokens that must not stand inside a word.
fn strip_around(parts: &mut [(Range<usize>, Option<u32>)], text: &str, added: &Added) {
    for at in 0..parts.len() {
        let Some(token) = parts[at].1.and_then(|id| added.get(id)) else { continue };
        let range = parts[at].0.clone();
        // Another token is text to its neighbour, too, but begins and ends with none of what is stripped.
        let left = at.checked_sub(1).filter(|&left| !parts[left].0.is_empty());
        let right = Some(at + 1).filter(|&right| right < parts.len() && !parts[right].0.is_empty());
        if let Some(right) = right.filter(|&right| token.rstrip && parts[right].1.is_none()) {
            let after = &text[parts[right].0.clone()];
            parts[right].0.start = parts[right].0.end - after.trim_start_matches(is_python_space).len();
        }
        if let Some(left) = left.filter(|&left| token.lstrip && parts[left].1.is_none()) {
            let before = &text[parts[left].0.clone()];
            parts[left].0.end = parts[left].0.start + before.trim_end_matches(is_python_space).len();
        }
        if !token.single_word {
            continue;
        }
        let neighbour = |at: Option<usize>| at.map(|at| &text[parts[at].0.clone()]);
        let is_joined_left = neighbour(left).is_some_and(|t| !t.ends_with(' '));
        let is_joined_right = neighbour(right).is_some_and(|t| !t.starts_with(' '));
        match (left, right) {
            (Some(left), _) if is_joined_left => parts[left].0.end = range.end,
            (_, Some(right)) if is_joined_right => parts[right].0.start = range.start,
            _ => continue,
        }
        parts[at].0 = range.end..range.end;
    }
}
