//! What an ONNX file may say before tract is allowed to believe it.
//!
//! tract allocates what a tensor declares and panics on some types that it does not know, so declared sizes,
//! operators, the operator set and the paths of external data are checked here first, and each refusal is one
//! sentence. Format: <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path};

use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use tract_onnx::pb::{tensor_shape_proto::dimension::Value as Dim, type_proto};

/// Lowest operator set that tract reads.
pub const MIN_OPSET: i64 = 9;
/// Highest operator set that is accepted: tract tests itself up to 18; 19 to 21 only widened the types of the
/// operators that exports use.
pub const MAX_OPSET: i64 = 21;
/// Largest tensor that a graph may declare, bytes: protobuf's own limit for a file.
pub const MAX_TENSOR_BYTES: u64 = 2 << 30;
/// Deepest nesting of sub-graphs (`If`, `Loop`, `Scan`).
const MAX_DEPTH: usize = 8;
/// Domains whose operators tract knows by their bare names.
const DOMAINS: [&str; 4] = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];

/// Refuses a model that the engine could not run, or that lies about its sizes or paths.
///
/// `known` says whether the engine has an operator; `package` is the canonical directory that external data must
/// lie in, `onnx_dir` the directory of the ONNX file, which external paths are relative to.
pub fn check(model: &ModelProto, known: &dyn Fn(&str) -> bool, package: &Path, onnx_dir: &Path) -> Result<(), String> {
    let opset = model
        .opset_import
        .iter()
        .find(|o| DOMAINS[..2].contains(&o.domain.as_str()))
        .map(|o| o.version)
        .ok_or("the file names no ONNX operator set; export it again")?;
    if !(MIN_OPSET..=MAX_OPSET).contains(&opset) {
        return Err(format!(
            "the graph uses ONNX operator set {opset}, but this engine reads {MIN_OPSET} to {MAX_OPSET}; \
             export it again with operator set 17"
        ));
    }
    let graph = model.graph.as_ref().ok_or("the file holds no graph; it is truncated or no ONNX model")?;
    if graph.output.is_empty() {
        return Err("the graph has no outputs; it is truncated or no ONNX model".into());
    }
    check_graph(graph, &Context { known, package, onnx_dir }, 0)
}

struct Context<'a> {
    known: &'a dyn Fn(&str) -> bool,
    package: &'a Path,
    onnx_dir: &'a Path,
}

fn check_graph(graph: &GraphProto, cx: &Context<'_>, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("the graph nests sub-graphs more than {MAX_DEPTH} deep"));
    }
    for tensor in &graph.initializer {
        check_tensor(tensor, cx)?;
    }
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().map_or("", |t| t.name.as_str());
        return Err(format!("the tensor `{name}` is sparse, which this engine does not read"));
    }
    for value in graph.input.iter().chain(&graph.output).chain(&graph.value_info) {
        check_value(value)?;
    }
    for node in &graph.node {
        check_node(node, graph, cx, depth)?;
    }
    check_order(graph)
}

/// Refuses a graph in which a node waits for itself: tract would wait with it.
fn check_order(graph: &GraphProto) -> Result<(), String> {
    let maker: HashMap<&str, usize> =
        graph.node.iter().enumerate().flat_map(|(i, n)| n.output.iter().map(move |o| (o.as_str(), i))).collect();
    // Nodes are taken away as soon as nothing that they read is left to compute; those that stay wait for each other.
    let mut waits = vec![0usize; graph.node.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.node.len()];
    for (reader, node) in graph.node.iter().enumerate() {
        let mut names: HashSet<&str> = node.input.iter().map(String::as_str).collect();
        for sub in node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)) {
            names.extend(free_names(sub));
        }
        // An output that nobody wants and an input that is not given are called nothing.
        for made in names.iter().filter(|name| !name.is_empty()).filter_map(|name| maker.get(name)) {
            waits[reader] += 1;
            readers[*made].push(reader);
        }
    }
    let mut ready: Vec<usize> = (0..waits.len()).filter(|node| waits[*node] == 0).collect();
    while let Some(node) = ready.pop() {
        for reader in std::mem::take(&mut readers[node]) {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.push(reader);
            }
        }
    }
    match waits.iter().position(|waits| *waits > 0) {
        Some(node) => Err(format!(
            "the node `{}` waits for its own result: the graph runs in a circle and cannot be computed; export it again",
            graph.node[node].name
        )),
        None => Ok(()),
    }
}

fn check_node(node: &NodeProto, graph: &GraphProto, cx: &Context<'_>, depth: usize) -> Result<(), String> {
    let domain = node.domain.as_str();
    if !DOMAINS.contains(&domain) || !(cx.known)(&node.op_type) {
        let of = if domain.is_empty() { String::new() } else { format!(" of `{domain}`") };
        return Err(format!(
            "the node `{}` needs the operator `{}`{of}, which this engine does not have",
            node.name, node.op_type
        ));
    }
    for attribute in &node.attribute {
        for tensor in attribute.t.iter().chain(&attribute.tensors) {
            check_tensor(tensor, cx)?;
        }
        for sub in attribute.g.iter().chain(&attribute.graphs) {
            check_graph(sub, cx, depth + 1)?;
        }
    }
    // Operators that make a tensor of a size given as a constant are folded while loading.
    let size_input = match node.op_type.as_str() {
        "ConstantOfShape" => node.input.first(),
        "Expand" => node.input.get(1),
        _ => None,
    };
    if let Some(shape) = size_input.and_then(|name| graph.initializer.iter().find(|t| &t.name == name)) {
        element_count(&format!("the output of `{}`", node.name), &int64s(shape), 4)?;
    }
    Ok(())
}

