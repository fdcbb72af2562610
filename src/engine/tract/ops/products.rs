//! Products with weights that stay as they are stored: f16, 8-bit (of activations that are floats, or bytes, too), and ONNX Runtime's blocks of 4 or 8 bits
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits>).
//!
//! tract's own `MatMulNBits` takes 4 bits in blocks of 32 as they are, and all else as f32 of eight times the size; 8 bits not at all.

use linnet_kernels::bytes::BytesProduct;
use linnet_kernels::rows::{Rounding, RowsLookup, RowsProduct, Storage};
use tract_onnx::model::{ParsingContext, optional_inputs};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::logic::wire_with_rank_broadcast;
use tract_onnx::tract_hir::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::math::add;

use super::wiring::Built;

/// [`super::MAT_MUL`]: activations f32, weights f16 or f32 of rank 2, `rows` where each output's weights are a row.
pub(super) fn mat_mul(_: &ParsingContext, node: &NodeProto) -> Built {
    Ok((expand(MatMul { rows: node.get_attr_opt("rows")?.unwrap_or(false) }), vec![]))
}

#[derive(Debug, Clone)]
struct MatMul {
    rows: bool,
}

/// Activations with their last size replaced.
fn outputs_of(shape: &[TDim], outputs: TDim) -> TVec<TDim> {
    let mut shape: TVec<TDim> = shape.into();
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    shape
}

/// Weights with a row for each output: as they are where `rows`, else turned, once for all that read them.
///
/// It is left to the plan to compute that: what ONNX's `Transpose` gives, tract computes while it reads a graph, and holds both.
fn rows_of(model: &mut TypedModel, weights: OutletId, rows: bool) -> TractResult<OutletId> {
    if rows {
        return Ok(weights);
    }
    let name = format!("{}.rows", model.node(weights.node).name);
    if let Some(turned) = model.nodes.iter().find(|node| node.name == name) {
        return Ok(turned.id.into());
    }
    Ok(model.wire_node(name, AxisOp::Move(0, 1), &[weights])?[0])
}

impl Expansion for MatMul {
    fn name(&self) -> StaticName {
        "MatMulF16".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2)?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].datum_type, f32::datum_type())?;
        s.equals(&outputs[0].datum_type, f32::datum_type())?;
        s.equals(&inputs[1].rank, 2)?;
        s.given_2(&inputs[0].shape, &inputs[1].shape, move |s, x, weights| {
            let outputs_axis = usize::from(!self.rows);
            s.equals(&outputs[0].shape, ShapeFactoid::from(outputs_of(&x, weights[outputs_axis].clone())))
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let rank = model.outlet_fact(inputs[0])?.rank();
        let lead: String = ('a'..'k').take(rank.saturating_sub(1)).collect();
        let weights = if self.rows { "nk" } else { "kn" };
        let axes = format!("{lead}k,{weights}->{lead}n").parse()?;
        model.wire_node(prefix, EinSum::new(axes, f32::datum_type()), inputs)
    }
}

/// [`super::ROWS_PRODUCT`]: activations f32 `[…, columns]`, weights (`rows`: as [`mat_mul`]), and where `bits` is 8 their scales and zeros, as far as
/// they are `given`.
pub(super) fn rows_product(_: &ParsingContext, node: &NodeProto) -> Built {
    let quantized = node.get_attr_opt::<i64>("bits")?.unwrap_or(0) == 8;
    Ok((
        expand(Rows { quantized, given: node.get_attr_opt("given")?.unwrap_or(0), rows: node.get_attr("rows")? }),
        vec![],
    ))
}

#[derive(Debug, Clone)]
struct Rows {
    quantized: bool,
    given: usize,
    /// Whether each output's weights are a row.
    rows: bool,
}

