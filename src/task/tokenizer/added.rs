//! Added tokens: those that are looked for in the text itself, before the model cuts what lies between.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::Value;

use super::trie::Trie;

/// One of `added_tokens_decoder`, or a special token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AddedToken {
    pub(super) content: String,
    /// Not inside a word.
    pub(super) single_word: bool,
    /// Takes the white space before it along.
    pub(super) lstrip: bool,
    /// Takes the white space after it along.
    pub(super) rstrip: bool,
    /// Looked for in the normalised text.
    pub(super) normalized: bool,
    /// Left out of decoded text on request, and never made from a user's words.
    pub(super) special: bool,
}

impl AddedToken {
    pub(super) fn special(content: &str) -> Self {
        Self { content: content.to_owned(), special: true, ..Self::default() }
    }

    /// From a string or an object as `transformers` writes it; `None` for anything else.
    pub(super) fn parse(value: &Value) -> Option<Self> {
        if let Value::String(content) = value {
            return Some(Self { content: content.clone(), normalized: true, ..Self::default() });
        }
        let flag = |name: &str| value.get(name).and_then(Value::as_bool);
        let special = flag("special").unwrap_or(false);
        Some(Self {
            content: value.get("content")?.as_str()?.to_owned(),
            single_word: flag("single_word").unwrap_or(false),
            lstrip: flag("lstrip").unwrap_or(false),
            rstrip: flag("rstrip").unwrap_or(false),
            normalized: flag("normalized").unwrap_or(!special),
            special,
        })
    }
}

/// Which of the tokens that steer a model may be made from a text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Allowed<'a> {
    /// All: the text is trusted.
    All,
    /// None: it is somebody's words.
    None,
    /// Those that no guard lies within. Guards are bytes of the text, sorted.
    Outside(&'a [usize]),
}

impl Allowed<'_> {
    /// Whether a token that steers may be made of these bytes of the text.
    pub(super) fn allows(self, range: &Range<usize>) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Outside(guards) => {
                let next = guards.partition_point(|&g| g <= range.start);
                guards.get(next).is_none_or(|&g| g >= range.end)
            }
        }
    }
}

/// The added tokens of a tokenizer, by id.
#[derive(Debug, Clone, Default)]
pub(super) struct Added {
    tokens: BTreeMap<u32, AddedToken>,
    trie: Trie,
    control: BTreeSet<u32>,
}

impl Added {
    /// `template`: the chat template's text; `codes`: the tokens of languages. What a token must be to steer: special, a language,
    /// written `<|…|>`, or named by the template.
    pub(super) fn new(tokens: BTreeMap<u32, AddedToken>, template: &str, codes: impl IntoIterator<Item = u32>) -> Self {
        let steers = |t: &AddedToken| {
            let is_marked = t.content.len() > 4 && t.content.starts_with("<|") && t.content.ends_with("|>");
            t.special || is_marked || (!t.content.trim().is_empty() && template.contains(&t.content))
        };
        let control = tokens.iter().filter(|(_, t)| steers(t)).map(|(&id, _)| id).chain(codes).collect();
        let trie = Trie::new(tokens.iter().map(|(&id, t)| (t.content.as_str(), id)));
        Self { tokens, trie, control }
    }

    pub(super) fn get(&self, id: u32) -> Option<&AddedToken> {
        self.tokens.get(&id)
    }

    pub(super) fn id(&self, content: &str) -> Option<u32> {
        self.trie.get(content)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &AddedToken)> {
        self.tokens.iter().map(|(&id, token)| (id, token))
    }

    /// Tokens that steer the model: never made from a user's words.
    pub(super) fn is_control(&self, id: u32) -> bool {
        self.control.contains(&id)
    }

    /// Cuts `text` at its added tokens, the longest at each place, from left to right.
    pub(super) fn split(
        &self,
        text: &str,
        may_be: impl Fn(u32, &Range<usize>) -> bool,
    ) -> Vec<(Range<usize>, Option<u32>)> {
        let mut parts = Vec::new();
        let (mut from, mut at) = (0, 0);
        while let Some(character) = text[at..].chars().next() {
            match self.trie.longest_prefix(&text.as_bytes()[at..]) {
                Some((length, id)) => {
                    let range = at..at + length;
                    at = range.end;
                    if may_be(id, &range) {
                        if from < range.start {
                            parts.push((from..range.start, None));
                        }
                        from = range.end;
                        parts.push((range, Some(id)));
                    }
                }
                None => at += character.len_utf8(),
            }
        }
        if from < text.len() {
            parts.push((from..text.len(), None));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added() -> Added {
        let plain = |content: &str| AddedToken { content: content.to_owned(), ..AddedToken::default() };
        Added::new(
            BTreeMap::from([
                (1, AddedToken::special("<s>")),
                (2, plain("<think>")),
                (3, plain("<|fim|>")),
                (4, plain("<b>")),
                (5, plain("\n\n")),
            ]),
            "{{ '<think>\n\n' }}",
            [],
        )
    }

    #[test]
    fn a_token_steers_when_it_is_special_or_marked_or_named_by_the_template() {
        let control: Vec<bool> = (1..=5).map(|id| added().is_control(id)).collect();
        assert_eq!(control, [true, true, true, false, false]);
    }

    #[test]
    fn a_text_is_cut_at_its_tokens() {
        let parts = added().split("a<s><b> <think>", |id, _| id != 2);
        assert_eq!(parts, [(0..1, None), (1..4, Some(1)), (4..7, Some(4)), (7..15, None)]);
        assert_eq!(added().split("", |_, _| true), []);
    }

    #[test]
    fn a_guard_keeps_the_token_around_it_from_being_made() {
        let guards = [3, 10];
        let allowed = Allowed::Outside(&guards);
        assert!(!allowed.allows(&(2..5)) && !allowed.allows(&(9..11)));
        assert!(allowed.allows(&(3..10)) && allowed.allows(&(0..3)) && allowed.allows(&(10..12)));
        assert!(Allowed::All.allows(&(0..9)) && !Allowed::None.allows(&(0..9)));
    }

    #[test]
    fn what_transformers_writes_is_read() {
        let value = serde_json::json!({"content": "<x>", "lstrip": true, "special": true});
        let token = AddedToken::parse(&value).expect("a token");
        assert_eq!(token, AddedToken { lstrip: true, ..AddedToken::special("<x>") });
        assert!(AddedToken::parse(&serde_json::json!("<x>")).expect("a token").normalized);
        assert_eq!(AddedToken::parse(&serde_json::json!(7)), None);
    }
}
