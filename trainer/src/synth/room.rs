//! Simulated rooms: early reflections by the image method (Allen and Berkley, "Image method for efficiently simulating
//! small-room acoustics", 1979), the late field as velvet noise (Karjalainen and Järveläinen, "Reverberation modeling using
//! velvet noise", 2007). Both are sparse, so that a room costs a few hundred additions of the signal and no transform.

use linnet_features::audio::SAMPLE_RATE;
use rand::Rng;

/// Speed of sound, m/s.
const SOUND_M_PER_S: f64 = 343.0;
/// Images with more reflections than this are part of the late field.
const MOST_REFLECTIONS: i32 = 3;
/// The late field begins this long after the direct sound, seconds.
const LATE_AFTER_SECS: f64 = 0.03;
/// Pulses of the late field, 1/s; more than 1500 sound smooth.
const PULSES_PER_SEC: f64 = 2000.0;
/// Shortest distance between mouth and microphone, m.
const LEAST_DISTANCE_M: f64 = 0.25;

/// A shoebox room with a mouth and a microphone in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Room {
    /// Length, width, height, m.
    pub size_m: [f64; 3],
    /// Where the mouth is, m from one corner.
    pub mouth_m: [f64; 3],
    /// Where the microphone is.
    pub microphone_m: [f64; 3],
    /// Time in which sound falls by 60 dB, seconds.
    pub rt60_secs: f64,
}

/// A sparse impulse response: the direct sound is `(0, 1.0)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// Delay after the direct sound in samples, and amplitude; by delay.
    pub taps: Vec<(usize, f32)>,
}

impl Room {
    /// Any living room, office or kitchen; the microphone is 0.25 to 2.5 m from the mouth where the room has the space.
    pub fn draw(random: &mut impl Rng) -> Self {
        let size_m = [random.random_range(2.5..7.0), random.random_range(2.2..5.0), random.random_range(2.3..3.2)];
        let [x, y] = [0, 1].map(|i| size_m[i] * random.random_range(0.15..0.85));
        let mouth_m = [x, y, random.random_range(1.1..1.8)];
        // Near ones are as frequent as far ones: a factor, not a difference, is what the ear notices.
        let distance_m = LEAST_DISTANCE_M * 10f64.powf(random.random_range(0.0..1.0));
        let (angle, drop) = (random.random_range(0.0..std::f64::consts::TAU), random.random_range(-0.2..0.4));
        let moved = [distance_m * f64::cos(angle), distance_m * angle.sin(), -distance_m * drop];
        let microphone_m = [0, 1, 2].map(|i| (mouth_m[i] + moved[i]).clamp(0.1, size_m[i] - 0.1));
        Self { size_m, mouth_m, microphone_m, rt60_secs: random.random_range(0.12..0.55) }
    }

    /// The response from mouth to microphone.
    pub fn response(&self, random: &mut impl Rng) -> Response {
        let [x, y, z] = self.size_m;
        let volume = x * y * z;
        let surface = 2.0 * (x * y + y * z + x * z);
        // Eyring: how much of the sound a wall sends back for this reverberation time.
        let reflected_energy = (-0.161 * volume / (surface * self.rt60_secs)).exp();
        let reflected = reflected_energy.sqrt();
        let direct = distance(self.mouth_m, self.microphone_m).max(LEAST_DISTANCE_M);
        let mut taps = vec![(0, 1.0)];
        let rate = f64::from(SAMPLE_RATE);
        self.each_image(|at, reflections| {
            let path = distance(at, self.microphone_m).max(direct);
            let delay_secs = (path - direct) / SOUND_M_PER_S;
            if reflections > 0 && delay_secs < LATE_AFTER_SECS {
                let amplitude = reflected.powi(reflections) * direct / path;
                taps.push(((delay_secs * rate).round() as usize, amplitude as f32));
            }
        });
        // The diffuse field's energy over that of the direct sound is (distance / critical distance)²; it decays by
        // 60 dB in rt60, which gives each pulse its share.
        let critical = 0.057 * (volume / self.rt60_secs).sqrt();
        let diffuse = (direct / critical).powi(2);
        let first = (6.0 * std::f64::consts::LN_10 * diffuse / (PULSES_PER_SEC * self.rt60_secs)).sqrt();
        let pulses = ((0.7 * self.rt60_secs - LATE_AFTER_SECS).max(0.0) * PULSES_PER_SEC) as usize;
        for pulse in 0..pulses {
            let at_secs = LATE_AFTER_SECS + (pulse as f64 + random.random::<f64>()) / PULSES_PER_SEC;
            let sign = if random.random::<bool>() { 1.0 } else { -1.0 };
            let amplitude = sign * first * 10f64.powf(-3.0 * at_secs / self.rt60_secs);
            taps.push(((at_secs * rate) as usize, amplitude as f32));
        }
        taps.sort_by_key(|tap| tap.0);
        Response { taps }
    }

