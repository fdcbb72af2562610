//! Slices that take every k-th of a size that is not known before the run.
//!
//! tract 0.23.9 refuses these (`docs/upstream.md`). Gathered by a counted range they are the same.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::mask::integer;

/// Writes each slice of a whole axis with a step above 1 as a gathering.
pub(super) fn gather_strides(graph: &mut GraphProto) {
    let found: Vec<(usize, i64, i64)> = graph
        .node
        .iter()
        .enumerate()
        .filter(|(_, node)| node.op_type == "Slice" && node.input.len() == 5)
        .filter_map(|(place, node)| {
            let of = |input: usize| integer(graph, &node.input[input]);
            let whole = of(1)? == 0 && of(2)? >= i64::from(i32::MAX);
            (whole && of(4)? > 1).then_some((place, of(3)?, of(4)?))
        })
        .collect();
    // From the back, so that places stay.
    for (place, axis, step) in found.into_iter().rev() {
        let node = graph.node.remove(place);
        let (Some(data), [output]) = (node.input.first(), &node.output[..]) else { continue };
        let name = |part: &str| format!("{output}.{part}");
        for (part, value) in [("zero", 0), ("step", step), ("axis", axis)] {
            graph.initializer.push(TensorProto {
                name: name(part),
                data_type: 7,
                int64_data: vec![value],
                ..TensorProto::default()
            });
        }
        let made = |op: &str, inputs: &[String], output: String, axis: Option<i64>| NodeProto {
            op_type: op.to_owned(),
            name: output.clone(),
            input: inputs.to_vec(),
            output: vec![output],
            attribute: axis
                .map(|axis| AttributeProto {
                    name: "axis".to_owned(),
                    r#type: AttributeType::Int as i32,
                    i: axis,
                    ..AttributeProto::default()
                })
                .into_iter()
                .collect(),
            ..NodeProto::default()
        };
        let nodes = [
            made("Shape", std::slice::from_ref(data), name("shape"), None),
            made("Gather", &[name("shape"), name("axis")], name("size"), Some(0)),
            made("Range", &[name("zero"), name("size"), name("step")], name("places"), None),
            made("Gather", &[data.clone(), name("places")], output.clone(), Some(axis)),
        ];
        graph.node.splice(place..place, nodes);
    }
}
