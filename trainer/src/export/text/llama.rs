//! The graph of a decoder, with the inputs and outputs that Optimum gives Llama's.

use super::parts::{BATCH, Kv, Parts};
use crate::error::Result;
use crate::export::onnx::proto::ModelProto;
use crate::export::onnx::{Dim, Graph, Value};
use crate::model::Weights;
use crate::model::causal::CausalConfig;

/// Tokens that are fed.
const FED: Dim = Dim::Named("sequence_length");
/// Tokens that were fed before.
const PAST: Dim = Dim::Named("past_sequence_length");
/// Both.
const PRESENT: Dim = Dim::Named("past_sequence_length + sequence_length");

/// `input_ids` and `position_ids` `[batch, fed]`, `attention_mask` `[batch, past + fed]` and `past_key_values.N.key` …
/// `[batch, kv heads, past, width]` → `logits` `[batch, fed, tokens]` and `present.N.key` …
pub fn decoder(config: &CausalConfig, weights: &Weights, int8: bool) -> Result<ModelProto> {
    let (heads, kv_heads, width) = (config.heads, config.kv_heads, config.head());
    let mut parts = Parts { graph: Graph::new("decoder"), weights, int8 };
    let g = &mut parts.graph;
    let ids: Value<i64> = g.input("input_ids", &[BATCH, FED]);
    let attention: Value<i64> = g.input("attention_mask", &[BATCH, PRESENT]);
    let position_ids: Value<i64> = g.input("position_ids", &[BATCH, FED]);
    let mut before = Vec::new();
    for i in 0..config.layers {
        let mut input = |what: &str| -> Value<f32> {
            g.input(&format!("past_key_values.{i}.{what}"), &[BATCH, kv_heads.into(), PAST, width.into()])
        };
        before.push(Kv { key: input("key"), value: input("value") });
    }
    let table = parts.table("tokens")?;
    let turning = Turning::new(&mut parts, config, &position_ids)?;
    let shared = heads != kv_heads;
    let mask = mask(&mut parts, &ids, &attention, &before[0].key, shared)?;
    parts.graph.enter("embed");
    let mut x = parts.embed(&table, &ids, 1.0)?;
    let mut present = Vec::new();
    for (i, before) in before.iter().enumerate() {
        let name = format!("layers.{i}");
        parts.graph.enter(format!("{name}.attn"));
        let y = norm(&mut parts, config, &x, &format!("{name}.attn_norm"))?;
        let queries = parts.product(&y, &format!("{name}.q"))?;
        let queries = parts.split(&queries, heads, width)?;
        let queries = turning.turn(&mut parts, &queries)?;
        let kv = parts.product(&y, &format!("{name}.kv"))?;
        let mut kv = parts.split_kv(&kv, kv_heads, width)?;
        let key = turning.turn(&mut parts, &kv.key)?;
        kv.key = parts.graph.concat(&before.key, &key, 2, PRESENT)?;
        kv.value = parts.graph.concat(&before.value, &kv.value, 2, PRESENT)?;
        let y = parts.attend(&queries, &kv, &mask)?;
        let y = parts.product(&y, &format!("{name}.out"))?;
        x = parts.graph.add(&x, &y)?;
        present.push((format!("present.{i}.key"), kv.key));
        present.push((format!("present.{i}.value"), kv.value));
        parts.graph.enter(format!("{name}.ff"));
        let y = norm(&mut parts, config, &x, &format!("{name}.ff_norm"))?;
        let gates = parts.product(&y, &format!("{name}.gate_up"))?;
        let gate = parts.graph.slice(&gates, 2, 0, config.ffn)?;
        let value = parts.graph.slice(&gates, 2, config.ffn, 2 * config.ffn)?;
        let gate = parts.graph.silu(&gate)?;
        let y = parts.graph.mul(&gate, &value)?;
        let y = parts.product(&y, &format!("{name}.down"))?;
        x = parts.graph.add(&x, &y)?;
    }
    parts.graph.enter("head");
    let x = norm(&mut parts, config, &x, "norm")?;
    let logits = parts.logits(&x, &table)?;
    parts.graph.output("logits", logits)?;
    for (name, value) in present {
        parts.graph.output(&name, value)?;
    }
    Ok(parts.graph.finish()?)
}

fn norm(parts: &mut Parts, config: &CausalConfig, x: &Value<f32>, name: &str) -> Result<Value<f32>> {
    let gain = parts.floats(&format!("{name}.weight"))?;
    Ok(parts.graph.rms_norm(x, &gain, config.norm_epsilon)?)
}

/// What each query sees: nothing of padding, and nothing behind its own place. `[batch, 1, fed, past + fed]`; with one axis of 1
/// more where several heads share keys.
fn mask(
    parts: &mut Parts,
    ids: &Value<i64>,
    attention: &Value<i64>,
    past: &Value<f32>,
    shared: bool,
) -> Result<Value<f32>> {
    let g = &mut parts.graph;
    g.enter("mask");
    let before = g.length(past, 2)?;
    let queries = g.positions(ids, 1)?;
    let queries = g.add(&queries, &before)?;
    let queries = g.reshape(&queries, &[FED, 1.into()])?;
    let keys = g.positions(attention, 1)?;
    let not_later = g.less_or_equal(&keys, &queries)?;
    let known: Value<bool> = g.cast(attention);
    let ones = vec![Dim::Known(1); if shared { 3 } else { 2 }];
    let known = g.reshape(&known, &[&[BATCH], ones.as_slice(), &[PRESENT]].concat())?;
    let seen = g.and(&not_later, &known)?;
    parts.mask(&seen)
}

/// Rotary positions.
struct Turning {
    /// `[batch, 1, fed, width]`: the angles of the first half, then the same for the second.
    cos: Value<f32>,
    sin: Value<f32>,
    /// `[width, width]`: takes (a, b), the halves of a width, to (−b, a).
    turn: Value<f32>,
}

impl Turning {
    fn new(parts: &mut Parts, config: &CausalConfig, position_ids: &Value<i64>) -> Result<Self> {
        let (width, half) = (config.head(), config.head() / 2);
        let theta = f64::from(config.rope_theta);
        let frequency = |i: usize| (1.0 / theta.powf((2 * (i % half)) as f64 / width as f64)) as f32;
        let frequencies: Vec<f32> = (0..width).map(frequency).collect();
        let turned = |(from, to): (usize, usize)| match from.abs_diff(to) {
            apart if apart != half => 0.0,
            _ if from < to => 1.0,
            _ => -1.0,
        };
        let turn: Vec<f32> = (0..width * width).map(|i| turned((i / width, i % width))).collect();
        let g = &mut parts.graph;
        g.enter("positions");
        let frequencies = g.constant("rotary.frequencies", &[width], &frequencies)?;
        let turn = g.constant("rotary.turn", &[width, width], &turn)?;
        let at: Value<f32> = g.cast(position_ids);
        let at = g.reshape(&at, &[BATCH, 1.into(), FED, 1.into()])?;
        let angles = g.mul(&at, &frequencies)?;
        Ok(Self { cos: g.cos(&angles), sin: g.sin(&angles), turn })
    }

    fn turn(&self, parts: &mut Parts, x: &Value<f32>) -> Result<Value<f32>> {
        let g = &mut parts.graph;
        let turned = g.matmul(x, &self.turn)?;
        let (still, moved) = (g.mul(x, &self.cos)?, g.mul(&turned, &self.sin)?);
        Ok(g.add(&still, &moved)?)
    }
}
