//! Quantized values that a softmax reads.
//!
//! tract 0.23.9 writes what stands between a `DequantizeLinear` and a `QuantizeLinear` as a table of 256 values when each of its nodes maps
//! axes one to one, as a softmax does, too, whose values depend on one another (`docs/upstream.md`). Spelled as
//! `(x − zero) · scale` they are no `DequantizeLinear` to it.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::index::{FLOAT, Index, integer, node};

/// Spells out each `DequantizeLinear` of one scale that only a softmax reads.
pub(super) fn spell_before_softmax(graph: &mut GraphProto) {
    let index = Index::of(graph);
    let places: Vec<usize> = graph
        .node
        .iter()
        .enumerate()
        .filter(|(_, node)| is_read_by_softmax(&index, node))
        .map(|(place, _)| place)
        .collect();
    // From the back, so that places stay.
    for place in places.into_iter().rev() {
        let spelled = spell(&graph.node[place]);
        graph.node.splice(place..=place, spelled);
    }
}

fn is_read_by_softmax(index: &Index<'_>, dequantize: &NodeProto) -> bool {
    let one_scale = || {
        let scale = dequantize.input.get(1).and_then(|name| index.constant(name));
        scale.is_some_and(|scale| scale.dims.iter().product::<i64>() == 1)
    };
    let readers = || dequantize.output.first().map_or(&[][..], |output| index.readers(output));
    dequantize.op_type == "DequantizeLinear"
        && matches!(readers(), [(reader, _)] if matches!(reader.op_type.as_str(), "Softmax" | "LogSoftmax"))
        && one_scale()
}

fn spell(dequantize: &NodeProto) -> Vec<NodeProto> {
    let ([of, scale, rest @ ..], [output]) = (&dequantize.input[..], &dequantize.output[..]) else {
        return vec![dequantize.clone()];
    };
    let name = |part: &str| format!("{output}.{part}");
    let cast = |of: &str, part: &str| {
        let mut cast = node("Cast", vec![of.to_owned()], name(part));
        cast.attribute.push(integer("to", FLOAT.into()));
        cast
    };
    let mut nodes = vec![cast(of, "wide")];
    let mut value = name("wide");
    if let Some(zero) = rest.first().filter(|zero| !zero.is_empty()) {
        nodes.push(cast(zero, "zero"));
        nodes.push(node("Sub", vec![value, name("zero")], name("shifted")));
        value = name("shifted");
    }
    nodes.push(node("Mul", vec![value, scale.clone()], output.clone()));
    nodes
}
