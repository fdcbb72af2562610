//! Hot words: names and phrases that a search favours.
//!
//! An Aho-Corasick automaton over bytes in which a match may begin only where a word begins. A phrase that is being
//! spelled has partial credit, in proportion to what is spelled of it; the credit is gone when the spelling leaves
//! the phrase, and becomes the whole boost when its last word ends.

use std::collections::BTreeSet;

use super::lexicon::Lexicon;

/// Most phrases of a list; what comes after is passed over.
pub const MAX_PHRASES: usize = 1000;

/// Longest phrase, bytes.
pub const MAX_PHRASE_BYTES: usize = 200;

/// Place in the automaton.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotState(u32);

const ROOT: u32 = 0;
/// The word at hand can no longer be part of a phrase.
const DEAD: u32 = u32::MAX;

#[derive(Debug, Clone, Default)]
struct Node {
    /// Sorted by byte.
    next: Vec<(u8, u32)>,
    /// Longest shorter match in progress that begins at a later word; `DEAD` where there is none.
    fail: u32,
    /// Share of a boost that is granted here, 0.0 to 1.0.
    credit: f32,
    /// Phrases that end here, those of the `fail` chain included.
    matches: u32,
    /// Whether a phrase of this very node ends here.
    ends: bool,
}

/// Phrases to favour, ready for the search.
#[derive(Debug, Clone, Default)]
pub struct HotWords {
    nodes: Vec<Node>,
    words: Lexicon,
}

impl HotWords {
    /// From a request's `prompt`: commas, semicolons and new lines part phrases. Lower case, as models spell;
    /// characters that are neither letters, digits nor apostrophes part words.
    pub fn parse(prompt: &str) -> Self {
        let phrases = prompt.split([',', ';', '\n', '\r']).map(|phrase| {
            let lower = phrase.to_lowercase().replace('’', "'");
            let words = lower.split(|c: char| !(c.is_alphanumeric() || c == '\'')).filter(|w| !w.is_empty());
            words.collect::<Vec<_>>().join(" ")
        });
        Self::new(phrases)
    }

    /// From phrases of words with one blank between; empty and overlong ones are passed over.
    pub fn new(phrases: impl IntoIterator<Item = String>) -> Self {
        let fits = |p: &String| !p.is_empty() && p.len() <= MAX_PHRASE_BYTES;
        let phrases: BTreeSet<String> = phrases.into_iter().filter(fits).take(MAX_PHRASES).collect();
        if phrases.is_empty() {
            return Self::default();
        }
        let mut built = Self { nodes: vec![Node { fail: DEAD, ..Node::default() }], words: Lexicon::default() };
        built.words = Lexicon::new(phrases.iter().flat_map(|p| p.split(' ')));
        for phrase in &phrases {
            built.insert(phrase);
        }
        built.link(&phrases);
        built
    }

    fn insert(&mut self, phrase: &str) {
        let total = phrase.len() as f32;
        let mut at = ROOT as usize;
        for (index, byte) in phrase.bytes().enumerate() {
            at = match self.nodes[at].next.binary_search_by_key(&byte, |n| n.0) {
                Ok(found) => self.nodes[at].next[found].1 as usize,
                Err(place) => {
                    let new = self.nodes.len();
                    self.nodes.push(Node { fail: DEAD, ..Node::default() });
                    self.nodes[at].next.insert(place, (byte, new as u32));
                    new
                }
            };
            let credit = (index + 1) as f32 / total;
            self.nodes[at].credit = self.nodes[at].credit.max(credit);
        }
        self.nodes[at].ends = true;
    }

    /// Sets `fail`, `matches` and `credit` of every node, shorter strings first.
    fn link(&mut self, phrases: &BTreeSet<String>) {
        let mut prefixes: Vec<&[u8]> = Vec::new();
        for phrase in phrases {
            prefixes.extend((1..=phrase.len()).map(|n| &phrase.as_bytes()[..n]));
        }
        prefixes.sort_unstable_by_key(|p| p.len());
        for prefix in prefixes {
            let node = self.walk(prefix).expect("every prefix was inserted");
            // What is left from a later word on, the longest first; the root when nothing is left.
            let later = (0..prefix.len()).filter(|&at| prefix[at] == b' ');
            let fail = later.filter_map(|at| self.walk(&prefix[at + 1..])).next();
            let (mut matches, mut credit) = (u32::from(self.nodes[node].ends), self.nodes[node].credit);
            if let Some(fail) = fail {
                matches += self.nodes[fail].matches;
                credit = credit.max(self.nodes[fail].credit);
            }
            let node = &mut self.nodes[node];
            node.fail = fail.map_or(DEAD, |f| f as u32);
            node.matches = matches;
            node.credit = credit;
        }
    }

