//! The product by 16-bit integers: a byte less a zero of its kind is one.

use super::{Bytes, TILE, zero_of};

/// Columns that are widened at once: four rows of them take 4 KiB.
const CHUNK: usize = 512;
/// Positions that pass a tile together.
const POSITIONS: usize = 2;

/// [`super::product`]; the shapes are checked.
pub(super) fn product(x: Bytes<'_>, x_zero: i32, rows: Bytes<'_>, zeros: &[i32], columns: usize, y: &mut [i32]) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has it.
        unsafe { avx2::product(x, x_zero, rows, zeros, columns, y) };
        return;
    }
    tiles::<Lanes>(x, x_zero, rows, zeros, columns, y);
}

/// Multiplies 16-bit integers.
trait Dots {
    /// Each of `P` lines with each of the rows; all of the same length.
    fn dots<const P: usize>(lines: [&[i16]; P], rows: [&[i16]; TILE]) -> [[i32; TILE]; P];
}

/// What the compiler maps to the machine's vectors.
struct Lanes;

impl Dots for Lanes {
    #[inline(always)]
    fn dots<const P: usize>(lines: [&[i16]; P], rows: [&[i16]; TILE]) -> [[i32; TILE]; P] {
        /// Lanes of one sum.
        const LANES: usize = 8;
        let rows = rows.map(|row| row.as_chunks::<LANES>());
        lines.map(|line| {
            let (line, last_of_line) = line.as_chunks::<LANES>();
            rows.map(|(row, last_of_row)| {
                let mut sums = [0i32; LANES];
                for (line, row) in line.iter().zip(row) {
                    for ((sum, a), b) in sums.iter_mut().zip(line).zip(row) {
                        *sum = sum.wrapping_add(i32::from(*a) * i32::from(*b));
                    }
                }
                let last = last_of_line.iter().zip(last_of_row).map(|(a, b)| i32::from(*a) * i32::from(*b));
                sums.into_iter().chain(last).fold(0, i32::wrapping_add)
            })
        })
    }
}

/// Bytes less their zero.
#[inline(always)]
fn widen(of: Bytes<'_>, bytes: &[u8], zero: i32, out: &mut [i16]) {
    let zero = zero as i16;
    if of.signed {
        out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = i16::from(*byte as i8).wrapping_sub(zero));
    } else {
        out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = i16::from(*byte).wrapping_sub(zero));
    }
}

#[inline(always)]
fn tiles<D: Dots>(x: Bytes<'_>, x_zero: i32, rows: Bytes<'_>, zeros: &[i32], columns: usize, y: &mut [i32]) {
    let (count, positions) = (rows.bytes.len() / columns, x.bytes.len() / columns);
    let mut lines = vec![0i16; x.bytes.len()];
    widen(x, x.bytes, x_zero, &mut lines);
    let mut sums = vec![[0i32; TILE]; positions];
    let mut buffer = [[0i16; CHUNK]; TILE];
    for first in (0..count).step_by(TILE) {
        let tile = TILE.min(count - first);
        sums.fill([0; TILE]);
        for at in (0..columns).step_by(CHUNK) {
            let length = CHUNK.min(columns - at);
            for (i, part) in buffer.iter_mut().enumerate() {
                // Past the end the last row stands again: its sums are not written.
                let row = first + i.min(tile - 1);
                let bytes = &rows.bytes[row * columns + at..][..length];
                widen(rows, bytes, zero_of(zeros, row), &mut part[..length]);
            }
            let weights = [0, 1, 2, 3].map(|i| &buffer[i][..length]);
            let line = |position: usize| &lines[position * columns + at..][..length];
            let (pairs, last) = sums.as_chunks_mut::<POSITIONS>();
            for (i, sums) in pairs.iter_mut().enumerate() {
                let dots = D::dots([line(2 * i), line(2 * i + 1)], weights);
                sums.iter_mut().zip(dots).for_each(|(sums, dots)| add(sums, dots));
            }
            if let [sums] = last {
                let [dots] = D::dots([line(positions - 1)], weights);
                add(sums, dots);
            }
        }
        for (position, sums) in sums.iter().enumerate() {
            y[position * count + first..][..tile].copy_from_slice(&sums[..tile]);
        }
    }
}

#[inline(always)]
fn add(sums: &mut [i32; TILE], dots: [i32; TILE]) {
    sums.iter_mut().zip(dots).for_each(|(sum, dot)| *sum = sum.wrapping_add(dot));
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::super::{Bytes, TILE};
    use super::{Dots, Lanes, tiles};

    /// 16-bit integers in one register.
    const STEP: usize = 16;

    /// Chosen where the machine has AVX2 only.
    struct Avx2;

    impl Dots for Avx2 {
        #[inline(always)]
        fn dots<const P: usize>(lines: [&[i16]; P], rows: [&[i16]; TILE]) -> [[i32; TILE]; P] {
            // SAFETY: only `product` below names this type, and its caller has found the feature.
            unsafe { dots(lines, rows) }
        }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn product(x: Bytes<'_>, x_zero: i32, rows: Bytes<'_>, zeros: &[i32], columns: usize, y: &mut [i32]) {
        tiles::<Avx2>(x, x_zero, rows, zeros, columns, y);
    }

    #[target_feature(enable = "avx2")]
    fn dots<const P: usize>(lines: [&[i16]; P], rows: [&[i16]; TILE]) -> [[i32; TILE]; P] {
        let mut sums = [[_mm256_setzero_si256(); TILE]; P];
        let whole = rows[0].len() / STEP * STEP;
        for at in (0..whole).step_by(STEP) {
            // Loops, where `map` would be shorter: see `super::super::vnni`.
            let mut w = [_mm256_setzero_si256(); TILE];
            for i in 0..TILE {
                w[i] = load(&rows[i][at..at + STEP]);
            }
            for p in 0..P {
                let x = load(&lines[p][at..at + STEP]);
                for i in 0..TILE {
                    // Pairs of products, each within 255², fit.
                    sums[p][i] = _mm256_add_epi32(sums[p][i], _mm256_madd_epi16(x, w[i]));
                }
            }
        }
        let mut dots = Lanes::dots(lines.map(|line| &line[whole..]), rows.map(|row| &row[whole..]));
        for (dots, sums) in dots.iter_mut().zip(sums) {
            for (dot, sum) in dots.iter_mut().zip(sums) {
                *dot = dot.wrapping_add(total(sum));
            }
        }
        dots
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load(from: &[i16]) -> __m256i {
        assert!(from.len() == STEP, "a register is filled");
        // SAFETY: 32 bytes are there; the instruction asks for no alignment.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn total(sums: __m256i) -> i32 {
        let four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b_00_00_11_10>(four));
        let one = _mm_add_epi32(two, _mm_shuffle_epi32::<0b_00_00_00_01>(two));
        _mm_cvtsi128_si32(one)
    }
}

/// The product without the machine's own instructions, for tests.
#[cfg(test)]
pub(super) fn plain(x: Bytes<'_>, x_zero: i32, rows: Bytes<'_>, zeros: &[i32], columns: usize, y: &mut [i32]) {
    tiles::<Lanes>(x, x_zero, rows, zeros, columns, y);
}
