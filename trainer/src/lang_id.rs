//! `linnet-train lang-id`: a model that tells languages apart.
//!
//! Softmax regression on hashed groups of letters (the daemon's own code counts them), by stochastic gradient descent with AdaGrad. One sentence in
//! ten, chosen by its hash, is held back and judges the result: as floats and as the package rounds them. What is bad is not written.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use linnet::store::{self, MANIFEST};
use linnet::task::detect::{DetectPipeline, FAMILY, Weights, features};
use linnet_proto::manifest::{CanaryStatus, MANIFEST_VERSION, Manifest};
use sha2::{Digest, Sha256};

use crate::error::{Failure, Result};
use crate::export::card;

/// Lengths of a sentence, characters, by which the card tells how often the model is right.
const LENGTHS: [(&str, std::ops::Range<usize>); 4] =
    [("under 10", 0..10), ("10 to 19", 10..20), ("20 to 39", 20..40), ("40 and more", 40..usize::MAX)];
/// Mistakes that the card names.
const WORST_SHOWN: usize = 10;
/// A language with fewer sentences to learn from is named in the card.
const FEW: usize = 100;

/// Longest line that is read, bytes.
const MAX_LINE_BYTES: usize = 16 << 10;

/// Arguments of `linnet-train lang-id`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  linnet-train lang-id --input sentences.tsv --output models/lang-id\n\n\
    Each line of the input is a BCP-47 primary tag, a tab, and a sentence in that language.")]
pub struct LangIdArgs {
    /// Sentences: tag, tab, text.
    #[arg(long, value_name = "TSV", required = true)]
    pub input: Vec<PathBuf>,
    /// Directory of the package that is written.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Name of the package.
    #[arg(long, default_value = "lang-id")]
    pub name: String,
    /// Version of the package.
    #[arg(long, default_value = "0.1.0")]
    pub version: String,
    /// SPDX expression of the weights' licence.
    #[arg(long, default_value = "MIT OR Apache-2.0")]
    pub license: String,
    /// Places that groups of letters are hashed to.
    #[arg(long, default_value_t = 16_384)]
    pub buckets: usize,
    /// Passes over the sentences.
    #[arg(long, default_value_t = 12)]
    pub epochs: usize,
    /// Languages with fewer sentences are left out.
    #[arg(long, default_value_t = 15)]
    pub min_sentences: usize,
    /// Step size of AdaGrad.
    #[arg(long, default_value_t = 0.6)]
    pub rate: f32,
    /// Least share of the held-back sentences that must be right, percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 90.0)]
    pub least_accuracy: f64,
    /// Points of that share that rounding to bytes may cost.
    #[arg(long, value_name = "POINTS", default_value_t = 0.5)]
    pub allow_loss: f64,
    /// Text of a card, with `{{results}}` and others filled in.
    #[arg(long, value_name = "FILE")]
    pub card: Option<PathBuf>,
    /// A value for a name of your own in the card, `NAME=VALUE`; may be given several times.
    #[arg(long = "fact", value_name = "NAME=VALUE", value_parser = card::parse_fact)]
    pub facts: Vec<(String, String)>,
}

#[derive(Debug)]
struct Sentence {
    language: usize,
    features: Vec<(u32, f32)>,
    length: usize,
}

/// Trains, judges and writes the package.
pub fn run(args: &LangIdArgs) -> Result<()> {
    // A card with a name that nobody fills in is refused before any work is done.
    let template = args.card.as_deref().map(|path| card::template(Some(path), &args.facts)).transpose()?;
    let (languages, train, held) = read(args)?;
    eprintln!(
        "lang-id: {} languages, {} sentences to learn from, {} held back",
        languages.len(),
        train.len(),
        held.len()
    );
    let (values, bias) = fit(&train, languages.len(), args);
    let float = judge(languages.len(), &held, |features| float_best(&values, &bias, features));
    let weights = Weights::quantize(languages, args.buckets, &values, bias);
    let count = weights.languages().len();
    let judged = judge(count, &held, |features| best(&weights.probabilities_of(features)));
    println!("{}", judged.said(weights.languages()));
    gate(args, &float, &judged)?;
    let card = template.map(|template| fill(&template, args, &weights, &train, [&float, &judged])).transpose()?;
    write(args, &weights, &judged, card.as_deref())
}

