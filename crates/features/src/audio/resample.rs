//! Streaming conversion of one sampling rate to another.
//!
//! `rubato`'s FFT resampler (a windowed-sinc low-pass applied by overlap-add, Blackman-Harris² window) works on blocks of
//! a size that follows from the two rates. This module cuts what comes into such blocks whatever its pieces were, takes
//! the filter's delay off the front and cuts the end to length.

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler as _};

use super::AudioError;

/// Lowest rate that is resampled, Hz.
pub const MIN_RATE: u32 = 1_000;
/// Highest rate that is resampled, Hz: the memory of a resampler grows with it.
pub const MAX_RATE: u32 = 768_000;

/// Shortest block on the slower side, samples: with it the filter passes 98 % of the band.
const MIN_BLOCK: u64 = 1024;

/// Converts mono samples from one rate to another, piece by piece.
///
/// For `n` samples in, exactly `ceil(n * rate_out / rate_in)` samples come out by the time of [`Self::finish`], sample `i` of
/// the output standing at the same moment as sample `i * rate_in / rate_out` of the input. The output does not depend on
/// how the input was cut into pieces. Equal rates pass through untouched.
pub struct Resampler {
    rate_in: u32,
    rate_out: u32,
    /// None for equal rates.
    blocks: Option<Blocks>,
    taken: u64,
    given: u64,
}

/// The block-wise filter and what waits before and after it.
struct Blocks {
    filter: Fft<f32>,
    /// Input that does not fill a block yet.
    pending: Vec<f32>,
    /// Block size, input side, samples.
    block_in: usize,
    /// One block of output.
    output: Vec<f32>,
    /// Output samples of the filter's delay that are still to drop.
    delay: usize,
}

impl Resampler {
    /// Both rates must lie between [`MIN_RATE`] and [`MAX_RATE`], else [`AudioError::OutOfRange`].
    pub fn new(rate_in: u32, rate_out: u32) -> Result<Self, AudioError> {
        for rate in [rate_in, rate_out] {
            if !(MIN_RATE..=MAX_RATE).contains(&rate) {
                return Err(AudioError::OutOfRange(format!(
                    "a rate of {rate} Hz cannot be resampled; it must lie between {MIN_RATE} and {MAX_RATE} Hz"
                )));
            }
        }
        let blocks = if rate_in == rate_out { None } else { Some(Blocks::new(rate_in, rate_out)?) };
        Ok(Self { rate_in, rate_out, blocks, taken: 0, given: 0 })
    }

    /// Takes samples and appends to `out` what is ready.
    pub fn push(&mut self, mut samples: &[f32], out: &mut Vec<f32>) -> Result<(), AudioError> {
        self.taken += samples.len() as u64;
        let Some(blocks) = &mut self.blocks else {
            self.given += samples.len() as u64;
            out.extend_from_slice(samples);
            return Ok(());
        };
        let before = out.len();
        while !samples.is_empty() {
            let wanted = blocks.block_in - blocks.pending.len();
            let (now, later) = samples.split_at(wanted.min(samples.len()));
            blocks.pending.extend_from_slice(now);
            samples = later;
            if blocks.pending.len() == blocks.block_in {
                blocks.filter(out)?;
            }
        }
        self.given += (out.len() - before) as u64;
        Ok(())
    }

    /// Appends the end: what waited in the last block and in the filter. The resampler is then ready for another signal.
    pub fn finish(&mut self, out: &mut Vec<f32>) -> Result<(), AudioError> {
        if let Some(blocks) = &mut self.blocks {
            let length = (self.taken * u64::from(self.rate_out)).div_ceil(u64::from(self.rate_in));
            let start = out.len();
            let missing = (length - self.given) as usize;
            while out.len() - start < missing {
                blocks.pending.resize(blocks.block_in, 0.0);
                blocks.filter(out)?;
            }
            out.truncate(start + missing);
            blocks.reset();
        }
        (self.taken, self.given) = (0, 0);
        Ok(())
    }
}

impl Blocks {
    fn new(rate_in: u32, rate_out: u32) -> Result<Self, AudioError> {
        let divisor = gcd(rate_in, rate_out);
        let (unit_in, unit_out) = (u64::from(rate_in / divisor), u64::from(rate_out / divisor));
        // An even number of units puts the middle of the filter on a sample of both sides.
        let units = MIN_BLOCK.div_ceil(unit_in.min(unit_out)).next_multiple_of(2);
        let block_in = (units * unit_in) as usize;
        let filter = Fft::new(rate_in as usize, rate_out as usize, block_in, 1, FixedSync::Both)
            .map_err(|e| failed(rate_in, rate_out, &e))?;
        let output = vec![0.0; filter.output_frames_max()];
        let delay = filter.output_delay();
        Ok(Self { pending: Vec::with_capacity(block_in), block_in, output, delay, filter })
    }

