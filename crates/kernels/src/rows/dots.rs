//! Dot products of positions with a tile of four rows, on lanes that the compiler maps to the machine's vectors.

use super::TILE;

/// Lanes of one sum: one vector of AVX2, two of NEON.
const LANES: usize = 8;

#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, sum: f32) -> f32 {
    if FUSED { a.mul_add(b, sum) } else { a * b + sum }
}

/// Adds to `sums` the products of columns `at..` of each position of `x` with `weights`, which are of equal length.
#[inline(always)]
pub(super) fn add_all<const FUSED: bool>(
    x: &[f32],
    columns: usize,
    at: usize,
    weights: [&[f32]; TILE],
    sums: &mut [[f32; TILE]],
) {
    let length = weights[0].len();
    let part = |position: usize| &x[position * columns + at..][..length];
    let mut pairs = sums.chunks_exact_mut(2);
    let mut position = 0;
    for pair in &mut pairs {
        let both = dots::<FUSED, 2>([part(position), part(position + 1)], weights);
        for (sums, dots) in pair.iter_mut().zip(both) {
            sums.iter_mut().zip(dots).for_each(|(sum, dot)| *sum += dot);
        }
        position += 2;
    }
    for sums in pairs.into_remainder() {
        // Half of the columns each, so that as many sums are under way as with two positions.
        let middle = length / 2 / LANES * LANES;
        let x = part(position);
        let halves = [weights.map(|w| &w[..middle]), weights.map(|w| &w[middle..middle * 2])];
        let both = two_halves::<FUSED>([&x[..middle], &x[middle..middle * 2]], halves);
        let rest = dots::<FUSED, 1>([&x[middle * 2..]], weights.map(|w| &w[middle * 2..]));
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += both[0][i] + both[1][i] + rest[0][i];
        }
        position += 1;
    }
}

/// Each of `P` positions with each of the rows.
#[inline(always)]
fn dots<const FUSED: bool, const P: usize>(x: [&[f32]; P], weights: [&[f32]; TILE]) -> [[f32; TILE]; P] {
    let mut sums = [[[0f32; LANES]; TILE]; P];
    let length = weights[0].len();
    let whole = length / LANES * LANES;
    let mut at = 0;
    while at < whole {
        let w = weights.map(|w| lanes(w, at));
        let x = x.map(|x| lanes(x, at));
        for p in 0..P {
            for r in 0..TILE {
                for lane in 0..LANES {
                    sums[p][r][lane] = multiply_add::<FUSED>(x[p][lane], w[r][lane], sums[p][r][lane]);
                }
            }
        }
        at += LANES;
    }
    let mut dots = sums.map(|rows| rows.map(total));
    for (p, dots) in dots.iter_mut().enumerate() {
        for (r, dot) in dots.iter_mut().enumerate() {
            for at in whole..length {
                *dot += x[p][at] * weights[r][at];
            }
        }
    }
    dots
}

/// Two parts of one position, each with its part of the rows; all of the same length, a multiple of the lanes.
#[inline(always)]
fn two_halves<const FUSED: bool>(x: [&[f32]; 2], weights: [[&[f32]; TILE]; 2]) -> [[f32; TILE]; 2] {
    let mut sums = [[[0f32; LANES]; TILE]; 2];
    let mut at = 0;
    while at < x[0].len() {
        for half in 0..2 {
            let x = lanes(x[half], at);
            for r in 0..TILE {
                let w = lanes(weights[half][r], at);
                for lane in 0..LANES {
                    sums[half][r][lane] = multiply_add::<FUSED>(x[lane], w[lane], sums[half][r][lane]);
                }
            }
        }
        at += LANES;
    }
    sums.map(|rows| rows.map(total))
}

#[inline(always)]
fn lanes(of: &[f32], at: usize) -> [f32; LANES] {
    let mut lanes = [0f32; LANES];
    lanes.copy_from_slice(&of[at..at + LANES]);
    lanes
}

#[inline(always)]
fn total(lanes: [f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (b + f)) + ((c + g) + (d + h))
}
