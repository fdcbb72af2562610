//! Speech to text with a CTC model: audio → pieces between silences → log-mel → graph → search → words with times.
//!
//! - [`splitter`]: pieces that the model takes, in bounded memory; silence never reaches the model.
//! - [`recognizer`]: one piece to words.
//! - `execute`: one request on one worker.
//! - `canary`: the package's canned request.

mod activity;
mod canary;
mod execute;
mod options;
mod punctuate;
pub mod recognizer;
pub mod splitter;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use linnet_proto::WireError;
use linnet_proto::manifest::{Canary, CanarySearch};
use linnet_proto::model_config::CtcConfig;

use super::decode::{NgramLm, SearchParams, Units};
use super::{Execute, Pipeline};
use crate::engine::{Engine, EngineError, Model};
use crate::store::{CtcParts, Package, PackageError, TOKENIZER};

pub use recognizer::{Heard, Recognizer};
pub use splitter::{Piece, Splitter};

/// A loaded `linnet-ctc` package.
#[derive(Debug, Clone)]
pub struct TranscribePipeline(Arc<Shared>);

/// What all workers share.
struct Shared {
    name: String,
    languages: Vec<String>,
    dir: PathBuf,
    config: CtcConfig,
    model: Arc<dyn Model>,
    units: Arc<Units>,
    lm: Option<Arc<NgramLm>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl TranscribePipeline {
    /// Loads weights, units and language model of a verified package; each error names its file.
    pub fn load(package: &Package, engine: &dyn Engine) -> Result<Self, PackageError> {
        Self::of_parts(package, package.ctc()?, engine)
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
            dir: package.dir.clone(),
            config,
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
        canary::hear_clip(audio, &mut recognizer, &self.search_of(search), self.0.config.max_segment_secs)
    }

    fn search_of(&self, search: CanarySearch) -> SearchParams {
        match search {
            CanarySearch::Greedy => SearchParams::default(),
            CanarySearch::Package => SearchParams::from(&self.0.config.decoding),
        }
    }
}

impl Pipeline for TranscribePipeline {
    fn memory_bytes(&self) -> u64 {
        self.0.model.memory_bytes() + self.0.lm.as_ref().map_or(0, |lm| lm.memory_bytes() as u64)
    }

    fn executor(&self) -> Result<Box<dyn Execute>, WireError> {
        Ok(Box::new(execute::Transcriber::new(Arc::clone(&self.0))?))
    }

    fn prove(&self, canary: &Canary) -> Result<(), String> {
        let Canary::Speech(canary) = canary else {
            return Err("its canary is not a clip of speech, which a model of its family needs".into());
        };
        let mut recognizer = self.recognizer().map_err(|e| e.to_string())?;
        let search = self.search_of(canary.search);
        canary::prove(&self.0.dir, canary, &mut recognizer, &search, self.0.config.max_segment_secs)
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
mod tests;
