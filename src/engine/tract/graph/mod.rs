//! Rewrites of an ONNX graph before tract sees it: one side of a merged decoder, only what the wanted outputs need, and
//! shapes whose symbols mean the same everywhere.
//!
//! Exports name their dimensions as they like (`past_sequence_length + 1`, `total_sequence_length`), and quantizers keep stale
//! shapes of inner values. tract takes such names for unrelated symbols and then finds that a mask does not fit what the cache's
//! concatenation gives. So inner shapes are dropped, and the inputs that transformers share get the symbols `B` (batch), `S`
//! (positions of this step), `P` (positions in the cache) and `E` (positions of the encoder), whatever the file called them
//! (`docs/decisions/0009-cache-and-symbols.md`).

mod condition;
mod dequantize;
mod elements;
mod fused;
mod half;
mod index;
mod last;
mod mask;
mod padding;
mod range;
mod sizes;
mod stride;
mod weights;

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::tensor_shape_proto::Dimension;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, TensorShapeProto, ValueInfoProto, type_proto};

use crate::engine::{Part, Size, Slot};
pub(super) use fused::is_fused;
pub(super) use last::POSITIONS;
pub(super) use sizes::name_behind_strides;

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
    take_sides(graph, side, chosen)
}

/// Puts the side of that name of each `If` that is `chosen` in its place.
pub fn take_sides(graph: &mut GraphProto, side: &str, chosen: impl Fn(&NodeProto) -> bool) -> Result<(), String> {
    let mut nodes = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        if !chosen(&node) {
            nodes.push(node);
            continue;
        }
        let condition = node.input.first().cloned().unwrap_or_default();
        let branch = node.attribute.iter_mut().find(|a| a.name == side).and_then(|a| a.g.take());
        let branch = branch.ok_or_else(|| format!("the `If` on `{condition}` has no {side}"))?;
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

/// Writes what tract cannot take, or would hold in memory twice or wider than it is stored, in another way that means the same.
pub fn simplify(graph: &mut GraphProto, opset: i64, slots: &[Slot]) -> Result<(), String> {
    fused::take_apart(graph)?;
    padding::pad_always(graph);
    mask::unfold_lookups(graph, opset >= 13);
    mask::mask_positions(graph);
    range::count_up(graph);
    elements::number_indices(graph);
    condition::hide_positions(graph);
    stride::gather_strides(graph);
    dequantize::spell_before_softmax(graph);
    weights::keep_stored(graph);
    half::widen(graph, slots);
    if slots.iter().any(|slot| slot.grows.is_some()) {
        last::gather_before_last_product(graph, "logits");
    }
    Ok(())
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

/// Which names of sizes an input gets that is none of those that transformers share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Those of the file: inputs that share one agree.
    OfFile,
    /// One for each size: the file's may be wrong.
    Own,
}

/// Gives the inputs shapes whose symbols agree, and drops what the file says of inner values.
pub fn name_dimensions(graph: &mut GraphProto, slots: &[Slot], sizes: &[Size], names: Names) {
    graph.value_info.clear();
    let initialized: HashSet<String> = graph.initializer.iter().map(|t| t.name.clone()).collect();
    let known = Known::of(graph, slots);
    // What the file calls the sizes that are known, for inputs that share its names.
    let mut called: HashMap<String, &str> = HashMap::new();
    for input in &mut graph.input {
        let name = input.name.clone();
        for (axis, dim) in shape_mut(input).into_iter().flat_map(|shape| shape.dim.iter().enumerate()) {
            if let (Some(Dim::DimParam(given)), Some(symbol)) = (&dim.value, known.symbol(&name, axis)) {
                called.entry(given.clone()).or_insert(symbol);
            }
        }
    }
    for input in &mut graph.input {
        if initialized.contains(&input.name) {
            continue;
        }
        let name = input.name.clone();
        let Some(shape) = shape_mut(input) else { continue };
        for (axis, dim) in shape.dim.iter_mut().enumerate() {
            if is_fixed(dim) {
                continue;
            }
            if let Some(size) = sizes.iter().find(|size| size.input == name && size.axis == axis) {
                let value = match size.least == size.most {
                    true => Dim::DimValue(size.most as i64),
                    // What is known of it is said of this name.
                    false => Dim::DimParam(own_symbol(&name, axis)),
                };
                *dim = Dimension { value: Some(value), ..dim.clone() };
                continue;
            }
            let symbol = match (known.symbol(&name, axis), &dim.value) {
                (Some(symbol), _) => symbol.to_owned(),
                (None, Some(Dim::DimParam(given))) if names == Names::OfFile && is_identifier(given) => {
                    // Not one of ours, whatever the file calls it.
                    called.get(given).map_or_else(|| format!("of_{given}"), |symbol| (*symbol).to_owned())
                }
                // Two inputs that happen to share a name need not agree.
                _ => format!("{}_{axis}", name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")),
            };
            *dim = Dimension { value: Some(Dim::DimParam(symbol)), ..dim.clone() };
        }
    }
    for output in &mut graph.output {
        if let Some(shape) = shape_mut(output) {
            shape.dim.clear();
        }
    }
}

/// The symbol of an axis that has none of the known ones. Two inputs that happen to share a name need not agree.
pub fn own_symbol(input: &str, axis: usize) -> String {
    format!("{}_{axis}", input.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}

/// Whether a size is said. Some exporters write 0 for what is free.
fn is_fixed(dim: &Dimension) -> bool {
    matches!(dim.value, Some(Dim::DimValue(size)) if size > 0)
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The inputs whose sizes are known by their names.
struct Known<'a> {
    slots: &'a [Slot],
    /// Where no slots are given: the axis of positions of each input that looks like a cache. The caller hands it in as any other.
    caches: HashMap<String, usize>,
    /// Whether a mask covers a cache, too.
    grows: bool,
}

impl<'a> Known<'a> {
    fn of(graph: &GraphProto, slots: &'a [Slot]) -> Self {
        let mut caches = HashMap::new();
        if slots.is_empty() {
            for input in graph.input.iter().filter(|input| input.name.starts_with("past")) {
                let free = shape(input).and_then(|shape| shape.dim.iter().rposition(|dim| !is_fixed(dim)));
                if let Some(axis) = free.filter(|axis| *axis > 0 && !input.name.contains(".encoder.")) {
                    caches.insert(input.name.clone(), axis);
                }
            }
        }
        let grows = !caches.is_empty() || slots.iter().any(|slot| slot.grows.is_some());
        Self { slots, caches, grows }
    }

    fn symbol(&self, name: &str, axis: usize) -> Option<&'static str> {
        if let Some(slot) = self.slots.iter().find(|slot| slot.input.as_deref() == Some(name)) {
            return match slot.grows {
                Some(growing) if growing == axis => Some("P"),
                _ if axis == 0 => Some("B"),
                None if axis == 2 && name.contains("encoder") => Some("E"),
                _ => None,
            };
        }
        match self.caches.get(name) {
            Some(growing) if *growing == axis => Some("P"),
            Some(_) if axis == 0 => Some("B"),
            Some(_) => None,
            None => of_input(name, axis, self.grows),
        }
    }
}

fn shape(value: &ValueInfoProto) -> Option<&TensorShapeProto> {
    match value.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => tensor.shape.as_ref(),
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
        // Added to the scores of every sequence.
        "attn_mask" => return [Some("S"), Some("P+S")].get(axis).copied().flatten(),
        _ => return None,
    };
    match axis {
        0 => Some("B"),
        1 => Some(columns),
        _ => None,
    }
}

/// A constant of an integer or boolean type, every element of which is `number`.
pub fn numbers_of_type(name: &str, dims: Vec<i64>, elem_type: i32, number: i64) -> TensorProto {
    let count = dims.iter().product::<i64>().max(0) as usize;
    let mut tensor = TensorProto { name: name.to_owned(), dims, data_type: elem_type, ..TensorProto::default() };
    if elem_type == index::INT64 {
        tensor.int64_data = vec![number; count];
    } else {
        // 32 bits and fewer, and booleans, stand in integers of 32 bits.
        tensor.int32_data = vec![number as i32; count];
    }
    tensor
}

fn shape_mut(value: &mut ValueInfoProto) -> Option<&mut TensorShapeProto> {
    match value.r#type.as_mut()?.value.as_mut()? {
        type_proto::Value::TensorType(tensor) => tensor.shape.as_mut(),
    }
}

#[cfg(test)]
mod tests;
