//! `SkipLayerNormalization` and `SkipSimplifiedLayerNormalization`: a sum, normalised
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.SkipLayerNormalization>).
//!
//! tract's own looks for the bias at a wrong place where there is no beta, and leaves it out where means are not subtracted.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::math::{add, mul, rsqrt, sub};
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Reducer};

use super::attention::places;
use super::wiring::{Built, Wiring};

/// Builds either operator.
pub(super) fn skip_norm(_: &ParsingContext, node: &NodeProto) -> Built {
    let simplified = node.op_type == "SkipSimplifiedLayerNormalization";
    let places = places(node);
    let place = |input: usize| places.get(input).copied().flatten();
    let named = |output: usize| node.output.get(output).is_some_and(|name| !name.is_empty());
    ensure!(!named(1) && !named(2), "{} with means and deviations as outputs", node.op_type);
    let (beta, bias) = if simplified { (None, place(3)) } else { (place(3), place(4)) };
    let epsilon = node.get_attr_opt("epsilon")?.unwrap_or(if simplified { 1e-6f32 } else { 1e-12 });
    Ok((expand(SkipNorm { simplified, epsilon, beta, bias, sum: named(3) }), vec![]))
}

#[derive(Debug, Clone)]
struct SkipNorm {
    simplified: bool,
    epsilon: f32,
    beta: Option<usize>,
    bias: Option<usize>,
    /// Whether the sum is an output.
    sum: bool,
}

impl Expansion for SkipNorm {
    fn name(&self) -> StaticName {
        "SkipNorm".into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(1 + usize::from(self.sum))
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, self.nboutputs()?)?;
        for output in outputs {
            s.equals(&inputs[0].datum_type, &output.datum_type)?;
            s.equals(&inputs[0].shape, &output.shape)?;
        }
        Ok(())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let w = &mut Wiring::new(model, prefix);
        let axis = w.rank(inputs[0])? - 1;
        let size = w.size(inputs[0], axis)?.to_usize().context("a last axis of known size")?;
        let mut sum = w.broadcast("skip", add(), [inputs[0], inputs[1]])?;
        if let Some(bias) = self.bias {
            sum = w.broadcast("bias", add(), [sum, inputs[bias]])?;
        }
        let mut centred = sum;
        if !self.simplified {
            let total = w.node("total", Reduce::new(tvec![axis], Reducer::Sum), &[sum])?;
            let share = w.constant("share", tensor0(1.0 / size as f32))?;
            let mean = w.broadcast("mean", mul(), [total, share])?;
            centred = w.broadcast("centred", sub(), [sum, mean])?;
        }
        let squares = w.node("squares", Reduce::new(tvec![axis], Reducer::MeanOfSquares), &[centred])?;
        let epsilon = w.constant("epsilon", tensor0(self.epsilon))?;
        let squares = w.broadcast("with_epsilon", add(), [squares, epsilon])?;
        let factor = w.node("factor", rsqrt(), &[squares])?;
        let normal = w.broadcast("normal", mul(), [centred, factor])?;
        let mut out = w.broadcast("gamma", mul(), [normal, inputs[2]])?;
        if let Some(beta) = self.beta {
            out = w.broadcast("beta", add(), [out, inputs[beta]])?;
        }
        Ok(if self.sum { tvec!(out, sum) } else { tvec!(out) })
    }
}
