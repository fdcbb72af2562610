//! Reading what a CTC model wrote, without a language model.

pub use super::ops::ctc::{BLANK, losses, losses_and_objective};

/// The likeliest path read greedily: the best unit of each frame, repeats joined, blanks dropped. `scores` `[frames, units]`.
pub fn greedy(scores: &[f32], units: usize) -> Vec<u32> {
    let mut read = Vec::new();
    let mut last = BLANK;
    for row in scores.chunks_exact(units) {
        let best = row.iter().enumerate().fold(0, |best, (unit, score)| if *score > row[best] { unit } else { best });
        if best != last && best != BLANK {
            read.push(best as u32);
        }
        last = best;
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_joins_repeats_and_drops_blanks() {
        let path = [0, 1, 1, 0, 1, 2, 2, 0];
        let scores: Vec<f32> =
            path.iter().flat_map(|best| (0..3).map(move |unit| f32::from(u8::from(unit == *best)))).collect();
        assert_eq!(greedy(&scores, 3), [1, 1, 2]);
    }
}
