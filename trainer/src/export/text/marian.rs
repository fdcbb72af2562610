//! The graphs of an encoder-decoder, with the inputs and outputs that Optimum gives Marian's.

use super::parts::{BATCH, Kv, Parts, Table};
use crate::error::Result;
use crate::export::onnx::proto::ModelProto;
use crate::export::onnx::{Dim, Graph, Value};
use crate::model::Weights;
use crate::model::seq2seq::Seq2SeqConfig;

/// Length of the source.
const SOURCE: Dim = Dim::Named("encoder_sequence_length");
/// Tokens that the decoder is fed.
const TARGET: Dim = Dim::Named("decoder_sequence_length");
/// Tokens that it was fed before.
const PAST: Dim = Dim::Named("past_decoder_sequence_length");
/// Both.
const PRESENT: Dim = Dim::Named("past_decoder_sequence_length + decoder_sequence_length");

/// Encoder: `input_ids` and `attention_mask` `[batch, source]` → `last_hidden_state` `[batch, source, width]`.
pub fn encoder(config: &Seq2SeqConfig, weights: &Weights, int8: bool) -> Result<ModelProto> {
    let mut builder = Builder::new("encoder", config, weights, int8);
    let parts = &mut builder.parts;
    let ids: Value<i64> = parts.graph.input("input_ids", &[BATCH, SOURCE]);
    let attention: Value<i64> = parts.graph.input("attention_mask", &[BATCH, SOURCE]);
    let table = parts.table("shared")?;
    let mask = builder.source_mask(&attention)?;
    builder.parts.graph.enter("embed");
    let positions = builder.parts.graph.positions(&ids, 1)?;
    let mut x = builder.embed(&table, &ids, &positions)?;
    for i in 0..config.encoder_layers {
        let name = format!("encoder.{i}");
        let kv = builder.kv(&format!("{name}.self"), &x)?;
        x = builder.attention(&format!("{name}.self"), &x, &kv, &mask)?;
        x = builder.feed_forward(&format!("{name}.ff"), &x)?;
    }
    builder.parts.graph.output("last_hidden_state", x)?;
    Ok(builder.parts.graph.finish()?)
}

/// Decoder. Without a past it is fed `encoder_hidden_states` and gives the keys and values of both attentions
/// (`present.N.decoder.key` …); with a past it is fed those, and gives the decoder's own.
pub fn decoder(config: &Seq2SeqConfig, weights: &Weights, int8: bool, past: bool) -> Result<ModelProto> {
    let name = if past { "decoder_with_past" } else { "decoder" };
    let mut builder = Builder::new(name, config, weights, int8);
    let (heads, width) = (config.heads, config.d_model / config.heads);
    let g = &mut builder.parts.graph;
    let attention: Value<i64> = g.input("encoder_attention_mask", &[BATCH, SOURCE]);
    let ids: Value<i64> = g.input("input_ids", &[BATCH, TARGET]);
    let encoded: Option<Value<f32>> =
        (!past).then(|| g.input("encoder_hidden_states", &[BATCH, SOURCE, config.d_model.into()]));
    let mut before: Vec<[Kv; 2]> = Vec::new();
    if past {
        for i in 0..config.decoder_layers {
            let mut input = |side: &str, what: &str, length: Dim| -> Value<f32> {
                g.input(&format!("past_key_values.{i}.{side}.{what}"), &[BATCH, heads.into(), length, width.into()])
            };
            let own = Kv { key: input("decoder", "key", PAST), value: input("decoder", "value", PAST) };
            let other = Kv { key: input("encoder", "key", SOURCE), value: input("encoder", "value", SOURCE) };
            before.push([own, other]);
        }
    }
    let table = builder.parts.table("shared")?;
    let source_mask = builder.source_mask(&attention)?;
    let g = &mut builder.parts.graph;
    g.enter("embed");
    let mut positions = g.positions(&ids, 1)?;
    if let Some([own, _]) = before.first() {
        let fed = g.length(&own.key, 2)?;
        positions = g.add(&positions, &fed)?;
    }
    let mut x = builder.embed(&table, &ids, &positions)?;
    let mut causal: Option<Value<f32>> = None;
    let mut present: Vec<(String, Value<f32>)> = Vec::new();
    for i in 0..config.decoder_layers {
        let name = format!("decoder.{i}");
        let mut own = builder.kv(&format!("{name}.self"), &x)?;
        if let Some([earlier, _]) = before.get(i) {
            let g = &mut builder.parts.graph;
            own.key = g.concat(&earlier.key, &own.key, 2, PRESENT)?;
            own.value = g.concat(&earlier.value, &own.value, 2, PRESENT)?;
        }
        let mask = match causal.clone() {
            Some(mask) => mask,
            None => builder.causal_mask(&positions, &own.key)?,
        };
        x = builder.attention(&format!("{name}.self"), &x, &own, &mask)?;
        causal = Some(mask);
        present.push((format!("present.{i}.decoder.key"), own.key));
        present.push((format!("present.{i}.decoder.value"), own.value));
        let other = match (&encoded, before.get(i)) {
            (Some(encoded), _) => {
                let other = builder.kv(&format!("{name}.cross"), encoded)?;
                present.push((format!("present.{i}.encoder.key"), other.key.clone()));
                present.push((format!("present.{i}.encoder.value"), other.value.clone()));
                other
            }
            (None, Some([_, other])) => other.clone(),
            (None, None) => unreachable!("either what was encoded or the past is given"),
        };
        x = builder.attention(&format!("{name}.cross"), &x, &other, &source_mask)?;
        x = builder.feed_forward(&format!("{name}.ff"), &x)?;
    }
    builder.parts.graph.enter("head");
    let logits = builder.parts.logits(&x, &table)?;
    let bias = builder.parts.floats("logits.bias")?;
    let logits = builder.parts.graph.add(&logits, &bias)?;
    builder.parts.graph.output("logits", logits)?;
    for (name, value) in present {
        builder.parts.graph.output(&name, value)?;
    }
    Ok(builder.parts.graph.finish()?)
}

