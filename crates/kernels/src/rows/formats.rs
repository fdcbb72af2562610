//! The forms in which rows of weights are stored.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Rows of weights, `[count, columns]`. A weight is what [`Rows::read`] gives, times the row's [`Rows::scale`].
pub trait Rows {
    /// How many.
    fn count(&self) -> usize;
    /// Weights in each.
    fn columns(&self) -> usize;
    /// All of them, row after row, where they are f32 already.
    fn plain(&self) -> Option<&[f32]> {
        None
    }
    /// Writes the weights `at..at + out.len()` of `row` without its scale.
    fn read(&self, row: usize, at: usize, out: &mut [f32]);
    /// By what all weights of the row are to be multiplied.
    fn scale(&self, _row: usize) -> f32 {
        1.0
    }
}

/// f32.
#[derive(Debug, Clone, Copy)]
pub struct Single<'a> {
    /// Row after row.
    pub weights: &'a [f32],
    /// Weights in each row.
    pub columns: usize,
}

impl Rows for Single<'_> {
    fn count(&self) -> usize {
        self.weights.len() / self.columns
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn plain(&self) -> Option<&[f32]> {
        Some(self.weights)
    }

    #[inline(always)]
    fn read(&self, row: usize, at: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.weights[row * self.columns + at..][..out.len()]);
    }
}

/// f16.
#[derive(Debug, Clone, Copy)]
pub struct Half<'a> {
    /// Row after row.
    pub weights: &'a [f16],
    /// Weights in each row.
    pub columns: usize,
}

impl Rows for Half<'_> {
    fn count(&self) -> usize {
        self.weights.len() / self.columns
    }

    fn columns(&self) -> usize {
        self.columns
    }

    #[inline(always)]
    fn read(&self, row: usize, at: usize, out: &mut [f32]) {
        self.weights[row * self.columns + at..][..out.len()].convert_to_f32_slice(out);
    }
}

/// One byte for each weight: `scale · (byte − zero)`, scale and zero by row or the same for all.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// Row after row; with a sign where `signed`.
    pub weights: &'a [u8],
    /// Whether a byte is two's complement.
    pub signed: bool,
    /// Weights in each row.
    pub columns: usize,
    /// One, or one for each row.
    pub scales: &'a [f32],
    /// None, one, or one for each row.
    pub zeros: &'a [f32],
}

fn by_row(values: &[f32], row: usize) -> Option<f32> {
    values.get(if values.len() == 1 { 0 } else { row }).copied()
}

impl Rows for Affine<'_> {
    fn count(&self) -> usize {
        self.weights.len() / self.columns
    }

    fn columns(&self) -> usize {
        self.columns
    }

    #[inline(always)]
    fn read(&self, row: usize, at: usize, out: &mut [f32]) {
        let bytes = &self.weights[row * self.columns + at..][..out.len()];
        let zero = by_row(self.zeros, row).unwrap_or(0.0);
        if self.signed {
            out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = f32::from(*byte as i8) - zero);
        } else {
            out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = f32::from(*byte) - zero);
        }
    }

    #[inline(always)]
    fn scale(&self, row: usize) -> f32 {
        by_row(self.scales, row).unwrap_or(1.0)
    }
}

/// Numbers that may be stored at half the width.
#[derive(Debug, Clone, Copy)]
pub enum Floats<'a> {
    /// f32.
    Single(&'a [f32]),
    /// f16.
    Half(&'a [f16]),
}

impl Floats<'_> {
    #[inline(always)]
    fn get(self, place: usize) -> f32 {
        match self {
            Self::Single(values) => values[place],
            Self::Half(values) => values[place].to_f32(),
        }
    }
}

/// Which code of a block stands for 0.
#[derive(Debug, Clone, Copy)]
pub enum Zeros<'a> {
    /// The middle one: 8 of 4 bits, 128 of 8 bits.
    Middle,
    /// One for each block, packed as the codes are; each row begins at a byte.
    Codes(&'a [u8]),
    /// One for each block, `[count, blocks]`.
    Floats(Floats<'a>),
}

/// ONNX Runtime's blocks of 4 or 8 bits: `scale · (code − zero)`, scale and zero by block of a row, low half of a byte first
/// (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits>).
#[derive(Debug, Clone, Copy)]
pub struct Blocks<'a> {
    /// `[count, blocks, block · bits / 8]`.
    pub codes: &'a [u8],
    /// 4 or 8.
    pub bits: usize,
    /// Weights in a block; of the last block of a row fewer may count. Even.
    pub block: usize,
    /// Rows.
    pub count: usize,
    /// Weights in each row.
    pub columns: usize,
    /// `[count, blocks]`.
    pub scales: Floats<'a>,
    /// The codes for 0.
    pub zeros: Zeros<'a>,
}

impl Blocks<'_> {
    /// Blocks of a row.
    pub fn blocks(&self) -> usize {
        self.columns.div_ceil(self.block)
    }

    #[inline(always)]
    fn zero(&self, row: usize, block: usize) -> f32 {
        match self.zeros {
            Zeros::Middle => (1u32 << (self.bits - 1)) as f32,
            Zeros::Floats(values) => values.get(row * self.blocks() + block),
            Zeros::Codes(codes) if self.bits == 8 => f32::from(codes[row * self.blocks() + block]),
            Zeros::Codes(codes) => {
                let byte = codes[row * self.blocks().div_ceil(2) + block / 2];
                f32::from(byte >> (4 * (block % 2)) & 15)
            }
        }
    }
}

impl Rows for Blocks<'_> {
    fn count(&self) -> usize {
        self.count
    }

    fn columns(&self) -> usize {
        self.columns
    }

    #[inline(always)]
    fn read(&self, row: usize, at: usize, out: &mut [f32]) {
        let blocks = self.blocks();
        let block_bytes = self.block * self.bits / 8;
        let (mut at, mut done) = (at, 0);
        while done < out.len() {
            let (block, within) = (at / self.block, at % self.block);
            let length = (self.block - within).min(out.len() - done);
            let place = row * blocks + block;
            let scale = self.scales.get(place);
            // code · scale − zero · scale: one step for each weight.
            let shift = -self.zero(row, block) * scale;
            let codes = &self.codes[place * block_bytes..][..block_bytes];
            let part = &mut out[done..done + length];
            if self.bits == 8 {
                let codes = &codes[within..within + length];
                part.iter_mut().zip(codes).for_each(|(out, code)| *out = f32::from(*code) * scale + shift);
            } else if within.is_multiple_of(2) {
                let codes = &codes[within / 2..];
                let (pairs, last) = part.as_chunks_mut::<2>();
                for (pair, byte) in pairs.iter_mut().zip(codes) {
                    *pair = [f32::from(byte & 15) * scale + shift, f32::from(byte >> 4) * scale + shift];
                }
                if let [last] = last {
                    *last = f32::from(codes[length / 2] & 15) * scale + shift;
                }
            } else {
                for (i, out) in part.iter_mut().enumerate() {
                    let place = within + i;
                    *out = f32::from(codes[place / 2] >> (4 * (place % 2)) & 15) * scale + shift;
                }
            }
            at += length;
            done += length;
        }
    }
}
