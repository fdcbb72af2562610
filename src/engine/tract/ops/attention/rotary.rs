//! `RotaryEmbedding` of ONNX Runtime; ONNX's own operator of that name is tract's.

use linnet_kernels::attention::Rotate;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::{Gather, Range};
use tract_onnx::tract_hir::tract_core::ops::math::add;

use super::super::wiring::{Built, Wiring};

pub(in super::super) fn rotary_embedding(context: &ParsingContext, node: &NodeProto) -> Built {
    if node.domain.is_empty() || node.domain == "ai.onnx" {
        let onnx = tract_onnx::onnx();
        let theirs = onnx.op_register.0.get("RotaryEmbedding").context("tract has no RotaryEmbedding")?;
        return theirs(context, node);
    }
    let scale = node.get_attr_opt::<f32>("scale")?.unwrap_or(1.0);
    ensure!(scale == 1.0, "RotaryEmbedding with the scale {scale}; only 1 is taken");
    let packed = node.get_attr_opt::<i64>("is_packed_batching")?.unwrap_or(0) != 0;
    ensure!(!packed, "RotaryEmbedding with `is_packed_batching`");
    let interleaved = node.get_attr_opt::<i64>("interleaved")?.unwrap_or(0) != 0;
    let heads = node.get_attr_opt("num_heads")?.unwrap_or(0usize);
    let width = node.get_attr_opt("rotary_embedding_dim")?.unwrap_or(0usize);
    Ok((expand(Rotary { interleaved, heads, width }), vec![]))
}

/// Values `[batch, positions, hidden]` or `[batch, heads, positions, width]`, the positions' numbers `[batch, positions]` or the first one's
/// `[1]`, cosines and sines `[numbers, half]`.
#[derive(Debug, Clone)]
struct Rotary {
    interleaved: bool,
    /// 0 where the cosines tell: twice their width is a head's.
    heads: usize,
    /// Of a head that is turned; 0 for all.
    width: usize,
}

impl Expansion for Rotary {
    fn name(&self) -> StaticName {
        "RotaryEmbedding".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 4)?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        s.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let w = &mut Wiring::new(model, prefix);
        let flat = w.rank(inputs[0])? == 3;
        let half = w.size(inputs[2], 1)?;
        ensure!(self.width == 0 || half.clone() * 2 == self.width.to_dim(), "cosines for {} of a head", self.width);
        let x = if flat {
            let heads = match self.heads {
                0 => (w.size(inputs[0], 2)? / (half.to_usize()? * 2)).to_usize()?,
                heads => heads,
            };
            w.split_heads("x", inputs[0], heads)?
        } else {
            inputs[0]
        };
        let mut numbers = w.cast("numbers", inputs[1], i64::datum_type())?;
        if w.rank(numbers)? == 1 {
            let length = w.size(x, 2)?;
            let symbols: TVec<OutletId> = [("from", 0.to_dim()), ("to", length.clone()), ("by", 1.to_dim())]
                .into_iter()
                .map(|(name, value)| w.constant(name, tensor0(value)))
                .collect::<TractResult<_>>()?;
            let counted = w.node("counted", Range::new(length), &symbols)?;
            let counted = w.cast("counted.i64", counted, i64::datum_type())?;
            let counted = w.node("counted.batch", AxisOp::Add(0), &[counted])?;
            numbers = w.broadcast("all", add(), [numbers, counted])?;
        }
        let mut angles = tvec!(x);
        for (name, place) in [("cos", 2), ("sin", 3)] {
            let rows = w.node(&format!("{name}.rows"), Gather::new(0), &[inputs[place], numbers])?;
            angles.push(w.node(&format!("{name}.heads"), AxisOp::Add(1), &[rows])?);
        }
        let turned = w.node("turned", Rotate { interleaved: self.interleaved }, &angles)?;
        let out = if flat { w.merge_heads("y", turned)? } else { turned };
        Ok(tvec!(out))
    }
}
