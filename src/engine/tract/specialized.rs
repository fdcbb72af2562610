//! Graphs that can be planned only once all sizes are known: those whose sub-graphs are chosen by a size or by a flag, such as
//! voice detectors that hold a model for each sample rate.
//!
//! Sizes of the inputs, and integers that are inputs of one element, become constants, which decide every choice; what is left is a
//! plain graph. Its plan is kept, and used again for inputs of the same sizes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as Dim};
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto, TensorShapeProto, ValueInfoProto, type_proto};
use tract_onnx::prelude::*;

use super::graph::{numbers_of_type, prune, take_sides};
use super::ops;
use super::session::{TractModel, TractSession};
use super::{TractEngine, one_line, ports};
use crate::engine::{Cache, EngineError, LoadOptions, Model, Port, Positions, Session, Tensor, TensorData};

/// Plans that such a graph keeps; the oldest makes room.
pub const MAX_SPECIAL_PLANS: usize = 4;

/// What decides a plan: the sizes of each input, and its value where that is one integer.
type Key = Vec<(String, Vec<usize>, Option<i64>)>;

/// Plans of one graph, the oldest first.
type Plans = Arc<Mutex<Vec<(Key, Arc<TractModel>)>>>;

/// A graph of which plans are made when inputs come.
pub struct SpecializedModel {
    engine: TractEngine,
    head: ModelProto,
    directory: PathBuf,
    name: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    memory_bytes: u64,
    plans: Plans,
}

impl std::fmt::Debug for SpecializedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpecializedModel")
            .field("name", &self.name)
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

/// Whether sub-graphs are chosen in a graph.
pub(super) fn chooses(head: &ModelProto) -> bool {
    head.graph.iter().flat_map(|graph| &graph.node).any(|node| node.op_type == "If")
}

impl SpecializedModel {
    /// Takes a graph whose operators and tensors are checked already.
    pub(super) fn new(engine: TractEngine, head: ModelProto, directory: PathBuf, name: String) -> Self {
        let graph = head.graph.as_ref();
        let (inputs, outputs) = graph.map(ports::of_graph).unwrap_or_default();
        let memory_bytes = graph.map_or(0, weights_bytes);
        Self { engine, head, directory, name, inputs, outputs, memory_bytes, plans: Arc::default() }
    }

    fn plan(&self, inputs: &[(&str, Tensor)]) -> Result<(Key, Arc<TractModel>), EngineError> {
        let key = key(inputs);
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, plan)) = plans.iter().find(|(own, _)| *own == key) {
            return Ok((key, Arc::clone(plan)));
        }
        let mut head = self.head.clone();
        if let Some(graph) = &mut head.graph {
            fix(graph, &key);
        }
        let refuse = |reason: String| EngineError::Run(format!("{}: {reason}", self.name));
        decide(&mut head, &self.directory).map_err(refuse)?;
        let plan =
            Arc::new(self.engine.assemble_safely(head, &self.directory, &LoadOptions::default()).map_err(refuse)?);
        if plans.len() == MAX_SPECIAL_PLANS {
            plans.remove(0);
        }
        plans.push((key.clone(), Arc::clone(&plan)));
        Ok((key, plan))
    }
}

/// Bytes of all weights, those of sub-graphs included.
fn weights_bytes(graph: &GraphProto) -> u64 {
    let own: u64 = graph.initializer.iter().map(tensor_bytes).sum();
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    own + attributes
        .map(|a| a.t.as_ref().map_or(0, tensor_bytes) + a.g.iter().chain(&a.graphs).map(weights_bytes).sum::<u64>())
        .sum::<u64>()
}

fn tensor_bytes(tensor: &TensorProto) -> u64 {
    let elements: u64 = tensor.dims.iter().map(|size| size.unsigned_abs()).product();
    elements * super::inspect::item_bytes(tensor.data_type).unwrap_or(4)
}

fn key(inputs: &[(&str, Tensor)]) -> Key {
    let number = |tensor: &Tensor| match &tensor.data {
        TensorData::I64(v) => v.first().copied().filter(|_| v.len() == 1),
        TensorData::I32(v) => v.first().map(|v| i64::from(*v)).filter(|_| v.len() == 1),
        TensorData::Bool(v) => v.first().map(|v| i64::from(*v)).filter(|_| v.len() == 1),
        _ => None,
    };
    let mut key: Key = inputs.iter().map(|(name, t)| ((*name).to_owned(), t.shape.clone(), number(t))).collect();
    key.sort();
    key
}