/// Sentences by language, and which are held back. Every sentence counts once.
fn read(args: &LangIdArgs) -> Result<(Vec<String>, Vec<Sentence>, Vec<Sentence>)> {
    let mut texts: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    for path in &args.input {
        let file = std::fs::File::open(path).map_err(|e| Failure::read(path, e))?;
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|e| Failure::read(path, e))?;
            let bad = |what: &str| Failure::data(format!("{}:{}: {what}", path.display(), number + 1));
            if line.len() > MAX_LINE_BYTES {
                return Err(bad("the line is longer than 16 KiB"));
            }
            let (tag, text) = line.split_once('\t').ok_or_else(|| bad("no tab between tag and text"))?;
            if !(2..=3).contains(&tag.len()) || !tag.bytes().all(|b| b.is_ascii_lowercase()) {
                return Err(bad("the tag is not a BCP-47 primary tag such as `en`"));
            }
            let held = Sha256::digest(text.as_bytes())[0] % 10 == 0;
            texts.entry(tag.to_owned()).or_default().insert(text.to_owned(), held);
        }
    }
    texts.retain(|_, own| own.len() >= args.min_sentences);
    if texts.len() < 2 {
        return Err(Failure::data("fewer than two languages have enough sentences".to_owned()));
    }
    let languages: Vec<String> = texts.keys().cloned().collect();
    let (mut train, mut held) = (Vec::new(), Vec::new());
    for (language, own) in texts.into_values().enumerate() {
        for (text, is_held) in own {
            let sentence =
                Sentence { language, features: features::features(&text, args.buckets), length: text.chars().count() };
            if sentence.features.is_empty() {
                continue;
            }
            if is_held { held.push(sentence) } else { train.push(sentence) }
        }
    }
    Ok((languages, train, held))
}

/// Weights `[buckets, languages]` and biases.
fn fit(train: &[Sentence], languages: usize, args: &LangIdArgs) -> (Vec<f32>, Vec<f32>) {
    let mut counts = vec![0usize; languages];
    train.iter().for_each(|s| counts[s.language] += 1);
    // A language with many sentences must not be the answer to everything short.
    let most = counts.iter().copied().max().unwrap_or(1) as f32;
    let share: Vec<f32> = counts.iter().map(|n| (most / (*n).max(1) as f32).powf(0.4).min(8.0)).collect();
    let mut weights = vec![0f32; args.buckets * languages];
    let mut squares = vec![1e-2f32; args.buckets * languages];
    let (mut bias, mut bias_squares) = (vec![0f32; languages], vec![1e-2f32; languages]);
    let mut order: Vec<usize> = (0..train.len()).collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for epoch in 0..args.epochs {
        for i in (1..order.len()).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            order.swap(i, (state % (i as u64 + 1)) as usize);
        }
        let mut loss = 0f64;
        for &i in &order {
            let sentence = &train[i];
            let mut scores = bias.clone();
            for (place, x) in &sentence.features {
                let row = &weights[*place as usize * languages..][..languages];
                scores.iter_mut().zip(row).for_each(|(s, w)| *s += x * w);
            }
            let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = scores.iter().map(|s| (s - top).exp()).sum();
            loss -= f64::from(scores[sentence.language] - top - sum.ln());
            let errors: Vec<f32> = scores
                .iter()
                .enumerate()
                .map(|(l, s)| {
                    ((s - top).exp() / sum - f32::from(u8::from(l == sentence.language))) * share[sentence.language]
                })
                .collect();
            for (place, x) in &sentence.features {
                let at = *place as usize * languages;
                for (l, error) in errors.iter().enumerate() {
                    let gradient = error * x;
                    squares[at + l] += gradient * gradient;
                    weights[at + l] -= args.rate * gradient / squares[at + l].sqrt();
                }
            }
            for (l, error) in errors.iter().enumerate() {
                bias_squares[l] += error * error;
                bias[l] -= 0.1 * args.rate * error / bias_squares[l].sqrt();
            }
        }
        eprintln!("lang-id: epoch {}, mean loss {:.4}", epoch + 1, loss / train.len().max(1) as f64);
    }
    (weights, bias)
}

