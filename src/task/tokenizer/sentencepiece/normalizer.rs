//! Normalisation as SentencePiece does it before it looks for pieces, with the way back to the bytes of the text.

use super::super::trie::Trie;
use super::charsmap::CharsMap;
use super::proto::NormalizerSpec;

/// Stands for a blank inside pieces (U+2581).
pub(crate) const SPACE_MARK: &str = "▁";

#[derive(Debug, Clone)]
pub(super) struct Normalizer {
    charsmap: Option<CharsMap>,
    pub(super) add_dummy_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
    treat_whitespace_as_suffix: bool,
}

/// Normalised text, and for each of its bytes (and its end) the byte of the text that it comes from.
#[derive(Debug, Clone, Default)]
pub(super) struct Normalized {
    pub(super) text: String,
    pub(super) origin: Vec<u32>,
}

impl Normalizer {
    pub(super) fn new(spec: &NormalizerSpec, treat_whitespace_as_suffix: bool) -> Result<Self, String> {
        let charsmap = match spec.precompiled_charsmap() {
            [] => None,
            blob => Some(CharsMap::parse(blob)?),
        };
        Ok(Self {
            charsmap,
            add_dummy_prefix: spec.add_dummy_prefix(),
            remove_extra_whitespaces: spec.remove_extra_whitespaces(),
            escape_whitespaces: spec.escape_whitespaces(),
            treat_whitespace_as_suffix,
        })
    }

    pub(super) fn has_rules(&self) -> bool {
        self.charsmap.is_some()
    }

    /// `whole`: symbols that are never changed. After `Normalizer::Normalize` of SentencePiece.
    pub(super) fn normalize(&self, text: &str, whole: &Trie) -> Normalized {
        let mut out = Normalized::default();
        let mut rest = text;
        let consumed = |rest: &str| (text.len() - rest.len()) as u32;
        if self.remove_extra_whitespaces {
            while let Some((" ", length)) = self.step(rest, whole) {
                rest = &rest[length..];
            }
        }
        if rest.is_empty() {
            return out;
        }
        out.text.reserve(rest.len() + rest.len() / 2);
        out.origin.reserve(rest.len() + rest.len() / 2);

        let space = if self.escape_whitespaces { SPACE_MARK } else { " " };
        if self.add_dummy_prefix && !self.treat_whitespace_as_suffix {
            out.push(space, consumed(rest));
        }
        let mut is_after_space = self.remove_extra_whitespaces;
        while let Some((mut new, length)) = self.step(rest, whole) {
            let from = consumed(rest);
            if is_after_space {
                new = new.trim_start_matches(' ');
            }
            for (index, part) in new.split(' ').enumerate() {
                if index > 0 {
                    out.push(space, from);
                }
                out.push(part, from);
            }
            if !new.is_empty() {
                is_after_space = new.ends_with(' ');
            }
            is_after_space &= self.remove_extra_whitespaces;
            rest = &rest[length..];
        }
        let mut end = consumed(rest);
        if self.remove_extra_whitespaces {
            while out.text.ends_with(space) {
                let length = out.text.len() - space.len();
                end = out.origin[length];
                out.text.truncate(length);
                out.origin.truncate(length);
            }
        }
        if self.add_dummy_prefix && self.treat_whitespace_as_suffix {
            out.push(space, end);
        }
        out.origin.push(end);
        out
    }

    /// What the beginning of `text` becomes, and how many bytes of it that takes. `None` at the end.
    fn step<'a>(&'a self, text: &'a str, whole: &Trie) -> Option<(&'a str, usize)> {
        let first = text.chars().next()?;
        if let Some((length, _)) = whole.longest_prefix(text.as_bytes()) {
            return Some((&text[..length], length));
        }
        let rule = self.charsmap.as_ref().and_then(|map| map.longest(text));
        Some(match rule {
            Some((length, new)) => (new, length),
            None => (&text[..first.len_utf8()], first.len_utf8()),
        })
    }
}

impl Normalized {
    fn push(&mut self, part: &str, from: u32) {
        self.text.push_str(part);
        self.origin.resize(self.text.len(), from);
    }
}
