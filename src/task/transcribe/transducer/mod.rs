//! Transducers (zipformer and its kin) in three graphs: an encoder that hears, a decoder that knows the last tokens, a joiner that
//! decides at each frame whether something was said.
//!
//! - `search`: greedy and modified beam search, as sherpa-onnx has them.
//! - `listener`: one piece to words.

mod listener;
mod search;

use std::path::Path;
use std::sync::Arc;

use linnet_proto::WireError;
use linnet_proto::manifest::Canary;
use linnet_proto::model_config::UnitKind;

use super::canary;
use super::pieces::Transcriber;
use crate::engine::{Engine, EngineError, LoadOptions, Model, Size};
use crate::store::{MAX_CONFIG_BYTES, Package, PackageError, memory, read_text, transducer};
use crate::task::decode::Units;
use crate::task::decode::units::BLANK;
use crate::task::{Execute, Pipeline};

use listener::Listener;

/// Most tokens that are believable.
const MAX_UNITS: usize = 65_536;
/// Tokens that the decoder looks back on at most.
const MAX_CONTEXT: usize = 16;

/// A loaded transducer.
#[derive(Debug, Clone)]
pub struct TransducerPipeline(Arc<Shared>);

/// What all workers share.
struct Shared {
    name: String,
    languages: Vec<String>,
    units: Arc<Units>,
    /// The token that stands for what has none; never written.
    unknown: Option<u32>,
    encoder: Arc<dyn Model>,
    decoder: Arc<dyn Model>,
    joiner: Arc<dyn Model>,
    /// Tokens that the decoder looks back on.
    context: usize,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TransducerPipeline {
    /// Loads a package; each error names its file.
    pub fn load(package: &Package, engine: &dyn Engine) -> Result<Self, PackageError> {
        let path = package.path(transducer::TOKENS);
        let text = read_text(&path, MAX_CONFIG_BYTES)?;
        let (names, unknown) = tokens(&text).map_err(|reason| PackageError::invalid(&path, reason))?;
        let units = Units::new(&names, 0, UnitKind::Bpe).map_err(|e| PackageError::invalid(&path, e.to_string()))?;
        let files = transducer::choose(&package.dir, package.manifest.dtype.as_deref())?;
        package.check_memory(memory::memory())?;
        let load = |onnx: &Path| engine.load(&package.dir, onnx).map_err(PackageError::from);
        let invalid = |file: &Path, reason: String| PackageError::invalid(&package.path_of(file), reason);
        let (inputs, _) = engine.ports(&package.dir, &files.encoder)?;
        if inputs.len() > 2 {
            let states = inputs.len() - 1;
            let reason = format!(
                "it is a streaming export, whose encoder takes {states} states beside the sound; Linnet runs transducers that hear \
                 whole pieces: export it without --causal"
            );
            return Err(invalid(&files.encoder, reason));
        }
        // Its table of positions is cut to the length of the sound, and has to be known to be long enough.
        let size = |input: &str, axis, least, most| Size { input: input.to_owned(), axis, least, most };
        let mut sizes: Vec<Size> = inputs.iter().map(|port| size(&port.name, 0, 1, 1)).collect();
        let sound = inputs.iter().find(|port| port.shape.len() == 3);
        sizes.extend(sound.map(|port| size(&port.name, 1, listener::MIN_FRAMES, listener::MAX_FRAMES)));
        let options = LoadOptions { sizes, ..LoadOptions::default() };
        let encoder = engine.load_with(&package.dir, &files.encoder, &options)?;
        let (decoder, joiner) = (load(&files.decoder)?, load(&files.joiner)?);
        let context = decoder.inputs().first().and_then(|port| port.shape.get(1).copied().flatten());
        let context = context.filter(|context| (1..=MAX_CONTEXT).contains(context)).ok_or_else(|| {
            invalid(
                &files.decoder,
                format!("the graph must take [N, 1 to {MAX_CONTEXT}] tokens, the last ones that were written"),
            )
        })?;
        let logits = joiner.outputs().first().and_then(|port| port.shape.last().copied().flatten());
        if let Some(logits) = logits.filter(|logits| *logits != units.len()) {
            let reason = format!(
                "the graph gives {logits} logits, but {} has {} tokens; both must come from one export",
                transducer::TOKENS,
                units.len()
            );
            return Err(invalid(&files.joiner, reason));
        }
        if joiner.inputs().len() != 2 {
            return Err(invalid(&files.joiner, "a joiner takes what encoder and decoder give, two inputs".into()));
        }
        let pipeline = Self(Arc::new(Shared {
            name: package.manifest.name.clone(),
            languages: package.manifest.languages.clone(),
            units: Arc::new(units),
            unknown,
            encoder,
            decoder,
            joiner,
            context,
        }));
        // The graphs are tried together once: each alone may be another model's.
        let mut listener = pipeline.listener()?;
        listener.try_out().map_err(|e| PackageError::invalid(&package.dir, e.to_string()))?;
        Ok(pipeline)
    }

    fn listener(&self) -> Result<Listener, EngineError> {
        Listener::new(Arc::clone(&self.0))
    }
}

impl Pipeline for TransducerPipeline {
    fn memory_bytes(&self) -> u64 {
        [&self.0.encoder, &self.0.decoder, &self.0.joiner].iter().map(|model| model.memory_bytes()).sum()
    }

    fn executor(&self) -> Result<Box<dyn Execute>, WireError> {
        Ok(Box::new(Transcriber::new(self.listener()?)))
    }

    fn record(&self) -> Result<Canary, String> {
        canary::record(&mut self.listener().map_err(|e| e.to_string())?)
    }

    fn prove(&self, canary: &Canary) -> Result<(), String> {
        canary::prove(canary, &mut self.listener().map_err(|e| e.to_string())?)
    }
}

/// Names by id from lines of a token and its id, with the blank, 0, as [`Units`] calls it; and the id of `<unk>`.
fn tokens(text: &str) -> Result<(Vec<String>, Option<u32>), String> {
    let mut by_id = std::collections::BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() {
            continue;
        }
        // A token may be a blank itself; the id stands behind the last one.
        let (name, id) = line.rsplit_once([' ', '\t']).unwrap_or(("", line));
        let id: usize =
            id.parse().map_err(|_| format!("line {}: {:?} is no id", number + 1, id.escape_debug().to_string()))?;
        let name = if name.trim().is_empty() { "▁" } else { name.trim_end() };
        if by_id.insert(id, name.to_owned()).is_some() {
            return Err(format!("line {}: the id {id} stands twice", number + 1));
        }
    }
    let count = by_id.len();
    if !(2..=MAX_UNITS).contains(&count) {
        return Err(format!("it has {count} tokens, but must have 2 to {MAX_UNITS}"));
    }
    if by_id.keys().next_back().is_some_and(|last| *last + 1 != count) {
        return Err(format!("the ids must be 0 to {} without a gap", count - 1));
    }
    let mut names: Vec<String> = by_id.into_values().collect();
    let unknown = names.iter().position(|name| name == "<unk>").map(|id| id as u32);
    names[0] = BLANK.to_owned();
    Ok((names, unknown))
}

#[cfg(test)]
mod tests;
