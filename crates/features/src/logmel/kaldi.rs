//! Kaldi's log filter banks (`compute-fbank-feats`, `feature-window.cc`, `mel-computations.cc`).

use super::mel::{MelBank, bounded};
use super::spectrum::PowerSpectrum;
use super::{FRAME_SAMPLES, HOP_SAMPLES, MEL_BINS};
use crate::audio::SAMPLE_RATE;

const FFT_SIZE: usize = 512;
/// Lower end of the lowest filter, Hz.
pub const LOW_HZ: f64 = 20.0;
const PREEMPHASIS: f32 = 0.97;
/// Samples that are taken over before the frames in them are computed: bounds the buffer whatever a caller pushes.
const PIECE_SAMPLES: usize = 8192;
/// Samples before the signal that the first frame holds where edges are mirrored.
const MIRRORED_BEFORE: usize = FRAME_SAMPLES / 2 - HOP_SAMPLES / 2;

/// Where recipes on Kaldi's filter banks differ. `Default` is Kaldi's own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FbankOptions {
    /// Upper end of the highest filter, Hz.
    pub high_hz: f64,
    /// Factor of samples in `[-1, 1]`: Kaldi computes on 16-bit values.
    pub scale: f32,
    /// Whether only whole windows count; otherwise frames are centred on every hop, and the signal is mirrored at its edges.
    pub snips_edges: bool,
}

impl Default for FbankOptions {
    fn default() -> Self {
        Self { high_hz: f64::from(SAMPLE_RATE) / 2.0, scale: 32768.0, snips_edges: true }
    }
}

impl FbankOptions {
    /// As sherpa-onnx and icefall feed their transducers: samples as they are, filters up to 7.6 kHz, edges mirrored.
    pub fn icefall() -> Self {
        Self { high_hz: 7600.0, scale: 1.0, snips_edges: false }
    }

    /// Frames in `samples` samples.
    pub fn frames_of(&self, samples: usize) -> usize {
        match (samples < FRAME_SAMPLES, self.snips_edges) {
            (true, _) => 0,
            (false, true) => (samples - FRAME_SAMPLES) / HOP_SAMPLES + 1,
            (false, false) => (samples + HOP_SAMPLES / 2) / HOP_SAMPLES,
        }
    }
}

/// Frames in `samples` samples, edges snipped: only whole windows count.
pub fn frames_of(samples: usize) -> usize {
    FbankOptions::default().frames_of(samples)
}

/// All frames of a signal, row-major `[frames_of(samples.len()), MEL_BINS]`.
pub fn fbank(samples: &[f32]) -> Vec<f32> {
    let mut features = Vec::with_capacity(frames_of(samples.len()) * MEL_BINS);
    KaldiFbank::new().push(samples, &mut features);
    features
}

/// Kaldi's 80 log-mel filter banks: 16 kHz, 25 ms frames every 10 ms, no dither, each frame's mean removed, pre-emphasis 0.97, Povey's
/// window, 512-point power spectrum, mel from 20 Hz, natural logarithm with the energy floored at `f32::EPSILON`. [`FbankOptions`] says
/// how far up, on what scale, and what becomes of the edges.
///
/// Equals `kaldi-native-fbank` (`tests/goldens/features`). Chunks may have any length.
#[derive(Debug, Clone)]
pub struct KaldiFbank {
    options: FbankOptions,
    window: Vec<f32>,
    mel: MelBank,
    spectrum: PowerSpectrum,
    /// Scaled samples from the next frame's beginning on.
    pending: Vec<f32>,
    /// Samples that were pushed, and frames that were given.
    samples: usize,
    frames: usize,
}

impl Default for KaldiFbank {
    fn default() -> Self {
        Self::new()
    }
}

impl KaldiFbank {
    /// Ready for a signal's beginning, with Kaldi's own options.
    pub fn new() -> Self {
        Self::with(FbankOptions::default())
    }

    /// Ready for a signal's beginning.
    pub fn with(options: FbankOptions) -> Self {
        let povey = |i: usize| {
            let hann = 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / (FRAME_SAMPLES - 1) as f64).cos();
            hann.powf(0.85) as f32
        };
        let bin_hz = f64::from(SAMPLE_RATE) / FFT_SIZE as f64;
        Self {
            options,
            window: (0..FRAME_SAMPLES).map(povey).collect(),
            mel: MelBank::kaldi(MEL_BINS, FFT_SIZE / 2, bin_hz, LOW_HZ, options.high_hz),
            spectrum: PowerSpectrum::new(FFT_SIZE),
            pending: Vec::with_capacity(PIECE_SAMPLES + FRAME_SAMPLES),
            samples: 0,
            frames: 0,
        }
    }

    /// Takes the signal's next samples and appends every frame that they complete, row-major; gives their number.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> usize {
        let before = out.len();
        for piece in samples.chunks(PIECE_SAMPLES) {
            let scale = self.options.scale;
            let had = self.samples;
            self.pending.extend(piece.iter().map(|s| s * scale));
            self.samples += piece.len();
            if !self.options.snips_edges {
                // A signal that is shorter than a frame has none, so that there is always enough to mirror.
                if self.samples < FRAME_SAMPLES {
                    continue;
                }
                if had < FRAME_SAMPLES {
                    let mirrored: Vec<f32> = self.pending[..MIRRORED_BEFORE].iter().rev().copied().collect();
                    self.pending.splice(0..0, mirrored);
                }
            }
            self.drain_frames(usize::MAX, out);
        }
        (out.len() - before) / MEL_BINS
    }

    /// Ends the signal: appends its last frames, which hold the mirrored end; gives their number. Ready for another signal then. Where edges
    /// are snipped there are none.
    pub fn finish(&mut self, out: &mut Vec<f32>) -> usize {
        let before = out.len();
        let wanted = self.options.frames_of(self.samples);
        if !self.options.snips_edges && wanted > self.frames {
            let last = self.pending.len() - 1;
            for back in 0..FRAME_SAMPLES / 2 {
                self.pending.push(self.pending[last - back]);
            }
            self.drain_frames(wanted, out);
        }
        self.reset();
        (out.len() - before) / MEL_BINS
    }

    /// Forgets the signal so far, to begin another one.
    pub fn reset(&mut self) {
        self.pending.clear();
        (self.samples, self.frames) = (0, 0);
    }

    /// Samples that the buffer has room for.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.pending.capacity()
    }

    /// Appends the complete frames, at most to the `most`th of the signal, and lets go of what no later one needs.
    fn drain_frames(&mut self, most: usize, out: &mut Vec<f32>) {
        let mut start = 0;
        while self.frames < most && start + FRAME_SAMPLES <= self.pending.len() {
            self.frame(start, out);
            self.frames += 1;
            start += HOP_SAMPLES;
        }
        self.pending.drain(..start);
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
