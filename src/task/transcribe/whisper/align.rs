//! When each token was said, from what the decoder listened to: cross-attention, smoothed, and the best monotonous path through it
//! (dynamic time warping).
//!
//! As `transformers`' `_extract_token_timestamps`.

use std::sync::Arc;

use super::config::{Settings, TIME_PRECISION};

/// The path goes on in both, to the next token, or to the next position.
const BOTH: u8 = 0;
const TOKEN: u8 = 1;
const POSITION: u8 = 2;

/// Seconds from the window's beginning at which each token ends, one more than `attention` has rows: nothing was read behind the last
/// token, which ends with the one before. `used` positions of the encoder hold sound. `None` when the graph does not tell.
pub(super) fn token_ends(attention: &[Arc<[f32]>], settings: &Settings, used: usize) -> Option<Vec<f64>> {
    let rows = attention.len();
    let heads = attention.first()?.len() / settings.positions;
    let used = used.min(settings.positions);
    if heads == 0 || used == 0 || attention.iter().any(|row| row.len() != heads * settings.positions) {
        return None;
    }
    let mut matrix = vec![0f32; rows * used];
    let mut head_rows = vec![0f32; rows * used];
    let mut smoothed = vec![0f32; used];
    for head in 0..heads {
        for (row, out) in attention.iter().zip(head_rows.chunks_exact_mut(used)) {
            out.copy_from_slice(&row[head * settings.positions..][..used]);
        }
        standardize(&mut head_rows, rows, used);
        for (row, sum) in head_rows.chunks_exact(used).zip(matrix.chunks_exact_mut(used)) {
            median(row, settings.median_width, &mut smoothed);
            sum.iter_mut().zip(&smoothed).for_each(|(sum, value)| *sum += value);
        }
    }
    matrix.iter_mut().for_each(|value| *value /= heads as f32);
    let mut ends = path(&matrix, rows, used);
    ends.extend(ends.last().copied());
    Some(ends)
}

/// Over the tokens, each position: mean 0, deviation 1. Where all are equal, 0.
fn standardize(values: &mut [f32], rows: usize, columns: usize) {
    for column in 0..columns {
        let of = |row: usize| f64::from(values[row * columns + column]);
        let mean = (0..rows).map(of).sum::<f64>() / rows as f64;
        let deviation = ((0..rows).map(|row| (of(row) - mean).powi(2)).sum::<f64>() / rows as f64).sqrt();
        for row in 0..rows {
            let value = &mut values[row * columns + column];
            *value = if deviation > 0.0 { ((f64::from(*value) - mean) / deviation) as f32 } else { 0.0 };
        }
    }
}

/// Median over `width` positions, mirrored at both ends; a row that is too short stays as it is.
fn median(row: &[f32], width: usize, out: &mut [f32]) {
    let half = width / 2;
    if row.len() <= half {
        out.copy_from_slice(row);
        return;
    }
    let last = row.len() - 1;
    let mirrored = |place: usize| -> f32 {
        // `place` is counted from `half` before the row.
        let at = place.abs_diff(half);
        row[if at > last { 2 * last - at } else { at }]
    };
    let mut window = vec![0f32; width];
    for (i, out) in out.iter_mut().enumerate() {
        window.iter_mut().enumerate().for_each(|(j, slot)| *slot = mirrored(i + j));
        window.sort_unstable_by(f32::total_cmp);
        *out = window[half];
    }
}

/// For each row the time of its first position on the path of the greatest sum.
fn path(matrix: &[f32], rows: usize, columns: usize) -> Vec<f64> {
    let width = rows + 1;
    let mut steps = vec![POSITION; width * (columns + 1)];
    let mut before = vec![f32::INFINITY; width];
    let mut here = vec![f32::INFINITY; width];
    before[0] = 0.0;
    for column in 1..=columns {
        here[0] = f32::INFINITY;
        for row in 1..=rows {
            let (both, token, position) = (before[row - 1], here[row - 1], before[row]);
            let (cost, step) = if both < token && both < position {
                (both, BOTH)
            } else if token < both && token < position {
                (token, TOKEN)
            } else {
                (position, POSITION)
            };
            here[row] = (f64::from(cost) - f64::from(matrix[(row - 1) * columns + column - 1])) as f32;
            steps[column * width + row] = step;
        }
        std::mem::swap(&mut before, &mut here);
    }
    let mut first = vec![0usize; rows];
    let (mut row, mut column) = (rows, columns);
    while row > 0 || column > 0 {
        if row > 0 {
            first[row - 1] = column.saturating_sub(1);
        }
        let step = match (row, column) {
            (0, _) => POSITION,
            (_, 0) => TOKEN,
            _ => steps[column * width + row],
        };
        row -= usize::from(step != POSITION);
        column -= usize::from(step != TOKEN);
    }
    first.into_iter().map(|position| position as f64 * TIME_PRECISION).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_follows_the_bright_diagonal() {
        // Three tokens, each bright for two positions.
        let mut matrix = vec![-1f32; 18];
        (0..6).for_each(|position| matrix[position / 2 * 6 + position] = 1.0);
        let times = path(&matrix, 3, 6);
        assert!(times.iter().zip([0.0, 0.04, 0.08]).all(|(a, b)| (a - b).abs() < 1e-9), "{times:?}");
    }

    #[test]
    fn a_median_takes_out_spikes_and_mirrors_the_ends() {
        let row = [0.0, 0.0, 9.0, 0.0, 0.0, 1.0, 1.0, 1.0];
        let mut out = [0.0; 8];
        median(&row, 3, &mut out);
        assert_eq!(out, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let mut short = [0.0; 2];
        median(&[3.0, 4.0], 7, &mut short);
        assert_eq!(short, [3.0, 4.0]);
    }

    #[test]
    fn equal_attention_is_no_division_by_nothing() {
        let mut values = [2.0, 1.0, 2.0, 3.0];
        standardize(&mut values, 2, 2);
        assert_eq!(values, [0.0, -1.0, 0.0, 1.0]);
    }
}
