//! `FusedMatMul`: a product of values that may be turned first, and a factor
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FusedMatMul>).

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::matmul::MatMulInference;
use tract_onnx::tract_hir::tract_core::ops::math::mul;

use super::wiring::{Built, Wiring};

/// Builds the operator.
pub(super) fn fused_mat_mul(_: &ParsingContext, node: &NodeProto) -> Built {
    let flag = |name: &str| -> TractResult<bool> { Ok(node.get_attr_opt::<i64>(name)?.unwrap_or(0) != 0) };
    ensure!(!flag("transBatchA")? && !flag("transBatchB")?, "FusedMatMul of turned batches");
    let product = MatMulInference::default().with_a_trans(flag("transA")?).with_b_trans(flag("transB")?);
    Ok((expand(FusedMatMul { product, alpha: node.get_attr_opt("alpha")?.unwrap_or(1.0) }), vec![]))
}

#[derive(Debug, Clone)]
struct FusedMatMul {
    product: MatMulInference,
    alpha: f32,
}

impl Expansion for FusedMatMul {
    fn name(&self) -> StaticName {
        "FusedMatMul".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.product.rules(s, inputs, outputs)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let product = self.product.wire(&format!("{prefix}.product"), model, inputs)?[0];
        let w = &mut Wiring::new(model, prefix);
        let alpha = tensor0(self.alpha).cast_to_dt(w.fact(product)?.datum_type)?.into_owned();
        let alpha = w.constant("alpha", alpha)?;
        Ok(tvec!(w.broadcast("", mul(), [product, alpha])?))
    }
}