/// What a sub-graph reads of the graphs around it.
fn free_names(graph: &GraphProto) -> HashSet<&str> {
    let mut names: HashSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    for node in &graph.node {
        names.extend(node.input.iter().map(String::as_str));
        for sub in node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)) {
            names.extend(free_names(sub));
        }
    }
    let own = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
    let own = own.chain(graph.initializer.iter().map(|t| t.name.as_str()));
    for name in own.chain(graph.input.iter().map(|input| input.name.as_str())) {
        names.remove(name);
    }
    names
}

/// The elements of a small `int64` tensor, however they are stored.
fn int64s(tensor: &TensorProto) -> Vec<i64> {
    if tensor.raw_data.is_empty() {
        return tensor.int64_data.clone();
    }
    let (words, _) = tensor.raw_data.as_chunks::<8>();
    words.iter().map(|w| i64::from_le_bytes(*w)).collect()
}

fn check_value(value: &ValueInfoProto) -> Result<(), String> {
    let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Ok(());
    };
    let dims: Vec<i64> = tensor
        .shape
        .iter()
        .flat_map(|s| &s.dim)
        .filter_map(|d| match d.value {
            Some(Dim::DimValue(v)) if v >= 0 => Some(v),
            _ => None,
        })
        .collect();
    let bytes = item_bytes(tensor.elem_type).unwrap_or(1);
    element_count(&format!("`{}`", value.name), &dims, bytes).map(|_| ())
}

/// Multiplies `dims`, refusing negative ones and products beyond [`MAX_TENSOR_BYTES`].
fn element_count(what: &str, dims: &[i64], item_bytes: u64) -> Result<u64, String> {
    let mut count: u64 = 1;
    let mut largest: u64 = 1;
    for &dim in dims {
        let dim = u64::try_from(dim).map_err(|_| format!("{what} declares the negative size {dim}"))?;
        count = count.saturating_mul(dim);
        largest = largest.saturating_mul(dim.max(1));
    }
    if largest.saturating_mul(item_bytes) > MAX_TENSOR_BYTES {
        return Err(format!(
            "{what} declares the shape {dims:?}, more than the {} MiB that a tensor may take",
            MAX_TENSOR_BYTES >> 20
        ));
    }
    Ok(count)
}

/// Bytes of one element by `TensorProto.DataType`; strings have no fixed size.
pub(super) fn item_bytes(data_type: i32) -> Option<u64> {
    Some(match data_type {
        1 | 6 | 12 => 4,  // float, int32, uint32
        2 | 3 | 9 => 1,   // uint8, int8, bool
        4 | 5 | 10 => 2,  // uint16, int16, float16
        7 | 11 | 13 => 8, // int64, double, uint64
        _ => return None,
    })
}

const STRING: i32 = 8;

fn check_tensor(tensor: &TensorProto, cx: &Context<'_>) -> Result<(), String> {
    let what = format!("the tensor `{}`", tensor.name);
    if tensor.data_type == STRING {
        let count = element_count(&what, &tensor.dims, 1)?;
        return matches(&what, tensor.string_data.len() as u64, count, "elements");
    }
    let item = item_bytes(tensor.data_type)
        .ok_or_else(|| format!("{what} is of ONNX type {}, which this engine does not read", tensor.data_type))?;
    let count = element_count(&what, &tensor.dims, item)?;
    let bytes = count * item;
    if tensor.data_location == Some(DataLocation::External as i32) {
        return check_external(tensor, &what, bytes, cx);
    }
    if !tensor.raw_data.is_empty() {
        return matches(&what, tensor.raw_data.len() as u64, bytes, "bytes");
    }
    let held = tensor.float_data.len()
        + tensor.int32_data.len()
        + tensor.int64_data.len()
        + tensor.double_data.len()
        + tensor.uint64_data.len();
    matches(&what, held as u64, count, "elements")
}

fn matches(what: &str, held: u64, declared: u64, unit: &str) -> Result<(), String> {
    if held == declared {
        return Ok(());
    }
    Err(format!("{what} declares {declared} {unit} but holds {held}; the file is damaged"))
}

fn check_external(tensor: &TensorProto, what: &str, bytes: u64, cx: &Context<'_>) -> Result<(), String> {
    let entry = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let number = |key: &str| {
        entry(key).map_or(Ok(None), |v| {
            v.parse::<u64>().map(Some).map_err(|_| format!("{what} gives `{v}` as external {key}, not a number"))
        })
    };
    let location = entry("location").ok_or_else(|| format!("{what} lies outside the file but does not say where"))?;
    let outside = || format!("{what} names external data at `{location}`, which is outside its package");
    if location.is_empty()
        || Path::new(location).components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir))
    {
        return Err(outside());
    }
    let path = cx
        .onnx_dir
        .join(location)
        .canonicalize()
        .map_err(|e| format!("{what} names external data at `{location}`, which cannot be read: {e}"))?;
    if !path.starts_with(cx.package) {
        return Err(outside());
    }
    let file_bytes = path.metadata().map_err(|e| format!("`{location}` cannot be read: {e}"))?.len();
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?.unwrap_or(file_bytes.saturating_sub(offset));
    matches(what, length, bytes, "bytes")?;
    if offset.checked_add(length).is_none_or(|end| end > file_bytes) {
        return Err(format!(
            "{what} wants bytes {offset} to {} of `{location}`, which has only {file_bytes}; the file is truncated",
            offset.saturating_add(length)
        ));
    }
    Ok(())
}
