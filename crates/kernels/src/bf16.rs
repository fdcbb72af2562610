//! Products of matrices in bfloat16 by the tiles of Intel's AMX: factors are rounded to bfloat16, sums are 32-bit floats.
//!
//! For training, where the rounding does no harm (Kalamkar et al. 2019, arXiv:1905.12322) and products are most of the work: one
//! core multiplies an order of magnitude faster than with AVX-512 (`docs/decisions/0012-bf16-products-for-training.md`).
//! [`available`] says whether this machine has it. Where it has not, the same sums are computed one after the other: right, so
//! that every machine can test what is built on them, and slower than 32-bit products, so that nobody should train with them.

use std::sync::OnceLock;

/// Rows and columns that are multiplied at once: two tiles of 16.
pub const PANEL: usize = 32;
/// Elements of the summed axis in a tile.
const DEPTH: usize = 32;
/// Rows of a tile, and pairs of elements in each.
const TILE: usize = 16;
/// Pairs of elements in a tile.
const TILE_LEN: usize = TILE * TILE;

/// Two neighbours of the summed axis, the first in the low half.
type Pair = u32;
/// Sixteen rows of sixteen pairs.
type Tile = [Pair; TILE_LEN];

/// A matrix that lies somewhere: element (i, j) at `i · row_stride + j · column_stride`.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Distance from one row to the next.
    pub row_stride: usize,
    /// Distance from one column to the next; it or `row_stride` is 1.
    pub column_stride: usize,
}

impl<'a> View<'a> {
    /// A row-major matrix.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Rows and columns change places; nothing is copied.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// `count` rows from `first` on.
    pub fn some_rows(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.rows, "the rows lie in the matrix");
        Self { data: &self.data[first * self.row_stride..], rows: count, ..self }
    }

    fn check(&self) {
        assert!(self.row_stride == 1 || self.column_stride == 1, "rows or columns are contiguous");
        let last = (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride;
        assert!(last < self.data.len(), "the matrix lies in its data");
    }
}

/// Whether this machine has the tiles and its kernel lets this process use them.
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(detect)
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn detect() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    /// `ARCH_REQ_XCOMP_PERM` and the state component of the tiles' data (Linux 5.16, `Documentation/arch/x86/xstate.rst`).
    const REQUEST: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    let wide = [
        std::arch::is_x86_feature_detected!("avx512f"),
        std::arch::is_x86_feature_detected!("avx512bw"),
        std::arch::is_x86_feature_detected!("avx512vl"),
    ];
    if wide.contains(&false) || __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & (BF16 | TILES) != BF16 | TILES {
        return false;
    }
    // SAFETY: the call takes two numbers and touches no memory of ours; an older kernel answers with an error.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0 }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn detect() -> bool {
    false
}

/// Length of a packed panel of the right factor that has `depth` rows.
pub fn panel_len(depth: usize) -> usize {
    depth.div_ceil(DEPTH) * 2 * TILE_LEN
}

/// To the nearest, ties to even; NaN stays NaN.
#[inline(always)]
fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    if value.is_nan() { (bits >> 16) | 0x40 } else { rounded }
}

/// A tile whose rows lie apart and whose columns are neighbours: row i is `data[i · stride ..]`, `columns` long at most 32.
#[inline(always)]
fn along(data: &[f32], stride: usize, rows: usize, columns: usize, tile: &mut Tile) {
    for (i, to) in tile.chunks_exact_mut(TILE).take(rows).enumerate() {
        let from = &data[i * stride..][..columns];
        let (pairs, rest) = from.as_chunks::<2>();
        for (to, [low, high]) in to.iter_mut().zip(pairs) {
            *to = round(*low) | round(*high) << 16;
        }
        if let ([last], Some(to)) = (rest, to.get_mut(pairs.len())) {
            *to = round(*last);
        }
    }
}

/// A tile whose columns lie apart and whose rows are neighbours, turned: pair p of row i is what stands at
/// `data[2 · p · stride + i]` and `data[(2 · p + 1) · stride + i]`, and comes to row p, column i.
#[inline(always)]
fn across(data: &[f32], stride: usize, rows: usize, columns: usize, tile: &mut Tile) {
    for (p, to) in tile.chunks_exact_mut(TILE).take(columns.div_ceil(2)).enumerate() {
        let low = &data[2 * p * stride..][..rows];
        if 2 * p + 1 < columns {
            let high = &data[(2 * p + 1) * stride..][..rows];
            for (to, (low, high)) in to.iter_mut().zip(low.iter().zip(high)) {
                *to = round(*low) | round(*high) << 16;
            }
        } else {
            to.iter_mut().zip(low).for_each(|(to, low)| *to = round(*low));
        }
    }
}

