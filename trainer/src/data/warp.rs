//! Other voices than the one that spoke: the frequency axis of features is warped.

use linnet_features::audio::SAMPLE_RATE;
use linnet_features::logmel::{LOW_HZ, hz_to_mel, mel_to_hz};

use super::MEL_BINS;

/// Upper end of the bank, Hz.
const HIGH_HZ: f64 = SAMPLE_RATE as f64 / 2.0;
/// Where the formants end, Hz.
const FORMANTS_HZ: f64 = 4_800.0;

/// Another length of the vocal tract (VTLP, Jaitly and Hinton 2013): what a voice says at frequency f another one says at α · f, up to
/// [`FORMANTS_HZ`]; above, the axis is drawn out or pressed together so that its upper end stays where it is.
///
/// The paper moves the filters of the bank; here each bin is read between two neighbours of the bank's output, which costs no second spectrum.
#[derive(Debug, Clone, PartialEq)]
pub struct Warp {
    /// For each bin, where it is read: the lower of two neighbours, and the share of the upper one.
    places: [(usize, f32); MEL_BINS],
}

impl Warp {
    /// For the factor `alpha`, which lies between 0.5 and 2.
    pub fn new(alpha: f32) -> Self {
        let alpha = f64::from(alpha);
        let (low, high) = (hz_to_mel(LOW_HZ), hz_to_mel(HIGH_HZ));
        // Bin i's triangle has its peak here.
        let step = (high - low) / (MEL_BINS + 1) as f64;
        let bend = FORMANTS_HZ * alpha.min(1.0);
        let places = std::array::from_fn(|bin| {
            let to = mel_to_hz(low + step * (bin + 1) as f64);
            let from = if to <= bend {
                to / alpha
            } else {
                HIGH_HZ - (HIGH_HZ - bend / alpha) * (HIGH_HZ - to) / (HIGH_HZ - bend)
            };
            let place = ((hz_to_mel(from) - low) / step - 1.0).clamp(0.0, (MEL_BINS - 1) as f64);
            let below = (place as usize).min(MEL_BINS - 2);
            (below, (place - below as f64) as f32)
        });
        Self { places }
    }

    /// Warps features, `[frames, 80]`.
    pub fn apply(&self, features: &mut [f32]) {
        let mut old = [0.0; MEL_BINS];
        for frame in features.chunks_exact_mut(MEL_BINS) {
            old.copy_from_slice(frame);
            for (to, (below, share)) in frame.iter_mut().zip(&self.places) {
                *to = old[*below] * (1.0 - share) + old[below + 1] * share;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a peak at `hz` is found behind a warp by `alpha`, Hz.
    fn moved(hz_before: f64, alpha: f32) -> f64 {
        let (low, high) = (hz_to_mel(LOW_HZ), hz_to_mel(HIGH_HZ));
        let step = (high - low) / (MEL_BINS + 1) as f64;
        let place = (hz_to_mel(hz_before) - low) / step - 1.0;
        let mut frame: Vec<f32> = (0..MEL_BINS).map(|bin| (-(bin as f64 - place).powi(2) / 8.0).exp() as f32).collect();
        Warp::new(alpha).apply(&mut frame);
        let total: f32 = frame.iter().sum();
        let mean = frame.iter().enumerate().map(|(bin, value)| bin as f32 * value).sum::<f32>() / total;
        mel_to_hz(low + step * (f64::from(mean) + 1.0))
    }

    #[test]
    fn a_warp_moves_formants_by_its_factor_and_leaves_the_upper_end_where_it_is() {
        for alpha in [0.85_f32, 0.95, 1.0, 1.1, 1.2] {
            for formant in [500.0, 1_000.0, 2_500.0, 3_500.0] {
                let found = moved(formant, alpha);
                let want = formant * f64::from(alpha);
                assert!((found - want).abs() < 0.03 * want, "{formant} Hz by {alpha}: {found} Hz instead of {want}");
            }
        }
        for alpha in [0.8, 1.25] {
            let warp = Warp::new(alpha);
            let (below, share) = warp.places[MEL_BINS - 1];
            assert!(below as f32 + share > (MEL_BINS - 2) as f32, "{alpha}: {:?}", warp.places[MEL_BINS - 1]);
            assert!(warp.places.windows(2).all(|pair| pair[0].0 as f32 + pair[0].1 <= pair[1].0 as f32 + pair[1].1));
        }
        let mut same: Vec<f32> = (0..2 * MEL_BINS).map(|i| (i * i % 17) as f32).collect();
        let before = same.clone();
        Warp::new(1.0).apply(&mut same);
        assert!(same.iter().zip(&before).all(|(a, b)| (a - b).abs() < 1e-3), "{same:?}");
    }
}
