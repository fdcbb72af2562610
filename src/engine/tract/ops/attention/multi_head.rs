//! `MultiHeadAttention`.

use linnet_kernels::attention::Attend;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::Slice;
use tract_onnx::tract_hir::tract_core::ops::math::add;

use super::super::wiring::{Built, Wiring};
use super::{named_outputs, places, unless_zero};

/// What a mask that excludes adds to a score, where the node does not say.
pub(super) const FILTER: f32 = -10_000.0;

pub(in super::super) fn multi_head_attention(_: &ParsingContext, node: &NodeProto) -> Built {
    let places = places(node);
    let place = |input: usize| places.get(input).copied().flatten();
    ensure!(place(9).is_none(), "MultiHeadAttention with `cache_indirection`");
    let outputs = named_outputs(node);
    ensure!(outputs == 1 || outputs == 3, "MultiHeadAttention with {outputs} outputs; 1 or 3 are taken");
    let op = MultiHead {
        heads: node.get_attr("num_heads")?,
        attend: Attend {
            scale: unless_zero(node, "scale")?,
            causal: node.get_attr_opt::<i64>("unidirectional")?.unwrap_or(0) != 0,
            window: None,
            cap: None,
        },
        filter: node.get_attr_opt("mask_filter_value")?.unwrap_or(FILTER),
        keys: place(1),
        values: place(2),
        bias: place(3),
        mask: place(4),
        added: place(5),
        past: place(6).zip(place(7)),
        outputs,
    };
    ensure!(op.heads > 0, "MultiHeadAttention of no heads");
    Ok((expand(op), vec![]))
}

#[derive(Debug, Clone)]
struct MultiHead {
    heads: usize,
    attend: Attend,
    filter: f32,
    keys: Option<usize>,
    values: Option<usize>,
    /// Of the three projections, one behind the other.
    bias: Option<usize>,
    /// `[batch, keys]` or `[batch, queries, keys]`.
    mask: Option<usize>,
    added: Option<usize>,
    past: Option<(usize, usize)>,
    outputs: usize,
}

impl MultiHead {
    /// Queries, keys and values by head. Keys and values that are given by head already stand of the encoder: nothing is added.
    fn projections(&self, w: &mut Wiring<'_>, inputs: &[OutletId]) -> TractResult<[OutletId; 3]> {
        let (all, packed) = match (self.keys, self.values) {
            (Some(keys), Some(values)) => ([inputs[0], inputs[keys], inputs[values]], false),
            (Some(keys), None) => {
                // `[batch, keys, heads, 2, width]`
                let [k, v] = [0, 1].map(|which| self.unpacked(w, ["k", "v"][which], inputs[keys], which));
                ([inputs[0], k?, v?], true)
            }
            _ => {
                // `[batch, positions, heads, 3, width]`
                let [q, k, v] = [0, 1, 2].map(|which| self.unpacked(w, ["q", "k", "v"][which], inputs[0], which));
                ([q?, k?, v?], true)
            }
        };
        let mut start = 0.to_dim();
        let mut out = all;
        for (i, (name, of)) in ["q", "k", "v"].into_iter().zip(all).enumerate() {
            if w.rank(of)? == 4 {
                ensure!(!packed || self.bias.is_none(), "MultiHeadAttention with a bias of packed projections");
                continue;
            }
            let mut projection = of;
            if let Some(bias) = self.bias {
                let end = start.clone() + w.size(of, 2)?;
                let part = w.node(&format!("{name}.bias"), Slice::new(0, start, end.clone()), &[inputs[bias]])?;
                projection = w.broadcast(&format!("{name}.biased"), add(), [of, part])?;
                start = end;
            }
            out[i] = w.split_heads(name, projection, self.heads)?;
        }
        Ok(out)
    }

    /// One of several projections that are packed behind the heads, by head.
    fn unpacked(&self, w: &mut Wiring<'_>, name: &str, packed: OutletId, which: usize) -> TractResult<OutletId> {
        ensure!(w.rank(packed)? == 5, "MultiHeadAttention without keys takes packed projections of rank 5");
        let one = w.node(&format!("{name}.one"), Slice::new(3, which, which + 1), &[packed])?;
        let one = w.node(&format!("{name}.alone"), AxisOp::Rm(3), &[one])?;
        w.node(&format!("{name}.heads"), AxisOp::Move(2, 1), &[one])
    }
}

impl Expansion for MultiHead {
    fn name(&self) -> StaticName {
        "MultiHeadAttention".into()
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
        // The values' width may be another than the queries': all shapes are what the parts give.
        s.equals(&outputs[0].rank, 3)?;
        for present in &outputs[1..] {
            s.equals(&present.rank, 4)?;
        }
        Ok(())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let w = &mut Wiring::new(model, prefix);
        let [queries, keys, values] = self.projections(w, inputs)?;
        let past = self.past.map(|(keys, values)| (inputs[keys], inputs[values]));
        let keys = w.behind("k.all", past.map(|past| past.0), keys)?;
        let values = w.behind("v.all", past.map(|past| past.1), values)?;
        let mask = match self.mask {
            Some(mask) => Some(w.added_mask("mask", inputs[mask], self.filter)?),
            None => None,
        };
        let mask = w.both("masks", mask, self.added.map(|place| inputs[place]))?;
        let attended = w.attend(&self.attend, queries, keys, values, mask)?;
        Ok(tvec!(attended, keys, values).into_iter().take(self.outputs).collect())
    }
}
