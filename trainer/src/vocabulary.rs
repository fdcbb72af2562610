//! `vocabulary`: the tokens of a text model, learnt from text by byte-pair encoding (Sennrich et al. 2016).
//!
//! `tokenizer.json` is a file of the `tokenizers` crate that `transformers`' `PreTrainedTokenizerFast` loads as well.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::normalizers::replace::Replace;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::normalizers::{NormalizerWrapper, Sequence as Normalizers};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, Tokenizer};

use crate::data::text::{self, BEGIN, END, PAD, UNKNOWN};
use crate::error::{Failure, Result};
use crate::heldout::HeldOut;
use crate::manifest::Purpose;
use crate::output;

/// Most tokens.
const MOST_TOKENS: usize = 1 << 16;

/// Arguments of `linnet-train vocabulary`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  linnet-train vocabulary --kind words --size 6000 --pairs data/train.tsv --out data/tokenizer.json
  linnet-train vocabulary --kind bytes --size 3000 --documents data/stories.txt --out data/tokenizer.json")]
pub struct VocabularyArgs {
    /// What tokens are made of.
    #[arg(long, value_enum)]
    pub kind: Kind,
    /// Number of tokens, the special ones included.
    #[arg(long, default_value_t = 6000)]
    pub size: usize,
    /// Pairs to learn from, both sides; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub pairs: Vec<PathBuf>,
    /// Documents to learn from; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub documents: Vec<PathBuf>,
    /// Characters that are rarer than this are unknown (words only).
    #[arg(long, default_value_t = 20)]
    pub least_count: usize,
    /// Where to write `tokenizer.json`.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// What tokens are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Characters of words, spaces before them as `▁`, as SentencePiece has it; a rare character is unknown. A text ends with
    /// `</s>`. For `seq2seq`.
    Words,
    /// Bytes, so that every text can be spelled. A text begins with `<s>`. For `causal-lm`.
    Bytes,
}

/// Runs `vocabulary`.
pub fn run(args: VocabularyArgs) -> Result<()> {
    if !(300..=MOST_TOKENS).contains(&args.size) {
        return Err(Failure::usage(format!("--size is {}, but must be 300 to {MOST_TOKENS}", args.size)));
    }
    let held_out = HeldOut::committed();
    let mut texts = Vec::new();
    for path in &args.pairs {
        let pairs = text::pairs(path, Purpose::Training, held_out)?;
        texts.extend(pairs.kept.into_iter().flat_map(|pair| [pair.source, pair.target]));
    }
    for path in &args.documents {
        texts.extend(text::documents(path, Purpose::Training, held_out)?.kept);
    }
    if texts.is_empty() {
        return Err(Failure::usage("there is no text to learn tokens from; give --pairs or --documents"));
    }
    let tokenizer = learn(args.kind, args.size, args.least_count, &texts).map_err(of_tokenizers)?;
    let json = tokenizer.to_string(true).map_err(of_tokenizers)?;
    output::write_whole(&args.out, json.as_bytes())?;
    println!("{}: {} tokens from {} texts", args.out.display(), tokenizer.get_vocab_size(true), texts.len());
    Ok(())
}

fn of_tokenizers(error: tokenizers::Error) -> Failure {
    Failure::software(format!("the tokenizer cannot be made: {error}"))
}

