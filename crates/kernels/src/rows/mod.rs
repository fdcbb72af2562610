//! Products of activations with rows of weights that stay as they are stored: f32, f16, 8-bit, or blocks of 4 or 8 bits.
//!
//! `y[p, r] = Σ_c x[p, c] · w[r, c]`. Rows are dequantized a few hundred columns at a time into a buffer that the first cache
//! holds, so that no weight is in memory in any other form, and a table that is also looked up by row (the embedding of tied
//! models) is held once. Each tile of four rows passes all positions; many positions are a product of matrices on some rows at a
//! time. Either way a prompt reads the weights once.
//!
//! [`product`] chooses instructions that the machine has; [`scalar`] is the reference that it is tested against.

mod dots;
mod formats;
mod operator;

pub use formats::{Affine, Blocks, Floats, Half, Rows, Single, Zeros};
pub use operator::{Rounding, RowsLookup, RowsProduct, Storage};

use tract_onnx::prelude::tract_ndarray::linalg::general_mat_mul;
use tract_onnx::prelude::tract_ndarray::{ArrayView2, ArrayViewMut2, s};

/// Positions from which on a product of matrices pays: rows are dequantized many at a time, and packed for it once more.
const MATRIX: usize = 8;
/// Rows that are dequantized at once for it.
const BATCH: usize = 64;

/// Rows that pass the positions together.
const TILE: usize = 4;
/// Columns that are dequantized at once: four rows of them take 8 KiB.
const CHUNK: usize = 512;

/// Writes the product of `x`, `[positions, columns]`, with `rows` to `y`, `[positions, rows]`, all row-major.
///
/// # Panics
/// Where `x` and `y` are not of that shape.
pub fn product<R: Rows>(x: &[f32], rows: &R, y: &mut [f32]) {
    let (columns, count) = (rows.columns(), rows.count());
    if columns == 0 || count == 0 {
        y.fill(0.0);
        return;
    }
    assert!(x.len().is_multiple_of(columns) && y.len() == x.len() / columns * count, "the shapes do not fit");
    if x.len() / columns >= MATRIX {
        return batches(x, rows, y);
    }
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        // SAFETY: the machine has both.
        unsafe { product_avx2(x, rows, y) };
        return;
    }
    // NEON belongs to AArch64 itself, and fuses.
    tiles::<R, { cfg!(target_arch = "aarch64") }>(x, rows, y);
}

/// The product for many positions.
fn batches<R: Rows>(x: &[f32], rows: &R, y: &mut [f32]) {
    let (columns, count) = (rows.columns(), rows.count());
    let positions = x.len() / columns;
    // The lengths are checked by the caller.
    let (Ok(x), Ok(mut y)) =
        (ArrayView2::from_shape((positions, columns), x), ArrayViewMut2::from_shape((positions, count), y))
    else {
        return;
    };
    if let Some(Ok(weights)) = rows.plain().map(|plain| ArrayView2::from_shape((count, columns), plain)) {
        return general_mat_mul(1.0, &x, &weights.t(), 0.0, &mut y);
    }
    let mut buffer = vec![0f32; BATCH.min(count) * columns];
    for first in (0..count).step_by(BATCH) {
        let some = BATCH.min(count - first);
        let buffer = &mut buffer[..some * columns];
        read_rows(rows, first, buffer);
        let Ok(weights) = ArrayView2::from_shape((some, columns), &*buffer) else { return };
        general_mat_mul(1.0, &x, &weights.t(), 0.0, &mut y.slice_mut(s![.., first..first + some]));
    }
}

/// Writes whole rows from `first` on, with their scales.
fn read_rows<R: Rows>(rows: &R, first: usize, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        // SAFETY: the machine has both.
        unsafe { read_rows_avx2(rows, first, out) };
        return;
    }
    read_each(rows, first, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn read_rows_avx2<R: Rows>(rows: &R, first: usize, out: &mut [f32]) {
    read_each(rows, first, out);
}

#[inline(always)]
fn read_each<R: Rows>(rows: &R, first: usize, out: &mut [f32]) {
    for (i, row) in out.chunks_exact_mut(rows.columns()).enumerate() {
        rows.read(first + i, 0, row);
        let scale = rows.scale(first + i);
        if scale != 1.0 {
            row.iter_mut().for_each(|weight| *weight *= scale);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn product_avx2<R: Rows>(x: &[f32], rows: &R, y: &mut [f32]) {
    tiles::<R, true>(x, rows, y);
}

/// The product on lanes; `FUSED` where the machine multiplies and adds at once.
#[inline(always)]
pub(crate) fn tiles<R: Rows, const FUSED: bool>(x: &[f32], rows: &R, y: &mut [f32]) {
    let (columns, count) = (rows.columns(), rows.count());
    let positions = x.len() / columns;
    let mut sums = vec![[0f32; TILE]; positions];
    let mut buffer = [[0f32; CHUNK]; TILE];
    for first in (0..count).step_by(TILE) {
        let tile = TILE.min(count - first);
        // Past the end the last row stands again: its sums are not written.
        let row = |i: usize| first + i.min(tile - 1);
        sums.fill([0.0; TILE]);
        if let Some(plain) = rows.plain() {
            let weights = [0, 1, 2, 3].map(|i| &plain[row(i) * columns..][..columns]);
            dots::add_all::<FUSED>(x, columns, 0, weights, &mut sums);
        } else {
            for at in (0..columns).step_by(CHUNK) {
                let length = CHUNK.min(columns - at);
                for (i, part) in buffer.iter_mut().enumerate() {
                    rows.read(row(i), at, &mut part[..length]);
                }
                let weights = [0, 1, 2, 3].map(|i| &buffer[i][..length]);
                dots::add_all::<FUSED>(x, columns, at, weights, &mut sums);
            }
        }
        for (position, sums) in sums.iter().enumerate() {
            for (i, sum) in sums.iter().take(tile).enumerate() {
                y[position * count + first + i] = sum * rows.scale(first + i);
            }
        }
    }
}

/// [`product`] one element after the other, in double precision.
pub fn scalar<R: Rows>(x: &[f32], rows: &R, y: &mut [f32]) {
    let (columns, count) = (rows.columns(), rows.count());
    let mut row = vec![0f32; columns];
    for r in 0..count {
        match rows.plain() {
            Some(plain) => row.copy_from_slice(&plain[r * columns..][..columns]),
            None => rows.read(r, 0, &mut row),
        }
        for (p, x) in x.chunks_exact(columns).enumerate() {
            let sum: f64 = x.iter().zip(&row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            y[p * count + r] = (sum * f64::from(rows.scale(r))) as f32;
        }
    }
}

#[cfg(test)]
mod tests;
