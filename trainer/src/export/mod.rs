//! `export`: from trained weights to a package that the daemon loads.
//!
//! The steps, each of which may refuse: build the graph and pack it beside its target; hear the canary and, where a Python
//! with ONNX Runtime is given, have it agree; tune the search; compare with the float weights (the accuracy gate); hear
//! the test sets for the card; open the finished package as the daemon does and have it prove its canary; only then put it
//! in its place.

mod canary;
pub(crate) mod card;
mod encoder;
mod fold;
mod gate;
mod memory;
pub mod onnx;
mod open;
mod package;
mod quantize;
mod reference;
mod sets;
pub mod text;
mod trained;
mod tune;

use std::path::PathBuf;

use clap::Args;
use linnet::store::write::StagedDirectory;
use linnet_proto::manifest::CanaryStatus;

use crate::error::{Failure, Kind, Result};
use crate::evaluate::HearOptions;
use crate::heldout::HeldOut;
use crate::interrupt;

pub use encoder::{Precision, encoder};
pub use open::Opened;
pub use package::{About, Contents};
pub use trained::{Trained, Weight};

/// Arguments of `linnet-train export`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  linnet-train export --from runs/chars4x/best --out models/stt-en-small --name stt-en-small --license 'MIT OR Apache-2.0' \\
      --description 'English speech to text, small' --lm lm.bin --valid reader/valid.jsonl --tune \\
      --canary canary.wav --reference .venv/bin/python --card card.md --test 'held-out reader=reader/test.jsonl'

Exit codes: 76 when the accuracy gate, the reference or the canary says no.")]
pub struct ExportArgs {
    /// Directory with the weights: `model.json`, `model.safetensors`, `tokenizer.json`.
    #[arg(long)]
    pub from: PathBuf,
    /// Directory of the package; replaced in one step where it exists.
    #[arg(long)]
    pub out: PathBuf,
    /// Name that requests use.
    #[arg(long)]
    pub name: String,
    /// Version of the package.
    #[arg(long, default_value = "1.0.0")]
    pub version: String,
    /// Other names that it answers to [default for speech: whisper-1].
    #[arg(long = "alias")]
    pub aliases: Vec<String>,
    /// Languages, the main one first.
    #[arg(long = "language", default_values_t = ["en".to_owned()])]
    pub languages: Vec<String>,
    /// SPDX expression.
    #[arg(long, alias = "licence")]
    pub license: String,
    /// One line for people.
    #[arg(long)]
    pub description: String,
    /// Word n-gram language model, written by `linnet-train lm`.
    #[arg(long)]
    pub lm: Option<PathBuf>,
    /// Manifest (of a text model: pairs or documents) on which float and quantized weights are compared, and the search is tuned.
    #[arg(long)]
    pub valid: PathBuf,
    /// Recording of a held-out text, whose answer proves the package on each machine: a WAV file with its text beside it
    /// (`clip.wav`, `clip.txt`) or a manifest. May be given several times: the clip that is heard right by the largest margin is
    /// taken. A text model chooses a text of the first test set itself.
    #[arg(long = "canary", value_name = "WAV|MANIFEST")]
    pub canaries: Vec<PathBuf>,
    /// Least distance, natural-log, between the canary's text and the next best one.
    #[arg(long, default_value_t = canary::LEAST_MARGIN, value_name = "NATS")]
    pub canary_margin: f64,
    /// Take a clip that is not heard right, too, with what is heard: for a model that hears little yet.
    #[arg(long)]
    pub canary_as_heard: bool,
    /// How the matrices are stored and multiplied.
    #[arg(long, value_enum, default_value_t = Precision::Int8Weights)]
    pub precision: Precision,
    /// Points of word error rate (or of chrF, or hundredths of the perplexity) that quantization may cost.
    #[arg(long, default_value_t = 0.5, value_name = "POINTS")]
    pub allow_loss: f64,
    /// Choose beam width, weight of the language model and word bonus on `--valid`.
    #[arg(long)]
    pub tune: bool,
    /// Python with `numpy` and `onnxruntime`, which must agree with the canary's answer: it is then `verified`, else `recorded`.
    #[arg(long, value_name = "PYTHON")]
    pub reference: Option<PathBuf>,
    /// Text of the card, with `{{results}}` and others filled in (see `docs/export.md`).
    #[arg(long)]
    pub card: Option<PathBuf>,
    /// A value for a name of your own in the card, `NAME=VALUE`; may be given several times.
    #[arg(long = "fact", value_name = "NAME=VALUE", value_parser = card::parse_fact)]
    pub facts: Vec<(String, String)>,
    /// A test set for the card's table, `TITLE=MANIFEST`; may be given several times.
    #[arg(long = "test", value_name = "TITLE=MANIFEST", value_parser = sets::parse)]
    pub tests: Vec<sets::TestSet>,
    /// Longest audio that the daemon gives to the graph at once, seconds.
    #[arg(long, default_value_t = 30.0)]
    pub max_segment_secs: f64,
    /// Where a copy of the weights in half the size is kept, from which `finetune --from` goes on.
    #[arg(long, value_name = "DIR")]
    pub keep_weights: Option<PathBuf>,
    /// Where the weights of a text model are written under the names by which `transformers` loads them.
    #[arg(long, value_name = "DIR")]
    pub transformers: Option<PathBuf>,
    /// Threads; as many as there are processors by default.
    #[arg(long)]
    pub threads: Option<usize>,
}

