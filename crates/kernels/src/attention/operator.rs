//! [`super::attend`] as a tract operator.

use tract_onnx::tract_hir::internal::*;

use super::{Mask, Rule, Sizes, attend};

/// Queries, keys, values, and perhaps a mask (added), all f32 of rank 4 as [`Sizes`] has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Attend {
    /// Scale of the scores; the inverse root of the keys' width when none.
    pub scale: Option<f32>,
    /// As of [`Rule`].
    pub causal: bool,
    /// As of [`Rule`].
    pub window: Option<usize>,
    /// As of [`Rule`].
    pub cap: Option<f32>,
}

impl Eq for Attend {}

impl Op for Attend {
    fn name(&self) -> StaticName {
        "Attend".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{self:?}")])
    }

    op_as_typed_op!();
}

fn four<T: Clone>(shape: &[T]) -> TractResult<[T; 4]> {
    <[T; 4]>::try_from(shape.to_vec()).map_err(|shape| format_err!("Attend takes rank 4, not {}", shape.len()))
}

impl EvalOp for Attend {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [batch, heads, positions, width] = four(inputs[0].shape())?;
        let [key_batch, groups, length, key_width] = four(inputs[1].shape())?;
        let [value_batch, value_groups, value_length, depth] = four(inputs[2].shape())?;
        ensure!(
            (batch, width) == (key_batch, key_width)
                && (batch, groups, length) == (value_batch, value_groups, value_length),
            "Attend of queries {:?}, keys {:?} and values {:?}",
            inputs[0].shape(),
            inputs[1].shape(),
            inputs[2].shape()
        );
        ensure!(groups > 0 && heads.is_multiple_of(groups), "{heads} heads of queries for {groups} of keys");
        let sizes = Sizes { batch, heads, groups, positions, length, width, depth };
        let rule = Rule {
            scale: self.scale.unwrap_or_else(|| (width as f32).sqrt().recip()),
            causal: self.causal,
            window: self.window,
            cap: self.cap,
        };
        let mask = match inputs.get(3) {
            None => None,
            Some(mask) => {
                let shape = four(mask.shape())?;
                let whole = [batch, heads, positions, length];
                ensure!(
                    shape.iter().zip(whole).all(|(have, want)| *have == 1 || *have == want),
                    "a mask {shape:?} for scores {whole:?}"
                );
                Some(Mask { values: mask.try_as_plain_ram()?.as_slice::<f32>()?, shape })
            }
        };
        let mut out = Tensor::zero::<f32>(&[batch, heads, positions, depth])?;
        let plain = |i: usize| inputs[i].try_as_plain_ram()?.as_slice::<f32>();
        let (queries, keys, values) = (plain(0)?, plain(1)?, plain(2)?);
        attend(&rule, sizes, queries, keys, values, mask, out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for Attend {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(matches!(inputs.len(), 3 | 4), "Attend takes three or four inputs, not {}", inputs.len());
        ensure!(
            inputs.iter().all(|fact| fact.datum_type == f32::datum_type() && fact.rank() == 4),
            "Attend takes f32 of rank 4"
        );
        let mut shape = inputs[0].shape.to_tvec();
        shape[3] = inputs[2].shape[3].clone();
        Ok(tvec!(f32::fact(shape)))
    }

    fn cost(&self, inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        let scores: TDim = inputs[0].shape[..3].iter().product::<TDim>() * &inputs[1].shape[2];
        Ok(tvec!((Cost::FMA(f32::datum_type()), scores * (inputs[1].shape[3].clone() + &inputs[2].shape[3]))))
    }

    as_op!();
}
