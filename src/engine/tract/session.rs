//! One shared plan and the per-worker states that run on it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tract_onnx::prelude::{
    DatumType, IntoTValue, RunOptions, TValue, TVec, TractResult, TypedFact, TypedModel, TypedSimplePlan,
    TypedSimpleState,
};
use tract_onnx::tract_hir::internal::DimLike;
use tract_onnx::tract_hir::tract_core::ops::konst::Const;

use super::cache::TractCache;
use super::graph::POSITIONS;
use super::sizes::Sizes;
use super::{one_line, panic_text};
use crate::engine::{Cache, Datum, EngineError, Model, Port, Positions, Session, Slot, Tensor, TensorData};

/// An optimised graph with its weights; shared by all sessions.
pub struct TractModel {
    plan: Arc<TypedSimplePlan>,
    /// All inputs of the plan, in its order.
    all_inputs: Arc<[String]>,
    /// All outputs of the plan, in its order.
    all_outputs: Arc<[String]>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    slots: Vec<Slot>,
    length: Option<Length>,
    memory_bytes: u64,
}

/// The input, and its axis, that shows how many positions a step has.
#[derive(Debug, Clone)]
struct Length {
    input: String,
    axis: usize,
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
    pub(super) fn new(
        model: TypedModel,
        outputs: Vec<String>,
        slots: Vec<Slot>,
        sizes: Option<Sizes>,
        memory_bytes: u64,
    ) -> TractResult<Self> {
        let all_inputs: Arc<[String]> =
            model.input_outlets()?.iter().map(|outlet| model.node(outlet.node).name.clone()).collect();
        let port = |name: &String, fact: &TypedFact| Port {
            name: name.clone(),
            datum: datum(fact.datum_type),
            shape: fact.shape.iter().map(|dim| dim.to_usize().ok()).collect(),
        };
        let mut inputs = Vec::new();
        for (i, name) in all_inputs.iter().enumerate() {
            if name != POSITIONS && !slots.iter().any(|slot| slot.input.as_ref() == Some(name)) {
                inputs.push(port(name, model.input_fact(i)?));
            }
        }
        let mut own_outputs = Vec::new();
        for (i, name) in outputs.iter().enumerate() {
            if !slots.iter().any(|slot| slot.output.as_ref() == Some(name)) {
                own_outputs.push(port(name, model.output_fact(i)?));
            }
        }
        let mut length = None;
        for (i, name) in all_inputs.iter().enumerate().filter(|(_, name)| *name != POSITIONS) {
            let shape = &model.input_fact(i)?.shape;
            if let Some(axis) = shape.iter().position(|dim| dim.to_string() == "S") {
                length = Some(Length { input: name.clone(), axis });
                break;
            }
        }
        let mut plan = TypedSimplePlan::build(model, &RunOptions::default())?;
        if let Some(sizes) = sizes {
            plan = plan.with_turn_handler(sizes);
        }
        let plan = Arc::new(plan);
        let all_outputs = outputs.into();
        Ok(Self { plan, all_inputs, all_outputs, inputs, outputs: own_outputs, slots, length, memory_bytes })
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

    /// Whether it was planned with names in the place of sizes that are reckoned.
    #[cfg(test)]
    pub(super) fn has_named_sizes(&self) -> bool {
        let facts = self.plan.model().nodes.iter().flat_map(|node| &node.outputs).map(|output| &output.fact);
        facts
            .flat_map(|fact| fact.shape.iter())
            .flat_map(|size| size.symbols())
            .any(|symbol| super::ops::is_name(&symbol))
    }

    /// A session with its concrete type.
    pub fn open(&self) -> Result<TractSession, EngineError> {
        Ok(TractSession {
            plan: Arc::clone(&self.plan),
            state: Some(spawn(&self.plan)?),
            inputs: Arc::clone(&self.all_inputs),
            outputs: Arc::clone(&self.all_outputs),
            length: self.length.clone(),
        })
    }

    /// What a slot holds before the first step: nothing along the axis that grows, one row. Slots that some graph fills hold
    /// nothing at all; others begin with zeros.
    fn empty(&self, slot: &Slot) -> TractResult<Option<tract_onnx::prelude::Tensor>> {
        let Some(place) = slot.input.as_ref().and_then(|name| self.all_inputs.iter().position(|own| own == name))
        else {
            return Ok(None);
        };
        let fact = self.plan.model().input_fact(place)?;
        if slot.grows.is_none() && fact.shape.iter().skip(1).any(|dim| dim.to_usize().is_err()) {
            return Ok(None);
        }
        let shape: Vec<usize> = fact
            .shape
            .iter()
            .enumerate()
            .map(|(axis, dim)| if slot.grows == Some(axis) { 0 } else { dim.to_usize().unwrap_or(1) })
            .collect();
        tract_onnx::prelude::Tensor::zero_dt(fact.datum_type, &shape).map(Some)
    }
}

impl Model for TractModel {
    fn session(&self) -> Result<Box<dyn Session>, EngineError> {
        self.open().map(|s| Box::new(s) as Box<dyn Session>)
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn cache(&self) -> Option<Box<dyn Cache>> {
        if self.slots.is_empty() {
            return None;
        }
        // A slot of a shape that the graph itself declares can always be made.
        let cache = TractCache::new(&self.slots, |slot| self.empty(slot)).ok()?;
        Some(Box::new(cache))
    }
}

/// The engine's name of tract's element type.
pub(super) fn datum(of: DatumType) -> Datum {
    match of {
        DatumType::F32 => Datum::F32,
        DatumType::F16 => Datum::F16,
        DatumType::I64 | DatumType::TDim => Datum::I64,
        DatumType::I32 => Datum::I32,
        DatumType::I8 => Datum::I8,
        DatumType::U8 => Datum::U8,
        DatumType::Bool => Datum::Bool,
        _ => Datum::Other,
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
    inputs: Arc<[String]>,
    outputs: Arc<[String]>,
    length: Option<Length>,
}

impl TractSession {
    /// The plan's inputs in its order: those that the caller hands in, those that the cache holds, and which positions get
    /// logits.
    fn gather(
        &self,
        inputs: &[(&str, Tensor)],
        cache: Option<&TractCache>,
        positions: Positions,
    ) -> Result<TVec<TValue>, EngineError> {
        let mut values = TVec::new();
        for (slot, name) in self.inputs.iter().enumerate() {
            if name == POSITIONS {
                values.push(self.wanted(inputs, positions)?);
                continue;
            }
            if let Some(held) = cache.and_then(|cache| cache.input(name)) {
                values.push(held?);
                continue;
            }
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
        Ok(values)
    }

    /// The numbers of the positions that get logits.
    fn wanted(&self, inputs: &[(&str, Tensor)], positions: Positions) -> Result<TValue, EngineError> {
        let length = self.length.as_ref().and_then(|length| {
            let (_, tensor) = inputs.iter().find(|(name, _)| *name == length.input)?;
            tensor.shape.get(length.axis)
        });
        let length =
            *length.ok_or_else(|| EngineError::Run("no input shows how many positions the step has".into()))?;
        let first = match positions {
            Positions::All => 0,
            Positions::Last => length.saturating_sub(1),
        };
        let numbers: Vec<i64> = (first..length).map(|position| position as i64).collect();
        to_tract(&Tensor::i64([numbers.len()], numbers)).map(IntoTValue::into_tvalue).map_err(run_error)
    }

    fn eval(&mut self, values: TVec<TValue>) -> Result<TVec<TValue>, EngineError> {
        let mut state = match self.state.take() {
            Some(state) => state,
            None => spawn(&self.plan)?,
        };
        // A panic or an error leaves values of the broken run behind: only a state that ran through is kept.
        match catch_unwind(AssertUnwindSafe(|| {
            let result = state.run(values);
            (state, result)
        })) {
            Ok((state, Ok(values))) => {
                self.state = Some(state);
                Ok(values)
            }
            Ok((_, Err(error))) => Err(run_error(error)),
            Err(panic) => Err(EngineError::Run(format!("the engine panicked: {}", panic_text(&*panic)))),
        }
    }
}

impl Session for TractSession {
    fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>, EngineError> {
        let values = self.gather(inputs, None, Positions::All)?;
        let values = self.eval(values)?;
        self.outputs
            .iter()
            .zip(&values)
            .map(|(name, value)| Ok((name.clone(), from_tract(value).map_err(run_error)?)))
            .collect()
    }

    fn step(
        &mut self,
        inputs: &[(&str, Tensor)],
        cache: &mut dyn Cache,
        positions: Positions,
    ) -> Result<Vec<(String, Tensor)>, EngineError> {
        let cache: &mut TractCache = cache
            .as_any_mut()
            .downcast_mut()
            .ok_or_else(|| EngineError::Run("the cache was made by another engine".into()))?;
        let values = self.gather(inputs, Some(cache), positions)?;
        let values = self.eval(values)?;
        let mut outputs = Vec::new();
        for (name, value) in self.outputs.iter().zip(values) {
            let Some(value) = cache.output(name, value) else { continue };
            let tensor = match positions {
                Positions::Last if value.rank() == 3 && value.shape()[1] > 1 => {
                    let last = value.shape()[1] - 1;
                    from_tract(&value.slice(1, last, last + 1).map_err(run_error)?)
                }
                _ => from_tract(&value),
            };
            outputs.push((name.clone(), tensor.map_err(run_error)?));
        }
        Ok(outputs)
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
        TensorData::F16(v) => (DatumType::F16, v.len(), "f16"),
        TensorData::I64(v) => (DatumType::I64, v.len(), "i64"),
        TensorData::I32(v) => (DatumType::I32, v.len(), "i32"),
        TensorData::I8(v) => (DatumType::I8, v.len(), "i8"),
        TensorData::U8(v) => (DatumType::U8, v.len(), "u8"),
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
    let shape = &tensor.shape;
    match &tensor.data {
        TensorData::F32(v) => Native::from_shape(shape, v),
        TensorData::F16(v) => Native::from_shape(shape, v),
        TensorData::I64(v) => Native::from_shape(shape, v),
        TensorData::I32(v) => Native::from_shape(shape, v),
        TensorData::I8(v) => Native::from_shape(shape, v),
        TensorData::U8(v) => Native::from_shape(shape, v),
        TensorData::Bool(v) => Native::from_shape(shape, v),
    }
}

/// Half floats come out as `f32`, and 8- and 32-bit integers as `i64`: nothing is lost, and callers know three types.
fn from_tract(value: &tract_onnx::prelude::Tensor) -> TractResult<Tensor> {
    let shape = value.shape().to_vec();
    let data = match value.datum_type() {
        DatumType::Bool => TensorData::Bool(value.try_as_plain_ram()?.as_slice::<bool>()?.to_vec()),
        ty if ty.is_float() => TensorData::F32(value.cast_to::<f32>()?.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()),
        _ => TensorData::I64(value.cast_to::<i64>()?.try_as_plain_ram()?.as_slice::<i64>()?.to_vec()),
    };
    Ok(Tensor { shape, data })
}
