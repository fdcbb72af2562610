//! A value whose sizes have names of their own, in the place of what was reckoned for them.
//!
//! After two convolutions with a stride of 2 a size reads `(frames+3)/4`, and tract 0.23.9 takes such sums apart again for each of the hundreds of
//! nodes behind: more than a third of the time in which a speech model loads. A name is as good there, and costs nothing. What it stands for in a run
//! is reckoned when the inputs are known (`crate::engine::tract::sizes`).

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::wiring::Built;

/// Begins the name of a size; no file can give one that begins so.
const NAME: char = '[';

/// Builds the operator.
pub(super) fn named_sizes(_: &ParsingContext, _: &NodeProto) -> Built {
    Ok((expand(NamedSizes), vec![]))
}

/// Whether a symbol is a name that was given here.
pub(in super::super) fn is_name(symbol: &Symbol) -> bool {
    symbol.to_string().starts_with(NAME)
}

/// The name of what was reckoned, the same for the same reckoning; numbers and names stay.
fn named(size: &TDim) -> TDim {
    let is_reckoned = size.as_i64().is_none() && !matches!(size, TDim::Sym(_));
    let scope = size.symbols().into_iter().next().filter(|_| is_reckoned).and_then(|symbol| symbol.scope());
    scope.map_or_else(|| size.clone(), |scope| scope.sym(&format!("{NAME}{size}]")).into())
}

/// `x` as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in super::super) struct NamedSizes;

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