impl Expansion for Rows {
    fn name(&self) -> StaticName {
        "RowsProduct".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2 + self.given)?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].datum_type, f32::datum_type())?;
        s.equals(&outputs[0].datum_type, f32::datum_type())?;
        s.equals(&inputs[1].rank, 2)?;
        s.given_2(&inputs[0].shape, &inputs[1].shape, move |s, x, weights| {
            let outputs_axis = usize::from(!self.rows);
            s.equals(&outputs[0].shape, ShapeFactoid::from(outputs_of(&x, weights[outputs_axis].clone())))
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let mut all = vec![inputs[0], rows_of(model, inputs[1], self.rows)?];
        if !self.quantized {
            return model.wire_node(prefix, RowsProduct { storage: Storage::Plain }, &all);
        }
        for (place, name, default) in [(2, "scale", 1f32), (3, "zero", 0f32)] {
            all.push(match inputs.get(place) {
                Some(given) => model.wire_node(format!("{prefix}.{name}"), cast(f32::datum_type()), &[*given])?[0],
                None => model.add_const(format!("{prefix}.{name}"), tensor0(default))?,
            });
        }
        model.wire_node(prefix, RowsProduct { storage: Storage::Affine }, &all)
    }
}

/// [`super::BYTES_PRODUCT`]: activations `[…, columns]` and weights (`rows`: as [`mat_mul`]), and the zeros of both where they have some.
pub(super) fn bytes_product(_: &ParsingContext, node: &NodeProto) -> Built {
    let mut zeros = optional_inputs(node).skip(2);
    let zeros = [zeros.next().flatten(), zeros.next().flatten()];
    Ok((expand(Integers { zeros, rows: node.get_attr("rows")? }), vec![]))
}

#[derive(Debug, Clone)]
struct Integers {
    /// Places of the zeros of activations and of weights among the inputs.
    zeros: [Option<usize>; 2],
    /// Whether each output's weights are a row.
    rows: bool,
}

impl Expansion for Integers {
    fn name(&self) -> StaticName {
        "BytesProduct".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2 + self.zeros.iter().flatten().count())?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, i32::datum_type())?;
        s.equals(&inputs[1].rank, 2)?;
        s.given_2(&inputs[0].shape, &inputs[1].shape, move |s, x, weights| {
            let outputs_axis = usize::from(!self.rows);
            s.equals(&outputs[0].shape, ShapeFactoid::from(outputs_of(&x, weights[outputs_axis].clone())))
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let mut all = tvec!(inputs[0], rows_of(model, inputs[1], self.rows)?);
        for (place, name) in self.zeros.into_iter().zip(["x_zero", "zeros"]) {
            let name = format!("{prefix}.{name}");
            all.push(match place {
                Some(place) => model.wire_node(name, cast(i32::datum_type()), &[inputs[place]])?[0],
                None => model.add_const(name, tensor0(0i32))?,
            });
        }
        model.wire_node(prefix, BytesProduct, &all)
    }
}

/// `MatMulNBits`.
pub(super) fn mat_mul_n_bits(_: &ParsingContext, node: &NodeProto) -> Built {
    let (columns, rows): (usize, usize) = (node.get_attr("K")?, node.get_attr("N")?);
    let bits: usize = node.get_attr_opt("bits")?.unwrap_or(4);
    let block: usize = node.get_attr("block_size")?;
    ensure!(matches!(bits, 4 | 8), "MatMulNBits of {bits} bits; quantize to 4 or 8");
    ensure!(
        block >= 16 && block.is_power_of_two(),
        "MatMulNBits in blocks of {block}; a power of two from 16 on is taken"
    );
    ensure!(columns > 0 && rows > 0, "MatMulNBits of {rows} rows and {columns} columns");
    let mut optional = optional_inputs(node).skip(3);
    let (zeros, order, bias) = (optional.next().flatten(), optional.next().flatten(), optional.next().flatten());
    ensure!(order.is_none(), "MatMulNBits with `g_idx` (weights in order of their activations); quantize without");
    // At level 4 ONNX Runtime multiplies in 8 bits, and quantizes the activations for it.
    let halves = node.get_attr_opt::<i64>(super::OF_HALVES)?.unwrap_or(0) != 0;
    let rounds = match node.get_attr_opt::<i64>("accuracy_level")?.unwrap_or(0) {
        4 if halves => Rounding::Halves,
        4 => Rounding::Floats,
        _ => Rounding::None,
    };
    let storage = Storage::Blocks { bits, block, rows, columns, zeros: zeros.is_some(), rounds };
    Ok((expand(NBits { storage, rows, zeros, bias }), vec![]))
}

