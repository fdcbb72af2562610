//! Where in the audio there may be speech: energy against a noise floor that follows the audio.
//!
//! It errs to the side of speech: what is taken for speech and is none costs a run of the model, what is missed is lost.

use std::collections::VecDeque;

/// Samples of a block, the grain of every decision: 10 ms.
pub(super) const BLOCK_SAMPLES: usize = 160;
/// Blocks on either side that a block's energy is averaged over.
const SMOOTHING_BLOCKS: usize = 2;
/// Blocks before a block in which the noise floor, the quietest place, is sought: 4 s bridge any stretch of speech.
const LOOK_BACK_BLOCKS: usize = 400;
/// Blocks after a block in which the noise floor is sought: decisions are late by 1 s, so that audio that begins with
/// speech knows its floor, too.
const LOOK_AHEAD_BLOCKS: usize = 100;
/// Speech is this much above the noise floor: 8 dB.
const ABOVE_FLOOR: f32 = 6.31;
/// What is below is silence, however quiet the floor: -75 dB of full scale after pre-emphasis.
const LEAST_THRESHOLD: f32 = 3.2e-8;
/// What is above is speech, however loud the floor: -40 dB.
const MOST_THRESHOLD: f32 = 1e-4;
/// As [`MOST_THRESHOLD`] where so little was heard that its quietest place may be speech: -60 dB.
const MOST_THRESHOLD_OF_LITTLE: f32 = 1e-6;
/// Pre-emphasis takes out hum and offset, and lifts the fricatives.
const PREEMPHASIS: f32 = 0.97;

/// Blocks that are held back at most before they are decided.
#[cfg(test)]
pub(super) const DELAY_BLOCKS: usize = LOOK_AHEAD_BLOCKS + SMOOTHING_BLOCKS + 1;

/// A decided block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Block {
    /// Mean square after pre-emphasis, averaged with its neighbours.
    pub(super) energy: f32,
    /// Whether it may be speech.
    pub(super) speech: bool,
}

/// Decides block by block, in order, the same for any chunking.
#[derive(Debug, Default)]
pub(super) struct Activity {
    last_sample: Option<f32>,
    sum: f32,
    samples: usize,
    /// Energies of the last blocks, not averaged, the newest last: as many as an average needs.
    raw: VecDeque<f32>,
    /// Averaged energies that are not decided yet.
    undecided: VecDeque<f32>,
    /// Blocks that were averaged.
    averaged: usize,
    /// Blocks that were decided.
    decided: usize,
    /// Index and energy of blocks that are the quietest from themselves on: the floor stands first.
    quietest: VecDeque<(usize, f32)>,
    ready: VecDeque<Block>,
}

impl Activity {
    /// Takes the next samples.
    pub(super) fn push(&mut self, samples: &[f32]) {
        for &sample in samples {
            let last = self.last_sample.replace(sample).unwrap_or(sample);
            let emphasized = sample - PREEMPHASIS * last;
            self.sum += emphasized * emphasized;
            self.samples += 1;
            if self.samples == BLOCK_SAMPLES {
                self.end_block();
            }
        }
    }

    /// Ends the audio: decides all that is left, a last part of a block as a block.
    pub(super) fn finish(&mut self) {
        if self.samples > 0 {
            self.end_block();
        }
        for _ in 0..SMOOTHING_BLOCKS.min(self.raw.len()) {
            self.average();
            self.raw.pop_front();
        }
        while !self.undecided.is_empty() {
            self.decide();
        }
    }

    /// The next decided block.
    pub(super) fn next(&mut self) -> Option<Block> {
        self.ready.pop_front()
    }

    fn end_block(&mut self) {
        let energy = self.sum / self.samples as f32;
        (self.sum, self.samples) = (0.0, 0);
        self.raw.push_back(if energy.is_finite() { energy } else { 0.0 });
        if self.raw.len() > SMOOTHING_BLOCKS {
            self.average();
        }
        if self.raw.len() > 2 * SMOOTHING_BLOCKS {
            self.raw.pop_front();
        }
        if self.undecided.len() > LOOK_AHEAD_BLOCKS {
            self.decide();
        }
    }

