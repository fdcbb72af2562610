//! Putting tract's operators together with few words.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::logic::wire_with_rank_broadcast;
use tract_onnx::tract_hir::tract_core::ops::cast::cast;

/// What a builder of an ONNX operator gives.
pub(super) type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// A model to which one operator's nodes are added.
pub(super) struct Wiring<'m> {
    pub(super) model: &'m mut TypedModel,
    prefix: &'m str,
}

impl<'m> Wiring<'m> {
    pub(super) fn new(model: &'m mut TypedModel, prefix: &'m str) -> Self {
        Self { model, prefix }
    }

    fn name(&self, name: &str) -> String {
        if name.is_empty() { self.prefix.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    /// A node of one output.
    pub(super) fn node(
        &mut self,
        name: &str,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let name = self.name(name);
        Ok(self.model.wire_node(name, op, inputs)?[0])
    }

    /// A node whose inputs are made of the same rank and broadcast.
    pub(super) fn broadcast(
        &mut self,
        name: &str,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: [OutletId; 2],
    ) -> TractResult<OutletId> {
        let name = self.name(name);
        Ok(wire_with_rank_broadcast(name, self.model, op, &inputs)?[0])
    }

    pub(super) fn constant(&mut self, name: &str, value: Tensor) -> TractResult<OutletId> {
        let name = self.name(name);
        self.model.add_const(name, value)
    }

    pub(super) fn cast(&mut self, name: &str, of: OutletId, to: DatumType) -> TractResult<OutletId> {
        if self.fact(of)?.datum_type == to {
            return Ok(of);
        }
        self.node(name, cast(to), &[of])
    }

    pub(super) fn fact(&self, of: OutletId) -> TractResult<&TypedFact> {
        self.model.outlet_fact(of)
    }

    pub(super) fn size(&self, of: OutletId, axis: usize) -> TractResult<TDim> {
        Ok(self.fact(of)?.shape[axis].clone())
    }

    pub(super) fn rank(&self, of: OutletId) -> TractResult<usize> {
        Ok(self.fact(of)?.rank())
    }

    /// `[batch, positions, heads · width]` to `[batch, heads, positions, width]`.
    pub(super) fn split_heads(&mut self, name: &str, of: OutletId, heads: usize) -> TractResult<OutletId> {
        let hidden = self.size(of, 2)?;
        let width = hidden.clone() / heads;
        let split = AxisOp::Reshape(2, tvec![hidden], tvec![heads.to_dim(), width]);
        let split = self.node(&format!("{name}.split"), split, &[of])?;
        self.node(&format!("{name}.heads"), AxisOp::Move(2, 1), &[split])
    }

    /// The way back.
    pub(super) fn merge_heads(&mut self, name: &str, of: OutletId) -> TractResult<OutletId> {
        let (heads, width) = (self.size(of, 1)?, self.size(of, 3)?);
        let moved = self.node(&format!("{name}.positions"), AxisOp::Move(1, 2), &[of])?;
        let merged = AxisOp::Reshape(2, tvec![heads.clone(), width.clone()], tvec![heads * width]);
        self.node(&format!("{name}.merged"), merged, &[moved])
    }
}