    fn walk(&self, text: &[u8]) -> Option<usize> {
        let mut at = ROOT as usize;
        for byte in text {
            let found = self.nodes[at].next.binary_search_by_key(byte, |n| n.0).ok()?;
            at = self.nodes[at].next[found].1 as usize;
        }
        Some(at)
    }

    /// Whether there is nothing to favour.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The single words of all phrases.
    pub fn words(&self) -> &Lexicon {
        &self.words
    }

    /// Before the first word.
    pub fn start(&self) -> HotState {
        HotState(if self.is_empty() { DEAD } else { ROOT })
    }

    /// Spells on within a word.
    pub fn advance(&self, state: HotState, text: &[u8]) -> HotState {
        let mut at = state.0;
        for &byte in text {
            at = self.step(at, byte);
        }
        HotState(at)
    }

    fn step(&self, mut at: u32, byte: u8) -> u32 {
        while at != DEAD {
            let node = &self.nodes[at as usize];
            if let Ok(found) = node.next.binary_search_by_key(&byte, |n| n.0) {
                return node.next[found].1;
            }
            at = node.fail;
        }
        DEAD
    }

    /// Ends a word: how many phrases end with it, and the state before the next word.
    pub fn end_word(&self, state: HotState) -> (u32, HotState) {
        if self.is_empty() {
            return (0, state);
        }
        let matches = if state.0 == DEAD { 0 } else { self.nodes[state.0 as usize].matches };
        // A new word may begin a phrase whatever came before.
        let next = self.step(state.0, b' ');
        (matches, HotState(if next == DEAD { ROOT } else { next }))
    }

    /// Share of a boost for the phrase in progress, 0.0 to 1.0.
    pub fn credit(&self, state: HotState) -> f32 {
        if state.0 == DEAD { 0.0 } else { self.nodes[state.0 as usize].credit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Phrases that end in `text`, and the credit after its last byte.
    fn read(hot: &HotWords, text: &str) -> (u32, f32) {
        let mut state = hot.start();
        let mut total = 0;
        for (index, word) in text.split(' ').enumerate() {
            if index > 0 {
                let (matches, next) = hot.end_word(state);
                total += matches;
                state = next;
            }
            state = hot.advance(state, word.as_bytes());
        }
        let credit = hot.credit(state);
        (total + hot.end_word(state).0, credit)
    }

    /// The same by brute force over words.
    fn count(phrases: &[&str], text: &str) -> u32 {
        let words: Vec<&str> = text.split(' ').collect();
        let mut total = 0;
        for phrase in phrases {
            let phrase: Vec<&str> = phrase.split(' ').collect();
            total += words.windows(phrase.len()).filter(|w| *w == phrase.as_slice()).count() as u32;
        }
        total
    }

    #[test]
    fn a_phrase_counts_where_its_words_stand_whole() {
        let phrases = ["new york", "york", "york city", "a b c", "b d", "cat"];
        let hot = HotWords::new(phrases.iter().map(|p| (*p).to_owned()));
        for text in
            ["new york city", "a b d", "a b c", "cat", "cats", "a cat", "concat", "new new york", "york york", "b b d"]
        {
            assert_eq!(read(&hot, text).0, count(&phrases, text), "{text}");
        }
    }

    #[test]
    fn partial_credit_grows_and_is_taken_back() {
        let hot = HotWords::new(["linnet".to_owned()]);
        assert_eq!(read(&hot, "lin").1, 0.5);
        assert_eq!(read(&hot, "linn").1, 4.0 / 6.0);
        assert_eq!(read(&hot, "linx").1, 0.0);
        assert_eq!(read(&hot, "the lin").1, 0.5);
        assert_eq!(read(&hot, "linnets"), (0, 0.0));
        assert_eq!(read(&hot, "linnet"), (1, 1.0));
    }

    #[test]
    fn a_prompt_is_parted_and_lowered() {
        let hot = HotWords::parse("Home Assistant, O’Neil; \n\n,,Zoë!");
        assert_eq!(read(&hot, "home assistant").0, 1);
        assert_eq!(read(&hot, "o'neil").0, 1);
        assert_eq!(read(&hot, "zoë").0, 1);
        assert!(HotWords::parse(" , ;\n").is_empty());
    }

    #[test]
    fn an_endless_prompt_is_bounded() {
        let prompt = (0..5000).map(|i| format!("w{i}")).collect::<Vec<_>>().join(",");
        assert_eq!(HotWords::parse(&prompt).words().len(), MAX_PHRASES);
        assert!(HotWords::parse(&"x".repeat(MAX_PHRASE_BYTES + 1)).is_empty());
    }
}
