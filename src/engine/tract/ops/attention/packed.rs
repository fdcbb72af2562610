//! `Attention` of ONNX Runtime, which holds the projections' weights; ONNX's own operator of that name is tract's.

use linnet_kernels::attention::Attend;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::{Slice, TypedConcat};
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::math::add;

use super::super::wiring::{Built, Wiring};
use super::multi_head::FILTER;
use super::{named_outputs, places, unless_zero};

pub(in super::super) fn attention(context: &ParsingContext, node: &NodeProto) -> Built {
    if node.domain.is_empty() || node.domain == "ai.onnx" {
        let onnx = tract_onnx::onnx();
        let theirs = onnx.op_register.0.get("Attention").context("tract has no Attention")?;
        return theirs(context, node);
    }
    let places = places(node);
    let place = |input: usize| places.get(input).copied().flatten();
    ensure!(node.get_attr_opt::<i64>("do_rotary")?.unwrap_or(0) == 0, "Attention with `do_rotary`");
    let shares = node.get_attr_opt::<i64>("past_present_share_buffer")?.unwrap_or(0) != 0;
    ensure!(!shares, "Attention with `past_present_share_buffer`");
    let outputs = named_outputs(node);
    ensure!(outputs == 1 || outputs == 2, "Attention with {outputs} outputs; 1 or 2 are taken");
    let op = Packed {
        heads: node.get_attr("num_heads")?,
        attend: Attend {
            scale: unless_zero(node, "scale")?,
            causal: node.get_attr_opt::<i64>("unidirectional")?.unwrap_or(0) != 0,
            window: None,
            cap: None,
        },
        filter: node.get_attr_opt("mask_filter_value")?.unwrap_or(FILTER),
        sizes: node.get_attr_opt_vec("qkv_hidden_sizes")?,
        bias: place(2),
        mask: place(3),
        past: place(4),
        added: place(5),
        outputs,
    };
    ensure!(op.heads > 0, "Attention of no heads");
    Ok((expand(op), vec![]))
}

#[derive(Debug, Clone)]
struct Packed {
    heads: usize,
    attend: Attend,
    filter: f32,
    /// Of queries, keys and values; a third each when none.
    sizes: Option<Vec<usize>>,
    bias: Option<usize>,
    mask: Option<usize>,
    /// `[2, batch, heads, positions, width]`: keys, then values.
    past: Option<usize>,
    added: Option<usize>,
    outputs: usize,
}

impl Expansion for Packed {
    fn name(&self) -> StaticName {
        "Attention".into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.outputs)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, self.outputs)?;
        for output in outputs {
            s.equals(&inputs[0].datum_type, &output.datum_type)?;
        }
        s.equals(&outputs[0].rank, 3)?;
        for present in &outputs[1..] {
            s.equals(&present.rank, 5)?;
        }
        Ok(())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let w = &mut Wiring::new(model, prefix);
        let mut all = w.node("projected", EinSum::new("bsk,kn->bsn".parse()?, f32::datum_type()), &inputs[..2])?;
        if let Some(bias) = self.bias {
            all = w.broadcast("biased", add(), [all, inputs[bias]])?;
        }
        let third = w.size(all, 2)? / 3;
        let sizes = match self.sizes.as_deref() {
            Some(&[q, k, v]) => [q.to_dim(), k.to_dim(), v.to_dim()],
            Some(sizes) => bail!("Attention with {} sizes of projections", sizes.len()),
            None => [third.clone(), third.clone(), third],
        };
        let mut start = 0.to_dim();
        let mut heads = tvec!();
        for (name, size) in ["q", "k", "v"].into_iter().zip(sizes) {
            let end = start.clone() + size;
            let part = w.part(&format!("{name}.part"), all, start, end.clone())?;
            heads.push(w.split_heads(name, part, self.heads)?);
            start = end;
        }
        let (queries, mut keys, mut values) = (heads[0], heads[1], heads[2]);
        if let Some(past) = self.past {
            for (which, (name, of)) in [("k", &mut keys), ("v", &mut values)].into_iter().enumerate() {
                let past = w.node(&format!("{name}.past"), Slice::new(0, which, which + 1), &[inputs[past]])?;
                let past = w.node(&format!("{name}.past.alone"), AxisOp::Rm(0), &[past])?;
                *of = w.behind(&format!("{name}.all"), Some(past), *of)?;
            }
        }
        let mask = match self.mask {
            Some(mask) => Some(w.added_mask("mask", inputs[mask], self.filter)?),
            None => None,
        };
        let mask = w.both("masks", mask, self.added.map(|place| inputs[place]))?;
        let attended = w.attend(&self.attend, queries, keys, values, mask)?;
        if self.outputs == 1 {
            return Ok(tvec!(attended));
        }
        let keys = w.node("k.present", AxisOp::Add(0), &[keys])?;
        let values = w.node("v.present", AxisOp::Add(0), &[values])?;
        let present = w.node("present", TypedConcat::new(0), &[keys, values])?;
        Ok(tvec!(attended, present))
    }
}
