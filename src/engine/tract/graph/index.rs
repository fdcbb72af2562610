//! Who makes and who reads a value of a graph, and nodes to put in.

use std::collections::HashMap;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// `TensorProto.DataType` of f32.
pub(super) const FLOAT: i32 = 1;
/// `TensorProto.DataType` of 32-bit integers.
pub(super) const INT32: i32 = 6;
/// `TensorProto.DataType` of 64-bit integers.
pub(super) const INT64: i32 = 7;
/// `TensorProto.DataType` of f16.
pub(super) const FLOAT16: i32 = 10;

/// A graph's values by name.
pub(super) struct Index<'a> {
    maker: HashMap<&'a str, &'a NodeProto>,
    readers: HashMap<&'a str, Vec<(&'a NodeProto, usize)>>,
    tensors: HashMap<&'a str, &'a TensorProto>,
}

impl<'a> Index<'a> {
    pub(super) fn of(graph: &'a GraphProto) -> Self {
        let mut readers: HashMap<&str, Vec<_>> = HashMap::new();
        for node in &graph.node {
            for (place, input) in node.input.iter().enumerate() {
                readers.entry(input.as_str()).or_default().push((node, place));
            }
        }
        Self {
            maker: graph.node.iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n))).collect(),
            readers,
            tensors: graph.initializer.iter().map(|t| (t.name.as_str(), t)).collect(),
        }
    }

    /// The node that computes a value; none for inputs and weights.
    pub(super) fn maker(&self, name: &str) -> Option<&'a NodeProto> {
        self.maker.get(name).copied()
    }

    /// The nodes that read a value, each with the place among its inputs. Sub-graphs are not looked into.
    pub(super) fn readers(&self, name: &str) -> &[(&'a NodeProto, usize)] {
        self.readers.get(name).map_or(&[], Vec::as_slice)
    }

    /// The weight of that name.
    pub(super) fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.tensors.get(name).copied()
    }

    /// The weight, or the value of the `Constant`, of that name.
    pub(super) fn constant(&self, name: &str) -> Option<&'a TensorProto> {
        self.tensor(name).or_else(|| {
            let maker = self.maker(name).filter(|node| node.op_type == "Constant")?;
            maker.attribute.iter().find(|a| a.name == "value")?.t.as_ref()
        })
    }
}

/// A node of the operator set that the file names.
pub(super) fn node(op: &str, inputs: Vec<String>, output: String) -> NodeProto {
    NodeProto {
        name: output.clone(),
        op_type: op.to_owned(),
        input: inputs,
        output: vec![output],
        ..NodeProto::default()
    }
}

/// An attribute of one integer.
pub(super) fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i: value, ..AttributeProto::default() }
}

/// An attribute of several integers.
pub(super) fn integers(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

/// The value of an attribute of one integer.
pub(super) fn attribute(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|a| a.name == name).map(|a| a.i)
}

/// A `Cast` of `input` to f32.
pub(super) fn widened(input: &str, output: String) -> NodeProto {
    let mut cast = node("Cast", vec![input.to_owned()], output);
    cast.attribute.push(integer("to", i64::from(FLOAT)));
    cast
}
