//! Which rows go through the model together.

use rayon::prelude::*;

use super::MEL_BINS;
use super::augment::{Augment, at_speed, frames_at};
use super::cache::Cache;
use super::set::Item;
use crate::bad::frames_needed;
use crate::error::Result;
use crate::model::EncoderConfig;
use crate::train::random::Random;

/// Order of an epoch's batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Shortest rows first: a CTC model that has learnt nothing yet finds its first alignments in them.
    ShortestFirst,
    /// Batches of similar lengths, in random order.
    Random,
}

/// Cuts `rows` into batches of similar lengths whose padded length is at most `most_frames`; a single longer row is its own batch.
///
/// The same arguments give the same batches.
pub fn plan(rows: &[usize], items: &[Item], most_frames: usize, order: Order, key: [u64; 2]) -> Vec<Vec<usize>> {
    let mut random = Random::new(&[key[0], 0x706c_616e, key[1]]);
    // A random share of the length keeps rows of similar lengths from always meeting each other.
    let mut rows: Vec<(f32, usize)> =
        rows.iter().map(|row| (items[*row].frames as f32 * random.between(0.9, 1.1), *row)).collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut longest = 0;
    for (_, row) in rows {
        let frames = items[row].frames;
        match batches.last_mut() {
            Some(batch) if longest.max(frames) * (batch.len() + 1) <= most_frames => {
                batch.push(row);
                longest = longest.max(frames);
            }
            _ => {
                batches.push(vec![row]);
                longest = frames;
            }
        }
    }
    if order == Order::Random {
        random.shuffle(&mut batches);
    }
    batches
}

/// Features and targets of several rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[rows, frames, 80]`, normalised for each row, zeros behind its end.
    pub features: Vec<f32>,
    /// Frames of the longest row.
    pub frames: usize,
    /// Frames of each row.
    pub lengths: Vec<usize>,
}

impl Batch {
    /// Reads the rows' features, varies them and puts them together. `key` fixes what is random.
    pub fn read(
        rows: &[&Item],
        cache: &Cache,
        config: &EncoderConfig,
        augment: &Augment,
        key: [u64; 2],
    ) -> Result<Self> {
        let made: Vec<Vec<f32>> = rows
            .par_iter()
            .enumerate()
            .map(|(i, item)| {
                let values = cache.read(&item.key)?;
                let mut random = Random::new(&[key[0], 0x6175_676d, key[1], i as u64]);
                let mut speed = augment.draw_speed(&mut random);
                // A text that fits only at its own speed keeps it.
                let needed = frames_needed(&item.units);
                if config.output_frames(frames_at(item.frames, speed)) < needed {
                    speed = 1.0;
                }
                let mut features = at_speed(&values, speed);
                if let Some(warp) = augment.draw_warp(&mut random) {
                    warp.apply(&mut features);
                }
                linnet_features::normalize::normalize_utterance(&mut features, MEL_BINS);
                augment.mask(&mut features, &mut random);
                Ok(features)
            })
            .collect::<Result<_>>()?;
        let lengths: Vec<usize> = made.iter().map(|features| features.len() / MEL_BINS).collect();
        let frames = lengths.iter().copied().max().unwrap_or(0);
        let mut features = vec![0.0; rows.len() * frames * MEL_BINS];
        for (to, from) in features.chunks_exact_mut((frames * MEL_BINS).max(1)).zip(&made) {
            to[..from.len()].copy_from_slice(from);
        }
        Ok(Self { features, frames, lengths })
    }

    /// Length of the rows without padding, seconds.
    pub fn seconds(&self) -> f64 {
        self.lengths.iter().sum::<usize>() as f64 / 100.0
    }
}
