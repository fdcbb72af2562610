//! Graphs made wrong on purpose, for tests that are to notice it.

use std::path::Path;

use prost::Message;
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto};

/// Rewrites the file by `change`; false, and the file as it was, where that has nothing to change.
fn rewrite(onnx: &Path, change: impl Fn(&mut GraphProto) -> bool) -> bool {
    let mut model = ModelProto::decode(std::fs::read(onnx).expect("reads").as_slice()).expect("it is ONNX");
    let changed = model.graph.as_mut().is_some_and(change);
    if changed {
        std::fs::write(onnx, model.encode_to_vec()).expect("writes");
    }
    changed
}

/// Scales one tensor of f32 weights of at least two axes by 1.05, that of the given number; false where there are fewer.
pub(crate) fn scale_weights(onnx: &Path, number: usize) -> bool {
    let scale = |tensor: &mut TensorProto| {
        for bytes in tensor.raw_data.as_chunks_mut::<4>().0 {
            *bytes = (f32::from_le_bytes(*bytes) * 1.05).to_le_bytes();
        }
        tensor.float_data.iter_mut().for_each(|v| *v *= 1.05);
    };
    rewrite(onnx, |graph| {
        let is_weight = |t: &&mut TensorProto| t.data_type == 1 && t.dims.len() >= 2;
        graph.initializer.iter_mut().filter(is_weight).nth(number).map(scale).is_some()
    })
}

/// Has the first softmax read scores to which no mask was added; false where there is none.
pub(crate) fn drop_mask(onnx: &Path) -> bool {
    rewrite(onnx, |graph| {
        let Some(masked) = graph.node.iter().find(|node| node.op_type == "Softmax").map(|node| node.input[0].clone())
        else {
            return false;
        };
        let Some(add) = graph.node.iter_mut().find(|node| node.op_type == "Add" && node.output.contains(&masked))
        else {
            return false;
        };
        "Identity".clone_into(&mut add.op_type);
        add.input.truncate(1);
        true
    })
}
