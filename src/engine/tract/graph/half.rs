//! f16 graphs: arithmetic in f32, large weights as they are stored.
//!
//! Few processors compute in f16; ONNX Runtime, too, widens for nearly every operator on a CPU. So activations become f32
//! throughout, which is no less exact, small constants are widened once, and large weights stay f16 and are widened within the
//! product or the lookup that reads them. The cache becomes f32 with the activations; other inputs keep their type.

use std::collections::{HashMap, HashSet};

use half::f16;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, type_proto};

use super::index::{FLOAT, FLOAT16, Index, attribute, integer, node, widened};
use crate::engine::Slot;
use crate::engine::tract::ops::{MAT_MUL, OF_HALVES, ROWS_PRODUCT};

/// Makes `graph` compute in f32, when it computes in f16.
pub(super) fn widen(graph: &mut GraphProto, slots: &[Slot]) {
    for node in &mut graph.node {
        for attribute in &mut node.attribute {
            attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(|inner| widen(inner, &[]));
            widen_attribute(&node.op_type, attribute);
        }
    }
    mark_quantized(graph);
    graph.initializer.iter_mut().for_each(widen_small);
    let large: HashSet<String> =
        graph.initializer.iter().filter(|t| t.data_type == FLOAT16).map(|t| t.name.clone()).collect();
    let narrow = inputs(graph, slots);
    graph.output.iter_mut().for_each(widen_type);
    let tables: HashSet<String> = graph
        .initializer
        .iter()
        .filter(|t| large.contains(&t.name) && t.dims.len() == 2)
        .map(|t| t.name.clone())
        .collect();
    keep_products(graph, &tables);
    let names: Vec<String> = large.into_iter().chain(narrow).collect();
    widen_for_others(graph, &names);
}

/// Notes which products of quantized activations have them as f16: what they are rounded to depends on it.
fn mark_quantized(graph: &mut GraphProto) {
    let narrow: HashSet<&str> =
        graph.initializer.iter().filter(|t| t.data_type == FLOAT16).map(|t| t.name.as_str()).collect();
    for node in graph.node.iter_mut().filter(|node| node.op_type == "MatMulNBits") {
        if node.input.get(2).is_some_and(|scales| narrow.contains(scales.as_str())) {
            node.attribute.push(integer(OF_HALVES, 1));
        }
    }
}

/// Widens the type of the inputs that the cache holds. Gives the names of the others that are f16.
fn inputs(graph: &mut GraphProto, slots: &[Slot]) -> Vec<String> {
    let initialized: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let mut narrow = Vec::new();
    for input in &mut graph.input {
        if initialized.contains(input.name.as_str()) || element_type(input) != Some(FLOAT16) {
            continue;
        }
        if slots.iter().any(|slot| slot.input.as_ref() == Some(&input.name)) {
            widen_type(input);
        } else {
            narrow.push(input.name.clone());
        }
    }
    narrow
}

fn element_type(value: &ValueInfoProto) -> Option<i32> {
    match value.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => Some(tensor.elem_type),
    }
}

fn widen_type(value: &mut ValueInfoProto) {
    if let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_mut().and_then(|t| t.value.as_mut())
        && tensor.elem_type == FLOAT16
    {
        tensor.elem_type = FLOAT;
    }
}

/// Types and values that a node names.
fn widen_attribute(op: &str, attribute: &mut AttributeProto) {
    let names_type = matches!(attribute.name.as_str(), "to" | "dtype" | "output_dtype");
    if names_type && attribute.i == i64::from(FLOAT16) {
        attribute.i = i64::from(FLOAT);
    }
    if let Some(tensor) = &mut attribute.t {
        widen_small(tensor);
        debug_assert!(op == "Constant" || tensor.data_type != FLOAT16, "only constants are large");
    }
}

/// Widens a tensor whose data is at hand; what lies in a file is large.
fn widen_small(tensor: &mut TensorProto) {
    if tensor.data_type != FLOAT16 || tensor.data_location == Some(DataLocation::External as i32) {
        return;
    }
    let values: Vec<f16> = if tensor.raw_data.is_empty() {
        // One value in each integer.
        tensor.int32_data.iter().map(|bits| f16::from_bits(*bits as u16)).collect()
    } else {
        tensor.raw_data.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes)).collect()
    };
    tensor.int32_data.clear();
    tensor.raw_data = values.iter().flat_map(|value| value.to_f32().to_le_bytes()).collect();
    tensor.data_type = FLOAT;
}

