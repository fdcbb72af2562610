//! Marks in somebody's words, where a special token could be read.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::{Chat, Prompt};
use crate::task::tokenizer::trie::Trie;

/// Noncharacters: Unicode keeps them for the inner use of programs, so no text holds them.
const MARKS: RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

pub(super) fn is_mark(character: char) -> bool {
    MARKS.contains(&character)
}

/// Whose words they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    Anybody,
    /// The model's own: templates look for `<think>` and the like in them.
    Model,
}

/// Puts marks in, and takes them out.
#[derive(Debug)]
pub(super) struct Marker {
    mark: char,
    all: Tokens,
    special: Tokens,
}

/// Tokens, small letters for capital ones, since a template may change case.
#[derive(Debug)]
struct Tokens {
    whole: Trie,
    /// Their ends, without the first letter or more.
    tails: Trie,
    longest: usize,
}

impl Tokens {
    fn new<'a>(tokens: impl Iterator<Item = &'a str>) -> Self {
        let tokens: Vec<String> = tokens.map(str::to_ascii_lowercase).collect();
        let tails = tokens.iter().flat_map(|t| t.char_indices().skip(1).map(|(at, _)| (&t[at..], 0)));
        Self {
            tails: Trie::new(tails),
            whole: Trie::new(tokens.iter().map(|t| (t.as_str(), 0))),
            longest: tokens.iter().map(String::len).max().unwrap_or(0),
        }
    }

    /// Where marks go in `text`: behind the first letter of each token, and at an end where one could be completed. Sorted.
    fn places(&self, text: &str) -> Vec<usize> {
        let mut places = Vec::new();
        if self.longest == 0 {
            return places;
        }
        let lower = text.to_ascii_lowercase();
        let begin = text.len() - text.trim_start().len();
        if self.tails.longest_prefix(&lower.as_bytes()[begin..]).is_some() {
            places.push(begin);
        }
        for (at, character) in text.char_indices() {
            let first = character.len_utf8();
            // A token of one letter cannot be told from that letter.
            if self.whole.longest_prefix(&lower.as_bytes()[at..]).is_some_and(|(length, _)| length > first) {
                places.push(at + first);
            }
        }
        let end = text.trim_end().len();
        let mut last = end.saturating_sub(self.longest)..end;
        if last.any(|at| text.is_char_boundary(at) && self.whole.has_longer(&lower.as_bytes()[at..end])) {
            places.push(end);
        }
        places.sort_unstable();
        places.dedup();
        places
    }
}

impl Marker {
    /// `None` where the conversation or the templates hold all characters that a mark could be.
    pub(super) fn new(control: &[(String, bool)], templates: &str, chat: &Chat<'_>) -> Option<Self> {
        let lists = [Some(chat.messages), chat.tools, chat.documents];
        let values =
            || lists.into_iter().flatten().flatten().chain(chat.variables.into_iter().flat_map(|v| v.values()));
        let is_free = |mark: &char| !templates.contains(*mark) && !values().any(|value| holds(value, *mark));
        let is_kept = |(text, special): &&(String, bool)| *special || text.starts_with("<|");
        Some(Self {
            mark: MARKS.into_iter().find(is_free)?,
            all: Tokens::new(control.iter().map(|(text, _)| text.as_str())),
            special: Tokens::new(control.iter().filter(is_kept).map(|(text, _)| text.as_str())),
        })
    }

    /// `text` with marks, or as it is where it needs none.
    pub(super) fn mark<'a>(&self, text: &'a str, speaker: Speaker) -> Cow<'a, str> {
        let tokens = if speaker == Speaker::Model { &self.special } else { &self.all };
        let places = tokens.places(text);
        if places.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len() + 3 * places.len());
        let mut from = 0;
        for at in places {
            out.push_str(&text[from..at]);
            out.push(self.mark);
            from = at;
        }
        out.push_str(&text[from..]);
        Cow::Owned(out)
    }

    /// The text without marks, and where they were.
    pub(super) fn take_out(&self, text: &str) -> Prompt {
        let mut prompt = Prompt { text: String::with_capacity(text.len()), guards: Vec::new() };
        for (index, part) in text.split(self.mark).enumerate() {
            if index > 0 && prompt.guards.last() != Some(&prompt.text.len()) {
                prompt.guards.push(prompt.text.len());
            }
            prompt.text.push_str(part);
        }
        prompt
    }
}

fn holds(value: &Value, mark: char) -> bool {
    match value {
        Value::String(text) => text.contains(mark),
        Value::Array(list) => list.iter().any(|v| holds(v, mark)),
        Value::Object(map) => map.iter().any(|(key, v)| key.contains(mark) || holds(v, mark)),
        _ => false,
    }
}
