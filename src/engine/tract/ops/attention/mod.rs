//! ONNX Runtime's attention operators on one operator of `linnet-kernels`
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>).
//!
//! tract's own take a narrower part: no several positions behind a cache (which prefilling in chunks needs), no window while
//! lengths are symbols, no packed or biased projections, no masks.

mod group_query;
mod multi_head;
mod packed;
mod rotary;

pub(super) use group_query::group_query_attention;
pub(super) use multi_head::multi_head_attention;
pub(super) use packed::attention;
pub(super) use rotary::rotary_embedding;

use linnet_kernels::attention::Attend;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::{Slice, TypedConcat};
use tract_onnx::tract_hir::tract_core::ops::math::{add, mul, sub};

use super::wiring::Wiring;

/// An attribute that means nothing when it is 0.
fn unless_zero(node: &NodeProto, name: &str) -> TractResult<Option<f32>> {
    Ok(node.get_attr_opt::<f32>(name)?.filter(|value| *value != 0.0))
}

/// Which place among the inputs that are given each input has, by its place among all.
pub(super) fn places(node: &NodeProto) -> Vec<Option<usize>> {
    let mut given = 0;
    node.input
        .iter()
        .map(|name| {
            (!name.is_empty()).then(|| {
                given += 1;
                given - 1
            })
        })
        .collect()
}

/// Which outputs are given names.
fn named_outputs(node: &NodeProto) -> usize {
    node.output.iter().filter(|name| !name.is_empty()).count()
}

impl Wiring<'_> {
    /// A part of the last axis.
    fn part(&mut self, name: &str, of: OutletId, start: TDim, end: TDim) -> TractResult<OutletId> {
        let axis = self.rank(of)? - 1;
        self.node(name, Slice::new(axis, start, end), &[of])
    }

    /// Past and present keys or values, both `[batch, heads, positions, width]`.
    fn behind(&mut self, name: &str, past: Option<OutletId>, present: OutletId) -> TractResult<OutletId> {
        match past {
            Some(past) => self.node(name, TypedConcat::new(2), &[past, present]),
            None => Ok(present),
        }
    }

    /// What is added to scores for a mask of ONNX Runtime's, `[batch, keys]` or `[batch, queries, keys]`, where 1 is seen: 0 there, and
    /// `filter` elsewhere.
    fn added_mask(&mut self, name: &str, mask: OutletId, filter: f32) -> TractResult<OutletId> {
        let mut mask = self.cast(&format!("{name}.f32"), mask, f32::datum_type())?;
        match self.rank(mask)? {
            2 => {
                mask = self.node(&format!("{name}.queries"), AxisOp::Add(1), &[mask])?;
                mask = self.node(&format!("{name}.heads"), AxisOp::Add(1), &[mask])?;
            }
            3 => mask = self.node(&format!("{name}.heads"), AxisOp::Add(1), &[mask])?,
            rank => bail!("a mask of rank {rank}; [batch, keys] or [batch, queries, keys] is taken"),
        }
        let one = self.constant(&format!("{name}.one"), tensor0(1f32))?;
        let unseen = self.broadcast(&format!("{name}.unseen"), sub(), [one, mask])?;
        let filter = self.constant(&format!("{name}.filter"), tensor0(filter))?;
        self.broadcast(&format!("{name}.added"), mul(), [unseen, filter])
    }

    /// Two things that are added to scores, as one.
    fn both(&mut self, name: &str, a: Option<OutletId>, b: Option<OutletId>) -> TractResult<Option<OutletId>> {
        match (a, b) {
            (Some(a), Some(b)) => self.broadcast(name, add(), [a, b]).map(Some),
            (a, b) => Ok(a.or(b)),
        }
    }

    /// The attention, `[batch, queries, heads · depth]`.
    fn attend(
        &mut self,
        attend: &Attend,
        queries: OutletId,
        keys: OutletId,
        values: OutletId,
        mask: Option<OutletId>,
    ) -> TractResult<OutletId> {
        let mut inputs = tvec!(queries, keys, values);
        if let Some(mask) = mask {
            let mask = self.cast("mask.cast", mask, f32::datum_type())?;
            inputs.push(mask);
        }
        let attended = self.node("attend", attend.clone(), &inputs)?;
        self.merge_heads("attended", attended)
    }
}
