//! Products with weights that are to stay as the file has them.
//!
//! Where a model ties its output to its embedding, the file has one table that is looked up by row and, transposed, multiplied.
//! Where weights are quantized for themselves (`DequantizeLinear` of a constant), ONNX Runtime multiplies by what they stand
//! for. Written so, tract would hold a second table in its kernels' order, or compute f32 weights anew at each step. Both become
//! `linnet.RowsProduct`, which reads the stored rows.

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::index::{Index, attribute, integer, integers, node};
use crate::engine::tract::ops::ROWS_PRODUCT;

/// Weights of a product, seen through what stands between them and it.
struct Weights<'a> {
    tensor: &'a TensorProto,
    /// Whether a transposition of the two axes is on the way.
    transposed: bool,
    /// The node that dequantizes them, and whether the transposition comes before it.
    dequantized: Option<(&'a NodeProto, bool)>,
}

impl<'a> Weights<'a> {
    /// What the value `name` is made of, when that is a constant of rank 2.
    fn of(index: &Index<'a>, name: &str) -> Option<Self> {
        let (mut name, mut transposed, mut dequantized) = (name, false, None);
        loop {
            if let Some(tensor) = index.constant(name) {
                return (tensor.dims.len() == 2).then_some(Self { tensor, transposed, dequantized });
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
        if attribute(node, "block_size").unwrap_or(0) != 0 || !matches!(self.tensor.data_type, 2 | 3) {
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
        let Weights { tensor, transposed, dequantized } = &self.weights;
        match dequantized {
            Some(_) => self.weights.quantized_by_output(index) == Some(true),
            // Looked up by row elsewhere.
            None => {
                *transposed
                    && index
                        .readers(&tensor.name)
                        .iter()
                        .any(|(reader, place)| reader.op_type == "Gather" && *place == 0)
            }
        }
    }
}

/// Replaces products whose weights are to stay as they are.
pub(super) fn keep_stored(graph: &mut GraphProto) {
    let mut replaced: Vec<(String, Vec<NodeProto>)> = Vec::new();
    {
        let index = Index::of(graph);
        for product in graph.node.iter().filter_map(|node| Product::of(&index, node)) {
            if !product.keeps(&index) {
                continue;
            }
            let Some(output) = product.node.output.first() else { continue };
            replaced.push((output.clone(), rows_product(&product, output)));
        }
    }
    for (output, nodes) in replaced {
        graph.node.retain(|node| node.output.first() != Some(&output));
        graph.node.extend(nodes);
    }
}

fn rows_product(product: &Product<'_>, output: &str) -> Vec<NodeProto> {
    let Weights { tensor, transposed, dequantized } = &product.weights;
    let mut nodes = Vec::new();
    let mut rows = tensor.name.clone();
    if rows.is_empty() {
        // A `Constant` has its name on its output.
        rows.clone_from(&product.node.input[1]);
    }
    if !transposed {
        let turned = format!("{output}.rows");
        let mut transpose = node("Transpose", vec![rows], turned.clone());
        transpose.attribute.push(integers("perm", &[1, 0]));
        nodes.push(transpose);
        rows = turned;
    }
    let mut inputs = vec![product.node.input[0].clone(), rows];
    if let Some((dequantize, _)) = dequantized {
        inputs.extend(dequantize.input.iter().skip(1).filter(|name| !name.is_empty()).cloned());
    }
    let (bits, given) = (i64::from(dequantized.is_some()) * 8, inputs.len() as i64 - 2);
    let sum = match product.bias {
        Some(_) => format!("{output}.product"),
        None => output.to_owned(),
    };
    let mut own = node(ROWS_PRODUCT, inputs, sum.clone());
    own.attribute = vec![integer("bits", bits), integer("given", given)];
    nodes.push(own);
    if let Some(bias) = product.bias {
        nodes.push(node("Add", vec![sum, bias.clone()], output.to_owned()));
    }
    nodes
}
