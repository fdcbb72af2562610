//! `Reshape` to a size that is left to find, where the others are among the input's: tract's own divides the products of all sizes, which
//! fails when a size is a sum that stands in it twice, as the length of a sound is in attention
//! (<https://onnx.ai/onnx/operators/onnx__Reshape.html>).

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::change_axes::{compute_shape_with_onnx_rules, to_axis_ops_with_onnx_rules};

/// Builds the operator.
pub(super) fn reshape(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let allowzero = node.get_attr_opt::<i64>("allowzero")?.unwrap_or(0) == 1;
    Ok((expand(Reshape { allowzero }), vec![]))
}

#[derive(Debug, Clone)]
struct Reshape {
    allowzero: bool,
}

impl Reshape {
    /// What is asked for, with the size that is left to find where that needs no division.
    fn wanted(&self, input: &[TDim], asked: &Tensor) -> TractResult<TVec<TDim>> {
        let asked = asked.cast_to::<TDim>()?;
        let mut wanted: TVec<TDim> = asked.try_as_plain_ram()?.as_slice::<TDim>()?.into();
        let Some(place) = wanted.iter().position(|size| *size == TDim::from(-1)) else { return Ok(wanted) };
        let mut left: TVec<TDim> = input.into();
        for (axis, size) in wanted.iter().enumerate().filter(|(axis, size)| *axis != place && **size != TDim::from(1)) {
            let copied = *size == TDim::from(0) && !self.allowzero;
            let size = if copied { input.get(axis).unwrap_or(size) } else { size };
            let Some(same) = left.iter().position(|own| own == size) else { return Ok(wanted) };
            left.remove(same);
        }
        wanted[place] = left.into_iter().product();
        Ok(wanted)
    }
}

impl Expansion for Reshape {
    fn name(&self) -> StaticName {
        "Reshape".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2)?;
        s.equals(&outputs[0].datum_type, &inputs[0].datum_type)?;
        s.given_2(&inputs[0].shape, &inputs[1].value, move |s, shape, asked| {
            let wanted = self.wanted(&shape, &asked)?;
            let found = compute_shape_with_onnx_rules(&shape, &wanted, self.allowzero)
                .with_context(|| format!("Reshaping {shape:?} to {wanted:?}"))?;
            s.equals(&outputs[0].shape, ShapeFactoid::from(found))
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let asked = model.outlet_fact(inputs[1])?.konst.clone().context("a shape that depends on values")?;
        let shape = model.outlet_fact(inputs[0])?.shape.to_tvec();
        let wanted = self.wanted(&shape, &asked)?;
        let mut wire = tvec!(inputs[0]);
        for (i, op) in to_axis_ops_with_onnx_rules(&shape, &wanted, self.allowzero)?.into_iter().enumerate() {
            wire = model.wire_node(format!("{prefix}.{i}"), op, &wire)?;
        }
        Ok(wire)
    }
}
