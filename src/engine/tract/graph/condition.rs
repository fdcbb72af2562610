//! Masks that say which of two counted positions comes first.
//!
//! tract 0.23.9 follows what a `Range` counts through a comparison, and divides the choice that hangs on it into regions of rows; a
//! comparison of keys with rows becomes two rows instead of as many as there are (`docs/upstream.md`). What is compared with a number of
//! its own is followed no further, and means the same.

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::index::{FLOAT, Index, node, widened};

/// Puts `condition as f32 > 0.5` in the place of the condition of each choice that two computed values decide.
pub(super) fn hide_positions(graph: &mut GraphProto) {
    const HALF: &str = "linnet.half";
    let index = Index::of(graph);
    let places: Vec<usize> =
        graph.node.iter().enumerate().filter(|(_, node)| is_of_two_values(&index, node)).map(|(at, _)| at).collect();
    if places.is_empty() {
        return;
    }
    graph.initializer.push(TensorProto {
        name: HALF.to_owned(),
        data_type: FLOAT,
        float_data: vec![0.5],
        ..TensorProto::default()
    });
    // From the back, so that places stay.
    for place in places.into_iter().rev() {
        let Some(condition) = graph.node[place].input.first_mut() else { continue };
        let (number, hidden) = (format!("{condition}.number.{place}"), format!("{condition}.hidden.{place}"));
        let seen = std::mem::replace(condition, hidden.clone());
        let compared = node("Greater", vec![number.clone(), HALF.to_owned()], hidden);
        graph.node.splice(place..place, [widened(&seen, number), compared]);
    }
}

/// Whether a node chooses by a comparison, or its opposite, of values neither of which is a constant.
fn is_of_two_values(index: &Index<'_>, choice: &NodeProto) -> bool {
    let mut condition = choice.input.first().and_then(|name| index.maker(name));
    while let Some(opposite) = condition.filter(|node| node.op_type == "Not") {
        condition = opposite.input.first().and_then(|name| index.maker(name));
    }
    choice.op_type == "Where"
        && condition.is_some_and(|node| {
            matches!(node.op_type.as_str(), "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual")
                && node.input.iter().all(|name| index.constant(name).is_none())
        })
}
