//! `synth`: a speech corpus from text, spoken by Debian's free voices.
//!
//! Each utterance is drawn from the seed, the pass over the text and its sentence alone, so that the corpus is the same
//! however many workers make it and however often it is stopped. Sentences come in random order: any beginning of the
//! manifest is a fair sample.

use std::path::{Path, PathBuf};

use clap::Args;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};

use crate::bad::{BadRows, OnBad};
use crate::error::{Failure, Result};
use crate::heldout::HeldOut;
use crate::manifest::{self, Purpose};
use crate::text::Sentences;

pub mod codec;
pub mod effects;
mod journal;
pub mod noise;
pub mod resample;
pub mod room;
mod speak;
mod studio;
#[cfg(test)]
mod tests;
pub mod voices;
pub mod wav;

use effects::Effects;
use journal::{Journal, Recipe};
use speak::Mouth;
use voices::{Program, Voice};

/// Version of voices, effects and draws.
const RECIPE_VERSION: u32 = 1;

/// Most workers.
const MOST_WORKERS: usize = 64;

/// Arguments of `linnet-train synth`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  linnet-train synth --text sentences.txt --hours 20 --workers 2 --out corpus/synth\n\n\
    Ctrl-C stops after the sentences in hand; the same command goes on from there."
)]
pub struct SynthArgs {
    /// Text to speak, one sentence a line; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub text: Vec<PathBuf>,
    /// Manifest whose texts are spoken; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub manifest: Vec<PathBuf>,
    /// Directory of the corpus: `manifest.jsonl` and `wav/`.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Hours of speech to make; the text is spoken again by other voices where it is too short.
    #[arg(long, default_value_t = 20.0)]
    pub hours: f64,
    /// Which draw.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Sentences that are made at once.
    #[arg(long, default_value_t = default_workers())]
    pub workers: usize,
    /// Voice programs to use.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Program::Espeak, Program::Flite, Program::Festival])]
    pub programs: Vec<Program>,
    /// What is done to the voices.
    #[arg(long, value_enum, default_value_t = Effects::Full)]
    pub effects: Effects,
    /// Make an evaluation set: held-out sentences by held-out voices, and nothing else.
    #[arg(long)]
    pub held_out: bool,
    /// What to do with a sentence that a voice fails on.
    #[arg(long, value_enum, default_value_t)]
    pub on_bad: OnBad,
}

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS)
}

/// Runs `synth`.
pub fn run(args: SynthArgs) -> Result<()> {
    run_guarded(args, HeldOut::committed())
}

/// [`run`] with other lists, for tests.
fn run_guarded(args: SynthArgs, held_out: &HeldOut) -> Result<()> {
    if !(1..=MOST_WORKERS).contains(&args.workers) {
        return Err(Failure::usage(format!("--workers is {}, but must be 1 to {MOST_WORKERS}", args.workers)));
    }
    if !(args.hours > 0.0 && args.hours <= 10_000.0) {
        return Err(Failure::usage(format!("--hours is {}, but must be more than 0 and at most 10000", args.hours)));
    }
    let mut bad = BadRows::new(args.on_bad);
    let script = Script::read(&args, held_out, &mut bad)?;
    let voices = voices::allowed(&args.programs, args.held_out, held_out);
    if voices.is_empty() {
        let kind = if args.held_out { "held-out" } else { "training" };
        return Err(Failure::usage(format!("the chosen --programs have no {kind} voice")));
    }
    let recipe = Recipe {
        version: RECIPE_VERSION,
        seed: args.seed,
        text_sha256: digest(script.sentences.kept.iter().map(String::as_str)),
        voices_sha256: digest(voices.iter().map(Voice::id)),
        effects: args.effects,
        held_out: args.held_out,
    };
    let mut journal = Journal::open(&args.out, &recipe)?;
    let scratch = tempfile::Builder::new().prefix(".voices-").tempdir_in(&args.out);
    let scratch = scratch.map_err(|e| Failure::write(&args.out, e))?;
    speak::check(&voices, &Mouth::new(scratch.path(), 0))?;
    let studio = studio::Studio::new(&args, &script, &voices, scratch.path())?;
    let outcome = studio.make(&mut journal, &mut bad);
    journal.sync()?;
    if let Some(summary) = bad.summary() {
        eprintln!("{summary}");
    }
    outcome?;
    println!(
        "{}: {} utterances, {:.2} h",
        Journal::manifest_path(&args.out).display(),
        journal.rows(),
        journal.seconds() / 3600.0
    );
    Ok(())
}

/// What is to be said, in which order.
struct Script {
    sentences: Sentences,
    /// Where the sentences come from, by the first number of [`Sentences::origin`].
    files: Vec<PathBuf>,
}

impl Script {
    /// Reads all text that may be said for the purpose.
    fn read(args: &SynthArgs, held_out: &HeldOut, bad: &mut BadRows) -> Result<Self> {
        let purpose = if args.held_out { Purpose::Evaluation } else { Purpose::Training };
        let mut sentences = Sentences::read(&args.text, purpose, held_out)?;
        let mut files = args.text.clone();
        for path in &args.manifest {
            for utterance in manifest::read_guarded(path, purpose, held_out, bad)?.utterances {
                sentences.add(&utterance.text, (files.len(), utterance.line), purpose, held_out);
            }
            files.push(path.clone());
        }
        eprintln!(
            "{} sentences; {} left out by the held-out lists, {} for characters that no unit spells",
            sentences.kept.len(),
            sentences.held_out,
            sentences.strange
        );
        if sentences.kept.is_empty() {
            let wanted = if args.held_out { "held-out sentence" } else { "sentence that may be trained on" };
            return Err(Failure::data(format!("there is no {wanted} in what --text and --manifest name")));
        }
        Ok(Self { sentences, files })
    }

    /// Number of sentences, at least 1.
    fn len(&self) -> u64 {
        self.sentences.kept.len() as u64
    }

    /// File and line of a sentence.
    fn origin(&self, place: usize) -> (&Path, usize) {
        let (file, line) = self.sentences.origin[place];
        (&self.files[file], line)
    }

    /// Places of the sentences in the order of one pass.
    fn order(&self, seed: u64, pass: u64) -> Vec<u32> {
        use rand::seq::SliceRandom;
        let mut order: Vec<u32> = (0..self.sentences.kept.len() as u32).collect();
        order.shuffle(&mut draws(seed, pass, "order"));
        order
    }
}

/// The random numbers of one thing in one pass.
fn draws(seed: u64, pass: u64, what: &str) -> StdRng {
    let hash = Sha256::new()
        .chain_update(b"linnet-synth\0")
        .chain_update(seed.to_le_bytes())
        .chain_update(pass.to_le_bytes())
        .chain_update(what.as_bytes());
    StdRng::from_seed(hash.finalize().into())
}

/// SHA-256 of lines.
fn digest<S: AsRef<str>>(lines: impl Iterator<Item = S>) -> String {
    let hash = lines.fold(Sha256::new(), |hash, line| hash.chain_update(line.as_ref()).chain_update(b"\n"));
    hex::encode(hash.finalize())
}