    /// Calls `take` with the place of each image of the mouth and the number of walls that its sound has met.
    fn each_image(&self, mut take: impl FnMut([f64; 3], i32)) {
        let most = MOST_REFLECTIONS;
        for i in -most..=most {
            for j in -most..=most {
                for k in -most..=most {
                    let reflections = i.abs() + j.abs() + k.abs();
                    if reflections <= most {
                        let along = |axis: usize, n: i32| {
                            let (size, at) = (self.size_m[axis], self.mouth_m[axis]);
                            if n % 2 == 0 { f64::from(n) * size + at } else { f64::from(n + 1) * size - at }
                        };
                        take([along(0, i), along(1, j), along(2, k)], reflections);
                    }
                }
            }
        }
    }
}

impl Response {
    /// The signal in the room; longer than the dry one by the response's length.
    pub fn apply(&self, dry: &[f32]) -> Vec<f32> {
        let tail = self.taps.last().map_or(0, |tap| tap.0);
        let mut wet = vec![0.0f32; dry.len() + tail];
        for &(delay, amplitude) in &self.taps {
            let out = &mut wet[delay..delay + dry.len()];
            out.iter_mut().zip(dry).for_each(|(o, s)| *o += amplitude * s);
        }
        wet
    }

    /// Energy of everything but the direct sound, which has 1.
    pub fn reverberant_energy(&self) -> f64 {
        self.taps.iter().skip(1).map(|tap| f64::from(tap.1).powi(2)).sum()
    }
}

fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn room(distance_m: f64, rt60_secs: f64) -> Room {
        let mouth_m = [1.0, 2.0, 1.5];
        Room { size_m: [6.0, 4.0, 2.8], mouth_m, microphone_m: [1.0 + distance_m, 2.0, 1.5], rt60_secs }
    }

    #[test]
    fn the_farther_the_speaker_the_more_of_the_room_is_heard() {
        let mut random = StdRng::seed_from_u64(1);
        let mut energy = |d, t| room(d, t).response(&mut random).reverberant_energy();
        let (near, far) = (energy(0.3, 0.4), energy(3.0, 0.4));
        assert!(near < 0.2 && far > 1.0, "{near} {far}");
        assert!(energy(1.0, 0.15) < energy(1.0, 0.6));
    }

    #[test]
    fn any_room_has_a_believable_energy_and_length() {
        let mut random = StdRng::seed_from_u64(2);
        for _ in 0..500 {
            let room = Room::draw(&mut random);
            let response = room.response(&mut random);
            assert_eq!(response.taps[0], (0, 1.0));
            let energy = response.reverberant_energy();
            assert!(energy > 1e-3 && energy < 60.0, "{energy} in {room:?}");
            let last = response.taps.last().expect("taps").0;
            assert!(last as f64 <= 0.7 * room.rt60_secs * 16_000.0 + 500.0);
            assert!(response.taps.iter().all(|tap| tap.1.is_finite() && tap.1.abs() <= 1.5));
        }
    }

    #[test]
    fn the_late_field_falls_by_60_db_in_rt60() {
        let mut random = StdRng::seed_from_u64(3);
        let response = room(1.0, 0.5).response(&mut random);
        let energy = |from: f64, to: f64| {
            let window = (from * 16_000.0) as usize..(to * 16_000.0) as usize;
            response.taps.iter().filter(|t| window.contains(&t.0)).map(|t| f64::from(t.1).powi(2)).sum::<f64>()
        };
        let fall_db = 10.0 * (energy(0.05, 0.1) / energy(0.25, 0.3)).log10();
        assert!((fall_db - 24.0).abs() < 2.0, "{fall_db}");
    }

    #[test]
    fn a_click_comes_out_as_the_response() {
        let mut random = StdRng::seed_from_u64(4);
        let response = room(1.5, 0.3).response(&mut random);
        let wet = response.apply(&[1.0, 0.0]);
        let energy: f64 = wet.iter().map(|s| f64::from(*s).powi(2)).sum();
        // Taps that fall on one sample add up before they are squared, hence the slack.
        assert!((energy / (1.0 + response.reverberant_energy()) - 1.0).abs() < 0.5);
        assert_eq!(wet[0], response.taps.iter().filter(|t| t.0 == 0).map(|t| t.1).sum::<f32>());
    }
}
