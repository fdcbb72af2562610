//! `lm`: the word n-gram language model of a package (`docs/formats.md`), from text.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
use linnet::task::decode::lm::{Counts, EstimateError, MAX_FILE_BYTES, MAX_ORDER, MAX_WORDS, NgramLm, UNKNOWN};

use crate::bad::{BadRows, OnBad};
use crate::error::{Failure, Result};
use crate::heldout::HeldOut;
use crate::manifest::{self, Purpose};
use crate::output;
use crate::text::{self, Sentences};

/// Arguments of `linnet-train lm`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  linnet-train lm --text sentences.txt --manifest reader/train.jsonl --validation reader/valid.jsonl --out lm.bin"
)]
pub struct LmArgs {
    /// Text to count, one sentence a line; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub text: Vec<PathBuf>,
    /// Manifest whose texts are counted; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub manifest: Vec<PathBuf>,
    /// Text or manifest (`.jsonl`) to measure the model on; nothing is learnt from it.
    #[arg(long, value_name = "FILE")]
    pub validation: Vec<PathBuf>,
    /// Longest n-grams, words.
    #[arg(long, default_value_t = 3)]
    pub order: usize,
    /// Fewest occurrences of a word of the vocabulary.
    #[arg(long, default_value_t = 2)]
    pub least_count: u32,
    /// Most words of the vocabulary, the most frequent ones first.
    #[arg(long, default_value_t = MAX_WORDS)]
    pub most_words: usize,
    /// Largest file, bytes; rare n-grams are left out until it fits.
    #[arg(long, default_value_t = MAX_FILE_BYTES)]
    pub most_bytes: usize,
    /// Words of the language beside the vocabulary, among which the unknown word's probability is shared.
    #[arg(long, default_value_t = 150_000)]
    pub unknown_words: u32,
    /// What to do with a bad row of a manifest.
    #[arg(long, value_enum, default_value_t)]
    pub on_bad: OnBad,
    /// Where to write the model.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Runs `lm`.
pub fn run(args: LmArgs) -> Result<()> {
    check(&args)?;
    let held_out = HeldOut::committed();
    let mut bad = BadRows::new(args.on_bad);
    let mut sentences = Sentences::read(&args.text, Purpose::Training, held_out)?;
    for path in &args.manifest {
        let manifest = manifest::read(path, Purpose::Training, &mut bad)?;
        sentences.held_out += manifest.held_out;
        sentences.kept.extend(manifest.utterances.into_iter().map(|u| u.text));
    }
    let validation = validation(&args.validation, &mut bad)?;
    if let Some(summary) = bad.summary() {
        eprintln!("{summary}");
    }
    eprintln!("{} sentences, {} held out and left out", sentences.kept.len(), sentences.held_out);
    let model = estimate(&sentences.kept, &args)?;
    output::write_whole(&args.out, &model.to_bytes())?;
    println!(
        "{}: {} bytes, {} words, n-grams {:?}",
        args.out.display(),
        model.file_bytes(),
        model.vocabulary().len(),
        model.ngram_counts()
    );
    for (path, sentences) in &validation {
        println!("{}: {}", path.display(), Fit::of(&model, sentences));
    }
    Ok(())
}

fn check(args: &LmArgs) -> Result<()> {
    let rules = [
        ("--order", args.order, 1, MAX_ORDER),
        ("--most-words", args.most_words, 1, MAX_WORDS),
        ("--most-bytes", args.most_bytes, 1, MAX_FILE_BYTES),
    ];
    for (option, value, least, most) in rules {
        if !(least..=most).contains(&value) {
            return Err(Failure::usage(format!("{option} is {value}, but must be {least} to {most}")));
        }
    }
    if args.unknown_words == 0 {
        return Err(Failure::usage("--unknown-words is 0, but must be at least 1"));
    }
    Ok(())
}

fn validation(paths: &[PathBuf], bad: &mut BadRows) -> Result<Vec<(PathBuf, Vec<String>)>> {
    let read = |path: &PathBuf| {
        let sentences = if path.extension().is_some_and(|e| e == "jsonl") {
            manifest::read(path, Purpose::Evaluation, bad)?.utterances.into_iter().map(|u| u.text).collect()
        } else {
            lines(path)?
        };
        Ok((path.clone(), sentences))
    };
    paths.iter().map(read).collect()
}

fn lines(path: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    text::for_each_line(path, |_, line| {
        let line = text::normalize(&line);
        if !line.is_empty() {
            lines.push(line);
        }
        Ok(())
    })?;
    Ok(lines)
}

fn estimate(sentences: &[String], args: &LmArgs) -> Result<NgramLm> {
    let vocabulary = vocabulary(sentences, args.least_count, args.most_words);
    let mut counts = Counts::new(args.order, &vocabulary).map_err(refused)?;
    for sentence in sentences {
        counts.add_sentence(sentence.split(' '));
    }
    counts.estimate_within(args.most_bytes, args.unknown_words).map_err(refused)
}

fn refused(error: EstimateError) -> Failure {
    Failure::data(error.to_string())
}

/// The most frequent words that occur often enough; ties go by the alphabet.
fn vocabulary(sentences: &[String], least_count: u32, most_words: usize) -> Vec<&str> {
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for word in sentences.iter().flat_map(|s| s.split(' ')) {
        *counts.entry(word).or_default() += 1;
    }
    let frequent = counts.into_iter().filter(|(word, count)| *count >= least_count && word.len() <= 255);
    let mut words: Vec<(&str, u32)> = frequent.collect();
    words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    words.truncate(most_words);
    words.into_iter().map(|(word, _)| word).collect()
}

/// How well a model foretells text.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Fit {
    words: usize,
    unknown: usize,
    sentences: usize,
    /// Of known words and sentence ends.
    known_nats: f64,
}

