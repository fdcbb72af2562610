//! Constants that are computed while a graph is planned, one at a time.
//!
//! tract 0.23.9 packs and turns weights by patches to its graph, and lets go of what they were made from when all of a pass is done: for a
//! while a model is in memory twice. This pass puts a result in the place of the node that computes it and lets go of the weight that
//! it came from at once.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::dummy::Dummy;
use tract_onnx::tract_hir::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::tract_core::optim::{Optimizer, OptimizerSession, TypedPass};

/// Bytes of a weight from which on it is worth it; smaller ones are left to tract.
const LARGE_BYTES: usize = 64 << 10;

/// tract's `declutter` and `optimize`, each with this pass behind the passes that give it work.
pub(super) fn declutter(model: &mut TypedModel) -> TractResult<()> {
    let mut passes = Optimizer::declutter();
    passes.add_pass(0, Box::new(FoldWeights));
    passes.optimize(model)
}

/// As [`declutter`].
pub(super) fn optimize(model: &mut TypedModel) -> TractResult<()> {
    let mut passes = Optimizer::codegen();
    // Behind the one that turns operators into kernels with weights to pack.
    let codegen = passes.passes.iter().position(|pass| format!("{pass:?}").contains("codegen"));
    passes.add_pass(codegen.map_or(0, |place| place + 1), Box::new(FoldWeights));
    model.optimize_with_session(&mut passes.session())
}

#[derive(Debug, Clone)]
struct FoldWeights;

impl TypedPass for FoldWeights {
    fn reset(&mut self) -> TractResult<()> {
        Ok(())
    }

    fn next(&mut self, _: &mut OptimizerSession, _: &TypedModel) -> TractResult<Option<TypedModelPatch>> {
        Ok(None)
    }

    fn run_direct(&mut self, model: &mut TypedModel) -> TractResult<bool> {
        let mut changed = false;
        for node in model.eval_order()? {
            changed |= fold(model, node)?;
        }
        Ok(changed)
    }
}

/// Computes a node whose only input is a large weight that nothing else reads, in its place. The same conditions as tract's `PropConst` has:
/// the result is no larger than the weight.
fn fold(model: &mut TypedModel, node: usize) -> TractResult<bool> {
    let own = model.node(node);
    let ([input], [_]) = (&own.inputs[..], &own.outputs[..]) else { return Ok(false) };
    let input = *input;
    let maker = model.node(input.node);
    if !maker.op_is::<Const>() || maker.outputs[0].successors.len() != 1 || model.output_outlets()?.contains(&input) {
        return Ok(false);
    }
    let Some(weight) = maker.outputs[0].fact.konst.clone() else { return Ok(false) };
    let bytes = |tensor: &Tensor| tensor.datum_type().size_of() * tensor.volume();
    let of_weight = bytes(&weight);
    if of_weight < LARGE_BYTES {
        return Ok(false);
    }
    let Ok(Some(mut computed)) = own.op.eval_out_of_plan(tvec!(weight.into_tvalue())) else { return Ok(false) };
    let Some(value) = computed.pop().filter(|value| computed.is_empty() && bytes(value) <= of_weight) else {
        return Ok(false);
    };
    let exotic = own.outputs[0].fact.exotic_fact.clone();
    let constant = Const::new_with_opt_exotic_fact(value.into_arc_tensor(), exotic)?;
    let fact = constant.output_facts(&[])?.remove(0);
    let gone = model.node_mut(input.node);
    gone.op = Box::new(Dummy);
    gone.outputs.clear();
    let own = model.node_mut(node);
    own.op = Box::new(constant);
    own.inputs.clear();
    own.outputs[0].fact = fact;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `w` `[256, 128]`, turned; and `w` itself where `read` is true.
    fn model(weight: &Arc<Tensor>, read: bool) -> (TypedModel, OutletId) {
        let mut model = TypedModel::default();
        let w = model.add_const("w", Arc::clone(weight)).expect("a constant");
        let turned = model.wire_node("turned", AxisOp::Move(0, 1), &[w]).expect("a node")[0];
        let outputs = if read { vec![turned, w] } else { vec![turned] };
        model.select_output_outlets(&outputs).expect("they are there");
        (model, turned)
    }

    fn weight() -> Arc<Tensor> {
        let values: Vec<f32> = (0..256 * 128).map(|i| i as f32).collect();
        Arc::new(Tensor::from_shape(&[256, 128], &values).expect("a tensor"))
    }

    #[test]
    fn a_weight_that_was_turned_is_let_go_of_at_once() {
        let weight = weight();
        let (mut model, turned) = model(&weight, false);
        assert!(FoldWeights.run_direct(&mut model).expect("it can be computed"));
        assert_eq!(Arc::strong_count(&weight), 1, "only this test holds it");
        let value = model.outlet_fact(turned).expect("it is there").konst.clone().expect("a constant");
        assert_eq!(value.shape(), [128, 256]);
        let value = value.try_as_plain_ram().expect("floats");
        assert_eq!(value.as_slice::<f32>().expect("floats")[1], 128.0);
        model.compact().expect("nothing reads what is gone");
        assert_eq!(model.nodes.len(), 1);
    }

    #[test]
    fn a_weight_that_others_read_stays() {
        let (mut model, _) = model(&weight(), true);
        assert!(!FoldWeights.run_direct(&mut model).expect("nothing to do"));
        assert_eq!(model.nodes.len(), 2);
    }
}
