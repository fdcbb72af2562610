//! Noise to put under speech, of power 1.

use std::f32::consts::TAU;

use rand::Rng;

/// Colours of noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// The same power at each frequency.
    White,
    /// 3 dB less for each octave: air, rain.
    Pink,
    /// 6 dB less for each octave: traffic, fans.
    Brown,
    /// Mains hum with its overtones over a little pink noise: appliances.
    Hum,
    /// Several people talking elsewhere.
    Babble,
}

/// Samples of a colour with mean power 1. `babble` is where babble is cut from; where it is empty, pink noise stands in.
pub fn make(colour: Colour, len: usize, babble: &[f32], random: &mut impl Rng) -> Vec<f32> {
    let mut noise = match colour {
        Colour::White => white(len, random),
        Colour::Babble if !babble.is_empty() => {
            let start = random.random_range(0..babble.len());
            babble.iter().cycle().skip(start).take(len).copied().collect()
        }
        Colour::Pink | Colour::Babble => pink(len, random),
        Colour::Brown => {
            let mut state = 0.0;
            white(len, random)
                .into_iter()
                .map(|w| {
                    // Leaky, so that it stays around zero.
                    state = 0.98 * state + w;
                    state
                })
                .collect()
        }
        Colour::Hum => {
            let base_hz = if random.random::<bool>() { 50.0 } else { 60.0 };
            let overtones: Vec<(f32, f32)> =
                (1..=8).map(|n| (n as f32 * base_hz, random.random_range(0.0..1.0) / n as f32)).collect();
            let hum = |i: usize| {
                let at = i as f32 / 16_000.0;
                overtones.iter().map(|(hz, amplitude)| amplitude * (TAU * (hz * at).fract()).sin()).sum::<f32>()
            };
            pink(len, random).into_iter().enumerate().map(|(i, p)| hum(i) + 0.1 * p).collect()
        }
    };
    let level = power(&noise).sqrt().max(1e-9) as f32;
    noise.iter_mut().for_each(|s| *s /= level);
    noise
}

/// Mean square.
pub fn power(samples: &[f32]) -> f64 {
    samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / samples.len().max(1) as f64
}

/// The sum of four uniform numbers is near enough to Gaussian for a microphone.
fn white(len: usize, random: &mut impl Rng) -> Vec<f32> {
    (0..len).map(|_| (0..4).map(|_| random.random_range(-1.0f32..1.0)).sum()).collect()
}

/// Paul Kellet's filter, within 0.5 dB of 3 dB an octave above 10 Hz.
fn pink(len: usize, random: &mut impl Rng) -> Vec<f32> {
    let mut b = [0.0f32; 3];
    let mut filter = |w: f32| {
        b[0] = 0.99765 * b[0] + w * 0.099_046;
        b[1] = 0.963 * b[1] + w * 0.296_516_4;
        b[2] = 0.57 * b[2] + w * 1.052_691_3;
        b.iter().sum::<f32>() + w * 0.1848
    };
    white(len, random).into_iter().map(&mut filter).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const ALL: [Colour; 5] = [Colour::White, Colour::Pink, Colour::Brown, Colour::Hum, Colour::Babble];

    #[test]
    fn every_colour_has_power_one_and_no_offset() {
        let mut random = StdRng::seed_from_u64(5);
        let babble: Vec<f32> = (0..500).map(|i| (i as f32 * 0.3).sin() * 0.01).collect();
        for colour in ALL {
            for babble in [&babble[..], &[]] {
                let noise = make(colour, 16_000, babble, &mut random);
                assert!((power(&noise) - 1.0).abs() < 1e-3, "{colour:?}");
                let mean = noise.iter().sum::<f32>() / 16_000.0;
                assert!(mean.abs() < 0.2, "{colour:?} {mean}");
            }
            assert!(make(colour, 0, &babble, &mut random).is_empty());
        }
    }

    #[test]
    fn darker_colours_change_more_slowly() {
        let mut random = StdRng::seed_from_u64(6);
        let mut speed = |colour| {
            let noise = make(colour, 30_000, &[], &mut random);
            noise.windows(2).map(|w| f64::from(w[1] - w[0]).powi(2)).sum::<f64>()
        };
        let (white, pink, brown) = (speed(Colour::White), speed(Colour::Pink), speed(Colour::Brown));
        assert!(white > 1.5 * pink && pink > 2.0 * brown, "{white} {pink} {brown}");
    }
}
