//! ONNX operators that tract lacks or takes too narrowly, as expansions into tract's own and into those of `linnet-kernels`. Each
//! says why it is here; `docs/upstream.md` lists what was offered to tract.

mod attention;
mod flatten;
mod fused_product;
mod named_sizes;
mod norms;
mod products;
mod reshape;
mod wiring;

pub(super) use named_sizes::{NamedSizes, is_name};
use tract_onnx::Onnx;
use tract_onnx::data_resolver::FopenDataResolver;

/// Begins the names of operators that no file may name: rewrites of a graph put them in.
const OWN: &str = "linnet.";
/// Activations f32 with weights f16, or with rows of f32.
pub(super) const MAT_MUL: &str = "linnet.MatMul";
/// Activations and rows of weights of 8 bits, and their zeros; 32-bit integers.
pub(super) const BYTES_PRODUCT: &str = "linnet.BytesProduct";
/// Activations with rows of weights as they are stored.
pub(super) const ROWS_PRODUCT: &str = "linnet.RowsProduct";
/// A value, with names for its sizes.
pub(super) const NAMED_SIZES: &str = "linnet.NamedSizes";

/// The attribute of a `MatMulNBits` whose activations were f16 in the file.
pub(super) const OF_HALVES: &str = "linnet.of_halves";

/// tract's reader of ONNX with the operators of this engine.
pub(super) fn onnx() -> Onnx {
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
    // Reads instead of mapping, so that a file's pages do not count as this process's memory.
    onnx.provider = std::sync::Arc::new(FopenDataResolver);
    onnx.op_register.insert("Attention", attention::attention);
    onnx.op_register.insert("Flatten", flatten::flatten);
    onnx.op_register.insert("FusedMatMul", fused_product::fused_mat_mul);
    onnx.op_register.insert(MAT_MUL, products::mat_mul);
    onnx.op_register.insert(NAMED_SIZES, named_sizes::named_sizes);
    onnx.op_register.insert(BYTES_PRODUCT, products::bytes_product);
    onnx.op_register.insert(ROWS_PRODUCT, products::rows_product);
    onnx.op_register.insert("MatMulNBits", products::mat_mul_n_bits);
    onnx.op_register.insert("GatherBlockQuantized", products::gather_block_quantized);
    onnx.op_register.insert("GroupQueryAttention", attention::group_query_attention);
    onnx.op_register.insert("MultiHeadAttention", attention::multi_head_attention);
    onnx.op_register.insert("Reshape", reshape::reshape);
    onnx.op_register.insert("RotaryEmbedding", attention::rotary_embedding);
    onnx.op_register.insert("SkipLayerNormalization", norms::skip_norm);
    onnx.op_register.insert("SkipSimplifiedLayerNormalization", norms::skip_norm);
    onnx
}

/// Whether a file may ask for an operator.
pub(super) fn is_known(onnx: &Onnx, op: &str) -> bool {
    !op.starts_with(OWN) && (onnx.op_register.0.contains_key(op) || super::graph::is_fused(op))
}
