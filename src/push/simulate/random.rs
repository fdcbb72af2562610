//! Random numbers that are the same for the same seed, on every machine and in every version.

use std::time::Duration;

/// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// A stream of its own for each `stream` of a seed.
    pub(super) fn of(seed: u64, stream: u64) -> Self {
        let mut mixed = Self(seed);
        let first = mixed.next();
        let mut random = Self(first ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        random.next();
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `most`; 0 where that is 0.
    pub(super) fn below(&mut self, most: u64) -> u64 {
        // The bias is far below anything that is counted here.
        ((u128::from(self.next()) * u128::from(most)) >> 64) as u64
    }

    /// From the first to the second, milliseconds.
    pub(super) fn millis(&mut self, (from, to): (Duration, Duration)) -> u64 {
        let (from, to) = (from.as_millis() as u64, to.as_millis() as u64);
        from + self.below(to - from + 1)
    }

    /// From the first to the second, each order of magnitude as likely.
    pub(super) fn spread(&mut self, (from, to): (u64, u64)) -> u64 {
        // By doublings and a straight line within each, which needs no logarithm: those differ between machines.
        let doublings = u64::from((to / from.max(1)).max(1).ilog2()) + 1;
        let octave = from << self.below(doublings);
        (octave + self.below(octave)).clamp(from, to)
    }

    /// True in `millionths` of a million calls.
    pub(super) fn happens(&mut self, millionths: u64) -> bool {
        self.below(1_000_000) < millionths
    }

    /// The numbers below `n` in a random order.
    pub(super) fn shuffled(&mut self, n: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, self.below(at as u64 + 1) as usize);
        }
        order
    }

    /// 32 bytes, for a key that guards nothing.
    pub(super) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_published_generator() {
        // The first outputs for seed 1234567, as the reference implementation gives them.
        let mut random = Random(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([random.next(), random.next(), random.next()], expected);
    }

    #[test]
    fn a_share_happens_as_often_as_it_says_and_ranges_hold() {
        let mut random = Random::of(1, 1);
        let hits = (0..100_000).filter(|_| random.happens(50_000)).count();
        assert!((4_700..5_300).contains(&hits), "{hits}");
        assert!((0..10_000).all(|_| (20..=800).contains(&random.spread((20, 800)))));
        let mut order = random.shuffled(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        assert_ne!(Random::of(1, 2).next(), Random::of(2, 1).next());
    }
}
