//! Log-mel features: what speech models see of the sound.
//!
//! - [`KaldiFbank`]: the filter banks of Kaldi, for CTC and transducer models.
//! - [`WhisperMel`]: the log-mel spectrogram of Whisper.
//!
//! Both take 16 kHz mono samples in `[-1, 1]` in chunks of any length and give the same frames for any chunking, row-major
//! `[frames, bins]`. Neither allocates for a frame, and neither ever gives a NaN, whatever the samples are.

mod kaldi;
mod mel;
mod spectrum;
mod whisper;

pub use kaldi::{FbankOptions, KaldiFbank, LOW_HZ, fbank, frames_of};
pub use mel::{hz_to_mel, mel_to_hz};
pub use whisper::WhisperMel;

/// Mel bins of a frame.
pub const MEL_BINS: usize = 80;
/// Length of a frame: 25 ms.
pub const FRAME_SAMPLES: usize = 400;
/// From one frame's beginning to the next one's: 10 ms.
pub const HOP_SAMPLES: usize = 160;
/// Frames in a second.
pub const FRAMES_PER_SEC: usize = 100;

#[cfg(test)]
mod tests;