/// Rows become columns.
#[inline(always)]
fn turn(from: &Tile, to: &mut [Pair]) {
    for (i, to) in to.chunks_exact_mut(TILE).enumerate() {
        for (j, to) in to.iter_mut().enumerate() {
            *to = from[j * TILE + i];
        }
    }
}

/// Packs a panel: up to 32 rows (of the left factor, or columns of the right one: `lines` from `first` on, `line_stride` apart) of
/// `depth` elements, `depth_stride` apart, in blocks of two tiles. `left` has the lines as rows of the tiles, the right
/// factor as their columns.
#[inline(always)]
fn pack(
    data: &[f32],
    lines: usize,
    line_stride: usize,
    depth: usize,
    depth_stride: usize,
    left: bool,
    to: &mut [Pair],
) {
    for (at, to) in to.chunks_exact_mut(TILE_LEN).enumerate() {
        let (block, half) = (at / 2 * DEPTH, at % 2 * TILE);
        let lines = lines.saturating_sub(half).min(TILE);
        let depth = (depth - block).min(DEPTH);
        if lines == 0 {
            to.fill(0);
            continue;
        }
        let data = &data[half * line_stride + block * depth_stride..];
        let mut tile = [0; TILE_LEN];
        let lies_right = if depth_stride == 1 {
            along(data, line_stride, lines, depth, &mut tile);
            left
        } else {
            across(data, depth_stride, lines, depth, &mut tile);
            !left
        };
        if lies_right {
            to.copy_from_slice(&tile);
        } else {
            turn(&tile, to);
        }
    }
}

/// [`pack`], compiled for the vectors that every machine with tiles has.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pack_wide(data: &[f32], lines: [usize; 2], depth: [usize; 2], left: bool, to: &mut [Pair]) {
    pack(data, lines[0], lines[1], depth[0], depth[1], left, to);
}

/// `lines` and `depth`: count and stride.
fn pack_best(data: &[f32], lines: [usize; 2], depth: [usize; 2], left: bool, to: &mut [Pair]) {
    #[cfg(target_arch = "x86_64")]
    if available() {
        // SAFETY: `available` has found the CPU's features that the function is compiled for.
        return unsafe { pack_wide(data, lines, depth, left, to) };
    }
    pack(data, lines[0], lines[1], depth[0], depth[1], left, to);
}

/// Packs columns `PANEL · panel ..` of the right factor into `to`, [`panel_len`] long.
pub fn pack_columns(right: &View, panel: usize, to: &mut [u32]) {
    right.check();
    assert_eq!(to.len(), panel_len(right.rows), "a packed panel has its length");
    let first = panel * PANEL;
    let lines = [PANEL.min(right.columns - first), right.column_stride];
    let data = &right.data[first * right.column_stride..];
    pack_best(data, lines, [right.rows, right.row_stride], false, to);
}

/// Packs up to [`PANEL`] rows of the left factor from `first` on.
fn pack_rows(left: &View, first: usize, to: &mut [u32]) {
    let lines = [PANEL.min(left.rows - first), left.row_stride];
    pack_best(&left.data[first * left.row_stride..], lines, [left.columns, left.column_stride], true, to);
}

/// `out = left · right`, row-major, where `right` has `columns` columns and is packed, panel after panel, by
/// [`pack_columns`].
pub fn multiply(left: &View, right: &[u32], columns: usize, out: &mut [f32]) {
    multiply_with(available().then(tiles::Tiles::configure).as_ref(), left, right, columns, out);
}

