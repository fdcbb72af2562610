//! The units that a CTC model emits, and the verb that makes them.
//!
//! `tokenizer.json` is a file of the `tokenizers` crate that its other users can load as well: a BPE model (without merges
//! for characters) behind a `Metaspace` pre-tokenizer. Id 0 is `<blank>`; `▁` begins a word.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use linnet::task::decode::units::{BLANK, Units as Speller, WORD_START};
use linnet_proto::model_config::UnitKind;
use tokenizers::models::bpe::{BPE, BpeTrainer, Vocab};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{AddedToken, Tokenizer, Trainer};

use crate::bad::{BadRows, Fault, OnBad};
use crate::error::{Failure, Result};
use crate::heldout::HeldOut;
use crate::manifest::{self, Purpose};
use crate::output;
use crate::text::{ALPHABET, Sentences};

/// Most units: more do not help models of a few million parameters.
pub const MOST_UNITS: usize = 512;

/// Arguments of `linnet-train units`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  linnet-train units --kind bpe --size 256 --manifest reader/train.jsonl --text sentences.txt --out units/tokenizer.json"
)]
pub struct UnitsArgs {
    /// What a unit is.
    #[arg(long, value_enum, default_value_t = Kind::Bpe)]
    pub kind: Kind,
    /// Number of units, the blank included; characters need no more than there are.
    #[arg(long, default_value_t = 256)]
    pub size: usize,
    /// Text to train on, one sentence a line; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub text: Vec<PathBuf>,
    /// Manifest whose texts are trained on; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub manifest: Vec<PathBuf>,
    /// What to do with a bad row of a manifest.
    #[arg(long, value_enum, default_value_t)]
    pub on_bad: OnBad,
    /// Where to write `tokenizer.json`.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Kinds of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Letters, the apostrophe and the word mark.
    Characters,
    /// Pieces of words, learnt from text by byte-pair encoding.
    Bpe,
}

/// Runs `units`.
pub fn run(args: UnitsArgs) -> Result<()> {
    let units = match args.kind {
        Kind::Characters => Units::characters()?,
        Kind::Bpe => {
            let held_out = HeldOut::committed();
            let mut bad = BadRows::new(args.on_bad);
            let mut sentences = Sentences::read(&args.text, Purpose::Training, held_out)?;
            for path in &args.manifest {
                let manifest = manifest::read(path, Purpose::Training, &mut bad)?;
                sentences.held_out += manifest.held_out;
                sentences.kept.extend(manifest.utterances.into_iter().map(|u| u.text));
            }
            if let Some(summary) = bad.summary() {
                eprintln!("{summary}");
            }
            if sentences.kept.is_empty() {
                return Err(Failure::usage("there is no text to learn pieces from; give --text or --manifest"));
            }
            eprintln!("{} sentences, {} held out and left out", sentences.kept.len(), sentences.held_out);
            Units::bpe(&sentences.kept, args.size)?
        }
    };
    units.save(&args.out)?;
    println!("{}: {} units", args.out.display(), units.len());
    Ok(())
}

/// A set of units that encodes and spells text.
pub struct Units {
    tokenizer: Tokenizer,
    speller: Speller,
    kind: UnitKind,
}

impl Units {
    /// The blank, the word mark, the apostrophe and the letters.
    pub fn characters() -> Result<Self> {
        let names = [BLANK.to_owned(), WORD_START.to_string()].into_iter().chain(ALPHABET.chars().map(String::from));
        let vocabulary: Vec<(String, u32)> = names.zip(0..).collect();
        let model = BPE::builder().vocab_and_merges(vocabulary.into_iter().collect::<Vocab>(), vec![]);
        Self::around(model.build().map_err(of_tokenizers)?, UnitKind::Characters)
    }

    /// `size` units learnt from normalised sentences; every character is among them, so that each text can be spelled.
    pub fn bpe(sentences: &[String], size: usize) -> Result<Self> {
        let least = ALPHABET.len() + 2;
        if !(least..=MOST_UNITS).contains(&size) {
            return Err(Failure::usage(format!("--size is {size}, but must be {least} to {MOST_UNITS}")));
        }
        let alphabet: HashSet<char> = ALPHABET.chars().chain([WORD_START]).collect();
        let mut trainer = BpeTrainer::builder()
            .vocab_size(size)
            .show_progress(false)
            .special_tokens(vec![AddedToken::from(BLANK, true)])
            .initial_alphabet(alphabet)
            .build();
        let words = |text: &str| Ok(text.split(' ').map(|word| format!("{WORD_START}{word}")).collect());
        trainer.feed(sentences.iter(), words).map_err(of_tokenizers)?;
        let mut model = BPE::default();
        trainer.train(&mut model).map_err(of_tokenizers)?;
        let units = Self::around(model, UnitKind::Bpe)?;
        if units.len() < size {
            eprintln!("the text has pieces for {} units only, not {size}", units.len());
        }
        Ok(units)
    }

