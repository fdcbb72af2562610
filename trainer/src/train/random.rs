//! Random numbers that are a function of where they are used.
//!
//! Each decision (a row's masks, a step's dropout, an epoch's order) draws from its own generator, keyed by the seed and its
//! place. There is no state to save: a resumed run draws what an uninterrupted one would have drawn.

/// SplitMix64 (Steele, Lea and Flood 2014), keyed by several words.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// A generator for this place.
    pub fn new(key: &[u64]) -> Self {
        let state = key.iter().fold(GOLDEN, |state, word| mix(state.wrapping_add(GOLDEN) ^ word));
        Self { state }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Uniform in `[0, 1)`, 24 bits of it.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in `[low, high)`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0..bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The bias of this multiplication is below 2⁻³² for any bound that fits in memory.
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// Fisher and Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_draw_independently_and_repeatably() {
        let draw = |key: &[u64]| Random::new(key).bits();
        assert_eq!(draw(&[1, 2]), draw(&[1, 2]));
        assert_ne!(draw(&[1, 2]), draw(&[2, 1]));
        assert_ne!(draw(&[1, 2]), draw(&[1, 3]));
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_bounds_hold() {
        let mut random = Random::new(&[3]);
        let mut items: Vec<usize> = (0..100).collect();
        random.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        assert!((0..1000).all(|_| random.below(7) < 7 && random.unit() < 1.0));
        assert_eq!(random.below(0), 0);
    }
}
