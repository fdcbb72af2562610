//! Log-mel windows of audio of any length, in bounded memory.
//!
//! Whisper's features are relative to the loudest place of the whole audio, so it is looked through once before the first window is written.
//! Audio that is not too long keeps its frames from that look; of longer audio only those of the window at hand are held, and it is
//! decoded a second time.

use linnet_features::audio::{AudioError, AudioReader};
use linnet_features::logmel::WhisperMel;
use linnet_proto::WireError;

use super::write::Checkpoint;
use crate::task::transcribe::audio_error;

/// Frames that are kept from the first look: five minutes, 10 MB of 80 bins.
const KEPT_FRAMES: usize = 30_000;
/// Whisper clamps values this far below the loudest one (log10).
const RANGE: f32 = 8.0;

/// Opens the audio from its beginning.
pub(super) type Open<'a> = &'a dyn Fn() -> Result<AudioReader, AudioError>;

/// A request's audio as mel frames.
pub(super) struct Windows<'a> {
    open: Open<'a>,
    mel: WhisperMel,
    reader: Option<AudioReader>,
    ended: bool,
    chunk: Vec<f32>,
    /// log10 energies from frame `first` on.
    frames: Vec<f32>,
    first: usize,
    loudest: f32,
    total: usize,
    samples: u64,
}

impl<'a> Windows<'a> {
    /// Looks through the audio once.
    pub(super) fn look(open: Open<'a>, bins: usize, checkpoint: Checkpoint<'_>) -> Result<Self, WireError> {
        let mut windows = Self {
            open,
            mel: WhisperMel::with_bins(bins),
            reader: Some(open().map_err(audio_error)?),
            ended: false,
            chunk: Vec::new(),
            frames: Vec::new(),
            first: 0,
            loudest: f32::NEG_INFINITY,
            total: 0,
            samples: 0,
        };
        let mut seen = 0;
        while !windows.ended {
            checkpoint()?;
            windows.samples += windows.read()?;
            let fresh = &windows.frames[seen..];
            windows.loudest = fresh.iter().copied().fold(windows.loudest, f32::max);
            windows.total += fresh.len() / bins;
            if windows.total > KEPT_FRAMES {
                windows.frames.clear();
            }
            seen = windows.frames.len();
        }
        if windows.total > KEPT_FRAMES {
            windows.frames = Vec::new();
            windows.reader = None;
            windows.ended = false;
        }
        Ok(windows)
    }

    /// Mel frames of the audio.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Samples of the audio, 16 kHz.
    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    /// `length` frames from frame `seek` on as the graph takes them, `[bins, length]`; zeros behind the audio's end. Windows are asked for in
    /// the order of the audio.
    pub(super) fn window(
        &mut self,
        seek: usize,
        length: usize,
        checkpoint: Checkpoint<'_>,
    ) -> Result<Vec<f32>, WireError> {
        let bins = self.mel.bins();
        let wanted = (seek + length).min(self.total);
        if self.reader.is_none() {
            self.reader = Some((self.open)().map_err(audio_error)?);
        }
        while self.first + self.frames.len() / bins < wanted && !self.ended {
            checkpoint()?;
            self.read()?;
            self.forget(seek);
        }
        self.forget(seek);
        let mut out = vec![0.0; bins * length];
        let held =
            self.frames.chunks_exact(bins).skip(seek.saturating_sub(self.first)).take(wanted.saturating_sub(seek));
        for (place, frame) in held.enumerate() {
            for (bin, value) in frame.iter().enumerate() {
                out[bin * length + place] = (value.max(self.loudest - RANGE) + 4.0) / 4.0;
            }
        }
        Ok(out)
    }

    /// Appends the frames that the next samples complete; gives the number of samples.
    fn read(&mut self) -> Result<u64, WireError> {
        self.chunk.clear();
        let Some(reader) = &mut self.reader else { return Ok(0) };
        if reader.read(&mut self.chunk).map_err(audio_error)? {
            self.mel.push(&self.chunk, &mut self.frames);
        } else {
            self.mel.finish(&mut self.frames);
            self.ended = true;
        }
        Ok(self.chunk.len() as u64)
    }

    /// Lets go of the frames before `seek`.
    fn forget(&mut self, seek: usize) {
        let bins = self.mel.bins();
        let gone = seek.saturating_sub(self.first).min(self.frames.len() / bins);
        self.frames.drain(..gone * bins);
        self.first += gone;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use linnet_features::audio::{AudioLimits, Media};

    use super::*;

    fn sound(secs: usize) -> Bytes {
        // The same every three seconds, so that no part of it has a louder place than another.
        let sample = |i: usize| ((i * i % 977) as f32 / 977.0 - 0.5) * if i < 16_000 { 0.4 } else { 0.01 };
        (0..secs * 16_000).flat_map(|i| ((sample(i % 48_000) * 32_767.0) as i16).to_le_bytes()).collect()
    }

    fn windows(bytes: &Bytes, seeks: &[usize]) -> Vec<Vec<f32>> {
        let media = Media::L16 { rate: 16_000, channels: 1, big_endian: false };
        let open = || AudioReader::open(bytes.clone(), &media, &AudioLimits::default());
        let mut windows = Windows::look(&open, 80, &mut || Ok(())).expect("well-formed audio");
        seeks.iter().map(|seek| windows.window(*seek, 300, &mut || Ok(())).expect("a window")).collect()
    }

    #[test]
    fn windows_are_what_the_whole_signal_gives_and_zeros_behind_it() {
        let bytes = sound(5);
        let samples: Vec<f32> =
            bytes.as_chunks::<2>().0.iter().map(|b| f32::from(i16::from_le_bytes(*b)) / 32_768.0).collect();
        let whole = WhisperMel::new().log_mel(&samples, samples.len());
        for (seek, window) in [0, 130, 400].into_iter().zip(windows(&bytes, &[0, 130, 400])) {
            for frame in 0..300 {
                let want = whole.get((seek + frame) * 80..(seek + frame + 1) * 80);
                for bin in 0..80 {
                    assert_eq!(window[bin * 300 + frame], want.map_or(0.0, |row| row[bin]), "{seek} {frame} {bin}");
                }
            }
        }
    }

    #[test]
    fn long_audio_gives_the_same_windows_without_being_held() {
        // Longer than what is kept, so that it is decoded twice.
        let bytes = sound(310);
        let long = windows(&bytes, &[0, 250, 300, 30_900]);
        let short = windows(&bytes.slice(..bytes.len() / 62), &[0, 100]);
        assert_eq!(long[0], short[0], "the same loudest place stands in both");
        assert!(long[3][100..300].iter().all(|v| *v == 0.0), "behind the end");
        assert!(long[3][..100].iter().any(|v| *v != 0.0));
        assert_eq!(long[1][50], long[2][0], "frame 300 in both windows");
    }
}
