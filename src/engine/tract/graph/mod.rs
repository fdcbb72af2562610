//! Rewrites of an ONNX graph before tract sees it: one side of a merged decoder, only what the wanted outputs need, and
//! shapes whose symbols mean the same everywhere.
//!
//! Exports name their dimensions as they like (`past_sequence_length + 1`, `total_sequence_length`), and quantizers keep stale
//! shapes of inner values. tract takes such names for unrelated symbols and then finds that a mask does not fit what the cache's
//! concatenation gives. So inner shapes are dropped, and the inputs that transformers share get the symbols `B` (batch), `S`
//! (positions of this step), `P` (positions in the cache) and `E` (positions of the encoder), whatever the file called them
//! (`docs/decisions/0009-cache-and-symbols.md`).

mod mask;

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::tensor_shape_proto::Dimension;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::{GraphProto, NodeProto, TensorShapeProto, ValueInfoProto, type_proto};

use crate::engine::{Part, Slot};

/// The input that chooses the side of a merged decoder.
const USE_CACHE: &str = "use_cache_branch";

/// Puts one side of the `If` that [`USE_CACHE`] chooses in its place.
pub fn take_part(graph: &mut GraphProto, part: Part) -> Result<(), String> {
    let side = match part {
        Part::Whole => return Ok(()),
        Part::First => "else_branch",
        Part::WithPast => "then_branch",
    };
    let chosen = |node: &NodeProto| node.op_type == "If" && node.input.first().is_some_and(|input| input == USE_CACHE);
    if !graph.node.iter().any(chosen) {
        return Err(format!("the graph has no `If` on `{USE_CACHE}`; it is not a merged decoder"));
    }
    let mut nodes = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        if !chosen(&node) {
            nodes.push(node);
            continue;
        }
        let branch = node.attribute.iter_mut().find(|a| a.name == side).and_then(|a| a.g.take());
        let branch = branch.ok_or_else(|| format!("the `If` on `{USE_CACHE}` has no {side}"))?;
        if branch.output.len() != node.output.len() {
            return Err(format!("the {side} gives {} outputs, its `If` {}", branch.output.len(), node.output.len()));
        }
        graph.initializer.extend(branch.initializer);
        nodes.extend(branch.node);
        for (inner, outer) in branch.output.iter().zip(&node.output).filter(|(inner, outer)| inner.name != **outer) {
            nodes.push(NodeProto {
                input: vec![inner.name.clone()],
                output: vec![outer.clone()],
                name: format!("{outer}.of_branch"),
                op_type: "Identity".to_owned(),
                ..NodeProto::default()
            });
        }
    }
    graph.node = nodes;
    Ok(())
}

/// Writes what tract cannot take in another way that means the same.
pub fn simplify(graph: &mut GraphProto, opset: i64) {
    mask::unfold_lookups(graph, opset >= 13);
}

/// Leaves only `outputs` (all when empty) and what they need.
pub fn prune(graph: &mut GraphProto, outputs: &[String]) -> Result<(), String> {
    if !outputs.is_empty() {
        if let Some(gone) = outputs.iter().find(|name| !graph.output.iter().any(|o| o.name == **name)) {
            return Err(format!("the graph has no output `{gone}`"));
        }
        graph.output.retain(|output| outputs.contains(&output.name));
    }
    let maker: HashMap<&str, usize> =
        graph.node.iter().enumerate().flat_map(|(i, n)| n.output.iter().map(move |o| (o.as_str(), i))).collect();
    let mut kept = vec![false; graph.node.len()];
    let mut used = HashSet::new();
    let mut wanted: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    while let Some(name) = wanted.pop() {
        if name.is_empty() || !used.insert(name.to_owned()) {
            continue;
        }
        if let Some(&node) = maker.get(name)
            && !std::mem::replace(&mut kept[node], true)
        {
            reads(&graph.node[node], &mut wanted);
        }
    }
    let mut kept = kept.into_iter();
    graph.node.retain(|_| kept.next().unwrap_or(true));
    graph.initializer.retain(|tensor| used.contains(&tensor.name));
    graph.input.retain(|input| used.contains(&input.name));
    Ok(())
}

/// Every name that a node reads, those of its sub-graphs included.
fn reads<'a>(node: &'a NodeProto, names: &mut Vec<&'a str>) {
    names.extend(node.input.iter().map(String::as_str));
    for sub in node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)) {
        names.extend(sub.output.iter().map(|o| o.name.as_str()));
        sub.node.iter().for_each(|node| reads(node, names));
    }
}

/// Gives the inputs shapes whose symbols agree, and drops what the file says of inner values.
pub fn name_dimensions(graph: &mut GraphProto, slots: &[Slot]) {
    graph.value_info.clear();
    let grows = slots.iter().any(|slot| slot.grows.is_some());
    let initialized: HashSet<String> = graph.initializer.iter().map(|t| t.name.clone()).collect();
    for input in &mut graph.input {
        if initialized.contains(&input.name) {
            continue;
        }
        let name = input.name.clone();
        let Some(shape) = shape_mut(input) else { continue };
        let slot = slots.iter().find(|slot| slot.input.as_deref() == Some(&name));
        for (axis, dim) in shape.dim.iter_mut().enumerate() {
            if matches!(dim.value, Some(Dim::DimValue(size)) if size >= 0) {
                continue;
            }
            let symbol = match slot {
                Some(Slot { grows: Some(growing), .. }) if *growing == axis => Some("P"),
                Some(_) if axis == 0 => Some("B"),
                Some(Slot { grows: None, .. }) if axis == 2 && name.contains("encoder") => Some("E"),
                Some(_) => None,
                None => of_input(&name, axis, grows),
            };
            match symbol {
                Some(symbol) => *dim = Dimension { value: Some(Dim::DimParam(symbol.to_owned())), ..dim.clone() },
                // A name of its own: two inputs that happen to share one need not agree.
                None => {
                    let own = format!("{}_{axis}", name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
                    *dim = Dimension { value: Some(Dim::DimParam(own)), ..dim.clone() };
                }
            }
        }
    }
    for output in &mut graph.output {
        if let Some(shape) = shape_mut(output) {
            shape.dim.clear();
        }
    }
}

/// The symbol of an input that exports of transformers share.
fn of_input(name: &str, axis: usize, grows: bool) -> Option<&'static str> {
    let columns = match name {
        "input_ids" | "decoder_input_ids" | "position_ids" | "token_type_ids" | "inputs_embeds" => "S",
        "attention_mask" | "decoder_attention_mask" => {
            if grows {
                "P+S"
            } else {
                "S"
            }
        }
        "encoder_attention_mask" | "encoder_hidden_states" | "encoder_outputs" => "E",
        "cache_position" if axis == 0 => return Some("S"),
        _ => return None,
    };
    match axis {
        0 => Some("B"),
        1 => Some(columns),
        _ => None,
    }
}

fn shape_mut(value: &mut ValueInfoProto) -> Option<&mut TensorShapeProto> {
    match value.r#type.as_mut()?.value.as_mut()? {
        type_proto::Value::TensorType(tensor) => tensor.shape.as_mut(),
    }
}

#[cfg(test)]
mod tests;
