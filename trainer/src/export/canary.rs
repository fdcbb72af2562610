//! The canary: which clip it is, what its answer is, and whether a finished package gives it.
//!
//! A clip's text must be on the held-out lists: what a model was trained on it hears even when it is damaged. It must be heard
//! right, by the search that requests are answered with, and by a margin that no other machine's rounding reaches.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use linnet::task::Pipeline;
use linnet::task::decode::{Decoder, HotWords, LogProbs, SearchParams};
use linnet_proto::manifest::{CanarySearch, SpeechCanary};

use super::{Contents, Opened, sets, tune};
use crate::error::{Failure, Result};
use crate::heldout::HeldOut;
use crate::text;

/// Least margin of a canary's text, natural-log. Rounding on other machines has been seen to move a score by some
/// thousandths.
pub const LEAST_MARGIN: f64 = 0.2;
/// Longest recording of a manifest that is considered: the canary is heard at every start.
const LONGEST_SECS: f64 = 10.0;
/// Clips that a refusal names.
const MOST_NAMED: usize = 3;

/// What makes a clip a canary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Least margin.
    pub margin: f64,
    /// Whether any text will do, for a model that hears little yet.
    pub as_heard: bool,
}

/// A clip that may become the canary.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// Where it lies.
    pub path: PathBuf,
    /// What is said, normalised.
    pub text: String,
}

/// A clip as the package hears it.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// What is heard, by the package's own search.
    pub text: String,
    /// The fingerprint.
    pub logprob: f64,
    /// By how much the text wins.
    pub margin: f64,
}

/// Reads `--canary`, which is a WAV file with its text beside it or a manifest. Everything is checked before any work is done.
pub fn read(arguments: &[PathBuf], held_out: &HeldOut) -> Result<Vec<Clip>> {
    let mut clips = Vec::new();
    for path in arguments {
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let rows = sets::read(path)?.utterances;
            let short = rows.into_iter().filter(|row| row.seconds <= LONGEST_SECS);
            for row in short {
                let place = format!("{}:{}", path.display(), row.line);
                clips.push(clip(row.audio, row.text, &place, held_out)?);
            }
        } else {
            let beside = path.with_extension("txt");
            let said = std::fs::read_to_string(&beside).map_err(|e| {
                let what = "what is said in the canary stands in a text file beside it";
                Failure::new(crate::error::Kind::NoInput, format!("{}: {e}; {what}", beside.display()))
            })?;
            clips.push(clip(path.clone(), text::normalize(&said), &beside.display().to_string(), held_out)?);
        }
    }
    if clips.is_empty() {
        return Err(Failure::data(format!("--canary names no recording of at most {LONGEST_SECS} s")));
    }
    Ok(clips)
}

fn clip(path: PathBuf, text: String, place: &str, held_out: &HeldOut) -> Result<Clip> {
    if !held_out.hides_text(&text) {
        return Err(Failure::refused(format!(
            "{place}: the text of the canary {} is on no held-out list (trainer/heldout), so a model may have been trained on it \
             and prove nothing; name a recording whose text is",
            path.display()
        )));
    }
    let mut head = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(4).read_to_end(&mut head));
    read.map_err(|e| Failure::read(&path, e))?;
    if head != b"RIFF" {
        return Err(Failure::data(format!("{}: the canary must be a WAV file", path.display())));
    }
    Ok(Clip { path, text })
}

