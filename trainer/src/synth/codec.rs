//! What a cheap link does to speech: mu-law telephony, and the narrow band and coarse steps of a low bit rate.

use super::resample::resample;

/// ITU-T G.711 mu-law at 8 kHz and back: nothing above 4 kHz, 8 bits a sample.
pub fn telephone(samples: &[f32]) -> Vec<f32> {
    let narrow: Vec<f32> = resample(samples, 0.5).into_iter().map(|s| from_mu_law(to_mu_law(s))).collect();
    fit(resample(&narrow, 2.0), samples.len())
}

/// Nothing above `cut_hz` (2 to 8 kHz), and steps of `bits` bits.
pub fn low_rate(samples: &[f32], cut_hz: f64, bits: u32) -> Vec<f32> {
    let ratio = (cut_hz / 8000.0).clamp(0.25, 1.0);
    let steps = f32::from(1u16 << (bits.clamp(4, 15) - 1));
    let coarse: Vec<f32> = resample(samples, ratio).into_iter().map(|s| (s * steps).round() / steps).collect();
    fit(resample(&coarse, 1.0 / ratio), samples.len())
}

fn fit(mut samples: Vec<f32>, len: usize) -> Vec<f32> {
    samples.resize(len, 0.0);
    samples
}

const BIAS: i32 = 0x84;

/// One sample in `[-1, 1]` as a mu-law byte.
fn to_mu_law(sample: f32) -> u8 {
    let linear = (sample * 32_767.0) as i32;
    let sign = if linear < 0 { 0x80 } else { 0 };
    let magnitude = linear.abs().min(32_635) + BIAS;
    let exponent = (magnitude.ilog2() - 7).min(7);
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | (exponent as u8) << 4 | mantissa as u8)
}

fn from_mu_law(byte: u8) -> f32 {
    let byte = !byte;
    let magnitude = ((i32::from(byte & 0x0f) << 3) + BIAS) << ((byte >> 4) & 7);
    let linear = if byte & 0x80 != 0 { BIAS - magnitude } else { magnitude - BIAS };
    linear as f32 / 32_768.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mu_law_is_that_of_g_711() {
        // Anchor values of ITU-T G.711, table 2a/2b: byte, 16-bit value of its middle.
        for (byte, value) in [(0xff, 0), (0x80, 32_124), (0x00, -32_124), (0x8f, 16_764), (0xf0, 120), (0x70, -120)] {
            assert_eq!((from_mu_law(byte) * 32_768.0) as i32, value, "{byte:#x}");
        }
        for byte in 0..=255u8 {
            // Two bytes stand for zero.
            assert!(to_mu_law(from_mu_law(byte)) == byte || byte == 0x7f, "{byte:#x}");
        }
    }

    fn tone(hz: f32) -> Vec<f32> {
        (0..8000).map(|i| 0.5 * (std::f32::consts::TAU * hz * i as f32 / 16_000.0).sin()).collect()
    }

    #[test]
    fn a_telephone_carries_speech_and_nothing_above_4_khz() {
        let power = crate::synth::noise::power;
        let (low, high) = (tone(700.0), tone(6000.0));
        assert!((power(&telephone(&low)) / power(&low) - 1.0).abs() < 0.05);
        assert!(power(&telephone(&high)) < 0.01 * power(&high));
        assert_eq!(telephone(&low[..7999]).len(), 7999);
    }

    #[test]
    fn a_low_rate_is_coarse_but_of_the_same_length() {
        let power = crate::synth::noise::power;
        let out = low_rate(&tone(700.0), 3000.0, 6);
        assert_eq!(out.len(), 8000);
        assert!((power(&out) / power(&tone(700.0)) - 1.0).abs() < 0.1);
        assert!(power(&low_rate(&tone(5000.0), 3000.0, 12)) < 0.01 * power(&tone(5000.0)));
    }
}