impl Fit {
    fn of(model: &NgramLm, sentences: &[String]) -> Self {
        let mut fit = Self::default();
        for sentence in sentences {
            let mut state = model.begin();
            for word in sentence.split(' ') {
                let id = model.id(word);
                let (score, next) = model.score(state, id);
                state = next;
                fit.words += 1;
                if id == UNKNOWN {
                    fit.unknown += 1;
                } else {
                    fit.known_nats -= score;
                }
            }
            fit.sentences += 1;
            fit.known_nats -= model.score_end(state);
        }
        fit
    }

    /// Of known words and sentence ends.
    fn perplexity(&self) -> f64 {
        (self.known_nats / (self.words - self.unknown + self.sentences).max(1) as f64).exp()
    }
}

impl std::fmt::Display for Fit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let share = 100.0 * self.unknown as f64 / self.words.max(1) as f64;
        write!(
            f,
            "perplexity {:.1} over {} sentences and {} words, of which {} ({share:.1} %) are unknown and not counted",
            self.perplexity(),
            self.sentences,
            self.words,
            self.unknown
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> LmArgs {
        LmArgs {
            text: Vec::new(),
            manifest: Vec::new(),
            validation: Vec::new(),
            order: 3,
            least_count: 1,
            most_words: 100,
            most_bytes: MAX_FILE_BYTES,
            unknown_words: 1000,
            on_bad: OnBad::Stop,
            out: PathBuf::new(),
        }
    }

    fn sentences() -> Vec<String> {
        ["turn on the light", "turn off the light", "turn on the radio", "what time is it"].map(String::from).to_vec()
    }

    #[test]
    fn text_like_the_training_text_is_foretold_best() {
        let model = estimate(&sentences(), &arguments()).expect("counted");
        let fit = |text: &str| Fit::of(&model, &[text.to_owned()]);
        assert!(fit("turn off the radio").perplexity() < fit("radio the off turn").perplexity());
        let strange = fit("turn on the zyzzyva");
        assert_eq!((strange.words, strange.unknown, strange.sentences), (4, 1, 1));
        assert!(strange.to_string().contains("1 (25.0 %)"), "{strange}");
        assert!(Fit::default().perplexity().is_finite());
    }

    #[test]
    fn the_vocabulary_is_the_most_frequent_words() {
        let sentences = sentences();
        assert_eq!(vocabulary(&sentences, 3, 100), ["the", "turn"]);
        assert_eq!(vocabulary(&sentences, 1, 4), ["the", "turn", "light", "on"]);
    }

    #[test]
    fn wishes_outside_the_rules_are_named() {
        let wishes = [
            (LmArgs { order: 0, ..arguments() }, "--order"),
            (LmArgs { most_words: MAX_WORDS + 1, ..arguments() }, "--most-words"),
            (LmArgs { most_bytes: 0, ..arguments() }, "--most-bytes"),
            (LmArgs { unknown_words: 0, ..arguments() }, "--unknown-words"),
        ];
        for (args, option) in wishes {
            let error = run(args).expect_err("refused");
            assert!(error.to_string().starts_with(option), "{error}");
        }
    }
}
