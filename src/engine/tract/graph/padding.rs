//! Padding that an `If` does only where something is missing.
//!
//! icefall's encoders repeat the last frame until a length is even: `If (missing > 0) concat(x, missing times the last frame) else x`.
//! tract 0.23.9 wants both sides of a choice to have the same shape (`docs/upstream.md`). Nothing, repeated, is nothing: the first side
//! is right in both cases, and needs no choice.

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

use super::index::Index;
use super::mask::integer;

/// Puts the side that pads in the place of each such choice.
pub(super) fn pad_always(graph: &mut GraphProto) {
    let index = Index::of(graph);
    let places: Vec<usize> =
        graph.node.iter().enumerate().filter(|(_, node)| pads(graph, &index, node)).map(|(place, _)| place).collect();
    // From the back, so that places stay.
    for place in places.into_iter().rev() {
        let choice = &graph.node[place];
        let (Some(side), Some(output)) = (side(choice, "then_branch"), choice.output.first().cloned()) else {
            continue;
        };
        let (mut nodes, padded) = (side.node.clone(), side.output[0].name.clone());
        graph.initializer.extend(side.initializer.clone());
        for name in nodes.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output)) {
            if *name == padded {
                name.clone_from(&output);
            }
        }
        graph.node.splice(place..=place, nodes);
    }
}

fn side<'a>(choice: &'a NodeProto, name: &str) -> Option<&'a GraphProto> {
    choice.attribute.iter().find(|a: &&AttributeProto| a.name == name)?.g.as_ref()
}

/// Whether a node chooses between a value and the same value with something behind it, and something is missing only above 0.
fn pads(graph: &GraphProto, index: &Index<'_>, choice: &NodeProto) -> bool {
    let (Some(padded), Some(whole)) = (side(choice, "then_branch"), side(choice, "else_branch")) else { return false };
    let ([padded_output], [identity]) = (&padded.output[..], &whole.node[..]) else { return false };
    let last = padded.node.iter().find(|node| node.output.first() == Some(&padded_output.name));
    let repeats = |name: &String| padded.node.iter().any(|n| n.op_type == "Expand" && n.output.first() == Some(name));
    let concatenates = last.is_some_and(|last| {
        last.op_type == "Concat"
            && last.input.len() == 2
            && last.input.first() == identity.input.first()
            && repeats(&last.input[1])
    });
    let mut condition = choice.input.first().and_then(|name| index.maker(name));
    while let Some(cast) = condition.filter(|node| matches!(node.op_type.as_str(), "Cast" | "Identity")) {
        condition = cast.input.first().and_then(|name| index.maker(name));
    }
    let above_0 = condition.is_some_and(|node| {
        node.op_type == "Greater" && node.input.get(1).is_some_and(|name| integer(graph, name) == Some(0))
    });
    choice.op_type == "If" && identity.op_type == "Identity" && concatenates && above_0
}
