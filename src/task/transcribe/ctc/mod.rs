//! Speech to text with a CTC model: a piece → log-mel or samples → graph → search → words with times.
//!
//! - `acoustics`: what a graph takes and gives.
//! - `foreign`: packages of other people.
//! - [`recognizer`]: one piece to words.
//! - `options`: a request's options on top of the model's defaults.
//! - `canary`: the package's canned request.

mod acoustics;
mod canary;
mod foreign;
mod options;
mod recite;
pub mod recognizer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use linnet_proto::manifest::{Canary, CanarySearch};
use linnet_proto::{TranscribeOptions, WireError, Word};

use super::growing::HeardPiece;
use super::pieces::{Hear, Spoken, Transcriber, clock};
use super::splitter::Piece;
use crate::engine::{Engine, EngineError, Model};
use crate::store::{CtcParts, Package, PackageError, TOKENIZER};
use crate::task::decode::{NgramLm, SearchParams, Units};
use crate::task::{Execute, Pipeline};

use acoustics::Acoustics;
pub(in crate::task) use foreign::FAMILIES as FOREIGN_FAMILIES;
use options::Plan;
pub use recognizer::{Heard, Recognizer};

/// A loaded CTC package, our own or somebody's.
#[derive(Debug, Clone)]
pub struct TranscribePipeline(Arc<Shared>);

/// What all workers share.
struct Shared {
    name: String,
    languages: Vec<String>,
    /// Where the canary's clip is read.
    dir: Mutex<PathBuf>,
    acoustics: Acoustics,
    model: Arc<dyn Model>,
    units: Arc<Units>,
    lm: Option<Arc<NgramLm>>,
}

impl Shared {
    fn dir(&self) -> PathBuf {
        self.dir.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).field("dir", &self.dir()).finish_non_exhaustive()
    }
}

impl TranscribePipeline {
    /// Loads weights, units and language model of a verified package; each error names its file.
    pub fn load(package: &Package, engine: &dyn Engine) -> Result<Self, PackageError> {
        Self::of_parts(package, package.ctc()?, engine)
    }

    /// As [`TranscribePipeline::load`], a package of another family that is shaped like wav2vec2.
    pub fn load_foreign(package: &Package, engine: &dyn Engine) -> Result<Self, PackageError> {
        let foreign::Foreign { acoustics, units, model } = foreign::load(package, engine)?;
        Ok(Self(Arc::new(Shared {
            name: package.manifest.name.clone(),
            languages: package.manifest.languages.clone(),
            dir: Mutex::new(package.dir.clone()),
            acoustics,
            model,
            units: Arc::new(units),
            lm: None,
        })))
    }

    fn of_parts(package: &Package, parts: CtcParts, engine: &dyn Engine) -> Result<Self, PackageError> {
        let CtcParts { config, units } = parts;
        let units = Units::new(&units, config.blank_id, config.unit_kind)
            .map_err(|e| PackageError::invalid(&package.path(TOKENIZER), e.to_string()))?;
        let lm = config.language_model.as_ref().map(|file| load_lm(&package.path(file))).transpose()?;
        let model = package.load_ctc(&config, engine)?;
        Ok(Self(Arc::new(Shared {
            name: package.manifest.name.clone(),
            languages: package.manifest.languages.clone(),
            dir: Mutex::new(package.dir.clone()),
            acoustics: Acoustics::of_config(&config),
            model,
            units: Arc::new(units),
            lm: lm.map(Arc::new),
        })))
    }

    /// A session with its own buffers, for code that has pieces of audio already (`linnet-train evaluate`).
    pub fn recognizer(&self) -> Result<Recognizer, EngineError> {
        Recognizer::new(Arc::clone(&self.0))
    }

    /// The package's units and its language model, shared with all that reads by them, for code that has log-probabilities already
    /// (`linnet-train export`).
    pub fn vocabulary(&self) -> (Arc<Units>, Option<Arc<NgramLm>>) {
        (Arc::clone(&self.0.units), self.0.lm.clone())
    }

