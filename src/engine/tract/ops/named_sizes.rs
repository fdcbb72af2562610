//! A value whose sizes have names of their own, in the place of what was reckoned for them.
//!
//! After two convolutions with a stride of 2 a size reads `(frames+3)/4`, and tract 0.23.9 takes such sums apart again for each of the hundreds of
//! nodes behind: more than a third of the time in which a speech model loads. A name is as good there, and costs nothing. What it stands for in a run is reckoned when
//! the inputs are known ([`Reckoning`]); tract itself compares it with what the convolution gives.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::plan::{TurnState, TurnStateHandler};

use super::wiring::Built;

/// Builds the operator.
pub(super) fn named_sizes(_: &ParsingContext, _: &NodeProto) -> Built {
    Ok((expand(NamedSizes), vec![]))
}

/// The name of what was reckoned, the same for the same reckoning; numbers and names stay.
fn named(size: &TDim) -> TDim {
    let is_reckoned = size.as_i64().is_none() && !matches!(size, TDim::Sym(_));
    let scope = size.symbols().into_iter().next().filter(|_| is_reckoned).and_then(|symbol| symbol.scope());
    scope.map_or_else(|| size.clone(), |scope| scope.sym(&format!("[{size}]")).into())
}

/// `x` as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct NamedSizes;

impl Expansion for NamedSizes {
    fn name(&self) -> StaticName {
        "NamedSizes".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        s.equals(&outputs[0].datum_type, &inputs[0].datum_type)?;
        s.given(&inputs[0].shape, move |s, shape| {
            s.equals(&outputs[0].shape, ShapeFactoid::from(shape.iter().map(named).collect::<Vec<_>>()))
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for NamedSizes {
    fn name(&self) -> StaticName {
        "NamedSizes".into()
    }

    op_as_typed_op!();
}

impl EvalOp for NamedSizes {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(inputs)
    }
}

impl TypedOp for NamedSizes {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape: TVec<TDim> = inputs[0].shape.iter().map(named).collect();
        Ok(tvec!(inputs[0].datum_type.fact(shape)))
    }

    as_op!();
}

/// What the names of a model's sizes stand for, in the order in which they are reckoned.
#[derive(Debug)]
pub(in super::super) struct Reckoning(Vec<(Symbol, TDim)>);

impl Reckoning {
    /// `None` where no size has a name in the place of a reckoning.
    pub(in super::super) fn of(model: &TypedModel) -> TractResult<Option<Self>> {
        let mut names: Vec<(Symbol, TDim)> = Vec::new();
        for node in model.eval_order()? {
            let node = model.node(node);
            if !node.op_is::<NamedSizes>() {
                continue;
            }
            let reckoned = model.outlet_fact(node.inputs[0])?.shape.iter();
            for (name, size) in node.outputs[0].fact.shape.iter().zip(reckoned) {
                if let TDim::Sym(symbol) = name
                    && name != size
                    && !names.iter().any(|(known, _)| known == symbol)
                {
                    names.push((symbol.clone(), size.clone()));
                }
            }
        }
        Ok((!names.is_empty()).then_some(Self(names)))
    }
}

impl TurnStateHandler for Reckoning {
    fn before_plan_eval(&self, turn: &mut TurnState) -> TractResult<()> {
        for (symbol, size) in &self.0 {
            // A size that only a node gives becomes known when that node has run.
            if let Some(size) = size.eval(&turn.resolved_symbols).as_i64() {
                turn.resolved_symbols.set(symbol, size);
            }
        }
        Ok(())
    }

    fn after_plan_eval(&self, _: &mut TurnState) -> TractResult<()> {
        Ok(())
    }
}
