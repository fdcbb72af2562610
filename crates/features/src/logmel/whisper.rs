//! Whisper's log-mel spectrogram (`whisper/audio.py`).

use super::mel::{MelBank, bounded};
use super::spectrum::PowerSpectrum;
use super::{FRAME_SAMPLES, HOP_SAMPLES, MEL_BINS};
use crate::audio::SAMPLE_RATE;

/// Frames are centred: the signal is mirrored by half a window at both ends.
const HALF_SAMPLES: usize = FRAME_SAMPLES / 2;
/// Samples that are taken over before the frames in them are computed.
const PIECE_SAMPLES: usize = 8192;
/// Lowest energy.
const FLOOR: f32 = 1e-10;
/// Whisper clamps values this far below the loudest one (log10).
const RANGE: f32 = 8.0;

/// Whisper's log-mel spectrogram, 80 bins unless said otherwise: 16 kHz, periodic Hann window of 400 samples centred every 160, Slaney's filters
/// from 0 to 8 kHz, log10.
///
/// [`Self::push`] and [`Self::finish`] append row-major `[frames, bins]` (Whisper's graphs take the transpose) as
/// log10 energies; [`Self::scale`] then does what needs the whole signal's loudest value. A signal of n samples has
/// n / 160 frames, rounded down. Whisper itself pads its signals with zeros to 30 s.
#[derive(Debug, Clone)]
pub struct WhisperMel {
    window: Vec<f32>,
    mel: MelBank,
    spectrum: PowerSpectrum,
    /// Samples from the next frame's beginning on, the mirrored beginning included; before there are enough samples to
    /// mirror, the bare samples.
    pending: Vec<f32>,
    samples: usize,
    frames: usize,
}

impl Default for WhisperMel {
    fn default() -> Self {
        Self::new()
    }
}

impl WhisperMel {
    /// Ready for a signal's beginning, with 80 bins.
    pub fn new() -> Self {
        Self::with_bins(MEL_BINS)
    }

    /// As [`Self::new`] with another number of bins: 128 from large-v3 on.
    pub fn with_bins(bins: usize) -> Self {
        let hann = |i: usize| (0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / FRAME_SAMPLES as f64).cos()) as f32;
        let bin_hz = f64::from(SAMPLE_RATE) / FRAME_SAMPLES as f64;
        Self {
            window: (0..FRAME_SAMPLES).map(hann).collect(),
            mel: MelBank::slaney(bins, FRAME_SAMPLES / 2 + 1, bin_hz, f64::from(SAMPLE_RATE) / 2.0),
            spectrum: PowerSpectrum::new(FRAME_SAMPLES),
            pending: Vec::with_capacity(PIECE_SAMPLES + 2 * FRAME_SAMPLES),
            samples: 0,
            frames: 0,
        }
    }

    /// Bins of a frame.
    pub fn bins(&self) -> usize {
        self.mel.filters()
    }

    /// Takes the signal's next samples and appends every frame that they complete.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        for piece in samples.chunks(PIECE_SAMPLES) {
            let mirrored = self.samples > HALF_SAMPLES;
            self.pending.extend_from_slice(piece);
            self.samples += piece.len();
            if self.samples <= HALF_SAMPLES {
                continue;
            }
            if !mirrored {
                self.mirror_beginning();
            }
            self.drain_frames(usize::MAX, out);
        }
    }

    /// Ends the signal: appends its last frames, and is ready for another signal. A signal of at most half a window
    /// is padded with zeros, since there is not enough of it to mirror.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        let wanted = self.samples / HOP_SAMPLES;
        if wanted > 0 {
            if self.samples <= HALF_SAMPLES {
                self.pending.resize(HALF_SAMPLES + 1, 0.0);
                self.mirror_beginning();
            }
            let last = self.pending.len() - 1;
            for back in 1..=HALF_SAMPLES {
                self.pending.push(self.pending[last - back]);
            }
            self.drain_frames(wanted, out);
        }
        self.pending.clear();
        (self.samples, self.frames) = (0, 0);
    }

    /// Clamps to 8 below the loudest value, then `(x + 4) / 4`: what Whisper does last, on a whole signal's frames.
    pub fn scale(log10_energies: &mut [f32]) {
        let loudest = log10_energies.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for value in log10_energies {
            *value = (value.max(loudest - RANGE) + 4.0) / 4.0;
        }
    }

    /// A whole signal as Whisper takes it: trimmed or padded with zeros to `length` samples (480,000 for a model's 30
    /// s), row-major `[length / 160, bins]`, scaled.
    pub fn log_mel(&mut self, samples: &[f32], length: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(length / HOP_SAMPLES * self.bins());
        self.push(&samples[..samples.len().min(length)], &mut out);
        let silence = [0.0; HOP_SAMPLES];
        let mut missing = length.saturating_sub(samples.len());
        while missing > 0 {
            let piece = missing.min(silence.len());
            self.push(&silence[..piece], &mut out);
            missing -= piece;
        }
        self.finish(&mut out);
        Self::scale(&mut out);
        out
    }

    /// Puts samples 200 to 1 before sample 0.
    fn mirror_beginning(&mut self) {
        let mut mirrored = [0.0; HALF_SAMPLES];
        for (i, slot) in mirrored.iter_mut().enumerate() {
            *slot = self.pending[HALF_SAMPLES - i];
        }
        self.pending.splice(0..0, mirrored);
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

    fn frame(&mut self, start: usize, out: &mut Vec<f32>) {
        let samples = &self.pending[start..start + FRAME_SAMPLES];
        let window = &self.window;
        let power = self.spectrum.of(|frame| {
            for ((slot, sample), weight) in frame.iter_mut().zip(samples).zip(window) {
                *slot = sample * weight;
            }
        });
        out.extend(self.mel.energies(power).map(|energy| bounded(energy, FLOOR).log10()));
    }
}
