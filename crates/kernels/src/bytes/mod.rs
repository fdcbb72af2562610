//! Products of bytes with rows of bytes, each less its zero, in 32-bit integers: what `MatMulInteger` computes, of weights that stay
//! as they are stored.
//!
//! `y[p, r] = Σ_c (x[p, c] − x₀) · (w[r, c] − w₀[r])`, in integers that wrap: exact for up to 33,000 columns, and in any case what
//! ONNX Runtime computes.
//!
//! [`product`] chooses instructions that the machine has: those that multiply bytes at once (AVX-512 VNNI), or 16-bit integers, to
//! which a few hundred columns of four rows at a time are widened. [`scalar`] is the reference that both are tested against.

mod halves;
mod operator;
#[cfg(target_arch = "x86_64")]
mod vnni;

pub use operator::BytesProduct;

/// Rows that pass the positions together.
const TILE: usize = 4;

/// Bytes with a sign, or without.
#[derive(Debug, Clone, Copy)]
pub struct Bytes<'a> {
    /// Line after line.
    pub bytes: &'a [u8],
    /// Whether a byte is two's complement.
    pub signed: bool,
}

impl Bytes<'_> {
    #[inline(always)]
    fn value(self, byte: u8) -> i32 {
        if self.signed { i32::from(byte as i8) } else { i32::from(byte) }
    }
}

/// The zero of a row: one for each, or one for all.
#[inline(always)]
fn zero_of(zeros: &[i32], row: usize) -> i32 {
    zeros[if zeros.len() == 1 { 0 } else { row }]
}

/// Writes the product of `x`, `[positions, columns]`, with `rows`, `[count, columns]`, to `y`, `[positions, count]`, all row-major.
/// `zeros` holds one zero, or one for each row; zeros are such as a byte of the kind can be.
///
/// # Panics
/// Where they are not of these shapes.
pub fn product(x: Bytes<'_>, x_zero: i32, rows: Bytes<'_>, zeros: &[i32], columns: usize, y: &mut [i32]) {
    if columns == 0 || rows.bytes.is_empty() {
        y.fill(0);
        return;
    }
    check(x, rows, zeros, columns, y);
    #[cfg(target_arch = "x86_64")]
    if vnni::available() {
        return vnni::product(x, x_zero, rows, zeros, columns, y);
    }
    halves::product(x, x_zero, rows, zeros, columns, y);
}

fn check(x: Bytes<'_>, rows: Bytes<'_>, zeros: &[i32], columns: usize, y: &[i32]) {
    let count = rows.bytes.len() / columns;
    assert!(
        x.bytes.len().is_multiple_of(columns)
            && rows.bytes.len() == count * columns
            && y.len() == x.bytes.len() / columns * count
            && (zeros.len() == 1 || zeros.len() == count),
        "the shapes do not fit"
    );
}

/// [`product`] one element after the other.
pub fn scalar(x: Bytes<'_>, x_zero: i32, rows: Bytes<'_>, zeros: &[i32], columns: usize, y: &mut [i32]) {
    let count = rows.bytes.len() / columns;
    for (p, line) in x.bytes.chunks_exact(columns).enumerate() {
        for (r, row) in rows.bytes.chunks_exact(columns).enumerate() {
            let zero = zero_of(zeros, r);
            let each = line.iter().zip(row).map(|(a, b)| (x.value(*a) - x_zero) * (rows.value(*b) - zero));
            y[p * count + r] = each.fold(0, i32::wrapping_add);
        }
    }
}

#[cfg(test)]
mod tests;