#[derive(Debug, Clone)]
struct NBits {
    storage: Storage,
    rows: usize,
    zeros: Option<usize>,
    bias: Option<usize>,
}

impl Expansion for NBits {
    fn name(&self) -> StaticName {
        "MatMulNBits".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, &inputs[0].datum_type)?;
        s.given(&inputs[0].shape, move |s, x| {
            s.equals(&outputs[0].shape, ShapeFactoid::from(outputs_of(&x, self.rows.to_dim())))
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let dt = model.outlet_fact(inputs[0])?.datum_type;
        let x = model.wire_node(format!("{prefix}.x"), cast(f32::datum_type()), &[inputs[0]])?[0];
        let mut all = tvec!(x, inputs[1], inputs[2]);
        all.extend(self.zeros.map(|place| inputs[place]));
        let product = model.wire_node(format!("{prefix}.product"), RowsProduct { storage: self.storage }, &all)?[0];
        let mut y = model.wire_node(format!("{prefix}.y"), cast(dt), &[product])?[0];
        if let Some(bias) = self.bias {
            y = wire_with_rank_broadcast(format!("{prefix}.bias"), model, add(), &[y, inputs[bias]])?[0];
        }
        Ok(tvec!(y))
    }
}

/// `GatherBlockQuantized`: rows of such a table by their numbers. tract's own holds the table in another form, beside that of a
/// product that is tied to it, and takes 4 bits only.
pub(super) fn gather_block_quantized(_: &ParsingContext, node: &NodeProto) -> Built {
    let bits: usize = node.get_attr_opt("bits")?.unwrap_or(4);
    let block: usize = node.get_attr_opt("block_size")?.unwrap_or(128);
    ensure!(matches!(bits, 4 | 8), "GatherBlockQuantized of {bits} bits; quantize to 4 or 8");
    ensure!(block >= 16 && block.is_power_of_two(), "GatherBlockQuantized in blocks of {block}");
    ensure!(
        node.get_attr_opt::<i64>("gather_axis")?.unwrap_or(0) == 0,
        "GatherBlockQuantized gathers along axis 0 only"
    );
    let axis = node.get_attr_opt::<i64>("quantize_axis")?.unwrap_or(1);
    ensure!(matches!(axis, 1 | -1), "GatherBlockQuantized takes blocks along the last axis only");
    let zeros = node.input.get(3).is_some_and(|name| !name.is_empty());
    Ok((expand(Lookup { bits, block, zeros }), vec![]))
}

#[derive(Debug, Clone)]
struct Lookup {
    bits: usize,
    block: usize,
    zeros: bool,
}

impl Expansion for Lookup {
    fn name(&self) -> StaticName {
        "GatherBlockQuantized".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 3 + usize::from(self.zeros))?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, &inputs[2].datum_type)?;
        s.given_2(&inputs[0].shape, &inputs[1].shape, move |s, table, ids| {
            ensure!(table.len() == 2, "GatherBlockQuantized takes a table of rank 2, not {}", table.len());
            let mut shape: TVec<TDim> = ids;
            shape.push(table[1].clone() * (8 / self.bits));
            s.equals(&outputs[0].shape, ShapeFactoid::from(shape))
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let table = model.outlet_fact(inputs[0])?;
        ensure!(table.datum_type == u8::datum_type(), "GatherBlockQuantized takes u8, not {:?}", table.datum_type);
        let shape = table.shape.as_concrete().context("GatherBlockQuantized takes a table of known size")?;
        let (rows, columns) = (shape[0], shape[1] * 8 / self.bits);
        let storage = Storage::Blocks {
            bits: self.bits,
            block: self.block,
            rows,
            columns,
            zeros: self.zeros,
            rounds: Rounding::None,
        };
        let ids = model.wire_node(format!("{prefix}.ids"), cast(i64::datum_type()), &[inputs[1]])?[0];
        let mut all = tvec!(ids, inputs[0], inputs[2]);
        all.extend(inputs.get(3).copied());
        let dt = model.outlet_fact(inputs[2])?.datum_type;
        let rows = model.wire_node(format!("{prefix}.rows"), RowsLookup { storage }, &all)?;
        model.wire_node(prefix, cast(dt), &rows)
    }
}
