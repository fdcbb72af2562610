//! Resampling by any ratio: windowed-sinc interpolation (J. O. Smith, "Digital Audio Resampling", 2002). `rubato` wants a
//! fixed ratio or a stream; a voice that is made a little faster and higher needs any ratio, once, for a few seconds.

use std::f64::consts::PI;

/// Zero crossings of the sinc on each side.
const CROSSINGS: usize = 12;
/// Steps of the table between two zero crossings.
const STEPS: usize = 256;

/// `samples` at `ratio` times their rate (0.2 to 5); frequencies that the lower rate cannot hold are filtered out.
pub fn resample(samples: &[f32], ratio: f64) -> Vec<f32> {
    debug_assert!((0.2..=5.0).contains(&ratio));
    if (ratio - 1.0).abs() < 1e-9 {
        return samples.to_vec();
    }
    // Below 1, the sinc is stretched so that it cuts at the new rate's half.
    let cut = ratio.min(1.0);
    let table = windowed_sinc();
    let reach = CROSSINGS as f64 / cut;
    let out_len = (samples.len() as f64 * ratio).floor() as usize;
    let weigh = |distance: f64| {
        let at = distance.abs() * cut * STEPS as f64;
        let (place, part) = (at as usize, at.fract() as f32);
        table.get(place + 1).map_or(0.0, |next| table[place] + part * (next - table[place]))
    };
    (0..out_len)
        .map(|i| {
            let center = i as f64 / ratio;
            let first = (center - reach).ceil().max(0.0) as usize;
            let last = ((center + reach).floor() as usize + 1).min(samples.len());
            let near = samples[first.min(last)..last].iter().zip(first..);
            near.map(|(s, place)| s * weigh(place as f64 - center)).sum::<f32>() * cut as f32
        })
        .collect()
}

/// A sinc under a Hann window from 0 to its last zero crossing.
fn windowed_sinc() -> Vec<f32> {
    let value = |i: usize| {
        let x = i as f64 / STEPS as f64;
        let sinc = if i == 0 { 1.0 } else { (PI * x).sin() / (PI * x) };
        (sinc * (0.5 + 0.5 * (PI * x / CROSSINGS as f64).cos())) as f32
    };
    (0..=CROSSINGS * STEPS).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f64, rate: f64, len: usize) -> Vec<f32> {
        (0..len).map(|i| (2.0 * PI * hz * i as f64 / rate).sin() as f32).collect()
    }

    #[test]
    fn a_tone_stays_the_same_tone() {
        for (from, to) in [(22_050.0, 16_000.0), (32_000.0, 16_000.0), (16_000.0, 14_813.0), (16_000.0, 17_391.0)] {
            let out = resample(&sine(440.0, from, 4000), to / from);
            let wanted = sine(440.0, to, out.len());
            let inner = 100..out.len() - 100;
            let worst = inner.map(|i| (out[i] - wanted[i]).abs()).fold(0.0, f32::max);
            assert!(worst < 4e-3, "{from} to {to}: {worst}");
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        let out = resample(&sine(11_000.0, 32_000.0, 8000), 0.5);
        let power = out[200..out.len() - 200].iter().map(|s| s * s).sum::<f32>() / out.len() as f32;
        assert!(power < 1e-4, "{power}");
    }

    #[test]
    fn short_input_is_no_trouble() {
        assert_eq!(resample(&[], 0.7), Vec::<f32>::new());
        assert_eq!(resample(&[0.5], 0.5).len(), 0);
        assert_eq!(resample(&[0.5, 0.5], 1.5).len(), 3);
    }
}