    /// The next block's average over the blocks at hand: fewer at the audio's two ends.
    fn average(&mut self) {
        let energy = self.raw.iter().sum::<f32>() / self.raw.len() as f32;
        while self.quietest.back().is_some_and(|(_, e)| *e >= energy) {
            self.quietest.pop_back();
        }
        self.quietest.push_back((self.averaged, energy));
        self.averaged += 1;
        self.undecided.push_back(energy);
    }

    fn decide(&mut self) {
        let Some(energy) = self.undecided.pop_front() else { return };
        while self.quietest.front().is_some_and(|(index, _)| index + LOOK_BACK_BLOCKS < self.decided) {
            self.quietest.pop_front();
        }
        let floor = self.quietest.front().map_or(0.0, |(_, e)| *e);
        // Only audio that is shorter than the look-ahead is ever judged by so little.
        let little = self.averaged <= LOOK_AHEAD_BLOCKS;
        let most = if little { MOST_THRESHOLD_OF_LITTLE } else { MOST_THRESHOLD };
        let threshold = (ABOVE_FLOOR * floor).clamp(LEAST_THRESHOLD, most);
        self.decided += 1;
        self.ready.push_back(Block { energy, speech: energy > threshold });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(samples: &[f32]) -> Vec<Block> {
        let mut activity = Activity::default();
        activity.push(samples);
        activity.finish();
        std::iter::from_fn(|| activity.next()).collect()
    }

    fn noise(blocks: usize, amplitude: f32) -> Vec<f32> {
        let mut state = 1u32;
        let sample = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state as f32 / u32::MAX as f32 - 0.5) * 2.0 * amplitude
        };
        (0..blocks * BLOCK_SAMPLES).map(sample).collect()
    }

    #[test]
    fn every_block_is_decided_once_whatever_the_length() {
        for samples in [0, 1, 159, 160, 161, 320, 321, 800, 16_000, 100_001] {
            let blocks = decide(&noise(samples / BLOCK_SAMPLES + 1, 0.1)[..samples]);
            assert_eq!(blocks.len(), samples.div_ceil(BLOCK_SAMPLES), "{samples}");
        }
    }

    #[test]
    fn steady_noise_is_no_speech_unless_it_is_loud() {
        assert!(decide(&noise(1000, 0.003)).iter().all(|b| !b.speech));
        assert!(decide(&noise(1000, 0.3)).iter().all(|b| b.speech));
        assert!(decide(&vec![0.25; 100_000]).iter().all(|b| !b.speech), "an offset is no sound");
        assert!(decide(&[f32::NAN; 1000]).iter().all(|b| !b.speech));
    }

    #[test]
    fn audio_that_begins_with_speech_knows_its_floor() {
        let mut samples = noise(60, 0.02);
        samples.extend(noise(40, 0.0005));
        let blocks = decide(&samples);
        assert!(blocks[..58].iter().all(|b| b.speech));
        assert!(blocks[62..].iter().all(|b| !b.speech));
    }

    #[test]
    fn a_short_clip_without_any_silence_is_speech() {
        for blocks in [1, 20, 99] {
            assert!(decide(&noise(blocks, 0.005)).iter().all(|b| b.speech), "{blocks}");
            assert!(decide(&noise(blocks, 0.0003)).iter().all(|b| !b.speech), "{blocks}");
        }
    }

    #[test]
    fn a_louder_room_becomes_the_new_floor() {
        let mut samples = noise(300, 0.0002);
        samples.extend(noise(1000, 0.004));
        let blocks = decide(&samples);
        assert!(blocks[310..690].iter().all(|b| b.speech), "it may be speech at first");
        assert!(blocks[710..].iter().all(|b| !b.speech));
    }
}
