//! Which texts go through a model together.

use crate::train::random::Random;

/// Cuts `lengths` (of the rows 0, 1, …: what they are sorted by first and second, tokens) into batches of similar lengths whose
/// padded tokens, both lengths together, are at most `most`; a single longer row is its own batch. Batches come in random order.
///
/// The same arguments give the same batches.
pub fn plan(lengths: &[[usize; 2]], most: usize, key: [u64; 2]) -> Vec<Vec<usize>> {
    let mut random = Random::new(&[key[0], 0x746f_6b65, key[1]]);
    // Shuffled, then sorted by a stable sort: rows of the same length meet others in each epoch.
    let mut rows: Vec<usize> = (0..lengths.len()).collect();
    random.shuffle(&mut rows);
    rows.sort_by_key(|row| lengths[*row]);
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut longest = [0, 0];
    for row in rows {
        let grown = [longest[0].max(lengths[row][0]), longest[1].max(lengths[row][1])];
        match batches.last_mut() {
            Some(batch) if (grown[0] + grown[1]) * (batch.len() + 1) <= most => {
                batch.push(row);
                longest = grown;
            }
            _ => {
                batches.push(vec![row]);
                longest = lengths[row];
            }
        }
    }
    random.shuffle(&mut batches);
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_row_once_and_no_more_than_is_allowed() {
        let lengths: Vec<[usize; 2]> = (0..500).map(|i| [1 + i % 17, 1 + (i * 7) % 13]).collect();
        let batches = plan(&lengths, 120, [1, 2]);
        let mut rows: Vec<usize> = batches.concat();
        rows.sort_unstable();
        assert_eq!(rows, (0..500).collect::<Vec<_>>());
        for batch in &batches {
            let longest = |side: usize| batch.iter().map(|row| lengths[*row][side]).max().unwrap();
            assert!((longest(0) + longest(1)) * batch.len() <= 120);
        }
        assert_eq!(batches, plan(&lengths, 120, [1, 2]));
        assert_ne!(batches, plan(&lengths, 120, [1, 3]));
        assert_eq!(plan(&[[500, 500]], 120, [1, 2]), [[0]]);
    }
}
