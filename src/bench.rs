//! `linnetd bench`: how fast a model is on this machine. `linnet bench` runs it.
//!
//! It runs what a request would run, on as many workers as `--threads` says, each with one job on one thread: for models that write, a prompt and an
//! answer of made tokens; for models that hear, a recording of the package or a made sound. Rates are over all workers together; each is the median of
//! the rounds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use linnet_features::audio::{AudioLimits, Media};
use linnet_proto::generate::{DecodeOptions, GenerateInput, GenerateRequest};
use linnet_proto::manifest::{Canary, Manifest};
use linnet_proto::text::EmbedRequest;
use linnet_proto::{TranscribeOptions, WireError};
use serde::Serialize;

use crate::daemon::models;
use crate::job::{Answer, Job, Origin, Priority, Reply, Request, TaskRequest, TranscribeRequest};
use crate::status::Events;
use crate::store::{Package, PackageError};
use crate::task::{Heartbeat, Pipeline, TaskContext};

/// What to measure, and how.
#[derive(Debug, Clone)]
pub struct Bench {
    /// The model's directory.
    pub dir: PathBuf,
    /// Workers.
    pub threads: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens that are written.
    pub new_tokens: usize,
    /// How often everything is measured.
    pub rounds: usize,
}

/// What was measured; serialized, it is what `--json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// The model.
    pub model: String,
    /// `model_type`.
    pub family: String,
    /// Type of its weights, where the package says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// Workers.
    pub threads: usize,
    /// Tokens of prompts a second, over all workers.
    pub prefill_tokens_per_sec: Option<f64>,
    /// Tokens written a second, over all workers.
    pub decode_tokens_per_sec: Option<f64>,
    /// Seconds of computing for a second of audio, of one worker.
    pub rtf: Option<f64>,
    /// Tokens read a second, for encoders, over all workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encode_tokens_per_sec: Option<f64>,
    /// How long it took to load, milliseconds.
    pub load_ms: f64,
    /// Memory of the weights, MiB.
    pub memory_mib: f64,
}

impl Measured {
    /// A few lines for people.
    pub fn lines(&self) -> String {
        let dtype = self.dtype.as_deref().map_or(String::new(), |dtype| format!(", {dtype}"));
        let mut text = format!("{} ({}{dtype}), {} threads\n", self.model, self.family, self.threads);
        let mut row = |what: &str, value: Option<f64>, unit: &str| {
            if let Some(value) = value {
                text.push_str(&format!("  {what:<10} {value:>10.4} {unit}\n"));
            }
        };
        row("prefill", self.prefill_tokens_per_sec, "tokens/s");
        row("decode", self.decode_tokens_per_sec, "tokens/s");
        row("encode", self.encode_tokens_per_sec, "tokens/s");
        row("real time", self.rtf, "× (computing for a second of audio)");
        row("load", Some(self.load_ms), "ms");
        row("weights", Some(self.memory_mib), "MiB");
        text
    }
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The model's files.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// It does not load.
    #[error("{0}")]
    Load(String),
    /// It does not answer.
    #[error("{0}")]
    Run(#[from] WireError),
    /// There is nothing in it that could be measured.
    #[error("a model that does {0} has no measure here; those that write, hear or embed have")]
    NoMeasure(String),
}

/// Measures a model.
pub fn bench(asked: &Bench) -> Result<Measured, BenchError> {
    let package = Package::open(&asked.dir)?;
    let loader = models::loader(Events::default());
    let began = Instant::now();
    let unproven = Package { manifest: Manifest { canary: None, ..package.manifest.clone() }, ..package.clone() };
    let pipeline = loader.prove(&unproven).map_err(BenchError::Load)?;
    let load_ms = began.elapsed().as_secs_f64() * 1e3;
    let manifest = &package.manifest;
    let mut measured = Measured {
        model: manifest.name.clone(),
        family: manifest.family.clone(),
        dtype: manifest.dtype.clone(),
        threads: asked.threads,
        prefill_tokens_per_sec: None,
        decode_tokens_per_sec: None,
        rtf: None,
        encode_tokens_per_sec: None,
        load_ms,
        memory_mib: pipeline.memory_bytes() as f64 / f64::from(1 << 20),
    };
    let does = |task: &str| manifest.tasks.iter().any(|own| own == task);
    if does("generate") || does("translate") {
        let rounds = run(&pipeline, asked, &|| TaskRequest::Generate(writing(asked)))?;
        let rate = |tokens: fn(&Answer) -> (f64, f64)| {
            let of = |answers: &Vec<Answer>| {
                answers
                    .iter()
                    .map(|a| {
                        let (n, ms) = tokens(a);
                        n / ms.max(1e-6) * 1e3
                    })
                    .sum::<f64>()
            };
            median(rounds.iter().map(|(answers, _)| of(answers)).collect())
        };
        measured.prefill_tokens_per_sec = Some(rate(|answer| match answer {
            Answer::Generated(g) => (g.prompt_tokens as f64, g.prefill_ms),
            _ => (0.0, 1.0),
        }));
        measured.decode_tokens_per_sec = Some(rate(|answer| match answer {
            // The first token comes out of the prompt's run.
            Answer::Generated(g) => (g.completion_tokens.saturating_sub(1) as f64, g.decode_ms),
            _ => (0.0, 1.0),
        }));
    } else if does("transcribe") {
        let audio = recording(&package);
        let rounds = run(&pipeline, asked, &|| TaskRequest::Transcribe(audio.clone()))?;
        let rtf = |answers: &Vec<Answer>| {
            let of = answers.iter().map(|answer| if let Answer::Transcript(t) = answer { t.rtf } else { 0.0 });
            of.sum::<f64>() / answers.len().max(1) as f64
        };
        measured.rtf = Some(median(rounds.iter().map(|(answers, _)| rtf(answers)).collect()));
    } else if does("embed") {
        let ids: Vec<u32> = made_ids(asked.prompt_tokens);
        let request = EmbedRequest { tokens: vec![ids; asked.rounds.max(1)], ..EmbedRequest::default() };
        let rounds = run(&pipeline, asked, &|| TaskRequest::Embed(request.clone()))?;
        let tokens = (asked.prompt_tokens * asked.rounds.max(1) * asked.threads) as f64;
        measured.encode_tokens_per_sec =
            Some(median(rounds.iter().map(|(_, took)| tokens / took.as_secs_f64()).collect()));
    } else {
        return Err(BenchError::NoMeasure(manifest.tasks.join(", ")));
    }
    Ok(measured)
}

/// The directory that a name or a path means.
pub fn find(model: &str, models: &[PathBuf]) -> PathBuf {
    let given = Path::new(model);
    if given.is_dir() {
        return given.to_owned();
    }
    let named = models.iter().flat_map(|dir| crate::store::package_directories(dir).unwrap_or_default());
    let mut named = named.filter(|dir| Package::read(dir).is_ok_and(|package| package.manifest.name == model));
    named.next().unwrap_or_else(|| given.to_owned())
}

/// Ids all over a small vocabulary: which ones they are does not change the work.
fn made_ids(count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| 3 + (i * 37) % 61).collect()
}

