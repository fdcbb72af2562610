//! `Flatten` of two symbolic axes, which tract's own refuses: masks of transformers flatten rows and positions
//! (<https://onnx.ai/onnx/operators/onnx__Flatten.html>).

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::change_axes::AxisOp;

/// Builds the operator.
pub(super) fn flatten(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let axis = node.get_attr_opt("axis")?.unwrap_or(1);
    Ok((expand(Flatten { axis }), vec![]))
}

#[derive(Debug, Clone)]
struct Flatten {
    axis: i64,
}

impl Flatten {
    fn at(&self, rank: usize) -> TractResult<usize> {
        let axis = if self.axis < 0 { self.axis + rank as i64 } else { self.axis };
        ensure!((0..=rank as i64).contains(&axis), "Flatten at axis {} of a tensor of rank {rank}", self.axis);
        Ok(axis as usize)
    }
}

impl Expansion for Flatten {
    fn name(&self) -> StaticName {
        "Flatten".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        s.equals(&outputs[0].datum_type, &inputs[0].datum_type)?;
        s.given(&inputs[0].shape, move |s, shape| {
            let (before, after) = shape.split_at(self.at(shape.len())?);
            let sizes = [before, after].map(|part| part.iter().cloned().product::<TDim>());
            s.equals(&outputs[0].shape, ShapeFactoid::from(sizes.to_vec()))
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let shape = model.outlet_fact(inputs[0])?.shape.to_tvec();
        let (before, after) = shape.split_at(self.at(shape.len())?);
        let mut wire = tvec!(inputs[0]);
        // The later axes first, so that the earlier ones keep their places.
        for (at, part) in [(before.len(), after), (0, before)] {
            if part.len() == 1 {
                continue;
            }
            let product = part.iter().cloned().product::<TDim>();
            let op = AxisOp::Reshape(at, part.into(), tvec!(product));
            wire = model.wire_node(format!("{prefix}.{at}"), op, &wire)?;
        }
        Ok(wire)
    }
}
