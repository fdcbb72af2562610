//! Logits of the positions that are asked for, and of no others.
//!
//! The last product of a language model is the largest: a vocabulary for each position. Of a prompt only the last
//! position's logits are read, so that what is multiplied is gathered first, by an input that the graph gets for it
//! ([`POSITIONS`]). A quantized product keeps its scale: what is gathered is the quantized value.

use tract_onnx::pb::tensor_shape_proto::Dimension;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::{GraphProto, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto};

use super::index::{INT64, Index, integer, node};
use crate::engine::tract::ops::{BYTES_PRODUCT, MAT_MUL, ROWS_PRODUCT};

/// The input that says which positions of a step get logits, `[L]`.
pub(in crate::engine::tract) const POSITIONS: &str = "linnet.positions";

/// Gathers positions in front of the last product of `output`, whose second axis is positions. Graphs that end otherwise stay
/// as they are.
pub(super) fn gather_before_last_product(graph: &mut GraphProto, output: &str) {
    let Some(product) = last_product(&Index::of(graph), output).map(|node| node.output.clone()) else { return };
    let Some(node_of) = graph.node.iter_mut().find(|node| node.output == product) else { return };
    let Some(input) = node_of.input.first_mut() else { return };
    let whole = std::mem::replace(input, format!("{output}.wanted"));
    let mut gather = node("Gather", vec![whole, POSITIONS.to_owned()], input.clone());
    gather.attribute.push(integer("axis", 1));
    graph.node.push(gather);
    let symbol = Dimension { value: Some(Dim::DimParam("L".to_owned())), ..Dimension::default() };
    let tensor = type_proto::Tensor { elem_type: INT64, shape: Some(TensorShapeProto { dim: vec![symbol] }) };
    graph.input.push(ValueInfoProto {
        name: POSITIONS.to_owned(),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    });
}

/// The product with weights behind which there are only steps that treat each position alike and by itself.
fn last_product<'a>(index: &Index<'a>, output: &str) -> Option<&'a NodeProto> {
    let mut name = output;
    loop {
        let maker = index.maker(name)?;
        let is_constant = |place: usize| maker.input.get(place).is_some_and(|name| is_weight(index, name));
        match maker.op_type.as_str() {
            "Cast" | "Tanh" | "Identity" => name = maker.input.first()?,
            "Add" | "Mul" | "Div" | "Sub" => {
                // The other side is a constant, or the scale of the quantized values, a scalar.
                let sides: Vec<&String> = maker.input.iter().filter(|side| !is_scale(index, side)).collect();
                let [side] = sides.as_slice() else { return None };
                name = side;
            }
            "MatMul" | "MatMulInteger" if is_constant(1) => return Some(maker),
            "MatMulNBits" => return Some(maker),
            op if [BYTES_PRODUCT, MAT_MUL, ROWS_PRODUCT].contains(&op) => return Some(maker),
            _ => return None,
        }
    }
}

fn is_weight(index: &Index<'_>, name: &str) -> bool {
    index.constant(name).is_some()
        || index
            .maker(name)
            .filter(|maker| maker.op_type == "Transpose")
            .and_then(|maker| maker.input.first())
            .is_some_and(|name| index.constant(name).is_some())
}

/// Whether a value is the same for all positions: a constant, or what comes of constants and of the scale of a dynamic
/// quantization.
fn is_scale(index: &Index<'_>, name: &str) -> bool {
    if let Some(constant) = index.constant(name) {
        // Along the last axis at most.
        return constant.dims.iter().rev().skip(1).all(|size| *size == 1);
    }
    match index.maker(name) {
        Some(maker) if maker.op_type == "DynamicQuantizeLinear" => {
            maker.output.get(1).is_some_and(|scale| scale == name)
        }
        Some(maker) if maker.op_type == "Mul" => maker.input.iter().all(|input| is_scale(index, input)),
        _ => false,
    }
}
