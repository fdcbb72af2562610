//! `GroupQueryAttention`.
//!
//! Every sequence of a batch is of the same length, so that `seqlens_k` and `total_sequence_length`, which say how much of a padded
//! buffer counts, say what the shapes do.

use linnet_kernels::attention::{Attend, Rotate};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::{Gather, Slice};

use super::super::wiring::{Built, Wiring};
use super::{named_outputs, places, unless_zero};

pub(in super::super) fn group_query_attention(_: &ParsingContext, node: &NodeProto) -> Built {
    let places = places(node);
    let place = |input: usize| places.get(input).copied().flatten();
    ensure!(node.get_attr_opt::<i64>("smooth_softmax")?.unwrap_or(0) != 1, "GroupQueryAttention with `smooth_softmax`");
    ensure!(place(11).is_none(), "GroupQueryAttention with `head_sink`");
    for quantized in ["k_quant_type", "v_quant_type"] {
        let kind: Option<String> = node.get_attr_opt(quantized)?;
        ensure!(kind.is_none_or(|kind| kind == "NONE"), "GroupQueryAttention with a quantized cache");
    }
    let rotates = node.get_attr_opt::<i64>("do_rotary")?.unwrap_or(0) != 0;
    let rotary = match (rotates, place(7), place(8)) {
        (false, ..) => None,
        (true, Some(cos), Some(sin)) => Some((cos, sin)),
        _ => bail!("GroupQueryAttention with `do_rotary`, but without cosines and sines"),
    };
    let outputs = named_outputs(node);
    ensure!(outputs == 1 || outputs == 3, "GroupQueryAttention with {outputs} outputs; 1 or 3 are taken");
    let window = node.get_attr_opt::<i64>("local_window_size")?.filter(|size| *size > 0).map(|size| size as usize);
    let op = GroupQuery {
        heads: node.get_attr("num_heads")?,
        groups: node.get_attr("kv_num_heads")?,
        attend: Attend { scale: unless_zero(node, "scale")?, causal: true, window, cap: unless_zero(node, "softcap")? },
        rotary,
        interleaved: node.get_attr_opt::<i64>("rotary_interleaved")?.unwrap_or(0) != 0,
        apart: place(1).zip(place(2)),
        past: place(3).zip(place(4)),
        positions: place(9),
        bias: place(10),
        outputs,
    };
    ensure!(
        op.groups > 0 && op.heads > 0 && op.heads.is_multiple_of(op.groups),
        "{} heads for {} groups",
        op.heads,
        op.groups
    );
    Ok((expand(op), vec![]))
}

#[derive(Debug, Clone)]
struct GroupQuery {
    heads: usize,
    groups: usize,
    attend: Attend,
    /// Cosines and sines, where queries and keys are still to be turned.
    rotary: Option<(usize, usize)>,
    interleaved: bool,
    /// Keys and values; packed behind the queries when none.
    apart: Option<(usize, usize)>,
    past: Option<(usize, usize)>,
    /// The number of each position; counted on from the cache when none.
    positions: Option<usize>,
    /// What is added to scores.
    bias: Option<usize>,
    outputs: usize,
}

impl GroupQuery {
    /// Width of a head, of what the first input's last size is.
    fn width(&self, hidden: &TDim) -> TDim {
        let heads = if self.apart.is_some() { self.heads } else { self.heads + 2 * self.groups };
        hidden.clone() / heads
    }

    /// Cosines or sines at this step's positions, `[batch or 1, 1, positions, half]`.
    fn angles(
        &self,
        w: &mut Wiring<'_>,
        name: &str,
        table: OutletId,
        numbers: Option<OutletId>,
        start: &TDim,
        length: &TDim,
    ) -> TractResult<OutletId> {
        if let Some(numbers) = numbers {
            let numbers = w.cast(&format!("{name}.numbers"), numbers, i64::datum_type())?;
            let rows = w.node(&format!("{name}.rows"), Gather::new(0), &[table, numbers])?;
            return w.node(&format!("{name}.heads"), AxisOp::Add(1), &[rows]);
        }
        let rows = Slice::new(0, start.clone(), start.clone() + length);
        let rows = w.node(&format!("{name}.rows"), rows, &[table])?;
        let rows = w.node(&format!("{name}.heads"), AxisOp::Add(0), &[rows])?;
        w.node(&format!("{name}.batch"), AxisOp::Add(0), &[rows])
    }
}

impl Expansion for GroupQuery {
    fn name(&self) -> StaticName {
        "GroupQueryAttention".into()
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
        s.given(&inputs[0].shape, move |s, queries| {
            ensure!(queries.len() == 3, "GroupQueryAttention takes queries of rank 3, not {}", queries.len());
            let width = self.width(&queries[2]);
            let hidden = width.clone() * self.heads;
            s.equals(&outputs[0].shape, ShapeFactoid::from(vec![queries[0].clone(), queries[1].clone(), hidden]))?;
            let present = move |past: TDim| {
                let length = past + &queries[1];
                ShapeFactoid::from(vec![queries[0].clone(), self.groups.to_dim(), length, width.clone()])
            };
            if self.outputs == 1 {
                return Ok(());
            }
            let Some((past, _)) = self.past else {
                s.equals(&outputs[1].shape, present(0.to_dim()))?;
                return s.equals(&outputs[2].shape, present(0.to_dim()));
            };
            s.given(&inputs[past].shape[2], move |s, past| {
                s.equals(&outputs[1].shape, present(past.clone()))?;
                s.equals(&outputs[2].shape, present(past))
            })
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let w = &mut Wiring::new(model, prefix);
        let width = self.width(&w.size(inputs[0], 2)?);
        let (queries, keys, values) = match self.apart {
            Some((keys, values)) => (inputs[0], inputs[keys], inputs[values]),
            None => {
                let ends =
                    [self.heads, self.heads + self.groups, self.heads + 2 * self.groups].map(|n| width.clone() * n);
                let queries = w.part("queries", inputs[0], 0.to_dim(), ends[0].clone())?;
                let keys = w.part("keys", inputs[0], ends[0].clone(), ends[1].clone())?;
                (queries, keys, w.part("values", inputs[0], ends[1].clone(), ends[2].clone())?)
            }
        };
        let mut queries = w.split_heads("q", queries, self.heads)?;
        let mut keys = w.split_heads("k", keys, self.groups)?;
        let values = w.split_heads("v", values, self.groups)?;
        let past = self.past.map(|(keys, values)| (inputs[keys], inputs[values]));
        if let Some((cos, sin)) = self.rotary {
            let start = match past {
                Some((keys, _)) => w.size(keys, 2)?,
                None => 0.to_dim(),
            };
            let length = w.size(queries, 2)?;
            let numbers = self.positions.map(|place| inputs[place]);
            let cos = self.angles(w, "cos", inputs[cos], numbers, &start, &length)?;
            let sin = self.angles(w, "sin", inputs[sin], numbers, &start, &length)?;
            let rotate = Rotate { interleaved: self.interleaved };
            queries = w.node("q.turned", rotate.clone(), &[queries, cos, sin])?;
            keys = w.node("k.turned", rotate, &[keys, cos, sin])?;
        }
        let keys = w.behind("k.all", past.map(|past| past.0), keys)?;
        let values = w.behind("v.all", past.map(|past| past.1), values)?;
        let bias = self.bias.map(|place| inputs[place]);
        let attended = w.attend(&self.attend, queries, keys, values, bias)?;
        Ok(tvec!(attended, keys, values).into_iter().take(self.outputs).collect())
    }
}
