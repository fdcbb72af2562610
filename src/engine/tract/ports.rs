//! What an ONNX file says of an input or output.

use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::{GraphProto, ValueInfoProto, type_proto};

use crate::engine::{Datum, Port};

/// The inputs of a graph that are no weights, and its outputs.
pub(super) fn of_graph(graph: &GraphProto) -> (Vec<Port>, Vec<Port>) {
    let weights: std::collections::HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let inputs = graph.input.iter().filter(|input| !weights.contains(input.name.as_str())).map(of_value);
    (inputs.collect(), graph.output.iter().map(of_value).collect())
}

/// The port that a value of the graph's head describes. Types by `TensorProto.DataType`.
pub(super) fn of_value(value: &ValueInfoProto) -> Port {
    let (mut datum, mut shape) = (Datum::Other, Vec::new());
    if let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        datum = match tensor.elem_type {
            1 => Datum::F32,
            2 => Datum::U8,
            3 => Datum::I8,
            6 => Datum::I32,
            7 => Datum::I64,
            9 => Datum::Bool,
            10 => Datum::F16,
            _ => Datum::Other,
        };
        shape = tensor.shape.iter().flat_map(|s| &s.dim).map(size).collect();
    }
    Port { name: value.name.clone(), datum, shape }
}

fn size(dim: &tract_onnx::pb::tensor_shape_proto::Dimension) -> Option<usize> {
    match dim.value {
        // Some exporters write 0 for what is free.
        Some(Dim::DimValue(size)) => usize::try_from(size).ok().filter(|size| *size > 0),
        _ => None,
    }
}
