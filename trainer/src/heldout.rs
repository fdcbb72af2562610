//! What no model may ever be trained on: voices and sentences that judge the models.
//!
//! The lists under `trainer/heldout/` are compiled in, so that no option and no missing file can lift them. Sentences
//! stand there as SHA-256 of their normalised text: the lists name them without repeating them.

use std::collections::HashSet;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

/// Shortest run of words inside a longer text that is looked for in the list.
const LEAST_WORDS_INSIDE: usize = 5;
/// Longest sentence that is looked for inside a longer text, words.
const MOST_WORDS_INSIDE: usize = 32;

type Hash = [u8; 32];

/// The lists of texts: name and content.
pub const LISTS: [(&str, &str); 4] = [
    ("sentences", include_str!("../heldout/sentences.sha256")),
    ("validation", include_str!("../heldout/validation.sha256")),
    ("translation", include_str!("../heldout/translation.sha256")),
    ("stories", include_str!("../heldout/stories.sha256")),
];

/// The held-out lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldOut {
    voices: HashSet<String>,
    sentences: HashSet<Hash>,
}

impl HeldOut {
    /// The committed lists.
    pub fn committed() -> &'static Self {
        static COMMITTED: OnceLock<HeldOut> = OnceLock::new();
        COMMITTED
            .get_or_init(|| Self::parse(include_str!("../heldout/voices.txt"), &LISTS.map(|(_, list)| list).join("\n")))
    }

    /// Lists from their text: one entry a line, `#` begins a comment. A line that is no digest hides nothing; a test
    /// keeps the committed ones free of such lines.
    pub fn parse(voices: &str, sentences: &str) -> Self {
        Self {
            voices: entries(voices).map(str::to_owned).collect(),
            sentences: entries(sentences).filter_map(|entry| hex::decode(entry).ok()?.try_into().ok()).collect(),
        }
    }

    /// Whether this voice or speaker is held out.
    pub fn hides_voice(&self, speaker: &str) -> bool {
        self.voices.contains(speaker)
    }

    /// Whether this normalised text, as a whole, is on the lists.
    pub fn is_listed(&self, normalized: &str) -> bool {
        self.sentences.contains(&digest(normalized))
    }

    /// Whether this normalised text is a held-out sentence, or holds one of at least five words.
    pub fn hides_text(&self, normalized: &str) -> bool {
        if self.is_listed(normalized) {
            return true;
        }
        let words: Vec<&str> = normalized.split(' ').collect();
        let most = words.len().min(MOST_WORDS_INSIDE);
        (LEAST_WORDS_INSIDE..=most)
            .any(|len| words.windows(len).any(|run| self.sentences.contains(&digest(&run.join(" ")))))
    }

    /// The voices, sorted.
    pub fn voices(&self) -> Vec<&str> {
        let mut voices: Vec<&str> = self.voices.iter().map(String::as_str).collect();
        voices.sort_unstable();
        voices
    }

    /// Number of sentences.
    pub fn sentence_count(&self) -> usize {
        self.sentences.len()
    }
}

/// SHA-256 of a normalised text, as the lists hold it.
pub fn digest(normalized: &str) -> Hash {
    Sha256::digest(normalized.as_bytes()).into()
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(|line| line.split('#').next().unwrap_or("").trim()).filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(sentences: &[&str]) -> HeldOut {
        let hashes: Vec<String> = sentences.iter().map(|s| hex::encode(digest(s))).collect();
        HeldOut::parse("rms # a flite voice\n# nothing\n\nespeak:en-us+f4", &hashes.join("\n"))
    }

    #[test]
    fn a_held_out_sentence_is_found_alone_and_inside_another() {
        let lists = lists(&["the old man and the sea", "open it"]);
        assert!(lists.hides_text("the old man and the sea"));
        assert!(lists.hides_text("he read the old man and the sea again"));
        assert!(lists.hides_text("open it"));
        assert!(!lists.hides_text("open it now"), "two words are no quotation");
        assert!(!lists.hides_text("the old man and the see"));
        assert!(!lists.hides_text(""));
    }

    #[test]
    fn comments_and_blanks_are_no_entries() {
        let lists = lists(&["a"]);
        assert_eq!(lists.voices(), ["espeak:en-us+f4", "rms"]);
        assert!(lists.hides_voice("rms") && !lists.hides_voice("# nothing") && !lists.hides_voice(""));
    }

    #[test]
    fn the_committed_lists_are_whole() {
        for (_, list) in LISTS {
            let digests: Vec<&str> = entries(list).collect();
            assert!(digests.len() >= 30, "{} entries", digests.len());
            assert!(digests.iter().all(|d| d.len() == 64 && hex::decode(d).is_ok()));
        }
        let lists = HeldOut::committed();
        assert!(lists.voices().len() >= 3, "{:?}", lists.voices());
        for sample in ["sample.txt", "sample2.txt"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/audio").join(sample);
            let text = std::fs::read_to_string(path).expect("a bundled text");
            assert!(lists.hides_text(&crate::text::normalize(&text)), "{text}");
        }
    }
}
