//! Products with weights that are to stay as the file has them.
//!
//! Where a model ties its output to its embedding, the file has one table that is looked up by row and, transposed, multiplied.
//! Where weights are quantized for themselves (`DequantizeLinear` of a constant), ONNX Runtime multiplies by what they stand
//! for. Written so, tract would hold a second table in its kernels' order, or compute f32 weights anew at each step. Both become
//! `linnet.RowsProduct`, which reads the stored rows.
//!
//! Where activations are quantized, too (`MatMulInteger`), tract widens the weights to 32 bits to add up their columns, at each step
//! where that takes more than 4 MiB, beside a packed copy. They become `linnet.BytesProduct`.

use std::collections::HashSet;

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::index::{FLOAT, FLOAT16, Index, attribute, integer, node};
use crate::engine::tract::ops::{BYTES_PRODUCT, MAT_MUL, ROWS_PRODUCT};

/// `TensorProto.DataType` of bytes, without and with a sign.
const BYTES: [i32; 2] = [2, 3];

/// Weights of a product, seen through what stands between them and it.
struct Weights<'a> {
    tensor: &'a TensorProto,
    /// The value that they are: a `Constant` has its name on its output.
    name: &'a str,
    /// Whether a transposition of the two axes is on the way.
    transposed: bool,
    /// The node that dequantizes them, and whether the transposition comes before it.
    dequantized: Option<(&'a NodeProto, bool)>,
}

impl<'a> Weights<'a> {
    /// What the value `name` is made of, when that is a constant of rank 2.
    fn of(index: &Index<'a>, name: &'a str) -> Option<Self> {
        let (mut name, mut transposed, mut dequantized) = (name, false, None);
        loop {
            if let Some(tensor) = index.constant(name) {
                return (tensor.dims.len() == 2).then_some(Self { tensor, name, transposed, dequantized });
            }
            let maker = index.maker(name)?;
            match maker.op_type.as_str() {
                "Transpose" if perm(maker).is_none_or(|perm| perm == [1, 0]) => transposed = !transposed,
                "DequantizeLinear" if dequantized.is_none() => dequantized = Some((maker, transposed)),
                "Identity" => {}
                _ => return None,
            }
            name = maker.input.first()?;
        }
    }

    /// Whether scale and zero are one for all weights, or one for each output of the product.
    fn quantized_by_output(&self, index: &Index<'_>) -> Option<bool> {
        let (node, transposed_after) = self.dequantized?;
        let scale = index.constant(node.input.get(1)?)?;
        if let Some(zero) = node.input.get(2).filter(|name| !name.is_empty()) {
            index.constant(zero)?;
        }
        if attribute(node, "block_size").unwrap_or(0) != 0 || !BYTES.contains(&self.tensor.data_type) {
            return None;
        }
        let elements: i64 = scale.dims.iter().product();
        let axis = attribute(node, "axis").unwrap_or(1).rem_euclid(2);
        // As the product sees the weights, `[columns, outputs]`, unless they are turned once more behind the node.
        let outputs_axis = if transposed_after { 0 } else { 1 };
        Some(elements == 1 || axis == outputs_axis)
    }
}

fn perm(node: &NodeProto) -> Option<&[i64]> {
    node.attribute.iter().find(|a| a.name == "perm").map(|a| a.ints.as_slice())
}

/// A product of activations with weights, in either of ONNX's forms.
struct Product<'a> {
    node: &'a NodeProto,
    weights: Weights<'a>,
    bias: Option<&'a String>,
}

impl<'a> Product<'a> {
    fn of(index: &Index<'a>, node: &'a NodeProto) -> Option<Self> {
        let flag = |name: &str| attribute(node, name).unwrap_or(0) != 0;
        let one = |name: &str| node.attribute.iter().find(|a| a.name == name).is_none_or(|a| a.f == 1.0);
        let (turned, bias) = match node.op_type.as_str() {
            "MatMul" if node.domain.is_empty() => (false, None),
            "Gemm" if !flag("transA") && one("alpha") && one("beta") => {
                (flag("transB"), node.input.get(2).filter(|name| !name.is_empty()))
            }
            _ => return None,
        };
        let mut weights = Weights::of(index, node.input.get(1)?)?;
        weights.transposed ^= turned;
        Some(Self { node, weights, bias })
    }

    /// Whether the weights are to be multiplied as they are stored.
    fn keeps(&self, index: &Index<'_>) -> bool {
        let Weights { name, transposed, dequantized, .. } = &self.weights;
        match dequantized {
            Some(_) => self.weights.quantized_by_output(index) == Some(true),
            // Looked up by row elsewhere.
            None => {
                *transposed
                    && index.readers(name).iter().any(|(reader, place)| reader.op_type == "Gather" && *place == 0)
            }
        }
    }

