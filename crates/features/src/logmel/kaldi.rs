//! Kaldi's log filter banks (`compute-fbank-feats`, `feature-window.cc`, `mel-computations.cc`).

use super::mel::{MelBank, bounded};
use super::spectrum::PowerSpectrum;
use super::{FRAME_SAMPLES, HOP_SAMPLES, MEL_BINS};
use crate::audio::SAMPLE_RATE;

const FFT_SIZE: usize = 512;
const LOW_HZ: f64 = 20.0;
const PREEMPHASIS: f32 = 0.97;
/// Kaldi computes on 16-bit values; samples in `[-1, 1]` are scaled to them.
const SAMPLE_SCALE: f32 = 32768.0;
/// Samples that are taken over before the frames in them are computed: bounds the buffer whatever a caller pushes.
const PIECE_SAMPLES: usize = 8192;

/// Frames in `samples` samples, edges snipped: only whole windows count.
pub fn frames_of(samples: usize) -> usize {
    if samples < FRAME_SAMPLES { 0 } else { (samples - FRAME_SAMPLES) / HOP_SAMPLES + 1 }
}

/// All frames of a signal, row-major `[frames_of(samples.len()), MEL_BINS]`.
pub fn fbank(samples: &[f32]) -> Vec<f32> {
    let mut features = Vec::with_capacity(frames_of(samples.len()) * MEL_BINS);
    KaldiFbank::new().push(samples, &mut features);
    features
}

/// Kaldi's 80 log-mel filter banks: 16 kHz, 25 ms frames every 10 ms (edges snipped), no dither, each frame's mean
/// removed, pre-emphasis 0.97, Povey's window, 512-point power spectrum, mel from 20 Hz to 8 kHz, natural logarithm with
/// the energy floored at `f32::EPSILON`. Samples in `[-1, 1]` count as 16-bit values (times 32768), as in Kaldi.
///
/// Equals `kaldi-native-fbank` (`tests/goldens/features`). Chunks may have any length.
#[derive(Debug, Clone)]
pub struct KaldiFbank {
    window: Vec<f32>,
    mel: MelBank,
    spectrum: PowerSpectrum,
    /// Scaled samples from the next frame's beginning on.
    pending: Vec<f32>,
}

impl Default for KaldiFbank {
    fn default() -> Self {
        Self::new()
    }
}

impl KaldiFbank {
    /// Ready for a signal's beginning.
    pub fn new() -> Self {
        let povey = |i: usize| {
            let hann = 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / (FRAME_SAMPLES - 1) as f64).cos();
            hann.powf(0.85) as f32
        };
        let bin_hz = f64::from(SAMPLE_RATE) / FFT_SIZE as f64;
        Self {
            window: (0..FRAME_SAMPLES).map(povey).collect(),
            mel: MelBank::kaldi(MEL_BINS, FFT_SIZE / 2, bin_hz, LOW_HZ, f64::from(SAMPLE_RATE) / 2.0),
            spectrum: PowerSpectrum::new(FFT_SIZE),
            pending: Vec::with_capacity(PIECE_SAMPLES + FRAME_SAMPLES),
        }
    }

    /// Takes the signal's next samples and appends every frame that they complete, row-major; gives their number.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> usize {
        let before = out.len();
        for piece in samples.chunks(PIECE_SAMPLES) {
            self.pending.extend(piece.iter().map(|s| s * SAMPLE_SCALE));
            let frames = frames_of(self.pending.len());
            for index in 0..frames {
                self.frame(index * HOP_SAMPLES, out);
            }
            self.pending.drain(..frames * HOP_SAMPLES);
        }
        (out.len() - before) / MEL_BINS
    }

    /// Forgets the signal so far, to begin another one.
    pub fn reset(&mut self) {
        self.pending.clear();
    }

    /// Samples that the buffer has room for.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.pending.capacity()
    }

    /// Appends the frame that begins at `start` of the pending samples.
    fn frame(&mut self, start: usize, out: &mut Vec<f32>) {
        let samples = &self.pending[start..start + FRAME_SAMPLES];
        let window = &self.window;
        let power = self.spectrum.of(|frame| {
            let mean = samples.iter().sum::<f32>() / FRAME_SAMPLES as f32;
            // Kaldi takes the sample before the first one to be equal to it.
            let mut last = samples[0] - mean;
            for ((slot, sample), weight) in frame.iter_mut().zip(samples).zip(window) {
                let sample = sample - mean;
                *slot = (sample - PREEMPHASIS * last) * weight;
                last = sample;
            }
        });
        out.extend(self.mel.energies(power).map(|energy| bounded(energy, f32::EPSILON).ln()));
    }
}