/// Learns a tokenizer from texts.
pub fn learn(kind: Kind, size: usize, least_count: usize, texts: &[String]) -> Result<Tokenizer, tokenizers::Error> {
    let mut trainer = BpeTrainer::builder().vocab_size(size).show_progress(false);
    let mut model = BPE::default();
    let special: &[&str] = match kind {
        Kind::Words => &[END, UNKNOWN, PAD],
        Kind::Bytes => &[PAD, BEGIN, END],
    };
    trainer = trainer.special_tokens(special.iter().map(|token| AddedToken::from(*token, true)).collect());
    match kind {
        Kind::Words => {
            trainer = trainer.limit_alphabet(usual_characters(texts, least_count));
            model = BPE::builder().unk_token(UNKNOWN.into()).fuse_unk(true).build()?;
        }
        Kind::Bytes => trainer = trainer.initial_alphabet(ByteLevel::alphabet().into_iter().collect()),
    }
    let mut tokenizer = Tokenizer::new(ModelWrapper::from(model));
    match kind {
        Kind::Words => {
            let space = Metaspace::new('▁', PrependScheme::Always, true);
            tokenizer.with_normalizer(Some(NormalizerWrapper::from(straight_quotes()?)))?;
            tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::from(Sequence::new(vec![
                space.clone().into(),
                Punctuation::new(SplitDelimiterBehavior::Isolated).into(),
                Digits::new(true).into(),
            ]))));
            tokenizer.with_decoder(Some(space));
        }
        Kind::Bytes => {
            let bytes = ByteLevel::new(false, false, true);
            tokenizer.with_pre_tokenizer(Some(bytes));
            tokenizer.with_decoder(Some(bytes));
        }
    }
    let mut trainer = TrainerWrapper::from(trainer.build());
    tokenizer.train(&mut trainer, texts.iter())?;
    let (template, token) = match kind {
        Kind::Words => ("$A </s>", END),
        Kind::Bytes => ("<s> $A", BEGIN),
    };
    let id = tokenizer.token_to_id(token).ok_or("the special token is absent")?;
    let processor = TemplateProcessing::builder().try_single(template)?.special_tokens(vec![(token, id)]).build()?;
    tokenizer.with_post_processor(Some(processor));
    // So that a reloaded tokenizer is what is used from here on.
    Tokenizer::from_bytes(tokenizer.to_string(false)?.as_bytes())
}

/// Composed characters, straight quotation marks and apostrophes, plain spaces.
fn straight_quotes() -> Result<Normalizers, tokenizers::Error> {
    let marks = [("\u{2019}", "'"), ("\u{2018}", "'"), ("\u{201c}", "\""), ("\u{201d}", "\""), ("\u{201e}", "\"")];
    let spaces = [("\u{a0}", " "), ("\u{202f}", " ")];
    let mut all = vec![NormalizerWrapper::from(NFC)];
    for (from, to) in marks.into_iter().chain(spaces) {
        all.push(Replace::new(from, to)?.into());
    }
    Ok(Normalizers::new(all))
}

/// Characters that stand in the texts at least `least` times; the mark of a space is one more.
fn usual_characters(texts: &[String], least: usize) -> usize {
    let mut counts: HashMap<char, usize> = HashMap::new();
    for c in texts.iter().flat_map(|text| text.chars()) {
        *counts.entry(c).or_default() += 1;
    }
    counts.values().filter(|count| **count >= least).count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<String> {
        let lines = [
            "The cat sat on the mat.",
            "Die Katze saß auf der Matte.",
            "\u{201e}Ja\u{201c}, sagte sie um 10.",
            "It isn't 42!",
        ];
        (0..40).flat_map(|_| lines.map(String::from)).collect()
    }

    #[test]
    fn words_come_back_as_they_were_and_a_rare_character_is_unknown() {
        let tokenizer = learn(Kind::Words, 300, 20, &texts()).unwrap();
        let encode = |text: &str, special| tokenizer.encode(text, special).unwrap().get_ids().to_vec();
        for text in ["The cat sat on the mat.", "Die Matte, die Katze!", "10 cats isn't 24."] {
            assert_eq!(tokenizer.decode(&encode(text, false), true).unwrap(), text);
        }
        let ids = encode("The \u{4e2d} cat", true);
        assert!(ids.contains(&tokenizer.token_to_id(UNKNOWN).unwrap()));
        assert_eq!(ids.last(), Some(&tokenizer.token_to_id(END).unwrap()));
        assert_eq!(encode("\u{201e}Ja\u{201c}", false), encode("\"Ja\"", false));
    }

    #[test]
    fn bytes_spell_every_text() {
        let tokenizer = learn(Kind::Bytes, 300, 0, &texts()).unwrap();
        for text in ["One day.\n\n\"\u{4e2d}\u{1f600}\" he  said", " a"] {
            let ids = tokenizer.encode(text, false).unwrap().get_ids().to_vec();
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
        }
        assert_eq!(tokenizer.encode("a", true).unwrap().get_ids()[0], tokenizer.token_to_id(BEGIN).unwrap());
    }

    #[test]
    fn learning_twice_gives_the_same_file() {
        let json = || learn(Kind::Words, 300, 20, &texts()).unwrap().to_string(false).unwrap();
        assert_eq!(json(), json());
    }
}