    /// Filters the one full block that is pending.
    fn filter(&mut self, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let capacity = self.output.len();
        let (rate_in, rate_out) = (self.block_in as u32, capacity as u32);
        let input =
            SequentialSlice::new(&self.pending[..], 1, self.block_in).map_err(|e| failed(rate_in, rate_out, &e))?;
        let mut output =
            SequentialSlice::new_mut(&mut self.output[..], 1, capacity).map_err(|e| failed(rate_in, rate_out, &e))?;
        let (_, made) =
            self.filter.process_into_buffer(&input, &mut output, None).map_err(|e| failed(rate_in, rate_out, &e))?;
        self.pending.clear();
        let dropped = self.delay.min(made);
        self.delay -= dropped;
        out.extend_from_slice(&self.output[dropped..made]);
        Ok(())
    }

    fn reset(&mut self) {
        self.filter.reset();
        self.pending.clear();
        self.delay = self.filter.output_delay();
    }
}

fn failed(from: u32, to: u32, cause: &dyn std::fmt::Display) -> AudioError {
    AudioError::Malformed(format!("the audio cannot be resampled ({from} to {to}): {cause}"))
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    const RATES: [u32; 12] =
        [4_000, 8_000, 11_025, 12_000, 14_400, 16_001, 17_600, 22_050, 24_000, 44_100, 48_000, 192_000];

    fn sine(hz: f64, rate: u32, samples: usize) -> Vec<f32> {
        (0..samples).map(|i| (TAU * hz * i as f64 / f64::from(rate)).sin() as f32).collect()
    }

    fn resample<'a>(rate_in: u32, rate_out: u32, pieces: impl IntoIterator<Item = &'a [f32]>) -> Vec<f32> {
        let mut resampler = Resampler::new(rate_in, rate_out).expect("rates");
        let mut out = Vec::new();
        for piece in pieces {
            resampler.push(piece, &mut out).expect("push");
        }
        resampler.finish(&mut out).expect("finish");
        out
    }

    #[test]
    fn the_model_rate_passes_through_untouched() {
        let signal = sine(440.0, 16_000, 1_001);
        assert_eq!(resample(16_000, 16_000, [&signal[..]]), signal);
    }

    #[test]
    fn a_tone_keeps_its_place_and_level() {
        for rate in RATES {
            let hz = 0.2 * f64::from(rate.min(16_000));
            let out = resample(rate, 16_000, [&sine(hz, rate, rate as usize)[..]]);
            assert_eq!(out.len(), 16_000, "{rate}");
            let wanted = sine(hz, 16_000, 16_000);
            // The ends ring, because the tone starts and stops there.
            for i in 2_000..14_000 {
                let error = (out[i] - wanted[i]).abs();
                assert!(error < 1e-3, "{rate} Hz, sample {i}: off by {error}");
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_removed() {
        for (rate, hz) in [(48_000, 9_000.0), (44_100, 12_000.0), (24_000, 10_000.0)] {
            let out = resample(rate, 16_000, [&sine(hz, rate, rate as usize)[..]]);
            let loudest = out[2_000..14_000].iter().fold(0f32, |m, x| m.max(x.abs()));
            assert!(loudest < 1e-4, "{hz} Hz at {rate} Hz aliases to {loudest}");
        }
    }

    #[test]
    fn a_finished_resampler_starts_anew() {
        let signal = sine(300.0, 22_050, 5_000);
        let mut resampler = Resampler::new(22_050, 16_000).expect("rates");
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for out in [&mut first, &mut second] {
            resampler.push(&signal, out).expect("push");
            resampler.finish(out).expect("finish");
        }
        assert_eq!(first, second);
    }

    #[test]
    fn rates_that_nobody_records_at_are_refused() {
        for rate in [0, 1, 999, 768_001, 4_000_000_000] {
            let e = Resampler::new(rate, 16_000).err().expect("a refusal");
            assert!(matches!(&e, AudioError::OutOfRange(m) if m.contains(&rate.to_string())), "{e}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn pieces_do_not_change_the_output_and_its_length_is_exact(
            rate in proptest::sample::select(&RATES[..]),
            samples in 0usize..20_000,
            cuts in proptest::collection::vec(1usize..5_000, 0..8),
        ) {
            let signal: Vec<f32> = (0..samples).map(|i| ((i * 7_919 % 2_003) as f32 / 1_001.5) - 1.0).collect();
            let whole = resample(rate, 16_000, [&signal[..]]);
            prop_assert_eq!(whole.len() as u64, (samples as u64 * 16_000).div_ceil(u64::from(rate)));
            let mut pieces = Vec::new();
            let mut rest = &signal[..];
            for cut in cuts {
                let (piece, later) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = later;
            }
            pieces.push(rest);
            prop_assert_eq!(resample(rate, 16_000, pieces), whole);
        }
    }
}
