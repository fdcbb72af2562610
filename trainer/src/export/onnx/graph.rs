//! The graph under construction: names, constants, nodes, and the file that they become.

use super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};
use super::value::{Dim, Element, Value, show};

/// Version of the file format: what ONNX 1.12 writes, with operator set 17.
pub const IR_VERSION: i64 = 8;
/// Operator set: the first with `LayerNormalization`, and one that every engine reads.
pub const OPSET: i64 = 17;

/// A node that the rules of its operator do not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the graph is wrong at `{node}`: {reason}")]
pub struct GraphError {
    /// The node.
    pub node: String,
    /// The rule, with the shapes.
    pub reason: String,
}

/// Result of every operator.
pub type Built<T> = Result<T, GraphError>;

/// A parameter of an operator.
#[derive(Debug, Clone)]
pub(super) enum Attribute {
    /// A float.
    Float(&'static str, f32),
    /// An integer.
    Int(&'static str, i64),
    /// Integers.
    Ints(&'static str, Vec<i64>),
}

impl Attribute {
    fn proto(self) -> AttributeProto {
        let mut proto = AttributeProto::default();
        match self {
            Self::Float(name, v) => {
                (proto.name, proto.r#type, proto.f) = (name.into(), 1, Some(v));
            }
            Self::Int(name, v) => {
                (proto.name, proto.r#type, proto.i) = (name.into(), 2, Some(v));
            }
            Self::Ints(name, v) => {
                (proto.name, proto.r#type, proto.ints) = (name.into(), 7, v);
            }
        }
        proto
    }
}

/// A graph under construction.
#[derive(Debug, Default)]
pub struct Graph {
    proto: GraphProto,
    scope: String,
    counter: usize,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self { proto: GraphProto { name: name.into(), ..GraphProto::default() }, ..Self::default() }
    }

    /// Names the nodes that follow after a part of the network (`blocks.3.attn`).
    pub fn enter(&mut self, scope: impl Into<String>) {
        self.scope = scope.into();
    }

    /// An input of the graph.
    pub fn input<T: Element>(&mut self, name: &str, shape: &[Dim]) -> Value<T> {
        let value = Value::<T>::new(name, shape);
        self.proto.input.push(value.info());
        value
    }

    /// A constant, row-major.
    pub fn constant<T: Element>(&mut self, name: &str, shape: &[usize], elements: &[T]) -> Built<Value<T>> {
        let wanted: usize = shape.iter().product();
        if elements.len() != wanted {
            let reason = format!("{} elements were given for the shape {shape:?} of {wanted}", elements.len());
            return Err(GraphError { node: name.into(), reason });
        }
        if self.proto.initializer.iter().any(|t| t.name == name) {
            return Err(GraphError { node: name.into(), reason: "the name is taken".into() });
        }
        let mut raw_data = Vec::with_capacity(std::mem::size_of_val(elements));
        elements.iter().for_each(|e| e.bytes(&mut raw_data));
        let dims = shape.iter().map(|&n| n as i64).collect();
        let tensor = TensorProto { dims, data_type: T::ONNX, name: name.into(), raw_data, ..TensorProto::default() };
        self.proto.initializer.push(tensor);
        let dims: Vec<Dim> = shape.iter().map(|&n| Dim::Known(n)).collect();
        Ok(Value::new(name, dims))
    }

    /// A small constant of the current scope, with a name of its own.
    pub fn literal<T: Element>(&mut self, shape: &[usize], elements: &[T]) -> Built<Value<T>> {
        let name = self.fresh("const");
        self.constant(&name, shape, elements)
    }

    /// Makes `value` an output called `name`. The last thing that is done with it: nothing may use it afterwards, what used it before
    /// goes on with it.
    pub fn output<T: Element>(&mut self, name: &str, value: Value<T>) -> Built<()> {
        let node = self.proto.node.iter_mut().find(|n| n.output.iter().any(|o| **o == *value.name));
        let Some(node) = node else {
            return Err(GraphError { node: name.into(), reason: "an output must be what a node gives".into() });
        };
        node.output.iter_mut().filter(|o| **o == *value.name).for_each(|o| *o = name.into());
        let users = self.proto.node.iter_mut().flat_map(|n| &mut n.input);
        users.filter(|i| **i == *value.name).for_each(|i| *i = name.into());
        self.proto.output.push(Value::<T>::new(name, value.shape).info());
        Ok(())
    }

    /// The file.
    pub fn finish(self) -> Built<ModelProto> {
        if self.proto.output.is_empty() {
            return Err(GraphError { node: self.proto.name, reason: "it has no output".into() });
        }
        Ok(ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            producer_name: "linnet-train".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.proto),
        })
    }

    fn fresh(&mut self, what: &str) -> String {
        self.counter += 1;
        let dot = if self.scope.is_empty() { "" } else { "." };
        format!("{}{dot}{what}.{}", self.scope, self.counter)
    }

    /// The error that an operator gives.
    pub fn wrong<T>(&self, op: &str, reason: String) -> Built<T> {
        Err(GraphError { node: format!("{}.{op}", self.scope), reason })
    }

    /// Adds a node with one output.
    pub(super) fn node<T: Element>(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<Attribute>,
        shape: impl Into<Vec<Dim>>,
    ) -> Value<T> {
        let name = self.fresh(op);
        self.push(op, &name, inputs, vec![name.clone()], attributes);
        Value::new(name, shape.into())
    }

    pub(super) fn push(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        outputs: Vec<String>,
        attributes: Vec<Attribute>,
    ) {
        self.proto.node.push(NodeProto {
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: outputs,
            name: name.into(),
            op_type: op.into(),
            attribute: attributes.into_iter().map(Attribute::proto).collect(),
        });
    }

    pub(super) fn fresh_name(&mut self, op: &str) -> String {
        self.fresh(op)
    }

    /// The shape of an element-wise result, sizes of 1 stretched (NumPy's rule).
    pub(super) fn broadcast(&self, op: &str, a: &[Dim], b: &[Dim]) -> Built<Vec<Dim>> {
        let rank = a.len().max(b.len());
        let at = |shape: &[Dim], i: usize| match (i + shape.len()).checked_sub(rank) {
            Some(i) => shape[i],
            None => Dim::Known(1),
        };
        (0..rank)
            .map(|i| match (at(a, i), at(b, i)) {
                (x, y) if x == y => Ok(x),
                (Dim::Known(1), other) | (other, Dim::Known(1)) => Ok(other),
                _ => self.wrong(op, format!("{} and {} do not stretch to one shape", show(a), show(b))),
            })
            .collect()
    }
}