fn multiply_with(tiles: Option<&tiles::Tiles>, left: &View, right: &[u32], columns: usize, out: &mut [f32]) {
    left.check();
    let len = panel_len(left.columns);
    assert_eq!(right.len(), columns.div_ceil(PANEL) * len, "the right factor is packed whole");
    assert_eq!(out.len(), left.rows * columns, "the product has its size");
    let mut packed = vec![0; len];
    let mut sums = [0f32; PANEL * PANEL];
    for first in (0..left.rows).step_by(PANEL) {
        pack_rows(left, first, &mut packed);
        let rows = PANEL.min(left.rows - first);
        for (panel, right) in right.chunks_exact(len).enumerate() {
            match tiles {
                Some(tiles) => tiles.multiply(&packed, right, &mut sums),
                None => multiply_panels(&packed, right, &mut sums),
            }
            let column = panel * PANEL;
            let width = PANEL.min(columns - column);
            for i in 0..rows {
                let to = &mut out[(first + i) * columns + column..][..width];
                // Four tiles: rows 0 to 15 and 16 to 31, columns likewise.
                let from = &sums[(i / TILE) * 2 * TILE * TILE + (i % TILE) * TILE..];
                let left = width.min(TILE);
                to[..left].copy_from_slice(&from[..left]);
                to[left..].copy_from_slice(&from[TILE * TILE..][..width - left]);
            }
        }
    }
}

/// `sums = left · right` of packed panels, as four tiles: what [`Tiles`](tiles::Tiles) do, in any machine's instructions.
fn multiply_panels(left: &[u32], right: &[u32], sums: &mut [f32; PANEL * PANEL]) {
    let (left, right) = (left.as_chunks::<TILE_LEN>().0, right.as_chunks::<TILE_LEN>().0);
    for (tile, sums) in sums.as_chunks_mut::<{ TILE * TILE }>().0.iter_mut().enumerate() {
        sums.fill(0.0);
        let (above, beside) = (tile / 2, tile % 2);
        for (left, right) in left.iter().skip(above).step_by(2).zip(right.iter().skip(beside).step_by(2)) {
            for (sums, left) in sums.as_chunks_mut::<TILE>().0.iter_mut().zip(left.as_chunks::<TILE>().0) {
                for (a, right) in left.iter().zip(right.as_chunks::<TILE>().0) {
                    for (sum, b) in sums.iter_mut().zip(right) {
                        *sum += low(*a) * low(*b) + high(*a) * high(*b);
                    }
                }
            }
        }
    }
}

fn low(pair: Pair) -> f32 {
    f32::from_bits(pair << 16)
}

