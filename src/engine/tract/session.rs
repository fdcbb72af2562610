//! One shared plan and the per-worker states that run on it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tract_onnx::prelude::{
    DatumType, IntoTValue, TVec, TractResult, TypedFact, TypedModel, TypedSimplePlan, TypedSimpleState,
};
use tract_onnx::tract_hir::tract_core::ops::konst::Const;

use super::{one_line, panic_text};
use crate::engine::{EngineError, Model, Session, Tensor, TensorData};

/// An optimised graph with its weights; shared by all sessions.
pub struct TractModel {
    plan: Arc<TypedSimplePlan>,
    inputs: Vec<String>,
    outputs: Vec<String>,
    memory_bytes: u64,
}

impl std::fmt::Debug for TractModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TractModel")
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .field("memory_bytes", &self.memory_bytes)
            .finish_non_exhaustive()
    }
}

impl TractModel {
    pub(super) fn new(model: TypedModel, outputs: Vec<String>, memory_bytes: u64) -> TractResult<Self> {
        let inputs = model.input_outlets()?.iter().map(|outlet| model.node(outlet.node).name.clone()).collect();
        let plan = TypedSimplePlan::new(model)?;
        Ok(Self { plan, inputs, outputs, memory_bytes })
    }

    /// Names of the inputs, in the graph's order.
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// Names of the outputs, in the graph's order.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// How many nodes of each operator the plan runs, most frequent first: shows what an optimisation made of a graph.
    pub fn operators(&self) -> Vec<(String, usize)> {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for &node in self.plan.order_without_consts() {
            *counts.entry(self.plan.model().node(node).op().name().into_owned()).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        counts
    }

    /// A session with its concrete type.
    pub fn open(&self) -> Result<TractSession, EngineError> {
        Ok(TractSession {
            plan: Arc::clone(&self.plan),
            state: Some(spawn(&self.plan)?),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
        })
    }
}

impl Model for TractModel {
    fn session(&self) -> Result<Box<dyn Session>, EngineError> {
        self.open().map(|s| Box::new(s) as Box<dyn Session>)
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }
}

/// Bytes of a graph's constants, which are its weights for nearly all.
pub(super) fn constant_bytes(model: &TypedModel) -> u64 {
    model
        .nodes
        .iter()
        .filter(|node| node.op_is::<Const>())
        .flat_map(|node| &node.outputs)
        .filter_map(|output| output.fact.mem_size().to_i64().ok())
        .filter_map(|bytes| u64::try_from(bytes).ok())
        .sum()
}

/// One worker's state on the shared plan.
pub struct TractSession {
    plan: Arc<TypedSimplePlan>,
    /// Absent after a panic, until the next run makes a fresh one.
    state: Option<TypedSimpleState>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Session for TractSession {
    fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>, EngineError> {
        let mut values = TVec::new();
        for (slot, name) in self.inputs.iter().enumerate() {
            let tensor = inputs
                .iter()
                .find(|(given, _)| given == name)
                .map(|(_, tensor)| tensor)
                .ok_or_else(|| EngineError::Run(format!("the input `{name}` is missing")))?;
            let fact = self.plan.model().input_fact(slot).map_err(run_error)?;
            check_input(name, tensor, fact)?;
            values.push(to_tract(tensor).map_err(run_error)?.into_tvalue());
        }
        if let Some((name, _)) = inputs.iter().find(|(name, _)| !self.inputs.iter().any(|n| n == name)) {
            let known = self.inputs.join("`, `");
            return Err(EngineError::Run(format!("the graph has no input `{name}`; its inputs are `{known}`")));
        }
        let mut state = match self.state.take() {
            Some(state) => state,
            None => spawn(&self.plan)?,
        };
        // A panic or an error leaves values of the broken run behind: only a state that ran through is kept.
        let values = match catch_unwind(AssertUnwindSafe(|| {
            let result = state.run(values);
            (state, result)
        })) {
            Ok((state, Ok(values))) => {
                self.state = Some(state);
                values
            }
            Ok((_, Err(error))) => return Err(run_error(error)),
            Err(panic) => return Err(EngineError::Run(format!("the engine panicked: {}", panic_text(&*panic)))),
        };
        self.outputs
            .iter()
            .zip(&values)
            .map(|(name, value)| Ok((name.clone(), from_tract(value).map_err(run_error)?)))
            .collect()
    }
}

fn spawn(plan: &Arc<TypedSimplePlan>) -> Result<TypedSimpleState, EngineError> {
    plan.spawn().map_err(run_error)
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
fn run_error(error: tract_onnx::prelude::TractError) -> EngineError {
    EngineError::Run(one_line(&error))
}

fn check_input(name: &str, tensor: &Tensor, fact: &TypedFact) -> Result<(), EngineError> {
    let wanted = fact.shape.iter().map(|dim| dim.to_string()).collect::<Vec<_>>().join(", ");
    let fits = tensor.shape.len() == fact.shape.rank()
        && tensor.shape.iter().zip(fact.shape.iter()).all(|(&have, want)| match want.to_i64() {
            Ok(size) => i64::try_from(have) == Ok(size),
            Err(_) => true,
        });
    if !fits {
        return Err(EngineError::Run(format!("the input `{name}` has shape {:?}, but takes [{wanted}]", tensor.shape)));
    }
    let (held, len, is) = match &tensor.data {
        TensorData::F32(v) => (DatumType::F32, v.len(), "f32"),
        TensorData::I64(v) => (DatumType::I64, v.len(), "i64"),
        TensorData::Bool(v) => (DatumType::Bool, v.len(), "bool"),
    };
    // tract reads 64-bit integers that may be sizes as its symbolic `TDim`.
    if held != fact.datum_type && !(held == DatumType::I64 && fact.datum_type == DatumType::TDim) {
        return Err(EngineError::Run(format!("the input `{name}` is {is}, but takes {:?}", fact.datum_type)));
    }
    if len != tensor.shape.iter().product::<usize>() {
        return Err(EngineError::Run(format!(
            "the input `{name}` holds {len} elements, which its shape {:?} does not",
            tensor.shape
        )));
    }
    Ok(())
}

fn to_tract(tensor: &Tensor) -> TractResult<tract_onnx::prelude::Tensor> {
    use tract_onnx::prelude::Tensor as Native;
    match &tensor.data {
        TensorData::F32(v) => Native::from_shape(&tensor.shape, v),
        TensorData::I64(v) => Native::from_shape(&tensor.shape, v),
        TensorData::Bool(v) => Native::from_shape(&tensor.shape, v),
    }
}

fn from_tract(value: &tract_onnx::prelude::Tensor) -> TractResult<Tensor> {
    let shape = value.shape().to_vec();
    let data = match value.datum_type() {
        DatumType::Bool => TensorData::Bool(value.try_as_plain_ram()?.as_slice::<bool>()?.to_vec()),
        ty if ty.is_float() => TensorData::F32(value.cast_to::<f32>()?.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()),
        _ => TensorData::I64(value.cast_to::<i64>()?.try_as_plain_ram()?.as_slice::<i64>()?.to_vec()),
    };
    Ok(Tensor { shape, data })
}
