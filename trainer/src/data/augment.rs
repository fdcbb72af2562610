//! What keeps a small model from learning its data by heart: speed perturbation and masks.

use half::f16;

use super::MEL_BINS;
use super::warp::Warp;
use crate::train::random::Random;

/// How training features are varied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augment {
    /// Speed is drawn from 1 − this to 1 + this: the time axis of the features is resampled, which changes the tempo and leaves the
    /// pitch. It costs no second decoding, unlike resampled audio (Ko et al. 2015), which changes both.
    pub speed: f32,
    /// Frequencies are multiplied by a factor from 1 − this to 1 + this: see [`Warp`].
    pub warp: f32,
    /// Bands of mel bins that are masked (SpecAugment, Park et al. 2019).
    pub freq_masks: usize,
    /// Widest band, bins.
    pub freq_width: usize,
    /// Stretches of time that are masked, for each 10 s begun.
    pub time_masks: usize,
    /// Longest stretch, frames; never more than a tenth of the utterance.
    pub time_width: usize,
}

impl Augment {
    /// Leaves features as they are.
    pub const NONE: Self = Self { speed: 0.0, warp: 0.0, freq_masks: 0, freq_width: 0, time_masks: 0, time_width: 0 };

    /// The factor by which an utterance is sped up.
    pub fn draw_speed(&self, random: &mut Random) -> f32 {
        if self.speed > 0.0 { random.between(1.0 - self.speed, 1.0 + self.speed) } else { 1.0 }
    }

    /// The warp of an utterance's frequencies.
    pub fn draw_warp(&self, random: &mut Random) -> Option<Warp> {
        (self.warp > 0.0).then(|| Warp::new(random.between(1.0 - self.warp, 1.0 + self.warp)))
    }

    /// Masks bands and stretches of normalised features, `[frames, 80]`, with 0: their mean.
    pub fn mask(&self, features: &mut [f32], random: &mut Random) {
        let frames = features.len() / MEL_BINS;
        for _ in 0..self.freq_masks {
            let width = random.below(self.freq_width + 1);
            let start = random.below(MEL_BINS - width.min(MEL_BINS) + 1);
            for frame in features.chunks_exact_mut(MEL_BINS) {
                frame[start..(start + width).min(MEL_BINS)].fill(0.0);
            }
        }
        for _ in 0..self.time_masks * frames.div_ceil(1000) {
            let width = random.below(self.time_width.min(frames / 10) + 1);
            let start = random.below(frames - width + 1);
            features[start * MEL_BINS..(start + width) * MEL_BINS].fill(0.0);
        }
    }
}

/// Frames that `frames` become at a speed.
pub fn frames_at(frames: usize, speed: f32) -> usize {
    ((frames as f32 / speed).round() as usize).max(1)
}

/// Features `[frames, 80]` at a speed, linear between neighbouring frames.
pub fn at_speed(features: &[f16], speed: f32) -> Vec<f32> {
    let frames = features.len() / MEL_BINS;
    if speed == 1.0 || frames < 2 {
        return features.iter().map(|value| value.to_f32()).collect();
    }
    let count = frames_at(frames, speed);
    let mut out = Vec::with_capacity(count * MEL_BINS);
    for i in 0..count {
        let place = (i as f32 * speed).min((frames - 1) as f32);
        let before = (place as usize).min(frames - 2);
        let share = place - before as f32;
        let pair = &features[before * MEL_BINS..(before + 2) * MEL_BINS];
        let (a, b) = pair.split_at(MEL_BINS);
        out.extend(a.iter().zip(b).map(|(a, b)| a.to_f32() * (1.0 - share) + b.to_f32() * share));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(frames: usize) -> Vec<f16> {
        (0..frames * MEL_BINS).map(|i| f16::from_f32((i / MEL_BINS) as f32)).collect()
    }

    #[test]
    fn speed_resamples_the_time_axis() {
        assert_eq!(at_speed(&ramp(10), 1.0).len(), 10 * MEL_BINS);
        let faster = at_speed(&ramp(110), 1.1);
        assert_eq!(faster.len(), 100 * MEL_BINS);
        assert!((faster[50 * MEL_BINS] - 55.0).abs() < 1e-3);
        let slower = at_speed(&ramp(90), 0.9);
        assert_eq!(slower.len(), 100 * MEL_BINS);
        assert!((slower[99 * MEL_BINS] - 89.0).abs() < 0.2);
        assert_eq!(at_speed(&ramp(1), 0.9).len(), MEL_BINS);
    }

    #[test]
    fn masks_keep_to_their_widths() {
        let augment = Augment { speed: 0.0, warp: 0.0, freq_masks: 2, freq_width: 15, time_masks: 2, time_width: 30 };
        for seed in 0..50 {
            let mut features = vec![1.0; 200 * MEL_BINS];
            augment.mask(&mut features, &mut Random::new(&[seed]));
            let masked_rows = features.chunks(MEL_BINS).filter(|row| row.iter().all(|value| *value == 0.0)).count();
            let masked_bins = (0..MEL_BINS).filter(|bin| (0..200).all(|t| features[t * MEL_BINS + bin] == 0.0)).count();
            assert!(masked_rows <= 40 && masked_bins <= 30, "{masked_rows} rows, {masked_bins} bins");
        }
        let mut short = vec![1.0; MEL_BINS];
        augment.mask(&mut short, &mut Random::new(&[1]));
    }
}
