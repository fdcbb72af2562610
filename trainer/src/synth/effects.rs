//! From a clean voice to what a device hears: speed, room, noise, codec, gain. All of it is drawn from the utterance's own
//! random numbers, so that it depends on nothing but seed and number.

use linnet_features::audio::SAMPLE_RATE;
use rand::Rng;

use super::codec;
use super::noise::{self, Colour};
use super::resample::resample;
use super::room::Room;
use super::wav::Sound;

/// Samples below this share of the loudest are silence at an edge (−40 dB).
const SILENCE: f32 = 0.01;
/// Left of the edges' silence, seconds.
const EDGE_SECS: f64 = 0.03;

/// How much is done to a voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effects {
    /// Only cut, padded and set to one level.
    Clean,
    /// Rooms, noise, codecs, speed and gain.
    Full,
}

/// What a device hears of `voice`, 16 kHz. `babble` is other people's talk at any level.
pub fn apply(voice: &Sound, effects: Effects, babble: &[f32], random: &mut impl Rng) -> Vec<f32> {
    let full = effects == Effects::Full;
    // A tape that runs faster makes a smaller speaker: pitch and formants move together.
    let tape = if full && random.random_bool(0.6) { random.random_range(0.9..1.12) } else { 1.0 };
    let speech = resample(&voice.samples, f64::from(SAMPLE_RATE) / f64::from(voice.rate) / tape);
    let mut speech = pad(trim(&speech), random);
    level(&mut speech, 0.1);
    if !full {
        return speech;
    }
    if random.random_bool(0.4) {
        let room = Room::draw(random);
        let len = speech.len();
        speech = room.response(random).apply(&speech);
        // The manifest's text ends with the speech; what rings on after the padding is cut.
        speech.truncate(len);
        level(&mut speech, 0.1);
    }
    if random.random_bool(0.3) {
        tilt(&mut speech, random.random_range(-0.5..0.5));
        level(&mut speech, 0.1);
    }
    if random.random_bool(0.55) {
        let colour = match random.random_range(0..10) {
            0 | 1 => Colour::White,
            2..=4 => Colour::Pink,
            5 | 6 => Colour::Brown,
            7 => Colour::Hum,
            _ => Colour::Babble,
        };
        let snr_db = random.random_range(if colour == Colour::Babble { 12.0..30.0 } else { 8.0..35.0 });
        let amplitude = (noise::power(&speech) * 10f64.powf(-snr_db / 10.0)).sqrt() as f32;
        let noise = noise::make(colour, speech.len(), babble, random);
        speech.iter_mut().zip(noise).for_each(|(s, n)| *s += amplitude * n);
    }
    if random.random_bool(0.12) {
        peak(&mut speech, 0.8);
        speech = match random.random_range(0..2) {
            0 => codec::telephone(&speech),
            _ => codec::low_rate(&speech, random.random_range(2800.0..6500.0), random.random_range(7..12)),
        };
    }
    // Mostly within range; seldom a microphone that clips.
    let top = if random.random_bool(0.03) { random.random_range(1.2..2.0) } else { 0.95 };
    let quietest_db = -26.0;
    let loudness = if top > 1.0 { top } else { top * 10f32.powf(random.random_range(quietest_db..0.0) / 20.0) };
    peak(&mut speech, loudness);
    speech.iter_mut().for_each(|s| *s = s.clamp(-1.0, 1.0));
    speech
}

/// Cuts the silence at both edges; all silence gives nothing.
pub fn trim(samples: &[f32]) -> &[f32] {
    let loudest = samples.iter().fold(0.0f32, |m, s| m.max(s.abs()));
    let loud = |s: &f32| s.abs() > SILENCE * loudest;
    let (Some(first), Some(last)) = (samples.iter().position(loud), samples.iter().rposition(loud)) else {
        return &[];
    };
    let edge = (EDGE_SECS * f64::from(SAMPLE_RATE)) as usize;
    &samples[first.saturating_sub(edge)..(last + edge + 1).min(samples.len())]
}

fn pad(speech: &[f32], random: &mut impl Rng) -> Vec<f32> {
    let mut silence = || (random.random_range(0.03..0.35) * f64::from(SAMPLE_RATE)) as usize;
    let (before, after) = (silence(), silence());
    let mut padded = vec![0.0; before + speech.len() + after];
    padded[before..before + speech.len()].copy_from_slice(speech);
    padded
}

/// Sets the root of the mean power.
fn level(samples: &mut [f32], wanted: f32) {
    let factor = wanted / noise::power(samples).sqrt().max(1e-9) as f32;
    samples.iter_mut().for_each(|s| *s *= factor);
}

/// Sets the loudest sample.
fn peak(samples: &mut [f32], wanted: f32) {
    let loudest = samples.iter().fold(1e-9f32, |m, s| m.max(s.abs()));
    samples.iter_mut().for_each(|s| *s *= wanted / loudest);
}

/// A microphone that is brighter (`amount` > 0) or duller than another.
fn tilt(samples: &mut [f32], amount: f32) {
    let mut before = 0.0;
    for s in samples {
        let now = *s;
        *s = now - amount * before;
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn voice() -> Sound {
        let mut samples = vec![0.0; 3000];
        samples.extend((0..22_050).map(|i| 0.3 * (i as f32 * 0.05).sin()));
        samples.extend([0.0; 9000]);
        Sound { rate: 22_050, samples }
    }

    #[test]
    fn the_same_random_numbers_give_the_same_samples() {
        let babble = vec![0.1, -0.1, 0.2];
        let hear = |seed| apply(&voice(), Effects::Full, &babble, &mut StdRng::seed_from_u64(seed));
        assert_eq!(hear(7), hear(7));
        assert_ne!(hear(7), hear(8));
    }

    #[test]
    fn any_draw_gives_finite_samples_in_range_and_about_the_same_length() {
        for seed in 0..200 {
            let heard = apply(&voice(), Effects::Full, &[0.2, 0.1, -0.3], &mut StdRng::seed_from_u64(seed));
            assert!(heard.iter().all(|s| s.is_finite() && s.abs() <= 1.0), "{seed}");
            assert!(heard.iter().any(|s| s.abs() > 0.02), "{seed}");
            let secs = heard.len() as f64 / 16_000.0;
            assert!((0.9..2.0).contains(&secs), "{seed}: {secs}");
        }
    }

    #[test]
    fn silence_at_the_edges_is_cut_and_silence_alone_is_nothing() {
        let cut = trim(&voice().samples).len();
        assert!((22_050..24_000).contains(&cut), "{cut}");
        assert!(trim(&[0.0; 100]).is_empty());
        assert!(trim(&[]).is_empty());
    }

    #[test]
    fn a_clean_voice_keeps_its_shape() {
        let heard = apply(&voice(), Effects::Clean, &[], &mut StdRng::seed_from_u64(1));
        assert!((noise::power(&heard).sqrt() - 0.1).abs() < 1e-3);
    }
}
