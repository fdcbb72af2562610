//! [`super::product`] as a tract operator.

use tract_onnx::tract_hir::internal::*;

use super::{Affine, Blocks, Floats, Half, Rows, Single, Zeros, product};

/// How the operator's weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Storage {
    /// `[rows, columns]` of f32 or f16. No more inputs.
    Plain,
    /// `[rows, columns]` of i8 or u8; inputs: scales f32, zeros f32, each of one element or one for each row.
    Affine,
    /// `[rows, blocks, bytes]` of u8; inputs: scales, f32 or f16 `[rows · blocks]`, and zeros where `zeros`: packed u8, or floats.
    Blocks {
        /// 4 or 8.
        bits: usize,
        /// Weights in a block.
        block: usize,
        /// Rows.
        rows: usize,
        /// Weights in a row.
        columns: usize,
        /// Whether the last input gives zeros.
        zeros: bool,
        /// Whether activations are rounded first, block by block, to 8 bits.
        rounds: Rounding,
    },
}

/// Whether activations are rounded to 8 bits before a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// They are not.
    None,
    /// They are.
    Floats,
    /// They are, as f16, which what comes of them is, too.
    Halves,
}

/// Activations f32 `[…, columns]` and weights in, f32 `[…, rows]` out. Sums are f32.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowsProduct {
    /// Of the second input and those behind it.
    pub storage: Storage,
}

impl Op for RowsProduct {
    fn name(&self) -> StaticName {
        "RowsProduct".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{:?}", self.storage)])
    }

    op_as_typed_op!();
}

impl RowsProduct {
    fn rows_of<D: DimLike>(&self, weights: &[D]) -> TractResult<D> {
        match self.storage {
            Storage::Blocks { rows, .. } => Ok(rows.into()),
            _ => weights.first().cloned().context("weights of rank 2"),
        }
    }
}

impl EvalOp for RowsProduct {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = inputs[0].try_as_plain_ram()?;
        let x = x.as_slice::<f32>()?;
        let weights = inputs[1].try_as_plain_ram()?;
        let mut shape: TVec<usize> = inputs[0].shape().into();
        let columns = *shape.last().context("activations of rank 1 or more")?;
        let rows: usize = self.rows_of(inputs[1].shape())?;
        if let Some(last) = shape.last_mut() {
            *last = rows;
        }
        let mut out = Tensor::zero::<f32>(&shape)?;
        {
            let mut out = out.try_as_plain_ram_mut()?;
            let y = out.as_slice_mut::<f32>()?;
            match self.storage {
                Storage::Plain if inputs[1].datum_type() == f16::datum_type() => {
                    product(x, &Half { weights: weights.as_slice::<f16>()?, columns }, y);
                }
                Storage::Plain => product(x, &Single { weights: weights.as_slice::<f32>()?, columns }, y),
                Storage::Affine => {
                    let scales = inputs[2].try_as_plain_ram()?;
                    let zeros = inputs[3].try_as_plain_ram()?;
                    let signed = inputs[1].datum_type().unquantized() == i8::datum_type();
                    let (scales, zeros) = (scales.as_slice::<f32>()?, zeros.as_slice::<f32>()?);
                    product(x, &Affine { weights: weights.as_bytes(), signed, columns, scales, zeros }, y);
                }
                Storage::Blocks { rounds: Rounding::None, .. } => {
                    product(x, &blocks(self.storage, &inputs[1..])?, y);
                }
                Storage::Blocks { block, rounds, .. } => {
                    let mut x = x.to_vec();
                    if rounds == Rounding::Halves {
                        round_to_halves(&mut x);
                    }
                    round_to_bytes(&mut x, columns, block);
                    product(&x, &blocks(self.storage, &inputs[1..])?, y);
                    if rounds == Rounding::Halves {
                        round_to_halves(y);
                    }
                }
            }
        }
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for RowsProduct {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let wanted = match self.storage {
            Storage::Plain => 2,
            Storage::Affine => 4,
            Storage::Blocks { zeros, .. } => 3 + usize::from(zeros),
        };
        ensure!(inputs.len() == wanted, "RowsProduct takes {wanted} inputs, not {}", inputs.len());
        ensure!(inputs[0].datum_type == f32::datum_type(), "RowsProduct of {:?}", inputs[0].datum_type);
        let mut shape = inputs[0].shape.to_tvec();
        let last = shape.last_mut().context("activations of rank 1 or more")?;
        let columns = match self.storage {
            Storage::Blocks { columns, .. } => {
                blocks_fit(self.storage, &inputs[1..])?;
                columns.to_dim()
            }
            _ => {
                ensure!(inputs[1].rank() == 2, "RowsProduct takes weights of rank 2, not {}", inputs[1].rank());
                inputs[1].shape[1].clone()
            }
        };
        ensure!(*last == columns, "activations of {last} columns, but weights of {columns}");
        *last = self.rows_of(&inputs[1].shape)?;
        Ok(tvec!(f32::fact(shape)))
    }

