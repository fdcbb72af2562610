//! [`super::product`] as a tract operator.

use tract_onnx::tract_hir::internal::*;

use super::{Bytes, product};

/// Activations `[…, columns]` and weights `[rows, columns]` of 8 bits, the zero of the activations (i32, one element) and those of the
/// rows (i32, one element or one for each row) in; i32 `[…, rows]` out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BytesProduct;

impl Op for BytesProduct {
    fn name(&self) -> StaticName {
        "BytesProduct".into()
    }

    op_as_typed_op!();
}

fn bytes(of: &Tensor) -> TractResult<Bytes<'_>> {
    let signed = of.datum_type().unquantized() == i8::datum_type();
    Ok(Bytes { bytes: of.try_as_plain_ram()?.as_bytes(), signed })
}

impl EvalOp for BytesProduct {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [rows, columns] = *inputs[1].shape() else { bail!("weights of rank 2") };
        let mut shape: TVec<usize> = inputs[0].shape().into();
        *shape.last_mut().context("activations of rank 1 or more")? = rows;
        let x_zero = inputs[2].try_as_plain_ram()?;
        let x_zero = *x_zero.as_slice::<i32>()?.first().context("one zero of the activations")?;
        let zeros = inputs[3].try_as_plain_ram()?;
        let mut out = Tensor::zero::<i32>(&shape)?;
        product(
            bytes(&inputs[0])?,
            x_zero,
            bytes(&inputs[1])?,
            zeros.as_slice::<i32>()?,
            columns,
            out.try_as_plain_ram_mut()?.as_slice_mut::<i32>()?,
        );
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for BytesProduct {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs.len() == 4, "BytesProduct takes 4 inputs, not {}", inputs.len());
        for (what, fact) in [("activations", inputs[0]), ("weights", inputs[1])] {
            let dt = fact.datum_type.unquantized();
            ensure!(dt == i8::datum_type() || dt == u8::datum_type(), "BytesProduct of {what} of {dt:?}");
        }
        for fact in &inputs[2..] {
            ensure!(fact.datum_type == i32::datum_type(), "BytesProduct with a zero of {:?}", fact.datum_type);
        }
        ensure!(inputs[1].rank() == 2, "BytesProduct takes weights of rank 2, not {}", inputs[1].rank());
        let (rows, columns) = (&inputs[1].shape[0], &inputs[1].shape[1]);
        let one = 1.to_dim();
        ensure!(inputs[2].shape.volume() == one, "BytesProduct takes one zero of the activations");
        let zeros = inputs[3].shape.volume();
        ensure!(
            zeros == one || zeros == *rows,
            "BytesProduct takes a zero, or one for each of {rows} rows, not {zeros}"
        );
        let mut shape = inputs[0].shape.to_tvec();
        let last = shape.last_mut().context("activations of rank 1 or more")?;
        ensure!(last == columns, "activations of {last} columns, but weights of {columns}");
        *last = rows.clone();
        Ok(tvec!(i32::fact(shape)))
    }

    fn cost(&self, inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        let all = inputs[0].shape.iter().product::<TDim>();
        Ok(tvec!((Cost::FMA(i32::datum_type()), all * &inputs[1].shape[0])))
    }

    as_op!();
}
