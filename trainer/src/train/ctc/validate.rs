//! How well weights read the validation rows: greedy, no language model.

use burn::tensor::{Device, Tensor, TensorData};
use linnet_features::wer::{ErrorCounts, char_errors, word_errors};

use crate::data::augment::Augment;
use crate::data::batch::{Batch, Order, plan};
use crate::data::cache::Cache;
use crate::data::set::Item;
use crate::error::Result;
use crate::model::{Bound, Encoder, EncoderConfig, Weights, ctc};
use crate::train::method::is_loss;
use crate::units::Units;

/// Errors over the validation rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Errors {
    /// Word error rate.
    pub wer: f64,
    /// Character error rate.
    pub cer: f64,
    /// Loss for each unit, natural log.
    pub loss: f64,
    /// Rows that were read.
    pub rows: usize,
    /// A few of them: what was said and what was read.
    pub examples: Vec<(String, String)>,
}

fn add(total: &mut (u64, u64), counts: ErrorCounts) {
    total.0 += counts.errors();
    total.1 += counts.reference;
}

/// Reads `items` with `weights` on a device without autodiff.
pub fn validate(
    config: &EncoderConfig,
    weights: &Weights,
    device: &Device,
    items: &[Item],
    cache: &Cache,
    units: &Units,
    batch_frames: usize,
) -> Result<Errors> {
    let bound = Bound::new(weights, device);
    let encoder = Encoder::new(config, &bound);
    let rows: Vec<usize> = (0..items.len()).collect();
    let (mut words, mut chars, mut loss, mut spelt) = ((0, 0), (0, 0), 0.0, 0);
    let mut examples = Vec::new();
    for batch in plan(&rows, items, batch_frames, Order::ShortestFirst, [0, 0]) {
        let picked: Vec<&Item> = batch.iter().map(|row| &items[*row]).collect();
        let batch = Batch::read(&picked, cache, config, &Augment::NONE, [0, 0])?;
        let targets: Vec<&[u32]> = picked.iter().map(|item| &*item.units).collect();
        let shape = [picked.len(), batch.frames, config.mel_bins];
        let features = Tensor::<3>::from_data(TensorData::new(batch.features, shape), device);
        let log_probs = encoder.forward(features, &batch.lengths, None);
        let lengths: Vec<usize> = batch.lengths.iter().map(|length| config.output_frames(*length)).collect();
        let frames = config.output_frames(batch.frames);
        let scores: Vec<f32> = log_probs.into_data().iter::<f32>().collect();
        let losses = ctc::losses(&scores, config.units, &lengths, &targets);
        loss += losses.into_iter().filter(|loss| is_loss(*loss)).map(f64::from).sum::<f64>();
        spelt += targets.iter().map(|target| target.len()).sum::<usize>();
        for ((item, scores), length) in picked.iter().zip(scores.chunks_exact(frames * config.units)).zip(&lengths) {
            let read = units.decode(&ctc::greedy(&scores[..length * config.units], config.units));
            add(&mut words, word_errors(&item.utterance.text, &read));
            add(&mut chars, char_errors(&item.utterance.text, &read));
            if examples.len() < 64 {
                examples.push((item.utterance.text.clone(), read));
            }
        }
    }
    let step = (examples.len() / 3).max(1);
    let examples = examples.into_iter().step_by(step).take(3).collect();
    let rate = |(errors, all): (u64, u64)| errors as f64 / all.max(1) as f64;
    Ok(Errors { wer: rate(words), cer: rate(chars), loss: loss / spelt.max(1) as f64, rows: items.len(), examples })
}
