//! The units that a CTC model emits.

use linnet_proto::model_config::UnitKind;
use tokenizers::Tokenizer;

/// Marks a word's beginning (U+2581).
pub const WORD_START: char = '▁';

/// The blank's name in `tokenizer.json`.
pub const BLANK: &str = "<blank>";

/// Why units cannot be used. Each names the file's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitsError {
    /// Not a file of the `tokenizers` crate.
    #[error("tokenizer.json cannot be read: {0}")]
    Parse(String),
    /// The vocabulary and the model differ in size.
    #[error("tokenizer.json has {found} units but config.json says {expected}; they must be equal")]
    Count {
        /// In `tokenizer.json`.
        found: usize,
        /// In `config.json`.
        expected: usize,
    },
    /// Ids have holes.
    #[error("tokenizer.json has no unit with id {0}; ids must be 0 to the number of units less one")]
    Hole(usize),
    /// The blank is not where it must be.
    #[error("tokenizer.json calls id {id} `{found}`; the blank id must be called `<blank>`")]
    Blank {
        /// The blank's id.
        id: usize,
        /// What stands there.
        found: String,
    },
    /// A character model's unit of several characters.
    #[error("unit {id} is `{text}`, but the model's units are single characters")]
    NotACharacter {
        /// Its id.
        id: usize,
        /// What it is.
        text: String,
    },
    /// A piece holds the word mark in its middle.
    #[error("unit {id} is `{text}`: the word mark ▁ may stand only at its beginning")]
    MarkInside {
        /// Its id.
        id: usize,
        /// What it is.
        text: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Unit {
    text: Box<str>,
    starts_word: bool,
}

/// Texts of a model's units by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    units: Vec<Unit>,
    blank: u32,
}

impl Units {
    /// Units from their names in id order (`<blank>`, `▁the`, `s`, …).
    pub fn new<S: AsRef<str>>(names: &[S], blank: usize, kind: UnitKind) -> Result<Self, UnitsError> {
        let found = names.get(blank).map_or("nothing", |n| n.as_ref());
        if found != BLANK {
            return Err(UnitsError::Blank { id: blank, found: found.to_owned() });
        }
        let mut units = Vec::with_capacity(names.len());
        for (id, name) in names.iter().map(AsRef::as_ref).enumerate() {
            let text = name.strip_prefix(WORD_START);
            let unit = Unit { starts_word: text.is_some(), text: text.unwrap_or(name).into() };
            // Names in angle brackets (`<unk>`) are no text: they spell nothing.
            let special = id == blank || (name.len() > 2 && name.starts_with('<') && name.ends_with('>'));
            if special {
                units.push(Unit { text: "".into(), starts_word: false });
                continue;
            }
            if kind == UnitKind::Characters && name.chars().count() != 1 {
                return Err(UnitsError::NotACharacter { id, text: name.to_owned() });
            }
            if unit.text.contains(WORD_START) {
                return Err(UnitsError::MarkInside { id, text: name.to_owned() });
            }
            units.push(unit);
        }
        Ok(Self { units, blank: blank as u32 })
    }

    /// Units from the bytes of `tokenizer.json`, which must hold exactly `count` of them with ids without holes.
    pub fn from_tokenizer_json(json: &[u8], count: usize, blank: usize, kind: UnitKind) -> Result<Self, UnitsError> {
        let tokenizer = Tokenizer::from_bytes(json).map_err(|e| UnitsError::Parse(e.to_string()))?;
        let vocabulary = tokenizer.get_vocab(true);
        if vocabulary.len() != count {
            return Err(UnitsError::Count { found: vocabulary.len(), expected: count });
        }
        let mut names: Vec<Option<String>> = vec![None; count];
        for (name, id) in vocabulary {
            // An id beyond the count leaves a hole, which is what the error names.
            if let Some(slot) = names.get_mut(id as usize) {
                *slot = Some(name);
            }
        }
        let name = |(id, name): (usize, Option<String>)| name.ok_or(UnitsError::Hole(id));
        let names = names.into_iter().enumerate().map(name).collect::<Result<Vec<_>, _>>()?;
        Self::new(&names, blank, kind)
    }

    /// Number of units, the blank included.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Never true: there is at least the blank.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Id of the blank.
    pub fn blank(&self) -> u32 {
        self.blank
    }

    /// What the unit adds to a word; empty for the blank, the bare word mark and special units.
    pub fn text(&self, id: u32) -> &str {
        &self.units[id as usize].text
    }

    /// Whether the unit begins a word.
    pub fn starts_word(&self, id: u32) -> bool {
        self.units[id as usize].starts_word
    }

    /// The text that a sequence of units spells: words with one blank between.
    pub fn spell(&self, ids: &[u32]) -> String {
        let mut out = String::new();
        let mut parted = false;
        for &id in ids {
            parted |= self.starts_word(id);
            let text = self.text(id);
            if text.is_empty() {
                continue;
            }
            if parted && !out.is_empty() {
                out.push(' ');
            }
            parted = false;
            out.push_str(text);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 6] = ["<blank>", "<unk>", "▁", "▁the", "n", "▁a"];

    #[test]
    fn pieces_spell_words_with_single_blanks() {
        let units = Units::new(&NAMES, 0, UnitKind::Bpe).expect("well formed");
        assert_eq!(units.spell(&[3, 4, 5, 2, 2, 5, 4, 2]), "then a an");
        assert_eq!(units.spell(&[4, 3]), "n the");
        assert_eq!(units.spell(&[]), "");
    }

    #[test]
    fn faults_of_a_vocabulary_are_named() {
        let error = Units::new(&["a", "b"], 0, UnitKind::Bpe).expect_err("no blank");
        assert!(error.to_string().contains("`a`"));
        let error = Units::new(&NAMES, 0, UnitKind::Characters).expect_err("a piece among characters");
        assert_eq!(error, UnitsError::NotACharacter { id: 3, text: "▁the".into() });
        let error = Units::new(&["<blank>", "a▁b"], 0, UnitKind::Bpe).expect_err("a mark inside");
        assert!(matches!(error, UnitsError::MarkInside { id: 1, .. }));
        let error = Units::new::<&str>(&[], 0, UnitKind::Bpe).expect_err("nothing at all");
        assert!(matches!(error, UnitsError::Blank { .. }));
    }

    fn tokenizer_json(vocabulary: &str) -> Vec<u8> {
        let head = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
            "pre_tokenizer":null,"post_processor":null,"decoder":null,"model":{"type":"WordLevel","unk_token":"<blank>","vocab":"#;
        format!("{head}{vocabulary}}}}}").into_bytes()
    }

    #[test]
    fn a_tokenizer_file_must_match_the_model() {
        let load = |v: &str, n| Units::from_tokenizer_json(&tokenizer_json(v), n, 0, UnitKind::Characters);
        let units = load(r#"{"<blank>":0,"▁":1,"a":2}"#, 3).expect("matches");
        assert_eq!(units.spell(&[2, 1, 2]), "a a");
        assert_eq!(load(r#"{"<blank>":0,"a":1}"#, 3), Err(UnitsError::Count { found: 2, expected: 3 }));
        assert_eq!(load(r#"{"<blank>":0,"a":7}"#, 2), Err(UnitsError::Hole(1)));
        let broken = Units::from_tokenizer_json(b"{", 3, 0, UnitKind::Characters);
        assert!(matches!(broken, Err(UnitsError::Parse(_))));
    }
}
