//! `linnet-train lang-id`: a model that tells languages apart.
//!
//! Softmax regression on hashed groups of letters (the daemon's own code counts them), by stochastic gradient descent with AdaGrad. One sentence in
//! ten, chosen by its hash, is held back and judges the result.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use linnet::store::{self, MANIFEST};
use linnet::task::detect::{DetectPipeline, FAMILY, Weights, features};
use linnet_proto::manifest::{CanaryStatus, MANIFEST_VERSION, Manifest};
use sha2::{Digest, Sha256};

use crate::error::{Failure, Result};

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
    /// A model card to put into the package.
    #[arg(long, value_name = "FILE")]
    pub card: Option<PathBuf>,
}

struct Sentence {
    language: usize,
    features: Vec<(u32, f32)>,
    length: usize,
}

/// Trains, judges and writes the package.
pub fn run(args: &LangIdArgs) -> Result<()> {
    let (languages, train, held) = read(args)?;
    eprintln!(
        "lang-id: {} languages, {} sentences to learn from, {} held back",
        languages.len(),
        train.len(),
        held.len()
    );
    let (values, bias) = fit(&train, languages.len(), args);
    let weights = Weights::quantize(languages, args.buckets, &values, bias);
    let judged = judge(&weights, &held);
    println!("{judged}");
    write(args, &weights, &judged)
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
struct Judged {
    right: usize,
    all: usize,
    long_right: usize,
    long: usize,
    worst: Vec<(String, usize, usize)>,
}

impl std::fmt::Display for Judged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |right: usize, all: usize| 100.0 * right as f64 / all.max(1) as f64;
        write!(
            f,
            "held back: {} of {} right ({:.1} %); of 40 characters or more: {} of {} ({:.1} %)",
            self.right,
            self.all,
            percent(self.right, self.all),
            self.long_right,
            self.long,
            percent(self.long_right, self.long)
        )?;
        for (language, right, all) in &self.worst {
            write!(f, "\n  {language}: {right} of {all}")?;
        }
        Ok(())
    }
}

fn judge(weights: &Weights, held: &[Sentence]) -> Judged {
    let languages = weights.languages();
    let mut by = vec![(0usize, 0usize); languages.len()];
    let mut judged = Judged { right: 0, all: held.len(), long_right: 0, long: 0, worst: Vec::new() };
    for sentence in held {
        let scores = weights.probabilities_of(&sentence.features);
        let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        let right = usize::from(best == Some(sentence.language));
        judged.right += right;
        by[sentence.language].0 += right;
        by[sentence.language].1 += 1;
        if sentence.length >= 40 {
            judged.long += 1;
            judged.long_right += right;
        }
    }
    judged.worst = languages.iter().zip(by).map(|(l, (r, a))| (l.clone(), r, a)).collect();
    judged
}

fn write(args: &LangIdArgs, weights: &Weights, judged: &Judged) -> Result<()> {
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
    if let Some(card) = &args.card {
        put("README.md", &std::fs::read(card).map_err(|e| Failure::read(card, e))?)?;
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
