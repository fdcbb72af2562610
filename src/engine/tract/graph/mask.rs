//! Masks that are looked up by computed indices.
//!
//! transformers from 4.53 on builds masks by a function of (row, head, query, key) that is vectorised, so that exports flatten the
//! attention mask, compute `row * positions + key` for every key, and gather. The result is the mask itself with two axes
//! more. Written as that it costs nothing, and tract, whose rewriting of a product fails on a symbol, never sees the product.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// Replaces each lookup of a whole flattened mask by the mask with two axes more. Graphs without any stay as they are.
pub(super) fn unfold_lookups(graph: &mut GraphProto, unsqueeze_takes_input: bool) {
    let mut found = Vec::new();
    {
        let maker: HashMap<&str, &NodeProto> =
            graph.node.iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n))).collect();
        let mut readers: HashMap<&str, Vec<&NodeProto>> = HashMap::new();
        for node in &graph.node {
            for input in &node.input {
                readers.entry(input.as_str()).or_default().push(node);
            }
        }
        for gather in graph.node.iter().filter(|node| node.op_type == "Gather") {
            let Some(flatten) = gather.input.first().and_then(|data| maker.get(data.as_str())) else { continue };
            let Some(mask) = flattened_mask(flatten, &maker) else { continue };
            // The reshapes behind it only give the result the shape of its index.
            let Some(mut last) = gather.output.first() else { continue };
            while let Some([reshape]) = readers.get(last.as_str()).map(Vec::as_slice) {
                match (reshape.op_type.as_str(), reshape.input.first(), reshape.output.first()) {
                    ("Reshape", Some(data), Some(out)) if data == last => last = out,
                    _ => break,
                }
            }
            found.push((mask.to_owned(), last.clone()));
        }
    }
    for (i, (mask, output)) in found.into_iter().enumerate() {
        let axes = format!("linnet.mask_axes.{i}");
        for node in &mut graph.node {
            // Its maker goes on under a name that nobody reads.
            for own in node.output.iter_mut().filter(|own| **own == output) {
                own.push_str(".by_lookup");
            }
        }
        let mut node = NodeProto {
            input: vec![mask],
            output: vec![output.clone()],
            name: format!("{output}.unfolded"),
            op_type: "Unsqueeze".to_owned(),
            ..NodeProto::default()
        };
        if unsqueeze_takes_input {
            node.input.push(axes.clone());
            graph.initializer.push(TensorProto {
                name: axes,
                dims: vec![2],
                data_type: 7,
                int64_data: vec![1, 2],
                ..TensorProto::default()
            });
        } else {
            node.attribute.push(tract_onnx::pb::AttributeProto {
                name: "axes".to_owned(),
                r#type: tract_onnx::pb::attribute_proto::AttributeType::Ints as i32,
                ints: vec![1, 2],
                ..Default::default()
            });
        }
        graph.node.push(node);
    }
}

/// Has a mask of the encoder's samples be one of its positions.
///
/// Exports of Moonshine take the mask of samples in the decoder, too, keep every 384th and of these as many as there are positions. A
/// mask of positions needs neither, and has the length of the keys that it is added to.
pub(super) fn mask_positions(graph: &mut GraphProto) {
    const MASK: &str = "encoder_attention_mask";
    let strided = |node: &&NodeProto| {
        let first = node.input.first().is_some_and(|input| input == MASK);
        first
            && node.op_type == "Slice"
            && node.input.get(4).and_then(|step| integer(graph, step)).is_some_and(|step| step > 1)
    };
    let Some(kept) = graph.node.iter().find(strided).and_then(|node| node.output.first()) else { return };
    let cut = graph.node.iter().find(|node| node.op_type == "Slice" && node.input.first() == Some(kept));
    let Some(cut) = cut.and_then(|node| node.output.first()).cloned() else { return };
    for input in graph.node.iter_mut().flat_map(|node| &mut node.input).filter(|input| **input == cut) {
        *input = MASK.to_owned();
    }
}

/// The one integer that a constant holds.
pub(super) fn integer(graph: &GraphProto, name: &str) -> Option<i64> {
    let made = graph.node.iter().find(|node| node.op_type == "Constant" && node.output.iter().any(|o| o == name));
    let tensor = match made {
        Some(node) => node.attribute.iter().find_map(|attribute| attribute.t.as_ref())?,
        None => graph.initializer.iter().find(|tensor| tensor.name == name)?,
    };
    match (&tensor.int64_data[..], tensor.raw_data.as_chunks::<8>().0) {
        ([value], _) => Some(*value),
        (_, [bytes]) => Some(i64::from_le_bytes(*bytes)),
        _ => None,
    }
}

/// The mask, when `node` flattens all of an attention mask: `[rows, keys]` to `[rows * keys, 1]` or `[1, rows * keys]` or flat.
fn flattened_mask<'a>(node: &'a NodeProto, maker: &HashMap<&str, &'a NodeProto>) -> Option<&'a str> {
    let flattens = match node.op_type.as_str() {
        "Flatten" => node.attribute.iter().any(|a| a.name == "axis" && matches!(a.i, 0 | 2)),
        _ => false,
    };
    let mask = node.input.first().filter(|_| flattens)?;
    let mut origin = mask.as_str();
    // GPT-2 views its mask as `[rows, -1]` first, which it is already.
    while let Some(same) = maker.get(origin).filter(|n| matches!(n.op_type.as_str(), "Cast" | "Reshape")) {
        origin = same.input.first()?;
    }
    origin.ends_with("attention_mask").then_some(mask.as_str())
}