/// Gives the inputs their sizes, and makes those of one integer constants.
fn fix(graph: &mut GraphProto, key: &Key) {
    let given: HashMap<&str, (&Vec<usize>, Option<i64>)> =
        key.iter().map(|(name, shape, number)| (name.as_str(), (shape, *number))).collect();
    let mut constants = Vec::new();
    graph.input.retain_mut(|input| {
        let Some((shape, number)) = given.get(input.name.as_str()) else { return true };
        let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_mut().and_then(|t| t.value.as_mut()) else {
            return true;
        };
        let dims: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
        if let Some(number) = number {
            constants.push(numbers_of_type(&input.name, dims, tensor.elem_type, *number));
            return false;
        }
        let dim = |size: &i64| Dimension { value: Some(Dim::DimValue(*size)), ..Dimension::default() };
        tensor.shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
        true
    });
    graph.initializer.extend(constants);
}

/// Puts the side that each choice takes in its place, up to one that the sizes do not decide: tract analyses both sides of a choice, and
/// the other one need not fit them.
fn decide(head: &mut ModelProto, directory: &Path) -> Result<(), String> {
    loop {
        let choice = head.graph.iter().flat_map(|graph| &graph.node).find(|node| node.op_type == "If");
        let Some((name, condition)) = choice.and_then(|node| Some((node.output.first()?, node.input.first()?))) else {
            return Ok(());
        };
        let (name, condition) = (name.clone(), condition.clone());
        let Some(holds) = constant(head, &condition, directory)? else { return Ok(()) };
        let side = if holds { "then_branch" } else { "else_branch" };
        if let Some(graph) = &mut head.graph {
            take_sides(graph, side, |node| node.op_type == "If" && node.output.first() == Some(&name))?;
        }
    }
}

/// The flag that a value of a graph is, whatever the inputs hold; none when they decide it.
fn constant(head: &ModelProto, value: &str, directory: &Path) -> Result<Option<bool>, String> {
    let mut part = head.clone();
    let Some(graph) = &mut part.graph else { return Ok(None) };
    graph.output = vec![ValueInfoProto { name: value.to_owned(), ..ValueInfoProto::default() }];
    prune(graph, &[value.to_owned()])?;
    let find = || -> TractResult<Option<bool>> {
        let model = ops::onnx().parse(&part, directory.to_str())?.model.into_typed()?.into_decluttered()?;
        let Some(known) = &model.output_fact(0)?.konst else { return Ok(None) };
        let flags = known.cast_to::<bool>()?;
        Ok(flags.try_as_plain_ram()?.as_slice::<bool>()?.first().copied())
    };
    find().map_err(|e| one_line(&e))
}

impl Model for SpecializedModel {
    fn session(&self) -> Result<Box<dyn Session>, EngineError> {
        let model = Self {
            engine: self.engine,
            head: self.head.clone(),
            directory: self.directory.clone(),
            name: self.name.clone(),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            memory_bytes: self.memory_bytes,
            plans: Arc::clone(&self.plans),
        };
        Ok(Box::new(SpecializedSession { model, open: None }))
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
}

/// One worker's state on the plan that it used last.
struct SpecializedSession {
    model: SpecializedModel,
    open: Option<(Key, TractSession)>,
}

impl Session for SpecializedSession {
    fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>, EngineError> {
        if let Some(port) = self.model.inputs.iter().find(|port| !inputs.iter().any(|(name, _)| *name == port.name)) {
            return Err(EngineError::Run(format!("the input `{}` is missing", port.name)));
        }
        let (key, plan) = self.model.plan(inputs)?;
        if self.open.as_ref().is_none_or(|(own, _)| *own != key) {
            self.open = Some((key, plan.open()?));
        }
        let left: Vec<(&str, Tensor)> = inputs
            .iter()
            .filter(|(name, _)| plan.inputs().iter().any(|port| port.name == *name))
            .map(|(name, tensor)| (*name, tensor.clone()))
            .collect();
        match &mut self.open {
            Some((_, session)) => session.run(&left),
            None => Err(EngineError::Run("the session is gone".into())),
        }
    }

    fn step(
        &mut self,
        _: &[(&str, Tensor)],
        _: &mut dyn Cache,
        _: Positions,
    ) -> Result<Vec<(String, Tensor)>, EngineError> {
        Err(EngineError::Run(format!("{} keeps no cache", self.model.name)))
    }
}
