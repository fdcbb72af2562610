//! The product by AVX-512 VNNI: 64 products of a byte without a sign and one with, added by fours, in one instruction.
//!
//! Bytes of the other kind have their highest bit turned, which moves them, and their zero, by 128. What the zeros take away is
//! taken away at the end: `Σ x·w − x₀·Σ w − w₀·Σ x + n·x₀·w₀`. The sums of the weights come from a line of ones behind the
//! positions.

use std::arch::x86_64::*;

use super::{Bytes, TILE, zero_of};

/// Columns of one instruction.
const STEP: usize = 64;
/// Positions that pass a tile together: 16 sums, 4 rows and 4 positions take 24 of 32 registers.
const POSITIONS: usize = 4;

/// Whether this machine has the instructions.
pub(super) fn available() -> bool {
    std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512vnni")
}

/// [`super::product`]; the shapes are checked.
///
/// # Panics
/// Where the machine has not the instructions.
pub(super) fn product(x: Bytes<'_>, x_zero: i32, rows: Bytes<'_>, zeros: &[i32], columns: usize, y: &mut [i32]) {
    assert!(available(), "this machine lacks AVX-512 VNNI; ask `available` before");
    let turned: Vec<u8>;
    let (bytes, x_zero) = if x.signed {
        turned = x.bytes.iter().map(|byte| byte ^ 0x80).collect();
        (&turned[..], x_zero + 128)
    } else {
        (x.bytes, x_zero)
    };
    let ones = vec![1u8; columns];
    let lines: Vec<&[u8]> = bytes.chunks_exact(columns).chain([&ones[..]]).collect();
    let given = Given { lines: &lines, x_zero, rows: rows.bytes, zeros, columns };
    // SAFETY: `available` has found the features that both are compiled for.
    unsafe { if rows.signed { given.multiply::<false>(y) } else { given.multiply::<true>(y) } }
}

struct Given<'a> {
    /// Positions, without a sign, and ones behind them; each of `columns`.
    lines: &'a [&'a [u8]],
    x_zero: i32,
    rows: &'a [u8],
    zeros: &'a [i32],
    columns: usize,
}

impl Given<'_> {
    /// `TURN`: rows are without a sign.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn multiply<const TURN: bool>(&self, y: &mut [i32]) {
        let columns = self.columns;
        let count = self.rows.len() / columns;
        let (positions, _ones) = self.lines.split_at(self.lines.len() - 1);
        // What a row's zero is multiplied by.
        let shift = (columns as i32).wrapping_mul(self.x_zero);
        let totals: Vec<i32> = positions
            .iter()
            .map(|line| line.iter().fold(0i32, |sum, byte| sum.wrapping_add(i32::from(*byte))).wrapping_sub(shift))
            .collect();
        let mut sums = vec![[0i32; TILE]; self.lines.len()];
        for first in (0..count).step_by(TILE) {
            let tile = TILE.min(count - first);
            // Past the end the last row stands again: its sums are not written.
            let rows = [0, 1, 2, 3].map(|i| &self.rows[(first + i.min(tile - 1)) * columns..][..columns]);
            let (blocks, rest) = self.lines.as_chunks::<POSITIONS>();
            let (of_blocks, of_rest) = sums.split_at_mut(blocks.len() * POSITIONS);
            for (lines, sums) in blocks.iter().zip(of_blocks.as_chunks_mut::<POSITIONS>().0) {
                *sums = dots::<TURN, POSITIONS>(*lines, rows);
            }
            match (rest, of_rest) {
                ([a], [x]) => [*x] = dots::<TURN, 1>([*a], rows),
                ([a, b], [x, y]) => [*x, *y] = dots::<TURN, 2>([*a, *b], rows),
                ([a, b, c], [x, y, z]) => [*x, *y, *z] = dots::<TURN, 3>([*a, *b, *c], rows),
                _ => {}
            }
            let weights = sums[positions.len()];
            for (position, (sums, total)) in sums.iter().zip(&totals).enumerate() {
                for i in 0..tile {
                    let zero = zero_of(self.zeros, first + i) - if TURN { 128 } else { 0 };
                    y[position * count + first + i] = sums[i]
                        .wrapping_sub(self.x_zero.wrapping_mul(weights[i]))
                        .wrapping_sub(zero.wrapping_mul(*total));
                }
            }
        }
    }
}

/// Each of `P` lines with each of the rows; all of the same length.
///
/// Loops, where `map` would be shorter: the library's functions are compiled without the instructions, so that what they call is not inlined.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn dots<const TURN: bool, const P: usize>(lines: [&[u8]; P], rows: [&[u8]; TILE]) -> [[i32; TILE]; P] {
    let length = rows[0].len();
    let turn = _mm512_set1_epi8(i8::MIN);
    let mut sums = [[_mm512_setzero_si512(); TILE]; P];
    for at in (0..length).step_by(STEP) {
        let left = length - at;
        let mask = if left >= STEP { u64::MAX } else { (1 << left) - 1 };
        let mut w = [_mm512_setzero_si512(); TILE];
        for i in 0..TILE {
            w[i] = load(&rows[i][at..], mask);
            if TURN {
                // Past the end a line is 0, whatever a row is there.
                w[i] = _mm512_xor_si512(w[i], turn);
            }
        }
        for p in 0..P {
            let x = load(&lines[p][at..], mask);
            for i in 0..TILE {
                sums[p][i] = _mm512_dpbusd_epi32(sums[p][i], x, w[i]);
            }
        }
    }
    let mut dots = [[0; TILE]; P];
    for p in 0..P {
        for i in 0..TILE {
            dots[p][i] = _mm512_reduce_add_epi32(sums[p][i]);
        }
    }
    dots
}

/// Up to 64 bytes, those that `mask` names; 0 in place of others.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load(from: &[u8], mask: u64) -> __m512i {
    debug_assert!(from.len() >= 64 - mask.leading_zeros() as usize, "the mask names what is there");
    // SAFETY: the mask names no byte past the end of `from`, as `dots` makes it of what is left; others are not read.
    unsafe { _mm512_maskz_loadu_epi8(mask, from.as_ptr().cast()) }
}