struct Builder<'a> {
    parts: Parts<'a>,
    config: &'a Seq2SeqConfig,
}

impl<'a> Builder<'a> {
    fn new(name: &str, config: &'a Seq2SeqConfig, weights: &'a Weights, int8: bool) -> Self {
        Self { parts: Parts { graph: Graph::new(name), weights, int8 }, config }
    }

    /// Tokens with their positions `[rows]`: `[batch, rows, width]`.
    fn embed(&mut self, table: &Table, ids: &Value<i64>, positions: &Value<i64>) -> Result<Value<f32>> {
        let d = self.config.d_model;
        let x = self.parts.embed(table, ids, (d as f32).sqrt())?;
        let frequencies: Vec<f32> =
            (0..d / 2).map(|i| (1.0 / 10_000f64.powf((2 * i) as f64 / d as f64)) as f32).collect();
        let g = &mut self.parts.graph;
        let frequencies = g.literal(&[d / 2], &frequencies)?;
        let at: Value<f32> = g.cast(positions);
        let at = g.reshape(&at, &[at.shape()[0], 1.into()])?;
        let angles = g.mul(&at, &frequencies)?;
        let (sines, cosines) = (g.sin(&angles), g.cos(&angles));
        let waves = g.concat(&sines, &cosines, 1, d.into())?;
        Ok(g.add(&x, &waves)?)
    }

    /// `[batch, source]` of 1 and 0 → `[batch, 1, 1, source]`.
    fn source_mask(&mut self, attention: &Value<i64>) -> Result<Value<f32>> {
        let g = &mut self.parts.graph;
        g.enter("source_mask");
        let seen: Value<bool> = g.cast(attention);
        let seen = g.reshape(&seen, &[BATCH, 1.into(), 1.into(), SOURCE])?;
        self.parts.mask(&seen)
    }

    /// Which keys come no later than each query: `[rows, keys]`.
    fn causal_mask(&mut self, positions: &Value<i64>, keys: &Value<f32>) -> Result<Value<f32>> {
        let g = &mut self.parts.graph;
        g.enter("causal_mask");
        let queries = g.reshape(positions, &[positions.shape()[0], 1.into()])?;
        let keys = g.positions(keys, 2)?;
        let seen = g.less_or_equal(&keys, &queries)?;
        self.parts.mask(&seen)
    }

    fn kv(&mut self, name: &str, x: &Value<f32>) -> Result<Kv> {
        self.parts.graph.enter(name);
        let kv = self.parts.linear(x, &format!("{name}.kv"))?;
        self.parts.split_kv(&kv, self.config.heads, self.config.d_model / self.config.heads)
    }

    /// `norm(x + attention(x, kv))`.
    fn attention(&mut self, name: &str, x: &Value<f32>, kv: &Kv, mask: &Value<f32>) -> Result<Value<f32>> {
        self.parts.graph.enter(name);
        let queries = self.parts.linear(x, &format!("{name}.q"))?;
        let queries = self.parts.split(&queries, self.config.heads, self.config.d_model / self.config.heads)?;
        let y = self.parts.attend(&queries, kv, mask)?;
        let y = self.parts.linear(&y, &format!("{name}.out"))?;
        let x = self.parts.graph.add(x, &y)?;
        self.parts.norm(&x, &format!("{name}.norm"))
    }

    fn feed_forward(&mut self, name: &str, x: &Value<f32>) -> Result<Value<f32>> {
        self.parts.graph.enter(name);
        let y = self.parts.linear(x, &format!("{name}.in"))?;
        let y = self.parts.graph.silu(&y)?;
        let y = self.parts.linear(&y, &format!("{name}.out"))?;
        let x = self.parts.graph.add(x, &y)?;
        self.parts.norm(&x, &format!("{name}.norm"))
    }
}