    fn cost(&self, inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        let all = inputs[0].shape.iter().product::<TDim>();
        Ok(tvec!((Cost::FMA(f32::datum_type()), all * self.rows_of(&inputs[1].shape)?)))
    }

    as_op!();
}

/// Makes of activations what products of 8 bits see: of each block the multiples of a 127th of its largest, rounded to even.
fn round_to_bytes(x: &mut [f32], columns: usize, block: usize) {
    for row in x.chunks_mut(columns.max(1)) {
        for part in row.chunks_mut(block) {
            let scale = part.iter().fold(0f32, |most, v| most.max(v.abs())) / 127.0;
            let inverse = if scale == 0.0 { 0.0 } else { scale.recip() };
            part.iter_mut().for_each(|v| *v = (*v * inverse).round_ties_even() * scale);
        }
    }
}

fn round_to_halves(x: &mut [f32]) {
    x.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32());
}

/// The blocks that `weights`, scales and perhaps zeros hold.
fn blocks(storage: Storage, inputs: &[TValue]) -> TractResult<Blocks<'_>> {
    let Storage::Blocks { bits, block, rows, columns, zeros, .. } = storage else { bail!("weights are not in blocks") };
    let zeros = match inputs.get(2).filter(|_| zeros) {
        None => Zeros::Middle,
        Some(given) if given.datum_type() == u8::datum_type() => Zeros::Codes(given.try_as_plain_ram()?.as_bytes()),
        Some(given) => Zeros::Floats(floats(given)?),
    };
    let codes = inputs[0].try_as_plain_ram()?.as_bytes();
    Ok(Blocks { codes, bits, block, count: rows, columns, scales: floats(&inputs[1])?, zeros })
}

/// Whether weights in blocks, scales and zeros are as many as they must be.
fn blocks_fit(storage: Storage, inputs: &[&TypedFact]) -> TractResult<()> {
    let Storage::Blocks { bits, block, rows, columns, zeros, .. } = storage else { bail!("weights are not in blocks") };
    let of_row = columns.div_ceil(block);
    fits("weights", inputs[0], rows * of_row * (block * bits / 8))?;
    fits("scales", inputs[1], rows * of_row)?;
    if zeros {
        let packed = inputs[2].datum_type == u8::datum_type() && bits == 4;
        fits("zeros", inputs[2], rows * if packed { of_row.div_ceil(2) } else { of_row })?;
    }
    Ok(())
}

fn fits(what: &str, fact: &TypedFact, elements: usize) -> TractResult<()> {
    let held = fact.shape.volume();
    ensure!(held == elements.to_dim(), "RowsProduct takes {elements} {what}, but is given {held}");
    Ok(())
}

fn floats(of: &Tensor) -> TractResult<Floats<'_>> {
    let plain = of.try_as_plain_ram()?;
    match of.datum_type() {
        DatumType::F16 => Ok(Floats::Half(plain.as_slice()?)),
        _ => Ok(Floats::Single(plain.as_slice()?)),
    }
}

/// Numbers i64 of any shape and weights in blocks in, f32 `[…, columns]` out: the rows of those numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowsLookup {
    /// Of the second input and those behind it.
    pub storage: Storage,
}

impl Op for RowsLookup {
    fn name(&self) -> StaticName {
        "RowsLookup".into()
    }

    op_as_typed_op!();
}

impl EvalOp for RowsLookup {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let rows = blocks(self.storage, &inputs[1..])?;
        let mut shape: TVec<usize> = inputs[0].shape().into();
        shape.push(rows.columns);
        let mut out = Tensor::zero::<f32>(&shape)?;
        let ids = inputs[0].try_as_plain_ram()?;
        let mut places = out.try_as_plain_ram_mut()?;
        let places = places.as_slice_mut::<f32>()?.chunks_exact_mut(rows.columns);
        for (id, out) in ids.as_slice::<i64>()?.iter().zip(places) {
            let row = if *id < 0 { *id + rows.count as i64 } else { *id };
            let row = usize::try_from(row).ok().filter(|row| *row < rows.count);
            rows.read(row.with_context(|| format!("row {id} of a table of {}", rows.count))?, 0, out);
        }
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for RowsLookup {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].datum_type == i64::datum_type(), "RowsLookup takes numbers i64");
        blocks_fit(self.storage, &inputs[1..])?;
        let Storage::Blocks { columns, .. } = self.storage else { bail!("weights are not in blocks") };
        let mut shape = inputs[0].shape.to_tvec();
        shape.push(columns.to_dim());
        Ok(tvec!(f32::fact(shape)))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    #[test]
    fn activations_are_rounded_block_by_block() {
        let mut x = [127.0, 0.4, -1.6, 2.5, 0.0, 0.0];
        super::round_to_bytes(&mut x, 6, 4);
        assert_eq!(x, [127.0, 0.0, -2.0, 2.0, 0.0, 0.0]);
        let mut x = [1.27, -0.634];
        super::round_to_bytes(&mut x, 2, 4);
        assert!((x[0] - 1.27).abs() < 1e-6 && (x[1] + 0.63).abs() < 1e-6, "{x:?}");
    }
}