fn writing(asked: &Bench) -> GenerateRequest {
    let options = DecodeOptions {
        max_tokens: Some(asked.new_tokens as u64),
        temperature: Some(0.0),
        num_beams: Some(1),
        ignore_eos: true,
        ..DecodeOptions::default()
    };
    GenerateRequest { options, ..GenerateRequest::new(GenerateInput::Tokens(made_ids(asked.prompt_tokens))) }
}

/// The clip of the package's canary, else ten seconds of a made sound.
fn recording(package: &Package) -> TranscribeRequest {
    let clip = match &package.manifest.canary {
        Some(Canary::Speech(canary)) => std::fs::read(package.path(&canary.audio)).ok(),
        _ => None,
    };
    let (audio, media) = match clip {
        Some(bytes) => (bytes, Media::Detect),
        None => (made_sound(10), Media::L16 { rate: 16_000, channels: 1, big_endian: false }),
    };
    TranscribeRequest { audio: audio.into(), media, options: TranscribeOptions::default(), translate: false }
}

/// Signed 16-bit samples at 16 kHz: a tone that rises and falls, in syllables.
fn made_sound(secs: usize) -> Vec<u8> {
    let sample = |i: usize| {
        let t = i as f32 / 16_000.0;
        let tone = (t * (180.0 + 60.0 * (t * 3.0).sin()) * std::f32::consts::TAU).sin();
        let syllable = (t * 4.0 * std::f32::consts::TAU).sin().max(0.0);
        (tone * syllable * 12_000.0) as i16
    };
    (0..secs * 16_000).flat_map(|i| sample(i).to_le_bytes()).collect()
}

/// Each round's answers, and how long they took together; one round more warms up and is not counted.
fn run(
    pipeline: &Arc<dyn Pipeline>,
    asked: &Bench,
    task: &(dyn Fn() -> TaskRequest + Sync),
) -> Result<Vec<(Vec<Answer>, Duration)>, BenchError> {
    let mut executors = (0..asked.threads.max(1)).map(|_| pipeline.executor()).collect::<Result<Vec<_>, _>>()?;
    let mut rounds = Vec::with_capacity(asked.rounds);
    for round in 0..=asked.rounds {
        let began = Instant::now();
        let answers: Result<Vec<Answer>, WireError> = std::thread::scope(|scope| {
            let workers: Vec<_> =
                executors.iter_mut().map(|executor| scope.spawn(|| answer(&mut **executor, task()))).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let answers = answers?;
        if round > 0 {
            rounds.push((answers, began.elapsed()));
        }
    }
    Ok(rounds)
}

fn answer(executor: &mut dyn crate::task::Execute, task: TaskRequest) -> Result<Answer, WireError> {
    let (parts, cancel, reply) = Reply::channel(1024);
    let now = Instant::now();
    let timeout = Duration::from_secs(3600);
    let request = Request { id: "bench".into(), origin: Origin::Internal, task, timeout, priority: Priority::Normal };
    let job = Job { request, admitted: now, deadline: now + timeout, cancel, parts };
    let mut context = TaskContext::new(&job, Heartbeat::default(), AudioLimits::default());
    let answer = executor.execute(&job, &mut context);
    drop(reply);
    answer
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn a_model_that_writes_and_one_that_hears_are_measured() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let asked = |dir: &str| Bench { dir: root.join(dir), threads: 2, prompt_tokens: 16, new_tokens: 8, rounds: 1 };
        let llama = bench(&asked("tests/goldens/families/llama")).expect("it writes");
        assert!(
            llama.prefill_tokens_per_sec.is_some_and(|x| x > 0.0)
                && llama.decode_tokens_per_sec.is_some_and(|x| x > 0.0)
        );
        assert_eq!(llama.rtf, None);
        let speech = bench(&asked("models/stt-en-small")).expect("it hears");
        assert!(speech.rtf.is_some_and(|x| x > 0.0) && speech.decode_tokens_per_sec.is_none());
    }

    #[test]
    fn a_made_sound_is_as_long_as_it_says() {
        assert_eq!(made_sound(2).len(), 2 * 16_000 * 2);
    }
}
