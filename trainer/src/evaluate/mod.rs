//! `evaluate`: word and character error rates of a model on a manifest, heard as the daemon hears.
//!
//! Each recording goes as a job through the package's own pipeline: decoding of the file, pieces between silences,
//! features, graph, search. Float weights are packed into a temporary package first and take the same way.

pub mod chrf;
mod hear;
mod score;
mod table;
mod text;

use std::path::PathBuf;

use clap::Args;

use crate::bad::{BadRows, OnBad};
use crate::error::{Failure, Result};
use crate::export::{self, Opened};
use crate::interrupt;
use crate::manifest::{self, Purpose};

pub use hear::{HearOptions, Heard, hear_all};
pub use score::{Score, SetScore, SpeakerScore};

/// Arguments of `linnet-train evaluate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  linnet-train evaluate models/stt-en-small --manifest reader/test.jsonl
  linnet-train evaluate models/stt-en-small --manifest reader/test.jsonl --json --greedy
  linnet-train evaluate runs/chars4x/best --lm lm.bin --manifest reader/test.jsonl     # the float weights
  linnet-train evaluate runs/translate/best --rounded --manifest data/test.tsv               # a text model")]
pub struct EvaluateArgs {
    /// An exported package, or a directory with a run's float weights (`model.safetensors`).
    pub model: PathBuf,
    /// What is heard: JSON Lines with `audio` and `text`. For a text model: pairs, or documents. May be given several times.
    #[arg(long, required = true)]
    pub manifest: Vec<PathBuf>,
    /// Language model for float weights; a package has its own.
    #[arg(long)]
    pub lm: Option<PathBuf>,
    /// The likeliest unit of each frame, without beam and language model.
    #[arg(long, conflicts_with_all = ["beam_width", "lm_weight"])]
    pub greedy: bool,
    /// Beam width instead of the package's own, 1 to 64.
    #[arg(long)]
    pub beam_width: Option<u32>,
    /// Weight of the language model instead of the package's own, 0 to 4.
    #[arg(long)]
    pub lm_weight: Option<f32>,
    /// Threads; as many as there are processors by default.
    #[arg(long)]
    pub threads: Option<usize>,
    /// What to do with rows that cannot be heard.
    #[arg(long, value_enum, default_value_t = OnBad::Skip)]
    pub on_bad: OnBad,
    /// One JSON object a manifest, on one line.
    #[arg(long)]
    pub json: bool,
    /// Every reference and what was heard or written, beside the figures.
    #[arg(long)]
    pub texts: bool,
    /// Judge a text model's weights rounded as a package holds them.
    #[arg(long)]
    pub rounded: bool,
}

/// Runs the verb.
pub fn run(args: EvaluateArgs) -> Result<()> {
    interrupt::listen();
    if export::text::is_text(&args.model) {
        return text::run(&args);
    }
    let opened = Opened::model(&args.model, args.lm.as_deref())?;
    let options = HearOptions {
        beam_width: if args.greedy { Some(1) } else { args.beam_width },
        lm_weight: args.lm_weight,
        threads: export::threads(args.threads)?,
    };
    options.check()?;
    for path in &args.manifest {
        let mut bad = BadRows::new(args.on_bad);
        let set = manifest::read(path, Purpose::Evaluation, &mut bad)?;
        let heard = hear_all(&opened.pipeline, &set, &options, &mut bad)?;
        if heard.is_empty() {
            return Err(Failure::data(format!("{}: there is no row that could be heard", path.display())));
        }
        let score = SetScore::new(&heard);
        if args.json {
            println!("{}", table::json(&opened, path, &score, bad.total(), args.texts.then_some(&heard))?);
        } else {
            print!("{}", table::text(path, &score, args.texts.then_some(&heard)));
        }
        if let Some(summary) = bad.summary() {
            eprintln!("{}: {summary}", path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