/// What the held-back sentences say.
#[derive(Debug)]
struct Judged {
    right: usize,
    all: usize,
    /// Right ones and all, by [`LENGTHS`].
    by_length: [(usize, usize); LENGTHS.len()],
    /// Sentences by their language and the one that was found.
    found: Vec<Vec<usize>>,
}

impl Judged {
    fn percent(&self) -> f64 {
        percent(self.right, self.all)
    }

    /// Languages' places that were mistaken for another, and how often, the most frequent first.
    fn mistakes(&self) -> Vec<(usize, usize, usize)> {
        let mut mistakes: Vec<_> = (self.found.iter().enumerate())
            .flat_map(|(own, found)| found.iter().enumerate().map(move |(other, count)| (own, other, *count)))
            .filter(|(own, other, count)| own != other && *count > 0)
            .collect();
        mistakes.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        mistakes
    }

    fn said(&self, languages: &[String]) -> String {
        let mut out = format!("held back: {} of {} right ({:.1} %)", self.right, self.all, self.percent());
        for ((title, _), (right, all)) in LENGTHS.iter().zip(self.by_length) {
            let _ = write!(out, "\n  {title} characters: {right} of {all} ({:.1} %)", percent(right, all));
        }
        for (own, found) in self.found.iter().enumerate() {
            let _ = write!(out, "\n  {}: {} of {}", languages[own], found[own], found.iter().sum::<usize>());
        }
        out
    }
}

fn percent(right: usize, all: usize) -> f64 {
    100.0 * right as f64 / all.max(1) as f64
}

fn judge(languages: usize, held: &[Sentence], best: impl Fn(&[(u32, f32)]) -> usize) -> Judged {
    let mut judged = Judged {
        right: 0,
        all: held.len(),
        by_length: [(0, 0); LENGTHS.len()],
        found: vec![vec![0; languages]; languages],
    };
    for sentence in held {
        let found = best(&sentence.features);
        let right = usize::from(found == sentence.language);
        judged.right += right;
        judged.found[sentence.language][found] += 1;
        for ((_, lengths), count) in LENGTHS.iter().zip(&mut judged.by_length) {
            if lengths.contains(&sentence.length) {
                *count = (count.0 + right, count.1 + 1);
            }
        }
    }
    judged
}

