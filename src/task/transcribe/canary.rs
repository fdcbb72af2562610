//! The canned request of a foreign package: a made sound, and what a greedy search writes of it.
//!
//! It proves that nothing has changed since it was recorded, not that the model is right: nobody heard the sound.

use std::f64::consts::TAU;

use linnet_features::audio::SAMPLE_RATE;
use linnet_proto::manifest::{Canary, CanaryStatus, TokensCanary};

/// Length of the sound, seconds: longer than any family needs for a first token, short enough for a small machine.
const SECS: f64 = 2.0;
/// Seed of the sound.
const SEED: u32 = 1;
/// Largest difference of the mean log-probability: machines round otherwise, above all where weights are quantized.
const TOLERANCE: f64 = 5e-3;

/// What a greedy search wrote.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Recited {
    /// Tokens in order.
    pub(super) tokens: Vec<u32>,
    /// By how much each was better than the next best.
    pub(super) margins: Vec<f32>,
    /// Log-probability of each.
    pub(super) logprobs: Vec<f32>,
}

/// What a family does with a canary's sound.
pub(super) trait Recite {
    /// Writes greedily.
    fn recite(&mut self, sound: &[f32]) -> Result<Recited, String>;

    /// Log-probabilities of given tokens, one behind the other.
    fn logprobs(&mut self, sound: &[f32], tokens: &[u32]) -> Result<Vec<f32>, String>;
}

/// Records a canary.
pub(super) fn record(model: &mut dyn Recite) -> Result<Canary, String> {
    let recited = model.recite(&sound(SEED))?;
    let logprob = mean(&recited.logprobs).min(0.0);
    if !logprob.is_finite() {
        return Err("the model gives values that are no numbers".into());
    }
    Ok(Canary::Tokens(TokensCanary {
        status: CanaryStatus::Recorded,
        prompt: vec![SEED],
        tokens: recited.tokens,
        logprob,
        logprob_tolerance: TOLERANCE,
    }))
}

/// Repeats a canary and compares.
pub(super) fn prove(canary: &Canary, model: &mut dyn Recite) -> Result<(), String> {
    let Canary::Tokens(canary) = canary else {
        return Err(
            "its canary is not one of tokens, which a model of its family needs; run linnet models add again".into()
        );
    };
    let sound = sound(canary.prompt.first().copied().unwrap_or(SEED));
    let recited = model.recite(&sound)?;
    let wrong =
        |what: String| format!("its canary {what}; the weights are damaged, or this machine computes otherwise");
    let differs = recited.tokens.iter().zip(&canary.tokens).position(|(own, told)| own != told);
    let differs = differs
        .or((recited.tokens.len() != canary.tokens.len()).then_some(recited.tokens.len().min(canary.tokens.len())));
    if let Some(at) = differs {
        // A choice that was nearly even may fall otherwise on another machine.
        let margin = recited.margins.get(at).copied().unwrap_or(f32::INFINITY);
        if f64::from(margin) > canary.logprob_tolerance {
            let (own, told) = (recited.tokens.get(at), canary.tokens.get(at));
            return Err(wrong(format!("was answered with token {own:?} at {at}, but the package says {told:?}")));
        }
    }
    let logprob = mean(&model.logprobs(&sound, &canary.tokens)?);
    // A difference that is no number is not within anything.
    if (logprob - canary.logprob).abs() <= canary.logprob_tolerance {
        return Ok(());
    }
    Err(wrong(format!(
        "has a mean log-probability of {logprob:.5} instead of {:.5} (within {})",
        canary.logprob, canary.logprob_tolerance
    )))
}

/// Mean; 0 of nothing.
fn mean(values: &[f32]) -> f64 {
    let sum: f64 = values.iter().map(|v| f64::from(*v)).sum();
    if values.is_empty() { 0.0 } else { sum / values.len() as f64 }
}

/// A gliding, beating tone over noise, at 16 kHz: the same for the same seed on every machine.
pub(super) fn sound(seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1u32 << 24) - 0.5
    };
    let base = 180.0 + 40.0 * noise();
    let sample = |i: usize| {
        let time = i as f64 / f64::from(SAMPLE_RATE);
        let glide = base * time + 60.0 * time * time;
        let voice: f64 = (1..=6).map(|k| (TAU * f64::from(k) * glide).sin() / f64::from(k)).sum();
        let beat = 0.5 - 0.5 * (TAU * 3.0 * time).cos();
        (0.2 * beat * voice + 0.01 * noise()) as f32
    };
    (0..(SECS * f64::from(SAMPLE_RATE)) as usize).map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Parrot(Recited);

    impl Recite for Parrot {
        fn recite(&mut self, sound: &[f32]) -> Result<Recited, String> {
            assert_eq!(sound.len(), 32_000);
            Ok(self.0.clone())
        }

        fn logprobs(&mut self, _sound: &[f32], tokens: &[u32]) -> Result<Vec<f32>, String> {
            Ok(self.0.logprobs[..tokens.len().min(self.0.logprobs.len())].to_vec())
        }
    }

    #[test]
    fn a_canary_proves_tokens_and_fingerprint() {
        let parrot = Parrot(Recited { tokens: vec![3, 5], margins: vec![2.0, 1.0], logprobs: vec![-0.5, -0.7] });
        let canary = record(&mut parrot.clone()).expect("records");
        assert_eq!(prove(&canary, &mut parrot.clone()), Ok(()));
        let mut other = parrot.clone();
        other.0.tokens[1] = 6;
        assert!(prove(&canary, &mut other).expect_err("another token").contains("Some(6)"));
        other.0.margins[1] = 1e-4;
        assert_eq!(prove(&canary, &mut other), Ok(()), "it might as well have been the other");
        let mut other = parrot.clone();
        other.0.logprobs[0] -= 0.02;
        assert!(prove(&canary, &mut other).expect_err("another print").contains("mean log-probability"));
        other.0.logprobs[0] = f32::NAN;
        assert!(prove(&canary, &mut other).is_err());
    }

    #[test]
    fn the_sound_is_loud_enough_and_bounded() {
        let samples = sound(1);
        assert!(samples.iter().all(|s| s.abs() < 1.0) && samples.iter().any(|s| s.abs() > 0.2));
        assert_eq!(samples, sound(1));
        assert_ne!(samples, sound(2));
    }
}
