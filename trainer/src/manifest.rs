//! Manifests: JSON Lines, one utterance a line.
//!
//! ```json
//! {"audio": "wav/000/17.wav", "text": "turn it off", "speaker": "flite:slt", "seconds": 1.73}
//! ```
//!
//! `audio` is relative to the manifest's directory or absolute. `dur` is read as `seconds`; `speaker` defaults to the name of
//! the manifest's directory; other keys are passed over.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::audio_header;
use crate::bad::{BadRows, Fault};
use crate::error::Result;
use crate::heldout::HeldOut;
use crate::text;

/// One line of a manifest as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Path of the audio file.
    pub audio: PathBuf,
    /// What is said; `null` in data without transcripts.
    pub text: Option<String>,
    /// Who says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// Length of the audio, seconds.
    #[serde(default, alias = "dur", skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// An utterance that was found good.
#[derive(Debug, Clone, PartialEq)]
pub struct Utterance {
    /// Path of the audio file, ready to be opened.
    pub audio: PathBuf,
    /// Normalised text, never empty, of the units' alphabet and blanks.
    pub text: String,
    /// Who says it.
    pub speaker: String,
    /// Length of the audio, seconds, more than 0.
    pub seconds: f64,
    /// Line in the manifest, from 1.
    pub line: usize,
}

/// The good utterances of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Where it was read.
    pub path: PathBuf,
    /// In the order of the file.
    pub utterances: Vec<Utterance>,
    /// Rows that were left out because their text or speaker is held out.
    pub held_out: usize,
}

impl Manifest {
    /// Length of all audio, hours.
    pub fn hours(&self) -> f64 {
        self.utterances.iter().map(|u| u.seconds).sum::<f64>() / 3600.0
    }
}

/// What a manifest is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Anything that shapes a model: rows that are held out are dropped and counted.
    Training,
    /// Judging a model, or choosing between models: held-out rows are what it is for.
    Evaluation,
}

/// Reads a manifest, and the header of each audio file: what is missing, broken, of another rate, empty or strange goes
/// to `bad`.
pub fn read(path: &Path, purpose: Purpose, bad: &mut BadRows) -> Result<Manifest> {
    read_guarded(path, purpose, HeldOut::committed(), bad)
}

/// [`read`] with other lists, for tests.
pub(crate) fn read_guarded(path: &Path, purpose: Purpose, held_out: &HeldOut, bad: &mut BadRows) -> Result<Manifest> {
    let dir = path.parent().unwrap_or(Path::new(""));
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let default_speaker = absolute.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut manifest = Manifest { path: path.to_owned(), utterances: Vec::new(), held_out: 0 };
    text::for_each_line(path, |line, row| {
        if row.trim().is_empty() {
            return Ok(());
        }
        match check(&row, line, dir, &default_speaker) {
            Ok(utterance) => {
                let hidden = held_out.hides_voice(&utterance.speaker) || held_out.hides_text(&utterance.text);
                if purpose == Purpose::Training && hidden {
                    manifest.held_out += 1;
                } else {
                    manifest.utterances.push(utterance);
                }
                Ok(())
            }
            Err(fault) => bad.report(path, line, &fault),
        }
    })?;
    if manifest.held_out > 0 {
        eprintln!("{}: {} rows are held out and not trained on", path.display(), manifest.held_out);
    }
    Ok(manifest)
}

fn check(row: &str, line: usize, dir: &Path, default_speaker: &str) -> Result<Utterance, Fault> {
    let row: Row = serde_json::from_str(row).map_err(|e| Fault::Row(e.to_string()))?;
    let raw = row.text.as_deref().unwrap_or("");
    if let Some(c) = text::stranger(raw) {
        return Err(Fault::UnknownCharacter(c));
    }
    let text = text::normalize(raw);
    if text.is_empty() {
        return Err(Fault::EmptyText);
    }
    let audio = dir.join(&row.audio);
    let header = audio_header::read(&audio)?;
    let seconds = header.map(|h| h.seconds).or(row.seconds).unwrap_or(0.0);
    if !(seconds.is_finite() && seconds > 0.0) {
        return Err(Fault::Audio(audio, format!("it is {seconds} seconds long; it must be longer than 0")));
    }
    let speaker = row.speaker.unwrap_or_else(|| default_speaker.to_owned());
    Ok(Utterance { audio, text, speaker, seconds, line })
}

#[cfg(test)]
mod tests;
