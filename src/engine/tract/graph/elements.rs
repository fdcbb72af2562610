//! Indices that are counted from a length.
//!
//! tract 0.23.9 keeps 64-bit integers that follow from a shape as expressions of its symbols; `GatherElements` reads its indices without
//! giving the symbols their values (`docs/upstream.md`). As 32-bit integers they are numbers. The relative positions of icefall's
//! encoders are such indices.

use tract_onnx::pb::GraphProto;

use super::index::{INT32, integer, node};

/// Puts a `Cast` to 32-bit integers before the indices of each `GatherElements`.
pub(super) fn number_indices(graph: &mut GraphProto) {
    let mut place = 0;
    while place < graph.node.len() {
        let reader = &mut graph.node[place];
        if reader.op_type == "GatherElements"
            && let Some(indices) = reader.input.get_mut(1)
        {
            let numbers = format!("{indices}.numbers.{place}");
            let mut cast = node("Cast", vec![std::mem::replace(indices, numbers.clone())], numbers);
            cast.attribute.push(integer("to", i64::from(INT32)));
            graph.node.insert(place, cast);
            place += 1;
        }
        place += 1;
    }
}
