//! Every k-th of what an operator computes, and not another operator with k times the stride.
//!
//! tract 0.23.9 takes a convolution with a kernel of 1 and a stride, or a slice with a step, for a sampling of its input, and pulls that before whatever
//! computes the input, where nobody else reads it. It pulls it over convolutions whose padding follows from their stride (`auto_pad` SAME), which then pad
//! otherwise, and over broadcasts of constants, which keep their old shape (`docs/upstream.md`). Numbers and shapes are wrong, and nothing says so.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::StridedSlice;
use tract_onnx::tract_hir::tract_core::ops::cnn::Conv;
use tract_onnx::tract_hir::tract_core::ops::downsample::Downsample;
use tract_onnx::tract_hir::tract_core::ops::logic::IfThenElse;
use tract_onnx::tract_hir::tract_core::ops::scan::Scan;

/// Has everything that samples its input read all of it, within other operators, too.
pub(super) fn sample_in_place(model: &mut TypedModel) -> TractResult<()> {
    for place in 0..model.nodes.len() {
        let node = &mut model.nodes[place];
        if let Some(scan) = node.op_as_mut::<Scan>() {
            sample_in_place(&mut scan.body)?;
        } else if let Some(choice) = node.op_as_mut::<IfThenElse>() {
            sample_in_place(&mut choice.then_body)?;
            sample_in_place(&mut choice.else_body)?;
        } else if samples(model, place)? {
            read_all(model, place)?;
        }
    }
    Ok(())
}

/// Whether tract would have this node's input sampled.
fn samples(model: &TypedModel, place: usize) -> TractResult<bool> {
    let node = &model.nodes[place];
    if let Some(conv) = node.op_as::<Conv>() {
        let pool = &conv.pool_spec;
        return Ok((0..pool.rank()).any(|axis| {
            let (stride, dilation) = (pool.stride(axis), pool.dilation(axis));
            let meets_one_in_stride = pool.kernel_shape[axis] == 1 || dilation.is_multiple_of(stride);
            stride > 1 && meets_one_in_stride && pool.padding.valid_dim(axis, false)
        }));
    }
    if let Some(slice) = node.op_as::<StridedSlice>() {
        let Some(steps) = slice.optional_steps_input.and_then(|input| node.inputs.get(input)) else { return Ok(false) };
        // Steps that are not known are refused later.
        let Some(steps) = &model.outlet_fact(*steps)?.konst else { return Ok(false) };
        return Ok(steps.cast_to::<i64>()?.try_as_plain_ram()?.as_slice::<i64>()?.iter().any(|step| *step != 1));
    }
    Ok(node.op_is::<Downsample>())
}

/// Puts a [`Whole`] before the first input of a node.
fn read_all(model: &mut TypedModel, place: usize) -> TractResult<()> {
    let node = &model.nodes[place];
    let mut patch = TypedModelPatch::default();
    let mut inputs = patch.taps(model, &node.inputs)?;
    inputs[0] = patch.wire_node(format!("{}.whole", node.name), Whole, &inputs[..1])?[0];
    let outputs = patch.wire_node(&node.name, node.op.clone(), &inputs)?;
    for (slot, output) in outputs.into_iter().enumerate() {
        patch.shunt_outside(model, OutletId::new(node.id, slot), output)?;
    }
    patch.apply(model)
}

/// `x` as it is. It relates no axis of its output to one of its input, so nothing is pulled over it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Whole;

impl Op for Whole {
    fn name(&self) -> StaticName {
        "Whole".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Whole {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(inputs)
    }
}

impl TypedOp for Whole {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}
