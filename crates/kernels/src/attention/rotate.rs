//! Rotary positions (<https://arxiv.org/abs/2104.09864>) as a tract operator.

use tract_onnx::tract_hir::internal::*;

/// Turns pairs of `x [batch, heads, positions, width]` by the angles whose cosines and sines are `[batch, 1, positions, half]`,
/// where the batch may be 1. What is beyond `2 · half` of the width stays.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rotate {
    /// Whether neighbours are pairs (GPT-J), or else the first half with the second (NeoX).
    pub interleaved: bool,
}

impl Op for Rotate {
    fn name(&self) -> StaticName {
        "Rotate".into()
    }

    op_as_typed_op!();
}

/// Turns one vector.
fn turn(interleaved: bool, x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    for (i, (cos, sin)) in cos.iter().zip(sin).enumerate() {
        let (a, b) = if interleaved { (2 * i, 2 * i + 1) } else { (i, i + half) };
        (x[a], x[b]) = (x[a] * cos - x[b] * sin, x[b] * cos + x[a] * sin);
    }
}

impl EvalOp for Rotate {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (x, cos, sin) = args_3!(inputs);
        let &[_, heads, positions, width] = x.shape() else { bail!("Rotate takes a tensor of rank 4") };
        let &[batch, 1, length, half] = cos.shape() else { bail!("Rotate takes cosines [batch, 1, positions, half]") };
        ensure!(cos.shape() == sin.shape() && length == positions && 2 * half <= width, "shapes do not fit");
        let (cos, sin) = (cos.try_as_plain_ram()?, sin.try_as_plain_ram()?);
        let (cos, sin) = (cos.as_slice::<f32>()?, sin.as_slice::<f32>()?);
        let mut out = x.into_tensor();
        for (i, x) in out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?.chunks_exact_mut(width.max(1)).enumerate() {
            let b = if batch == 1 { 0 } else { i / (heads * positions) };
            let at = (b * positions + i % positions) * half;
            turn(self.interleaved, x, &cos[at..at + half], &sin[at..at + half]);
        }
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for Rotate {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(
            inputs.len() == 3 && inputs.iter().all(|fact| fact.rank() == 4),
            "Rotate takes three tensors of rank 4"
        );
        ensure!(inputs.iter().all(|fact| fact.datum_type == f32::datum_type()), "Rotate takes f32");
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fused product rounds once where two operations round twice.
    fn close(have: &[f32], want: &[f32]) {
        assert_eq!(have.len(), want.len());
        assert!(have.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{have:?} instead of {want:?}");
    }

    #[test]
    fn pairs_are_turned_and_the_rest_stays() {
        let (cos, sin) = ([0.6f32, 0.0], [0.8f32, 1.0]);
        let mut x = [1.0, 2.0, 3.0, 4.0, 5.0];
        turn(false, &mut x, &cos, &sin);
        close(&x, &[0.6 - 2.4, -4.0, 1.8 + 0.8, 2.0, 5.0]);
        let mut x = [1.0, 2.0, 3.0, 4.0, 5.0];
        turn(true, &mut x, &cos, &sin);
        close(&x, &[0.6 - 1.6, 1.2 + 0.8, -4.0, 3.0, 5.0]);
    }

    #[test]
    fn each_sequence_and_position_has_its_angle() {
        let x = Tensor::from_shape(&[2, 1, 2, 2], &[1f32, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]).expect("a tensor");
        let angles = [0.0f32, 0.5, 1.0, 1.5];
        let table =
            |f: fn(f32) -> f32| Tensor::from_shape(&[2, 1, 2, 1], &angles.map(f)).expect("a tensor").into_tvalue();
        let out = Rotate { interleaved: false }
            .eval(&EvalContext::out_of_plan(), tvec!(x.into_tvalue(), table(f32::cos), table(f32::sin)))
            .expect("it turns");
        let want: Vec<f32> = angles.iter().flat_map(|a| [a.cos(), a.sin()]).collect();
        close(out[0].try_as_plain_ram().expect("plain").as_slice::<f32>().expect("floats"), &want);
    }
}