/// What the graph makes of each clip, `[frames, units]`: each is heard once, and what is decided later is read from this. Refused
/// when one is longer than the daemon would hear in one piece, and when nothing is heard in any, since damage that silences the
/// model would pass.
pub fn listen(opened: &Opened, clips: &[Clip]) -> Result<Vec<Vec<f32>>> {
    let config = &opened.config;
    let (units, blank) = (config.units, config.blank_id);
    let most = config.max_segment_secs * 1000.0 / (config.subsampling as f64 * config.frame_shift_ms);
    let hear = |clip: &Clip| {
        let log_probs = tune::log_probs_of_clip(opened, &clip.path)?;
        if (log_probs.len() / units) as f64 > most {
            let (path, most) = (clip.path.display(), config.max_segment_secs);
            return Err(Failure::data(format!("{path}: the canary is heard in one piece, of at most {most} s")));
        }
        Ok(log_probs)
    };
    let heard = clips.iter().map(hear).collect::<Result<Vec<_>>>()?;
    let speaks = |data: &Vec<f32>| {
        let said = |frame: &[f32]| frame.iter().enumerate().any(|(unit, p)| unit != blank && *p > frame[blank]);
        data.chunks_exact(units).any(said)
    };
    if heard.iter().any(speaks) {
        return Ok(heard);
    }
    let names: Vec<_> = clips.iter().take(MOST_NAMED).map(|clip| clip.path.display().to_string()).collect();
    Err(Failure::refused(format!(
        "nothing is heard in the canary ({}); a canary's answer must have words, or damage that silences the model would pass",
        names.join(", ")
    )))
}

/// Has the package's own search read what the graph said of each clip ([`listen`]).
pub fn hear(opened: &Opened, log_probs: &[Vec<f32>]) -> Result<Vec<Heard>> {
    let config = &opened.config;
    let (units, lm) = opened.pipeline.vocabulary();
    let mut decoder = Decoder::new(units, lm);
    let params = SearchParams::from(&config.decoding);
    let heard = log_probs.iter().map(|data| {
        let frames = LogProbs::new(data, config.units).map_err(|e| Failure::data(e.to_string()))?;
        let text = decoder.decode(frames, &params, &HotWords::default()).text;
        let margin = decoder.margin(frames, &params, &HotWords::default());
        Ok(Heard { text, logprob: frames.mean_best(), margin })
    });
    heard.collect()
}

/// The place of the clip that is heard right by the largest margin.
pub fn choose(clips: &[Clip], heard: &[Heard], rules: Rules) -> Result<usize> {
    let right = |clip: &Clip, heard: &Heard| {
        let text = text::normalize(&heard.text);
        if rules.as_heard { !text.is_empty() } else { text == clip.text }
    };
    let best = clips
        .iter()
        .zip(heard)
        .enumerate()
        .filter(|(_, (clip, heard))| right(clip, heard) && heard.margin >= rules.margin)
        .max_by(|(_, (_, a)), (_, (_, b))| a.margin.total_cmp(&b.margin));
    if let Some((place, _)) = best {
        return Ok(place);
    }
    let why = |(clip, heard): (&Clip, &Heard)| {
        let path = clip.path.display();
        if right(clip, heard) {
            return format!("{path} is heard by a margin of {:.3} only (at least {})", heard.margin, rules.margin);
        }
        format!("{path} is heard as {:?} instead of {:?}", heard.text, clip.text)
    };
    let mut reasons: Vec<String> = clips.iter().zip(heard).take(MOST_NAMED).map(why).collect();
    if clips.len() > MOST_NAMED {
        reasons.push(format!("and so on for {} more", clips.len() - MOST_NAMED));
    }
    Err(Failure::refused(format!(
        "no clip can be the canary: {}; name more (--canary may be repeated and takes manifests), or for a model that hears little \
         yet give --canary-as-heard",
        reasons.join("; ")
    )))
}

/// The manifest's entry of a chosen clip.
pub fn entry(contents: &Contents<'_>, heard: &Heard) -> SpeechCanary {
    SpeechCanary {
        text: heard.text.clone(),
        search: CanarySearch::Package,
        logprob: heard.logprob,
        ..contents.canary.clone()
    }
}

/// Opens the package anew, as the daemon will, and has it prove its canary.
pub fn prove(dir: &Path) -> Result<()> {
    let opened = Opened::package(dir)?;
    let Some(canary) = &opened.package.manifest.canary else {
        return Err(Failure::refused(format!("{}: the manifest has no canary", dir.display())));
    };
    opened.pipeline.prove(canary).map_err(|reason| Failure::refused(format!("{}: {reason}", dir.display())))
}