fn best(scores: &[f32]) -> usize {
    (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap_or_default()
}

/// The language that the weights find before they are rounded.
fn float_best(weights: &[f32], bias: &[f32], features: &[(u32, f32)]) -> usize {
    let mut scores = bias.to_vec();
    for (place, x) in features {
        let row = &weights[*place as usize * bias.len()..][..bias.len()];
        scores.iter_mut().zip(row).for_each(|(score, weight)| *score += x * weight);
    }
    best(&scores)
}

/// Refuses a model that is often wrong, or that rounding makes worse.
fn gate(args: &LangIdArgs, float: &Judged, rounded: &Judged) -> Result<()> {
    if rounded.percent() < args.least_accuracy {
        return Err(Failure::refused(format!(
            "{:.1} % of the held-back sentences are right, and --least-accuracy asks for {}; more sentences help",
            rounded.percent(),
            args.least_accuracy
        )));
    }
    let lost = float.percent() - rounded.percent();
    if lost > args.allow_loss {
        return Err(Failure::refused(format!(
            "rounding costs {lost:.2} points, and --allow-loss allows {}; a smaller --rate makes smaller weights",
            args.allow_loss
        )));
    }
    Ok(())
}

/// Fills the card in.
fn fill(
    template: &str,
    args: &LangIdArgs,
    weights: &Weights,
    train: &[Sentence],
    [float, rounded]: [&Judged; 2],
) -> Result<String> {
    let languages = weights.languages();
    let mut counts = vec![0usize; languages.len()];
    train.iter().for_each(|sentence| counts[sentence.language] += 1);
    let facts = [
        ("name", args.name.clone()),
        ("version", args.version.clone()),
        ("license", args.license.clone()),
        ("description", format!("Tells {} languages apart", languages.len())),
        ("languages", languages.join(", ")),
        ("parameters", format!("{:.2} million", (weights.bytes() as f64 + languages.len() as f64) / 1e6)),
        ("shape", format!("{} places by {} languages", args.buckets, languages.len())),
        ("precision", "bytes with one scale".to_owned()),
        ("size", format!("{:.2} MB", weights.files().iter().map(|(_, bytes)| bytes.len()).sum::<usize>() as f64 / 1e6)),
        ("results", table(languages, &counts, rounded)),
        (
            "gate",
            format!(
                "Before the weights are rounded to bytes {} of {} are right, after it {}. A package with less than {} % right, or that loses more \
                 than {} points by rounding, is not written.",
                float.right, float.all, rounded.right, args.least_accuracy, args.allow_loss
            ),
        ),
    ];
    card::fill_text(template, &facts, &args.facts)
}

/// Shares by length and by language, and the most frequent mistakes.
fn table(languages: &[String], counts: &[usize], judged: &Judged) -> String {
    let mut out = String::from("| characters | sentences | right |\n|---|---|---|\n");
    for ((title, _), (right, all)) in LENGTHS.iter().zip(judged.by_length) {
        let _ = writeln!(out, "| {title} | {all} | {:.1} % |", percent(right, all));
    }
    let _ = writeln!(out, "| all | {} | **{:.1} %** |\n", judged.all, judged.percent());
    out.push_str("The most frequent mistakes:\n\n| is | is taken for | sentences |\n|---|---|---|\n");
    for (own, other, count) in judged.mistakes().into_iter().take(WORST_SHOWN) {
        let all: usize = judged.found[own].iter().sum();
        let _ = writeln!(out, "| {} | {} | {count} of {all} |", languages[own], languages[other]);
    }
    out.push_str("\nEach language: sentences to learn from, and how many of the held-back ones are right:\n\n");
    let each =
        languages.iter().zip(counts).zip(judged.found.iter().enumerate()).map(|((language, count), (own, found))| {
            format!("{language} {count}, {}/{}", found[own], found.iter().sum::<usize>())
        });
    let each: Vec<String> = each.collect();
    let lines: Vec<String> = each.chunks(8).map(|chunk| chunk.join("; ")).collect();
    out.push_str(&lines.join(";\n"));
    out.push('.');
    let few: Vec<&str> =
        languages.iter().zip(counts).filter(|(_, count)| **count < FEW).map(|(l, _)| l.as_str()).collect();
    if !few.is_empty() {
        let _ = write!(out, "\n\nHardly known, from fewer than {FEW} sentences: {}.", few.join(", "));
    }
    out
}

fn write(args: &LangIdArgs, weights: &Weights, judged: &Judged, card: Option<&str>) -> Result<()> {
    let staged = store::write::StagedDirectory::beside(&args.output)?;
    let mut names = Vec::new();
    let mut put = |name: &str, bytes: &[u8]| -> Result<()> {
        store::write::write_file(&staged.path().join(name), bytes)?;
        names.push(name.to_owned());
        Ok(())
    };
    for (name, bytes) in weights.files() {
        put(name, &bytes)?;
    }
    if let Some(card) = card {
        put("README.md", card.as_bytes())?;
    }
    let files = names
        .iter()
        .map(|name| Ok((name.clone(), store::file_entry(&staged.path().join(name))?)))
        .collect::<Result<_>>()?;
    let mut manifest = Manifest {
        manifest_version: MANIFEST_VERSION,
        name: args.name.clone(),
        version: args.version.clone(),
        aliases: Vec::new(),
        tasks: vec!["detect".to_owned()],
        languages: weights.languages().to_vec(),
        pairs: Vec::new(),
        license: args.license.clone(),
        description: format!(
            "tells {} languages apart; {} of {} held-back sentences right",
            weights.languages().len(),
            judged.right,
            judged.all
        ),
        family: FAMILY.to_owned(),
        memory_mib: 1,
        files,
        dtype: None,
        canary: None,
    };
    let package = store::Package { dir: staged.path().to_owned(), manifest: manifest.clone(), unlisted: Vec::new() };
    manifest.canary = Some(DetectPipeline::load(&package)?.canary(CanaryStatus::Recorded));
    let text = toml::to_string(&manifest).map_err(|e| Failure::data(e.to_string()))?;
    store::write::write_file(&staged.path().join(MANIFEST), text.as_bytes())?;
    staged.install()?;
    println!("wrote {}", Path::new(&args.output).display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: LangIdArgs,
    }

    /// Two languages of made words, a card's template, and where the package goes.
    fn made(dir: &Path, template: &str, options: &[&str]) -> Result<()> {
        let sentence =
            |words: [&str; 4], i: usize| (0..6).map(|k| words[(i >> (2 * k)) % 4]).collect::<Vec<_>>().join(" ");
        let lines: String = (0..200)
            .map(|i| i * 977)
            .flat_map(|i| {
                let words =
                    [("aa", ["kuula", "matta", "ohio", "sekka"]), ("bb", ["brenst", "flick", "gerd", "sprumm"])];
                words.map(|(tag, words)| format!("{tag}\t{}\n", sentence(words, i)))
            })
            .collect();
        std::fs::write(dir.join("sentences.tsv"), lines).expect("writes");
        std::fs::write(dir.join("card.md"), template).expect("writes");
        let place = |name: &str| dir.join(name).display().to_string();
        let (input, output, card) = (place("sentences.tsv"), place("package"), place("card.md"));
        let fixed = ["lang-id", "--input", &input, "--output", &output, "--card", &card, "--buckets", "256"];
        run(&Cli::parse_from(fixed.iter().chain(options)).args)
    }

    #[test]
    fn a_package_says_in_its_card_how_often_it_is_right() {
        let dir = tempfile::tempdir().expect("temporary directory");
        made(dir.path(), "{{name}}: {{results}} {{gate}} {{thanks}}", &["--fact", "thanks=to all"])
            .expect("is written");
        let card = std::fs::read_to_string(dir.path().join("package/README.md")).expect("a card");
        assert!(card.starts_with("lang-id: ") && card.ends_with("to all"), "{card}");
        assert!(card.contains("| **100.0 %** |") && card.contains("| 20 to 39 |"), "{card}");
        let package = store::Package::open(&dir.path().join("package")).expect("a package");
        let found = DetectPipeline::load(&package).expect("loads").detect("flick gerd kuula brenst");
        assert_eq!(found[0].language, "bb");
    }

    #[test]
    fn what_is_too_often_wrong_or_has_an_unknown_name_in_its_card_is_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let wrong = made(dir.path(), "x", &["--least-accuracy", "100.5"]).expect_err("nobody is that good");
        assert!(wrong.exit_code() == 76 && wrong.to_string().contains("--least-accuracy"), "{wrong}");
        let unknown = made(dir.path(), "{{thanks}}", &[]).expect_err("no thanks");
        assert!(unknown.to_string().contains("--fact thanks="), "{unknown}");
        assert!(!dir.path().join("package").exists());
    }
}