/// Runs the verb: prints the package's directory on standard output.
pub fn run(args: ExportArgs) -> Result<()> {
    if !(0.0..=100.0).contains(&args.allow_loss) {
        return Err(Failure::usage(format!("--allow-loss is {}; it is 0 to 100 points", args.allow_loss)));
    }
    if text::is_text(&args.from) {
        interrupt::listen();
        return text::run(&args);
    }
    if args.canaries.is_empty() {
        return Err(Failure::usage(
            "a speech model needs --canary: recordings of held-out texts, one of which proves the package",
        ));
    }
    let hear = HearOptions { threads: threads(args.threads)?, ..HearOptions::default() };
    interrupt::listen();
    // Everything is read before any work is done.
    let clips = canary::read(&args.canaries, HeldOut::committed())?;
    let rules = canary::Rules { margin: args.canary_margin, as_heard: args.canary_as_heard };
    let trained = Trained::open(&args.from)?;
    let lm = args.lm.as_deref().map(package::read_lm).transpose()?;
    let template = card::template(args.card.as_deref(), &args.facts)?;
    let valid = sets::read(&args.valid)?;
    let tests = sets::read_all(&args.tests)?;
    let mut contents = Contents::new(about(&args), &trained, args.precision, lm, args.max_segment_secs)?;

    let staged = StagedDirectory::beside(&args.out).map_err(store)?;
    let dir = staged.path();
    contents.write(dir)?;
    let before = memory::resident_bytes();
    let mut opened = Opened::package(dir)?;
    // The clips are heard before the long work: silence in all of them is refused at once.
    let mut log_probs = canary::listen(&opened, &clips)?;
    contents.memory_mib = memory::needed_mib(&contents, memory::resident_bytes().saturating_sub(before));
    if args.tune {
        contents.decoding = tune::tune(&opened, &valid, hear.threads)?;
        contents.write(dir)?;
        opened = Opened::package(dir)?;
    }
    // Only now is the search known that the canary has to be heard by.
    let heard = canary::hear(&opened, &log_probs)?;
    let place = canary::choose(&clips, &heard, rules)?;
    let (clip, heard, log_probs) = (&clips[place], &heard[place], log_probs.swap_remove(place));
    eprintln!("canary: {}, heard by a margin of {:.2}", clip.path.display(), heard.margin);
    contents.canary_audio = std::fs::read(&clip.path).map_err(|e| Failure::read(&clip.path, e))?;
    contents.canary = canary::entry(&contents, heard);
    if let Some(python) = &args.reference {
        reference::agree(python, dir, &opened, clip, &log_probs, &contents)?;
        contents.canary.status = CanaryStatus::Verified;
    }
    let gate = gate::judge(&contents, &trained, &opened, &valid, &hear, args.allow_loss)?;
    let results = sets::score_all(&opened, &tests, &hear)?;
    let facts = card::Facts { contents: &contents, trained: &trained, gate, results, own: &args.facts };
    contents.card = card::fill(&template, &facts)?;
    contents.write(dir)?;
    canary::prove(dir)?;
    if interrupt::requested() {
        return Err(Failure::new(Kind::Interrupted, "stopped; nothing was written"));
    }
    if let Some(keep) = &args.keep_weights {
        trained.write_half(keep)?;
    }
    staged.install().map_err(store)?;
    println!("{}", args.out.display());
    Ok(())
}

fn about(args: &ExportArgs) -> About {
    About {
        name: args.name.clone(),
        version: args.version.clone(),
        aliases: match args.aliases.as_slice() {
            [] => vec!["whisper-1".to_owned()],
            aliases => aliases.iter().filter(|alias| !alias.is_empty()).cloned().collect(),
        },
        languages: args.languages.clone(),
        license: args.license.clone(),
        description: args.description.clone(),
    }
}

/// How many threads to use.
pub(crate) fn threads(asked: Option<usize>) -> Result<usize> {
    match asked {
        Some(n) if (1..=256).contains(&n) => Ok(n),
        Some(n) => Err(Failure::usage(format!("--threads is {n}; it is 1 to 256"))),
        None => Ok(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
pub(crate) fn store(error: linnet::store::PackageError) -> Failure {
    Failure::new(Kind::CantCreate, error.to_string())
}

#[cfg(test)]
mod tests;