    /// Text and fingerprint of a clip, heard as [`Pipeline::prove`] hears the canary: for those who record one. The error names
    /// the file.
    pub fn hear_clip(&self, audio: &Path, search: CanarySearch) -> Result<Heard, String> {
        let mut recognizer = self.recognizer().map_err(|e| e.to_string())?;
        canary::hear_clip(audio, &mut recognizer, &self.search_of(search), self.0.acoustics.max_segment_secs)
    }

    fn search_of(&self, search: CanarySearch) -> SearchParams {
        match search {
            CanarySearch::Greedy => SearchParams::default(),
            CanarySearch::Package => SearchParams::from(&self.0.acoustics.decoding),
        }
    }
}

impl Pipeline for TranscribePipeline {
    fn memory_bytes(&self) -> u64 {
        self.0.model.memory_bytes() + self.0.lm.as_ref().map_or(0, |lm| lm.memory_bytes() as u64)
    }

    fn executor(&self) -> Result<Box<dyn Execute>, WireError> {
        Ok(Box::new(Transcriber::new(self.recognizer()?)))
    }

    fn lies_in(&self, dir: &Path) {
        dir.clone_into(&mut self.0.dir.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn record(&self) -> Result<Canary, String> {
        super::canary::record(&mut self.recognizer().map_err(|e| e.to_string())?)
    }

    fn prove(&self, canary: &Canary) -> Result<(), String> {
        let mut recognizer = self.recognizer().map_err(|e| e.to_string())?;
        let Canary::Speech(canary) = canary else {
            return super::canary::prove(canary, &mut recognizer);
        };
        let search = self.search_of(canary.search);
        canary::prove(&self.0.dir(), canary, &mut recognizer, &search, self.0.acoustics.max_segment_secs)
    }
}

impl Spoken for Plan {
    fn language(&self) -> &str {
        &self.language
    }

    fn punctuates(&self) -> bool {
        self.punctuate
    }
}

impl Hear for Recognizer {
    type Plan = Plan;

    fn name(&self) -> &str {
        &self.shared().name
    }

    fn max_secs(&self) -> f64 {
        self.shared().acoustics.max_segment_secs
    }

    fn plan(&self, options: &TranscribeOptions) -> Result<Plan, WireError> {
        let shared = self.shared();
        Plan::new(options, &shared.acoustics.decoding, &shared.name, &shared.languages)
    }

    fn hear(
        &mut self,
        piece: &Piece,
        plan: &Plan,
        checkpoint: &mut dyn FnMut() -> Result<(), WireError>,
    ) -> Result<HeardPiece, WireError> {
        let mut search = plan.search.clone();
        // A piece that is cut within speech ends in the middle of a sentence.
        search.sentence_ends = piece.ends_in_pause;
        let heard = self.hear_while(&piece.samples, &search, &plan.hot_words, checkpoint)?;
        let (time, frame_secs) = (clock(piece), self.frame_secs());
        let words = heard.decoded.words.into_iter().map(|word| Word {
            start: time(word.start_frame as f64 * frame_secs),
            end: time(word.end_frame as f64 * frame_secs),
            word: word.text,
            confidence: word.confidence,
            ..Word::default()
        });
        Ok(HeardPiece { words: words.collect(), text: None, avg_logprob: heard.decoded.avg_logprob })
    }
}

fn load_lm(path: &Path) -> Result<NgramLm, PackageError> {
    let read = |e| PackageError::read(path, e);
    // The file was verified against the manifest; its size still comes from a stranger.
    let bytes = std::fs::metadata(path).map_err(read)?.len();
    if bytes > crate::task::decode::lm::MAX_FILE_BYTES as u64 {
        let most = crate::task::decode::lm::MAX_FILE_BYTES >> 20;
        return Err(PackageError::invalid(
            path,
            format!("the language model has {bytes} bytes; at most {most} MiB are taken"),
        ));
    }
    let bytes = std::fs::read(path).map_err(read)?;
    NgramLm::read(&bytes).map_err(|e| PackageError::invalid(path, e.to_string()))
}

#[cfg(test)]
mod goldens;
#[cfg(test)]
mod tests;
