//! Whisper: log-mel windows of 30 s to text with timestamps, in the language that is spoken or in English.
//!
//! The rules are those of `transformers`' `generate` with timestamps on features of the whole audio (`truncation=False`,
//! `padding="longest"`); `docs/speech-models.md` lists them.
//!
//! - `config`: what the package says.
//! - `plan`: what a request asks for; what stands before a window's text.
//! - `windows`: audio to log-mel.
//! - `write`, `beam`, `rules`: one window's tokens.
//! - `window`: written again at a higher temperature where the text is doubtful.
//! - `segments`, `words`, `align`: tokens to segments and words with times.
//! - `execute`: one request on one worker.

mod align;
mod beam;
mod config;
mod execute;
mod plan;
mod recite;
mod rules;
mod segments;
mod window;
mod windows;
mod words;
mod write;

use std::path::PathBuf;
use std::sync::Arc;

use linnet_proto::WireError;
use linnet_proto::manifest::Canary;

use super::{canary, decoder_files};
use crate::engine::{Engine, EngineError, Model, Port};
use crate::store::{Package, PackageError, layout, memory};
use crate::task::model::seq2seq::{DecoderFiles, Seq2SeqGraph};
use crate::task::tokenizer::TextTokenizer;
use crate::task::{Execute, Pipeline};

use config::Settings;

/// `model_type` of the family.
pub const FAMILY: &str = "whisper";

/// A loaded Whisper package.
#[derive(Debug, Clone)]
pub struct WhisperPipeline(Arc<Shared>);

/// What all workers share.
struct Shared {
    name: String,
    languages: Vec<String>,
    settings: Settings,
    tokens: TextTokenizer,
    encoder: Arc<dyn Model>,
    /// The encoder's input.
    input: Port,
    decoder: Seq2SeqGraph,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl WhisperPipeline {
    /// Loads graphs, tokenizer and rules of a package; each error names its file.
    pub fn load(package: &Package, engine: &dyn Engine) -> Result<Self, PackageError> {
        let tokens = TextTokenizer::load(&package.dir).map_err(|e| PackageError::invalid(&package.dir, e))?;
        let settings = Settings::read(package, &tokens)?;
        let memory = memory::memory();
        package.check_memory(memory)?;
        let available = memory.map(|memory| memory.available_mib << 20);
        let graphs = layout::choose(&package.dir, package.manifest.dtype.as_deref(), available)?;
        let encoder_file = graphs.part("encoder_model").ok_or_else(|| {
            let reason =
                "encoder_model.onnx is missing, here and in onnx/; export the model for automatic-speech-recognition";
            PackageError::invalid(&package.dir, reason)
        })?;
        let files = decoder_files(&graphs);
        check_decoder(package, engine, &files, &settings)?;
        let encoder = engine.load(&package.dir, encoder_file)?;
        let input =
            input(&*encoder, &settings).map_err(|e| PackageError::invalid(&package.path_of(encoder_file), e))?;
        let decoder = Seq2SeqGraph::load(engine, &package.dir, &files, Some(settings.context), settings.vocabulary)?;
        Ok(Self(Arc::new(Shared {
            name: package.manifest.name.clone(),
            languages: package.manifest.languages.clone(),
            settings,
            tokens,
            encoder,
            input,
            decoder,
        })))
    }

    fn writer(&self) -> Result<execute::Writer, EngineError> {
        execute::Writer::new(Arc::clone(&self.0))
    }
}

impl Pipeline for WhisperPipeline {
    fn memory_bytes(&self) -> u64 {
        self.0.encoder.memory_bytes() + self.0.decoder.memory_bytes()
    }

    fn executor(&self) -> Result<Box<dyn Execute>, WireError> {
        Ok(Box::new(self.writer()?))
    }

    fn record(&self) -> Result<Canary, String> {
        canary::record(&mut self.writer().map_err(|e| e.to_string())?)
    }

    fn prove(&self, canary: &Canary) -> Result<(), String> {
        canary::prove(canary, &mut self.writer().map_err(|e| e.to_string())?)
    }
}

/// Refuses a decoder whose logits are not of the configuration's vocabulary, where its file says how many there are.
fn check_decoder(
    package: &Package,
    engine: &dyn Engine,
    files: &DecoderFiles,
    settings: &Settings,
) -> Result<(), PackageError> {
    let file: Option<&PathBuf> = files.merged.as_ref().or(files.with_past.as_ref()).or(files.first.as_ref());
    let Some(file) = file else { return Ok(()) };
    let (_, outputs) = engine.ports(&package.dir, file)?;
    let logits =
        outputs.iter().find(|port| port.name == "logits").and_then(|port| port.shape.last().copied().flatten());
    match logits {
        Some(size) if size != settings.vocabulary => Err(PackageError::invalid(
            &package.path_of(file),
            format!(
                "the graph gives {size} logits, but config.json says vocab_size is {}; both must come from one export",
                settings.vocabulary
            ),
        )),
        _ => Ok(()),
    }
}

/// The encoder's one input, of the configuration's shape.
fn input(encoder: &dyn Model, settings: &Settings) -> Result<Port, String> {
    let [port] = encoder.inputs() else {
        let names: Vec<&str> = encoder.inputs().iter().map(|port| port.name.as_str()).collect();
        return Err(format!(
            "a Whisper encoder takes `input_features` alone, but this graph takes {}",
            names.join(", ")
        ));
    };
    let wanted = [1, settings.mel_bins, settings.window()];
    let fits =
        port.shape.len() == 3 && port.shape.iter().zip(wanted).all(|(have, want)| have.is_none_or(|h| h == want));
    if fits {
        return Ok(port.clone());
    }
    let shape: Vec<String> = port.shape.iter().map(|size| size.map_or("any".into(), |s| s.to_string())).collect();
    Err(format!(
        "the graph takes [{}], but config.json says {wanted:?}; both must come from one export",
        shape.join(", ")
    ))
}

#[cfg(test)]
mod tests;
