//! Names for the sizes that convolutions with a stride leave behind (`ops/named_sizes.rs` says why).

use std::collections::HashSet;

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::ops::NAMED_SIZES;

/// Has the sizes behind each convolution with a stride named; whether there is one. What is behind an inner graph's stays as it is.
pub(in super::super) fn name_behind_strides(graph: &mut GraphProto) -> bool {
    let strides = |node: &NodeProto| {
        node.op_type == "Conv" && node.attribute.iter().any(|a| a.name == "strides" && a.ints.iter().any(|by| *by > 1))
    };
    let of_nodes = graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output).chain([&node.name]));
    let of_weights = graph.initializer.iter().map(|weight| &weight.name);
    let of_inputs = graph.input.iter().map(|input| &input.name);
    let taken: HashSet<String> = of_nodes.chain(of_weights).chain(of_inputs).cloned().collect();
    let free = |mut name: String| {
        while taken.contains(&name) {
            name.push('_');
        }
        name
    };
    let mut nodes = Vec::with_capacity(graph.node.len());
    let before = graph.node.len();
    for mut node in std::mem::take(&mut graph.node) {
        let strides = strides(&node);
        let Some(output) = node.output.first_mut().filter(|_| strides) else {
            nodes.push(node);
            continue;
        };
        let reckoned = free(format!("{output}.reckoned"));
        let name = std::mem::replace(output, reckoned.clone());
        nodes.push(node);
        nodes.push(NodeProto {
            op_type: NAMED_SIZES.to_owned(),
            name: free(format!("{name}.sizes")),
            input: vec![reckoned],
            output: vec![name],
            ..NodeProto::default()
        });
    }
    graph.node = nodes;
    graph.node.len() > before
}
