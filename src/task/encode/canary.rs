//! A canary for encoders: some ids, and what the outputs come to.

use std::collections::BTreeMap;

use linnet_proto::manifest::Canary;

use super::graph::Encoder;
use crate::engine::Tensor;
use crate::task::raw::{outputs_canary, prove_outputs, root_mean_square};
use crate::task::tokenizer::{Encoded, Origin};

/// How many ids a canary has.
const LENGTH: usize = 12;

pub(super) fn record(encoder: &mut Encoder) -> Result<Canary, String> {
    let most = encoder.shared.config.vocabulary.unwrap_or(encoder.shared.tokenizer.vocab_size() as usize).max(2) as u32;
    // All over the vocabulary, the same on every machine.
    let ids: Vec<u32> = (0..LENGTH as u32).map(|i| (i * 7919 + 11) % most).collect();
    let rms = run(encoder, &ids)?;
    outputs_canary(ids, rms)
}

pub(super) fn prove(encoder: &mut Encoder, canary: &Canary) -> Result<(), String> {
    let Canary::Outputs(canary) = canary else {
        return Err("its canary is not one of outputs, which a model of its family needs".into());
    };
    prove_outputs(canary, &run(encoder, &canary.input)?)
}

fn run(encoder: &mut Encoder, ids: &[u32]) -> Result<BTreeMap<String, f64>, String> {
    let input = Encoded {
        ids: ids.to_vec(),
        offsets: vec![(0, 0); ids.len()],
        origins: vec![Origin::First; ids.len()],
        type_ids: vec![0; ids.len()],
    };
    let outputs = encoder.run(&input).map_err(|e| e.message)?;
    Ok(outputs
        .into_iter()
        .map(|(name, rows)| (name, root_mean_square(&Tensor::f32([rows.data.len()], rows.data))))
        .collect())
}