    /// Reads `tokenizer.json`.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Failure::read(path, e))?;
        let wrong = |reason: String| Failure::data(format!("{}: {reason}", path.display()));
        let tokenizer = Tokenizer::from_bytes(&bytes).map_err(|e| wrong(e.to_string()))?;
        Self::new(tokenizer).map_err(|e| wrong(e.to_string()))
    }

    /// Writes `tokenizer.json`.
    pub fn save(&self, path: &Path) -> Result<()> {
        output::write_whole(path, self.to_json()?.as_bytes())
    }

    /// The text of `tokenizer.json`.
    pub fn to_json(&self) -> Result<String> {
        self.tokenizer.to_string(true).map_err(of_tokenizers)
    }

    /// Number of units, the blank included.
    pub fn len(&self) -> usize {
        self.speller.len()
    }

    /// Never true: there is at least the blank.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// What they are, for `config.json`.
    pub fn kind(&self) -> UnitKind {
        self.kind
    }

    /// What the daemon decodes with.
    pub fn speller(&self) -> &Speller {
        &self.speller
    }

    /// Unit ids of a normalised text; never the blank. A character without a unit is an error.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Fault> {
        if let Some(c) =
            text.chars().find(|&c| c != ' ' && self.tokenizer.token_to_id(c.encode_utf8(&mut [0; 4])).is_none())
        {
            return Err(Fault::UnknownCharacter(c));
        }
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|e| Fault::Row(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text that unit ids spell; blanks and repeats must be gone.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.speller.spell(ids)
    }

    fn around(model: BPE, kind: UnitKind) -> Result<Self> {
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(Metaspace::new(WORD_START, PrependScheme::Always, true)));
        let units = Self::new(tokenizer)?;
        debug_assert_eq!(units.kind, kind);
        Ok(units)
    }

    fn new(tokenizer: Tokenizer) -> Result<Self> {
        let json = tokenizer.to_string(false).map_err(of_tokenizers)?;
        let count = tokenizer.get_vocab_size(true);
        let load = |kind| Speller::from_tokenizer_json(json.as_bytes(), count, 0, kind);
        let (speller, kind) = match load(UnitKind::Characters) {
            Ok(speller) => (speller, UnitKind::Characters),
            Err(_) => (load(UnitKind::Bpe).map_err(|e| Failure::data(e.to_string()))?, UnitKind::Bpe),
        };
        Ok(Self { tokenizer, speller, kind })
    }
}

fn of_tokenizers(error: tokenizers::Error) -> Failure {
    Failure::software(format!("the units cannot be made: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: [&str; 6] = [
        "turn on the light in the kitchen",
        "turn off the light in the hall",
        "what is the time",
        "don't turn the radio on",
        "the time is nine o'clock",
        "set the timer to ten minutes",
    ];

    fn bpe(size: usize) -> Units {
        Units::bpe(&TEXT.map(String::from), size).expect("learnt")
    }

    #[test]
    fn characters_are_the_blank_the_mark_and_the_letters() {
        let units = Units::characters().expect("made");
        assert_eq!((units.len(), units.kind()), (29, UnitKind::Characters));
        assert_eq!(units.encode("a 'b").expect("known"), [1, 3, 1, 2, 4]);
        assert_eq!(units.decode(&[1, 3, 1, 2, 4]), "a 'b");
    }

    #[test]
    fn frequent_words_become_one_piece() {
        let units = bpe(80);
        assert_eq!((units.len(), units.kind()), (80, UnitKind::Bpe));
        assert_eq!(units.encode("the turn").expect("known").len(), 2);
        assert!(units.encode("zyx").expect("known").len() >= 3);
    }

    #[test]
    fn the_written_file_is_what_the_daemon_reads() {
        let dir = tempfile::tempdir().expect("a directory");
        for units in [Units::characters().expect("made"), bpe(64)] {
            let path = dir.path().join("new/tokenizer.json");
            units.save(&path).expect("written");
            let json = std::fs::read(&path).expect("read");
            let speller =
                Speller::from_tokenizer_json(&json, units.len(), 0, units.kind()).expect("the daemon's check");
            let again = Units::load(&path).expect("loads");
            for text in TEXT {
                let ids = again.encode(text).expect("known");
                assert_eq!(ids, units.encode(text).expect("known"));
                assert!(!ids.contains(&0));
                assert_eq!(speller.spell(&ids), text);
            }
        }
    }

    #[test]
    fn what_no_unit_spells_is_named() {
        for units in [Units::characters().expect("made"), bpe(64)] {
            assert_eq!(units.encode("caf\u{e9}"), Err(Fault::UnknownCharacter('\u{e9}')));
            assert_eq!(units.encode("at 5"), Err(Fault::UnknownCharacter('5')));
        }
    }

    #[test]
    fn sizes_outside_the_rule_are_refused() {
        for size in [0, 28, 513] {
            assert!(Units::bpe(&["a".to_owned()], size).is_err(), "{size}");
        }
    }

    #[test]
    fn learning_twice_gives_the_same_file() {
        assert_eq!(bpe(100).to_json().expect("json"), bpe(100).to_json().expect("json"));
    }

    proptest! {
        #[test]
        fn any_normalised_text_survives_the_round_trip(text in "[a-z']{1,9}( [a-z']{1,9}){0,7}") {
            for units in [Units::characters().expect("made"), bpe(90)] {
                let ids = units.encode(&text).expect("known");
                prop_assert_eq!(units.decode(&ids), text.clone());
            }
        }
    }
}
