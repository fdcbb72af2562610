//! Normalisation of features, per bin: row-major `[frames, bins]`, in place.

/// Added to every standard deviation, so that a bin that never changes becomes 0.
const DEVIATION_FLOOR: f64 = 1e-5;

/// Brings every bin of a whole utterance to mean 0 and standard deviation 1 (that of the population; a bin that never
/// changes becomes 0). Rows that are not whole are an error of the caller.
///
/// # Panics
/// When `features` is not whole frames of `bins`.
pub fn normalize_utterance(features: &mut [f32], bins: usize) {
    assert!(bins > 0 && features.len().is_multiple_of(bins), "features are whole frames");
    let frames = (features.len() / bins) as f64;
    if features.is_empty() {
        return;
    }
    for bin in 0..bins {
        let values = || features[bin..].iter().step_by(bins).map(|v| f64::from(*v));
        let mean = values().sum::<f64>() / frames;
        let variance = values().map(|v| (v - mean) * (v - mean)).sum::<f64>() / frames;
        let scale = 1.0 / (variance.sqrt() + DEVIATION_FLOOR);
        for value in features[bin..].iter_mut().step_by(bins) {
            *value = ((f64::from(*value) - mean) * scale) as f32;
        }
    }
}

/// Frames that the running mean and variance look back on: 3 s.
pub const WINDOW_FRAMES: u32 = 300;
/// Weight of what is assumed before the first frame, frames.
pub const PRIOR_FRAMES: u32 = 50;
/// Variance that is assumed before the first frame: log-mel of speech has about this much.
pub const PRIOR_VARIANCE: f64 = 9.0;

/// Normalisation by a running mean and variance, for audio whose end is not known.
///
/// For each bin, with x₁, x₂, … its values, m₀ = x₁ and v₀ = [`PRIOR_VARIANCE`]:
///
/// - aₜ = max(1 / (t + [`PRIOR_FRAMES`]), 1 / [`WINDOW_FRAMES`])
/// - mₜ = mₜ₋₁ + aₜ (xₜ − mₜ₋₁)
/// - vₜ = (1 − aₜ) (vₜ₋₁ + aₜ (xₜ − mₜ₋₁)²)
/// - yₜ = (xₜ − mₜ) / (√vₜ + 1e-5)
///
/// so a frame sees itself and what came before, never what comes after, and chunks may have any length.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningNorm {
    mean: Vec<f64>,
    variance: Vec<f64>,
    frames: u32,
}

impl RunningNorm {
    /// For features of `bins`.
    pub fn new(bins: usize) -> Self {
        Self { mean: vec![0.0; bins], variance: vec![PRIOR_VARIANCE; bins], frames: 0 }
    }

    /// Normalises the next frames in place.
    ///
    /// # Panics
    /// When `features` is not whole frames.
    pub fn normalize(&mut self, features: &mut [f32]) {
        assert!(features.len().is_multiple_of(self.mean.len()), "features are whole frames");
        for frame in features.chunks_exact_mut(self.mean.len()) {
            if self.frames == 0 {
                self.mean.iter_mut().zip(&*frame).for_each(|(mean, x)| *mean = f64::from(*x));
            }
            // What lies before the window no longer counts, so the count may stop there.
            self.frames = (self.frames + 1).min(WINDOW_FRAMES);
            let rate = 1.0 / f64::from((self.frames + PRIOR_FRAMES).min(WINDOW_FRAMES));
            for ((x, mean), variance) in frame.iter_mut().zip(&mut self.mean).zip(&mut self.variance) {
                let off = f64::from(*x) - *mean;
                *mean += rate * off;
                *variance = (1.0 - rate) * (*variance + rate * off * off);
                *x = ((f64::from(*x) - *mean) / (variance.sqrt() + DEVIATION_FLOOR)) as f32;
            }
        }
    }

    /// Forgets what was heard, to begin another utterance.
    pub fn reset(&mut self) {
        self.variance.fill(PRIOR_VARIANCE);
        self.frames = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_features(bins: usize) -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(-16.0f32..25.0, 0..900).prop_map(move |mut values| {
            values.truncate(values.len() / bins * bins);
            values
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_utterance_has_mean_zero_and_deviation_one(mut features in any_features(3)) {
            normalize_utterance(&mut features, 3);
            let frames = features.len() / 3;
            prop_assume!(frames > 20);
            for bin in 0..3 {
                let values: Vec<f64> = features[bin..].iter().step_by(3).map(|v| f64::from(*v)).collect();
                let mean = values.iter().sum::<f64>() / frames as f64;
                let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / frames as f64;
                prop_assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-3, "{} {}", mean, variance);
            }
        }

        #[test]
        fn streaming_follows_the_documented_recursion_in_any_chunks(features in any_features(3), chunk in 1usize..40) {
            let mut wanted = features.clone();
            for bin in 0..3 {
                let (mut m, mut v) = (f64::from(features.get(bin).copied().unwrap_or(0.0)), PRIOR_VARIANCE);
                for t in 1..=features.len() / 3 {
                    let x = f64::from(features[(t - 1) * 3 + bin]);
                    let a = (1.0 / (t as f64 + f64::from(PRIOR_FRAMES))).max(1.0 / f64::from(WINDOW_FRAMES));
                    v = (1.0 - a) * (v + a * (x - m).powi(2));
                    m += a * (x - m);
                    wanted[(t - 1) * 3 + bin] = ((x - m) / (v.sqrt() + 1e-5)) as f32;
                }
            }
            let mut norm = RunningNorm::new(3);
            norm.normalize(&mut [7.0; 9]);
            norm.reset();
            let mut have = features;
            have.chunks_mut(chunk * 3).for_each(|frames| norm.normalize(frames));
            for (have, want) in have.iter().zip(&wanted) {
                prop_assert!((have - want).abs() <= 1e-5 * want.abs().max(1.0), "{} {}", have, want);
            }
        }
    }

    #[test]
    fn what_never_changes_becomes_zero() {
        for value in [-15.942_385, 0.0, 12.345_678] {
            let mut features = vec![value; 80 * 50];
            normalize_utterance(&mut features, 80);
            assert!(features.iter().all(|v| v.abs() < 1e-3), "{value}");
            let mut features = vec![value; 80 * 1000];
            RunningNorm::new(80).normalize(&mut features);
            assert!(features.iter().all(|v| v.abs() < 1e-3), "{value}");
        }
    }

    #[test]
    fn nothing_and_a_single_frame_are_no_special_case() {
        normalize_utterance(&mut [], 80);
        RunningNorm::new(80).normalize(&mut []);
        let mut one = [1.0, 2.0, 3.0];
        normalize_utterance(&mut one, 3);
        assert_eq!(one, [0.0; 3]);
    }
}
