//! Ranges that count down.
//!
//! tract 0.23.9 takes the length of a `Range` with a negative step by dividing by the step as if it had no sign, and overflows
//! (`docs/upstream.md`). `start, start − k, …` is `start` less `0, k, …`, which it knows.

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::mask::integer;

/// Writes each range with a negative step as a difference.
pub(super) fn count_up(graph: &mut GraphProto) {
    let steps: Vec<(usize, i64)> = graph
        .node
        .iter()
        .enumerate()
        .filter(|(_, node)| node.op_type == "Range")
        .filter_map(|(place, node)| Some((place, integer(graph, node.input.get(2)?)?)))
        .filter(|(_, step)| *step < 0)
        .collect();
    // From the back, so that places stay.
    for (place, step) in steps.into_iter().rev() {
        let node = graph.node.remove(place);
        let ([start, limit, _], [output]) = (&node.input[..], &node.output[..]) else { continue };
        let name = |part: &str| format!("{output}.{part}");
        for (part, value) in [("zero", 0), ("step", -step)] {
            graph.initializer.push(TensorProto {
                name: name(part),
                data_type: 7,
                int64_data: vec![value],
                ..TensorProto::default()
            });
        }
        let made = |op: &str, inputs: [String; 2], rest: Option<String>, output: String| NodeProto {
            op_type: op.to_owned(),
            name: output.clone(),
            input: inputs.into_iter().chain(rest).collect(),
            output: vec![output],
            ..NodeProto::default()
        };
        let nodes = [
            made("Sub", [start.clone(), limit.clone()], None, name("span")),
            made("Range", [name("zero"), name("span")], Some(name("step")), name("up")),
            made("Sub", [start.clone(), name("up")], None, output.clone()),
        ];
        graph.node.splice(place..place, nodes);
    }
}
