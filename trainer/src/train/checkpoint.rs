//! Everything that a run needs to go on where it stopped, in one file that is whole or the one before.
//!
//! `last/checkpoint.safetensors` holds the weights, both moments and the average, and in its header the [`State`]. What is random
//! is a function of the seed and the position (see [`random`](super::random)), so no generator's state is kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::optimizer::Optimizer;
use crate::error::{Failure, Result};
use crate::model::{Shape, Weights};
use crate::output::write_whole;

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State<C> {
    /// Layout of this file: 1.
    pub version: u32,
    /// Shape of the model.
    pub config: C,
    /// Seed of everything random.
    pub seed: u64,
    /// Digest of the training rows.
    pub data: String,
    /// Epoch in progress, from 0.
    pub epoch: u64,
    /// Batches of it that are done.
    pub batch: usize,
    /// Steps tried, skipped ones included; the optimiser counts those taken.
    pub steps: u64,
    /// Steps that moved the weights.
    pub moved: u64,
    /// Training time so far, seconds.
    pub trained_secs: f64,
    /// Best rank of a validation (a word error rate, a loss), and the epoch that brought it.
    pub best: Option<(f64, u64)>,
    /// Validations since then.
    pub since_best: u64,
    /// Sums of the epoch's loss and units so far.
    pub epoch_loss: (f64, u64),
}

/// Paths inside a run's directory.
#[derive(Debug, Clone)]
pub struct RunDir(pub PathBuf);

impl RunDir {
    /// The checkpoint.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("last/checkpoint.safetensors")
    }

    /// The log, JSON Lines.
    pub fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }

    /// Writes a model into `best` or `last`: its weights and the files beside them.
    ///
    /// Shape and units never change within a run, so that replacing the weights by one rename keeps all of one kind.
    pub fn write_model(&self, which: &str, files: &[(&str, Vec<u8>)], weights: &Weights) -> Result<()> {
        let dir = self.0.join(which);
        for (name, content) in files {
            let path = dir.join(name);
            if std::fs::read(&path).is_ok_and(|old| old == *content) {
                continue;
            }
            write_whole(&path, content)?;
        }
        write_whole(&dir.join("model.safetensors"), &weights.to_safetensors()?)
    }
}

const TENSORS: [&str; 4] = ["weights", "first", "second", "average"];

/// Writes a checkpoint: beside, synced, renamed.
pub fn write<C: Serialize>(path: &Path, state: &State<C>, weights: &Weights, optimizer: &Optimizer) -> Result<()> {
    let software = |error: String| Failure::software(error);
    let json = serde_json::to_string(state).map_err(|error| software(error.to_string()))?;
    let flats = [&weights.flat, &optimizer.first, &optimizer.second, &optimizer.average];
    let bytes = flats.map(|flat| flat.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    let views = TENSORS.iter().zip(&bytes).map(|(name, bytes)| {
        let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes);
        view.map(|view| (*name, view)).map_err(|error| software(error.to_string()))
    });
    let views: Vec<_> = views.collect::<Result<_>>()?;
    let header = HashMap::from([("state".to_owned(), json)]);
    let file = safetensors::serialize(views, Some(header)).map_err(|error| software(error.to_string()))?;
    write_whole(path, &file)
}

/// Reads a checkpoint.
pub fn read<C: Shape + DeserializeOwned>(path: &Path) -> Result<(State<C>, Weights, Optimizer)> {
    let bytes = std::fs::read(path).map_err(|error| Failure::read(path, error))?;
    parse(&bytes).map_err(|rule| {
        let path = path.display();
        Failure::data(format!("{path}: {rule}; give another --run, or start from `best` with `finetune`"))
    })
}

fn parse<C: Shape + DeserializeOwned>(bytes: &[u8]) -> Result<(State<C>, Weights, Optimizer), String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| format!("not a checkpoint: {error}"))?;
    let json =
        metadata.metadata().as_ref().and_then(|header| header.get("state")).ok_or("not a checkpoint: no state")?;
    let state: State<C> = serde_json::from_str(json).map_err(|error| format!("its state cannot be read: {error}"))?;
    if state.version != 1 {
        return Err(format!("it is of version {}, this program reads version 1", state.version));
    }
    state.config.check()?;
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| format!("not a checkpoint: {error}"))?;
    let layout = state.config.layout();
    let flat = |name: &str| {
        let view = tensors.tensor(name).map_err(|error| error.to_string())?;
        if view.dtype() != Dtype::F32 || view.shape() != [layout.len()] {
            return Err(format!("its {name} do not fit its shape"));
        }
        Ok(view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<f32>>())
    };
    let optimizer =
        Optimizer { first: flat("first")?, second: flat("second")?, average: flat("average")?, steps: state.moved };
    let flat = flat("weights")?;
    Ok((state, Weights { layout, flat }, optimizer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EncoderConfig;

    fn example() -> (State<EncoderConfig>, Weights, Optimizer) {
        let config =
            EncoderConfig { conv_channels: 2, d_model: 4, layers: 1, heads: 1, units: 3, ..EncoderConfig::default() };
        let weights = Weights::random(&config, 3);
        let mut optimizer = Optimizer::new(&weights.flat);
        optimizer.first[1] = 0.1 + 0.2;
        optimizer.steps = 12;
        let state = State {
            version: 1,
            config,
            seed: 3,
            data: "d".into(),
            epoch: 2,
            batch: 7,
            steps: 13,
            moved: 12,
            trained_secs: 0.1 + 0.2,
            best: Some((0.1 + 0.2, 1)),
            since_best: 1,
            epoch_loss: (1.0 / 3.0, 5),
        };
        (state, weights, optimizer)
    }

    #[test]
    fn a_checkpoint_comes_back_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("last/checkpoint.safetensors");
        let (state, weights, optimizer) = example();
        write(&path, &state, &weights, &optimizer).unwrap();
        let (state2, weights2, optimizer2) = read::<EncoderConfig>(&path).unwrap();
        assert_eq!((state2, weights2.flat, optimizer2), (state, weights.flat, optimizer));
    }

    #[test]
    fn a_cut_file_is_refused_with_a_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint.safetensors");
        let (state, weights, optimizer) = example();
        write(&path, &state, &weights, &optimizer).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let error = read::<EncoderConfig>(&path).unwrap_err().to_string();
        assert!(error.contains("not a checkpoint") && error.contains("finetune"), "{error}");
    }
}