    /// Whether nothing but this product reads the weights, which are turned before it.
    fn has_rows_of_its_own(&self, index: &Index<'_>) -> bool {
        let Weights { tensor, name, transposed, dequantized } = &self.weights;
        let turned =
            self.node.input.get(1).and_then(|name| index.maker(name)).filter(|maker| maker.op_type == "Transpose");
        self.node.op_type == "MatMul"
            && *transposed
            && dequantized.is_none()
            && [FLOAT, FLOAT16].contains(&tensor.data_type)
            && turned.is_some_and(|turned| turned.input.first().is_some_and(|input| input == name))
            && index.readers(name).len() == 1
            && index.readers(&self.node.input[1]).len() == 1
    }

    /// The product with the rows as they are: tract turns what it is told to while it reads the graph, and holds both for a while.
    fn with_rows(&self, output: &str) -> NodeProto {
        let inputs = vec![self.node.input[0].clone(), self.weights.name.to_owned()];
        let mut product = node(MAT_MUL, inputs, output.to_owned());
        product.attribute.push(integer("rows", 1));
        product
    }
}

/// A product of quantized activations with constant weights, `MatMulInteger`.
struct Integers<'a> {
    node: &'a NodeProto,
    weights: Weights<'a>,
    /// The zeros of activations and of weights.
    zeros: [Option<&'a String>; 2],
}

impl<'a> Integers<'a> {
    /// None where activations have a zero for each row, or weights are not plain bytes.
    fn of(index: &Index<'a>, node: &'a NodeProto) -> Option<Self> {
        if node.op_type != "MatMulInteger" {
            return None;
        }
        let weights = Weights::of(index, node.input.get(1)?)?;
        if weights.dequantized.is_some() || !BYTES.contains(&weights.tensor.data_type) {
            return None;
        }
        let zeros = [2, 3].map(|place| node.input.get(place).filter(|name| !name.is_empty()));
        let elements = |name: &str| {
            let zero = index.constant(name)?;
            // Of two axes, that of the weights' columns is not the outputs'.
            (zero.dims.len() < 2 || zero.dims[0] == 1).then(|| zero.dims.iter().product::<i64>())
        };
        let quantizer = |name: &String| index.maker(name).filter(|maker| maker.op_type == "DynamicQuantizeLinear");
        let one = zeros[0].is_none_or(|name| elements(name) == Some(1) || quantizer(name).is_some());
        let outputs = weights.tensor.dims[usize::from(!weights.transposed)];
        let fits = zeros[1].is_none_or(|name| elements(name).is_some_and(|count| count == 1 || count == outputs));
        (one && fits).then_some(Self { node, weights, zeros })
    }

    fn product(&self, output: &str) -> NodeProto {
        let mut inputs = vec![self.node.input[0].clone(), self.weights.name.to_owned()];
        inputs.extend(self.zeros.map(|name| name.cloned().unwrap_or_default()));
        let mut product = node(BYTES_PRODUCT, inputs, output.to_owned());
        product.attribute.push(integer("rows", self.weights.transposed.into()));
        product
    }
}

/// Replaces products whose weights are to stay as they are.
pub(super) fn keep_stored(graph: &mut GraphProto) {
    let mut replaced: Vec<(String, Vec<NodeProto>)> = Vec::new();
    {
        let index = Index::of(graph);
        for node in &graph.node {
            let Some(output) = node.output.first() else { continue };
            let nodes = match Product::of(&index, node) {
                Some(product) if product.keeps(&index) => rows_product(&product, output),
                Some(product) if product.has_rows_of_its_own(&index) => vec![product.with_rows(output)],
                _ => Integers::of(&index, node).map(|product| product.product(output)).into_iter().collect(),
            };
            if !nodes.is_empty() {
                replaced.push((output.clone(), nodes));
            }
        }
    }
    let gone: HashSet<&String> = replaced.iter().map(|(output, _)| output).collect();
    graph.node.retain(|node| node.output.first().is_none_or(|output| !gone.contains(output)));
    graph.node.extend(replaced.into_iter().flat_map(|(_, nodes)| nodes));
}

fn rows_product(product: &Product<'_>, output: &str) -> Vec<NodeProto> {
    let Weights { name, transposed, dequantized, .. } = product.weights;
    let mut nodes = Vec::new();
    let mut inputs = vec![product.node.input[0].clone(), name.to_owned()];
    if let Some((dequantize, _)) = dequantized {
        inputs.extend(dequantize.input.iter().skip(1).filter(|name| !name.is_empty()).cloned());
    }
    let (bits, given) = (i64::from(dequantized.is_some()) * 8, inputs.len() as i64 - 2);
    let sum = match product.bias {
        Some(_) => format!("{output}.product"),
        None => output.to_owned(),
    };
    let mut own = node(ROWS_PRODUCT, inputs, sum.clone());
    own.attribute = vec![integer("bits", bits), integer("given", given), integer("rows", transposed.into())];
    nodes.push(own);
    if let Some(bias) = product.bias {
        nodes.push(node("Add", vec![sum, bias.clone()], output.to_owned()));
    }
    nodes
}