fn high(pair: Pair) -> f32 {
    f32::from_bits(pair & 0xffff_0000)
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tiles {
    use std::arch::asm;
    use std::marker::PhantomData;

    use super::{PANEL, TILE, TILE_LEN};

    /// The tiles of this thread, configured until this value is dropped; it stays on its thread.
    pub struct Tiles(PhantomData<*const ()>);

    #[repr(C, align(64))]
    struct Configuration([u8; 64]);

    impl Tiles {
        /// Eight tiles of 16 rows of 64 bytes. The caller has asked [`available`](super::available).
        pub fn configure() -> Self {
            let mut configuration = Configuration([0; 64]);
            configuration.0[0] = 1;
            for tile in 0..8 {
                configuration.0[16 + 2 * tile] = 64;
                configuration.0[48 + tile] = TILE as u8;
            }
            // SAFETY: the instruction reads 64 bytes, which `configuration` has; the palette and the sizes are legal ones of palette 1
            // (Intel's manual, volume 1, 18.3), and `multiply` has seen that the machine and the kernel allow tiles.
            unsafe { asm!("ldtilecfg [{}]", in(reg) configuration.0.as_ptr(), options(nostack, readonly)) };
            Self(PhantomData)
        }

        /// `sums = left · right` of packed panels, as four tiles.
        pub fn multiply(&self, left: &[u32], right: &[u32], sums: &mut [f32; PANEL * PANEL]) {
            assert_eq!(left.len(), right.len(), "both panels have the same depth");
            let blocks = left.len() / (2 * TILE_LEN);
            assert!(blocks > 0, "a panel is not empty");
            // SAFETY: each of `blocks` rounds reads two tiles of 1024 bytes from `left` and two from `right`, which are `blocks` times
            // that long; four tiles of 1024 bytes are written to `sums`, which has their size. Tiles are configured as 16 rows of 64
            // bytes, one behind the other. All tile registers that are written are told, and flags are clobbered by default.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    "tileloadd tmm4, [{left} + {stride}*1]",
                    "tileloadd tmm6, [{right} + {stride}*1]",
                    "tileloadd tmm7, [{right} + {stride}*1 + 1024]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{left} + {stride}*1 + 1024]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {left}, 2048",
                    "add {right}, 2048",
                    "dec {blocks}",
                    "jnz 2b",
                    "tilestored [{sums} + {stride}*1], tmm0",
                    "tilestored [{sums} + {stride}*1 + 1024], tmm1",
                    "tilestored [{sums} + {stride}*1 + 2048], tmm2",
                    "tilestored [{sums} + {stride}*1 + 3072], tmm3",
                    left = inout(reg) left.as_ptr() => _,
                    right = inout(reg) right.as_ptr() => _,
                    blocks = inout(reg) blocks => _,
                    stride = in(reg) 64usize,
                    sums = in(reg) sums.as_mut_ptr(),
                    out("tmm0") _,
                    out("tmm1") _,
                    out("tmm2") _,
                    out("tmm3") _,
                    out("tmm4") _,
                    out("tmm5") _,
                    out("tmm6") _,
                    out("tmm7") _,
                    options(nostack)
                );
            }
        }
    }

    impl Drop for Tiles {
        fn drop(&mut self) {
            // SAFETY: gives the tiles back to their initial state; nothing of them is used afterwards.
            unsafe { asm!("tilerelease", options(nostack, nomem)) };
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod tiles {
    use super::PANEL;

    /// No machine of this kind has tiles.
    pub enum Tiles {}

    impl Tiles {
        /// Never called: [`available`](super::available) is false.
        pub fn configure() -> Self {
            unreachable!("this machine has no tiles")
        }

        /// Never called.
        pub fn multiply(&self, _: &[u32], _: &[u32], _: &mut [f32; PANEL * PANEL]) {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, columns: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..rows * columns).map(|_| next()).collect()
    }

    fn rounded(value: f32) -> f64 {
        f64::from(f32::from_bits(round(value) << 16))
    }

    fn packed(right: &View) -> Vec<u32> {
        let panels = right.columns.div_ceil(PANEL);
        let mut packed = vec![1; panels * panel_len(right.rows)];
        packed.chunks_exact_mut(panel_len(right.rows)).enumerate().for_each(|(i, to)| pack_columns(right, i, to));
        packed
    }

    #[test]
    fn rounding_goes_to_the_nearest_and_ties_to_even() {
        for (value, bits) in [(1.0, 0x3f80), (1.0 + 1.0 / 256.0, 0x3f80), (1.0 + 3.0 / 256.0, 0x3f82), (-2.5, 0xc020)] {
            assert_eq!(round(value), bits, "{value}");
        }
        assert!(f32::from_bits(round(f32::NAN) << 16).is_nan());
        assert_eq!(round(f32::INFINITY), 0x7f80);
    }

    #[test]
    fn products_of_any_size_and_order_are_those_of_the_rounded_factors() {
        products_are_those_of_the_rounded_factors(None);
        products_are_those_of_the_rounded_factors(available().then(tiles::Tiles::configure).as_ref());
    }

    fn products_are_those_of_the_rounded_factors(tiles: Option<&tiles::Tiles>) {
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (16, 32, 16), (32, 32, 32), (33, 31, 65), (70, 100, 40)] {
            let (a, b) = (matrix(m, k, 7), matrix(k, n, 8));
            let (a_turned, b_turned): (Vec<f32>, Vec<f32>) = (
                (0..k * m).map(|i| a[(i % m) * k + i / m]).collect(),
                (0..n * k).map(|i| b[(i % k) * n + i / k]).collect(),
            );
            for (left, right) in [
                (View::new(&a, m, k), View::new(&b, k, n)),
                (View::new(&a_turned, k, m).transposed(), View::new(&b, k, n)),
                (View::new(&a, m, k), View::new(&b_turned, n, k).transposed()),
            ] {
                let mut out = vec![f32::NAN; m * n];
                multiply_with(tiles, &left, &packed(&right), n, &mut out);
                for (i, out) in out.iter().enumerate() {
                    let want: f64 = (0..k).map(|l| rounded(a[i / n * k + l]) * rounded(b[l * n + i % n])).sum();
                    assert!((f64::from(*out) - want).abs() < 1e-4, "{m}×{k}×{n}: element {i} is {out}, not {want}");
                }
            }
            // A part of the rows gives a part of the product.
            let mut part = vec![0.0; n];
            multiply_with(tiles, &View::new(&a, m, k).some_rows(m - 1, 1), &packed(&View::new(&b, k, n)), n, &mut part);
            let mut out = vec![0.0; m * n];
            multiply_with(tiles, &View::new(&a, m, k), &packed(&View::new(&b, k, n)), n, &mut out);
            assert_eq!(part, out[(m - 1) * n..]);
        }
    }
}
