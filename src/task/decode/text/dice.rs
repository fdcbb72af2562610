//! Chance that can be repeated: a number is a hash of seed, choice, step and draw, and of nothing else, so that neither the
//! number of threads nor what ran before changes it.

/// One choice's chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dice {
    key: u64,
}

impl Dice {
    /// The chance of choice `choice` under `seed`.
    pub fn new(seed: u64, choice: u64) -> Self {
        Self { key: mix(mix(seed) ^ choice.wrapping_mul(0x9E37_79B9_7F4A_7C15)) }
    }

    /// A number from 0 up to, but not, 1: draw `draw` of step `step`.
    pub fn throw(self, step: u64, draw: u64) -> f64 {
        let hash = mix(self.key ^ mix(step.wrapping_add(draw.wrapping_mul(0xD1B5_4A32_D192_ED03))));
        (hash >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// SplitMix64's finalizer (Steele, Lea, Flood 2014): every bit of the input reaches every bit of the output.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The place that `chance` (0 to 1) falls on when each place is as wide as its probability; `None` when all are 0.
pub fn pick(probabilities: &[f32], chance: f64) -> Option<usize> {
    let total: f64 = probabilities.iter().map(|p| f64::from(*p)).sum();
    let (mut left, mut last) = (chance * total, None);
    for (place, probability) in probabilities.iter().enumerate().filter(|(_, p)| **p > 0.0) {
        last = Some(place);
        left -= f64::from(*probability);
        if left < 0.0 {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throws_are_even_and_independent_of_each_other() {
        let dice = Dice::new(7, 0);
        let mut counts = [[0_u32; 10]; 10];
        for step in 0..10_000 {
            let (a, b) = (dice.throw(step, 0), dice.throw(step, 1));
            assert!((0.0..1.0).contains(&a) && (0.0..1.0).contains(&b));
            counts[(a * 10.0) as usize][(b * 10.0) as usize] += 1;
        }
        // 100 in each cell; five standard deviations are 50.
        assert!(counts.iter().flatten().all(|n| (50..150).contains(n)), "{counts:?}");
    }

    #[test]
    fn another_seed_or_choice_is_another_chance() {
        let throws = |dice: Dice| (0..8).map(|step| dice.throw(step, 0)).collect::<Vec<_>>();
        assert_eq!(throws(Dice::new(1, 2)), throws(Dice::new(1, 2)));
        assert_ne!(throws(Dice::new(1, 2)), throws(Dice::new(2, 1)));
        assert_ne!(throws(Dice::new(0, 0)), throws(Dice::new(0, 1)));
        // The numbers that every version must go on giving: a seed is a promise.
        assert_eq!(Dice::new(42, 0).throw(0, 0).to_bits(), FIRST.to_bits());
    }

    /// Computed once from the definition above, in Python.
    const FIRST: f64 = 0.15313390158960039;

    #[test]
    fn a_pick_falls_as_often_as_its_probability_says() {
        let dice = Dice::new(3, 0);
        let mut counts = [0_u32; 4];
        for step in 0..10_000 {
            counts[pick(&[0.5, 0.0, 0.3, 0.2], dice.throw(step, 0)).expect("some are possible")] += 1;
        }
        assert_eq!(counts[1], 0, "the impossible is never picked");
        assert!(counts[0].abs_diff(5000) < 250 && counts[2].abs_diff(3000) < 250 && counts[3].abs_diff(2000) < 250);
        assert_eq!(pick(&[0.0, 0.0], 0.5), None);
        assert_eq!(pick(&[0.0, 1.0, 0.0], 0.999_999_999), Some(1));
    }
}