/// Whether an operator reads f16 weights at that place as they are.
fn reads_half(node: &NodeProto, place: usize) -> bool {
    match node.op_type.as_str() {
        MAT_MUL | ROWS_PRODUCT => place == 1,
        "Attention" => place == 1 && node.domain == "com.microsoft",
        "Gather" => place == 0,
        "MatMulNBits" | "GatherBlockQuantized" => matches!(place, 2 | 3),
        _ => false,
    }
}

/// Makes products with large weights ones that take f16, and widens what lookups of them give.
fn keep_products(graph: &mut GraphProto, large: &HashSet<String>) {
    let mut gathered = Vec::new();
    let mut turned = HashSet::new();
    {
        let index = Index::of(graph);
        // A transposition that only products read is computed while loading.
        for node in graph.node.iter().filter(|n| n.op_type == "Transpose") {
            if let (Some(input), Some(output)) = (node.input.first(), node.output.first())
                && large.contains(input)
                && index.readers(output).iter().all(|(reader, place)| is_product(reader) && *place == 1)
            {
                turned.insert(output.clone());
            }
        }
    }
    let is_large = |name: Option<&String>| name.is_some_and(|name| large.contains(name) || turned.contains(name));
    let mut more = Vec::new();
    for own in &mut graph.node {
        match own.op_type.as_str() {
            "MatMul" if is_large(own.input.get(1)) => own.op_type = MAT_MUL.to_owned(),
            "Gemm" if is_large(own.input.get(1)) && is_product(own) => {
                let output = own.output[0].clone();
                own.op_type = MAT_MUL.to_owned();
                own.attribute = vec![integer("rows", attribute(own, "transB").unwrap_or(0))];
                if own.input.len() > 2 {
                    let bias = own.input.remove(2);
                    own.output[0] = format!("{output}.product");
                    if !bias.is_empty() {
                        more.push(node("Add", vec![own.output[0].clone(), bias], output));
                    } else {
                        own.output[0] = output;
                    }
                }
            }
            "Gather" if is_large(own.input.first()) => gathered.push(own.output[0].clone()),
            "GatherBlockQuantized" if is_large(own.input.get(2)) => gathered.push(own.output[0].clone()),
            _ => {}
        }
    }
    graph.node.append(&mut more);
    for name in gathered {
        let narrow = format!("{name}.f16");
        for own in &mut graph.node {
            if own.output.first() == Some(&name) {
                own.output[0].clone_from(&narrow);
            }
        }
        graph.node.push(widened(&narrow, name));
    }
}

/// A product that [`MAT_MUL`] stands for.
fn is_product(node: &NodeProto) -> bool {
    let one = |name: &str| node.attribute.iter().find(|a| a.name == name).is_none_or(|a| a.f == 1.0);
    match node.op_type.as_str() {
        "MatMul" => node.domain.is_empty(),
        "Gemm" => attribute(node, "transA").unwrap_or(0) == 0 && one("alpha") && one("beta"),
        MAT_MUL => true,
        _ => false,
    }
}

/// Gives readers that cannot read f16 a widened value.
fn widen_for_others(graph: &mut GraphProto, names: &[String]) {
    let wide: HashMap<&str, String> = names.iter().map(|name| (name.as_str(), format!("{name}.f32"))).collect();
    let mut used = HashSet::new();
    let mut transposed = HashSet::new();
    {
        let index = Index::of(graph);
        for own in graph.node.iter().filter(|node| node.op_type == "Transpose") {
            if let Some(output) = own.output.first()
                && index.readers(output).iter().all(|(reader, place)| reads_half(reader, *place))
            {
                transposed.insert(output.clone());
            }
        }
    }
    for own in &mut graph.node {
        let kept = own.output.first().is_some_and(|output| transposed.contains(output)) && own.op_type == "Transpose";
        let places: Vec<bool> = (0..own.input.len()).map(|place| kept || reads_half(own, place)).collect();
        for (input, reads) in own.input.iter_mut().zip(places) {
            if !reads && let Some(wide) = wide.get(input.as_str()) {
                used.insert(input.clone());
                input.clone_from(wide);
            }
        }
    }
    for name in used {
        graph.node.push(widened(&name, format!("{name}.f32")));
    }
}
