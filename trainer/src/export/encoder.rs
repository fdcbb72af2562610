//! The encoder of `docs/model.md` as an ONNX graph: `features` `f32[1, frames, 80]` to
//! `log_probs` `f32[1, ceil(frames / subsampling), units]`, for any number of frames.
//!
//! Inside it the batch of one is dropped: `[frames, width]`. The form is the one that the daemon's engine loads and runs
//! fastest of those that were measured (`docs/decisions/0006-graph-for-the-engine.md`).

use clap::ValueEnum;

use super::fold::Folded;
use super::onnx::proto::ModelProto;
use super::onnx::{Axis, Built, Dim, Graph, GraphError, Value};
use super::quantize::{self, Quantized};
use super::trained::{Trained, Weight};
use crate::error::{Failure, Result};
use crate::model::EncoderConfig;

/// ε of every norm.
const EPSILON: f32 = 1e-5;
/// What is added to the score of a frame that must not be seen: e to this is 0, and no sum of it overflows.
const UNSEEN: f32 = -1e9;
/// Base of the rotary positions' frequencies.
const ROTARY_BASE: f32 = 10_000.0;
/// Both axes of a halving convolution: time padded by 2 before, bins by 1 and 1.
const HALVING: [Axis; 2] = [Axis { kernel: 3, stride: 2, pads: (2, 0) }, Axis { kernel: 3, stride: 2, pads: (1, 1) }];
/// Both axes of a pointwise convolution.
const POINTWISE: [Axis; 2] = [Axis { kernel: 1, stride: 1, pads: (0, 0) }; 2];

/// How the matrices are stored and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// As floats.
    F32,
    /// Stored as bytes with a scale for each output channel, multiplied as floats.
    Int8Weights,
    /// Stored as bytes, multiplied as bytes: the other factor is quantized while it runs.
    Int8Dynamic,
}

/// Builds the graph.
pub fn encoder(trained: &Trained, precision: Precision) -> Result<ModelProto> {
    let config = &trained.config;
    let mut graph = Graph::new("linnet-ctc");
    let ones = graph.constant("plain.gain", &[config.d_model], &vec![1f32; config.d_model])?;
    Builder { graph, weights: Folded::new(trained)?, ones, config, precision }.build()
}

impl From<GraphError> for Failure {
    fn from(error: GraphError) -> Self {
        Self::software(error.to_string())
    }
}

struct Builder<'a> {
    graph: Graph,
    weights: Folded,
    /// Gain of the norms whose own went into what follows.
    ones: Value<f32>,
    config: &'a EncoderConfig,
    precision: Precision,
}

/// What every block's attention shares.
struct Positions {
    /// `[frames, 1, width]`: the angles of the first half, then the same for the second.
    cos: Value<f32>,
    sin: Value<f32>,
    /// `[width, width]`: takes (a, b), the halves of a width, to (−b, a). A product with it costs the engine less than to
    /// cut every row in two and to join the parts.
    turn: Value<f32>,
    /// `[frames, frames]`, added to the scores; absent where every frame sees all.
    mask: Option<Value<f32>>,
}

impl Builder<'_> {
    fn build(mut self) -> Result<ModelProto> {
        let features = self.graph.input("features", &[1.into(), Dim::FRAMES, self.config.mel_bins.into()]);
        let mut x = self.subsample(&features)?;
        self.graph.enter("positions");
        let positions = self.positions(&x)?;
        for block in 0..self.config.layers {
            x = self.block(&x, block, &positions)?;
        }
        self.graph.enter("head");
        let logits = self.linear(&x, "head")?;
        let log_probs = self.graph.log_softmax(&logits);
        let log_probs = self.graph.reshape(&log_probs, &[1.into(), x.shape()[0], self.config.units.into()])?;
        self.graph.output("log_probs", log_probs)?;
        Ok(self.graph.finish()?)
    }

    /// `[1, frames, bins]` to `[ceil(frames / subsampling), d_model]`.
    fn subsample(&mut self, features: &Value<f32>) -> Result<Value<f32>> {
        self.graph.enter("sub");
        let (channels, bins) = (self.config.conv_channels, self.config.mel_bins);
        let image = self.graph.reshape(features, &[1.into(), 1.into(), Dim::FRAMES, bins.into()])?;
        let (weight, bias) = self.pair("sub.conv0")?;
        let x = self.graph.conv(&image, &weight, &bias, &HALVING, 1)?;
        let mut x = self.graph.relu(&x);
        for i in 1..self.config.halvings() {
            let (weight, bias) = self.pair(&format!("sub.dw{i}"))?;
            x = self.graph.conv(&x, &weight, &bias, &HALVING, channels)?;
            x = self.pointwise(&x, &format!("sub.pw{i}"))?;
            x = self.graph.relu(&x);
        }
        let frames = x.shape()[2];
        let x = self.graph.transpose(&x, &[0, 2, 1, 3])?;
        let x = self.graph.reshape(&x, &[frames, (channels * self.config.reduced_bins()).into()])?;
        self.linear(&x, "sub.out")
    }

    fn block(&mut self, x: &Value<f32>, block: usize, positions: &Positions) -> Result<Value<f32>> {
        let name = format!("blocks.{block}");
        let part = self.feed_forward(x, &format!("{name}.ff1"))?;
        let x = self.graph.add(x, &part)?;
        let part = self.attention(&x, &format!("{name}.attn"), positions)?;
        let x = self.graph.add(&x, &part)?;
        let part = self.convolution(&x, &format!("{name}.conv"))?;
        let x = self.graph.add(&x, &part)?;
        let part = self.feed_forward(&x, &format!("{name}.ff2"))?;
        let x = self.graph.add(&x, &part)?;
        self.graph.enter(name.clone());
        let x_normed = self.rms(&x, &format!("{name}.norm"))?;
        // The last one's gain and bias are in the head.
        if self.weights.has(&format!("{name}.norm")) { self.centered(&x_normed) } else { Ok(x_normed) }
    }

    /// Half of a feed-forward, as it is added.
    fn feed_forward(&mut self, x: &Value<f32>, name: &str) -> Result<Value<f32>> {
        self.graph.enter(name);
        let x = self.rms(x, &format!("{name}.norm"))?;
        let x = self.linear(&x, &format!("{name}.in"))?;
        let x = self.graph.silu(&x)?;
        self.linear(&x, &format!("{name}.out"))
    }

    fn attention(&mut self, x: &Value<f32>, name: &str, positions: &Positions) -> Result<Value<f32>> {
        let (frames, d, heads) = (x.shape()[0], self.config.d_model, self.config.heads);
        self.graph.enter(name);
        let x = self.rms(x, &format!("{name}.norm"))?;
        let qkv = self.linear(&x, &format!("{name}.qkv"))?;
        let g = &mut self.graph;
        let qkv = g.reshape(&qkv, &[frames, (3 * heads).into(), (d / heads).into()])?;
        let qk = g.slice(&qkv, 1, 0, 2 * heads)?;
        let v = g.slice(&qkv, 1, 2 * heads, 3 * heads)?;
        let turned = g.matmul(&qk, &positions.turn)?;
        let (still, moved) = (g.mul(&qk, &positions.cos)?, g.mul(&turned, &positions.sin)?);
        let qk = g.add(&still, &moved)?;
        let (q, k) = (g.slice(&qk, 1, 0, heads)?, g.slice(&qk, 1, heads, 2 * heads)?);
        let (q, k, v) = (g.transpose(&q, &[1, 0, 2])?, g.transpose(&k, &[1, 2, 0])?, g.transpose(&v, &[1, 0, 2])?);
        let mut scores = g.matmul(&q, &k)?;
        if let Some(mask) = &positions.mask {
            scores = g.add(&scores, mask)?;
        }
        let weights = g.softmax(&scores);
        let y = g.matmul(&weights, &v)?;
        let y = g.transpose(&y, &[1, 0, 2])?;
        let y = g.reshape(&y, &[frames, d.into()])?;
        self.linear(&y, &format!("{name}.out"))
    }

    fn convolution(&mut self, x: &Value<f32>, name: &str) -> Result<Value<f32>> {
        let (frames, d, kernel) = (x.shape()[0], self.config.d_model, self.config.conv_kernel);
        self.graph.enter(name);
        let x = self.rms(x, &format!("{name}.norm"))?;
        let x = self.linear(&x, &format!("{name}.pw1"))?;
        let value = self.graph.slice(&x, 1, 0, d)?;
        let gate = self.graph.slice(&x, 1, d, 2 * d)?;
        let gate = self.graph.sigmoid(&gate);
        let x = self.graph.mul(&value, &gate)?;
        let x = self.graph.transpose(&x, &[1, 0])?;
        let x = self.graph.reshape(&x, &[1.into(), d.into(), frames])?;
        let (weight, bias) = self.pair(&format!("{name}.dw"))?;
        let time = Axis { kernel, stride: 1, pads: (kernel - 1, 0) };
        let x = self.graph.conv(&x, &weight, &bias, &[time], d)?;
        let x = self.graph.reshape(&x, &[d.into(), frames])?;
        let x = self.graph.transpose(&x, &[1, 0])?;
        let x = self.centered(&x)?;
        let x = self.rms(&x, &format!("{name}.mid_norm"))?;
        let x = self.graph.silu(&x)?;
        self.linear(&x, &format!("{name}.pw2"))
    }

    fn positions(&mut self, x: &Value<f32>) -> Result<Positions> {
        let g = &mut self.graph;
        let (frames, width) = (x.shape()[0], self.config.d_model / self.config.heads);
        let half = width / 2;
        let frequency = |i: usize| ROTARY_BASE.powf(-((i % half) as f32) / half as f32);
        let frequencies: Vec<f32> = (0..width).map(frequency).collect();
        let frequencies = g.constant("rotary.frequencies", &[width], &frequencies)?;
        let turned = |(from, to): (usize, usize)| match from.abs_diff(to) {
            apart if apart != half => 0.0,
            _ if from < to => 1.0,
            _ => -1.0,
        };
        let turn: Vec<f32> = (0..width * width).map(|i| turned((i / width, i % width))).collect();
        let turn = g.constant("rotary.turn", &[width, width], &turn)?;
        let index = g.positions(x, 0)?;
        let at: Value<f32> = g.cast(&index);
        let at = g.reshape(&at, &[frames, 1.into(), 1.into()])?;
        let angles = g.mul(&at, &frequencies)?;
        let (cos, sin) = (g.cos(&angles), g.sin(&angles));
        let mask = if self.config.chunk_frames == 0 { None } else { Some(self.mask(&index)?) };
        Ok(Positions { cos, sin, turn, mask })
    }

    /// 0 where frame i (row) may see frame j (column): ⌊i/N⌋ − M ≤ ⌊j/N⌋ ≤ ⌊i/N⌋.
    fn mask(&mut self, index: &Value<i64>) -> Built<Value<f32>> {
        let g = &mut self.graph;
        let size = g.literal(&[], &[self.config.chunk_frames as i64])?;
        let chunk = g.div(index, &size)?;
        let own = g.reshape(&chunk, &[chunk.shape()[0], 1.into()])?;
        let left = g.literal(&[], &[self.config.left_chunks as i64])?;
        let first = g.sub(&own, &left)?;
        let (begun, not_later) = (g.less_or_equal(&first, &chunk)?, g.less_or_equal(&chunk, &own)?);
        let seen = g.and(&begun, &not_later)?;
        let (nothing, unseen) = (g.literal(&[], &[0f32])?, g.literal(&[], &[UNSEEN])?);
        g.choose(&seen, &nothing, &unseen)
    }

    /// A layer norm of what is centred already.
    fn rms(&mut self, x: &Value<f32>, name: &str) -> Result<Value<f32>> {
        if !self.weights.has(name) {
            return Ok(self.graph.rms_norm(x, &self.ones, EPSILON)?);
        }
        let (gain, bias) = self.pair(name)?;
        let x = self.graph.rms_norm(x, &gain, EPSILON)?;
        Ok(self.graph.add(&x, &bias)?)
    }

    fn centered(&mut self, x: &Value<f32>) -> Result<Value<f32>> {
        let mean = self.graph.mean(x);
        Ok(self.graph.sub(x, &mean)?)
    }

    /// A 1×1 convolution over the channels of `[1, channels, frames, bins]`.
    fn pointwise(&mut self, x: &Value<f32>, name: &str) -> Result<Value<f32>> {
        let kernel = self.weights.tensor(&format!("{name}.weight"))?.clone();
        let (out, channels) = (kernel.shape[0], kernel.shape[1]);
        let weight = match self.precision {
            Precision::F32 => self.constant(&format!("{name}.weight"))?,
            Precision::Int8Weights => {
                let q = quantize::per_channel(&kernel.data, out, |i| i / channels);
                self.dequantized(name, &kernel.shape, &q, 0)?
            }
            Precision::Int8Dynamic => {
                // Channels last, as a product of matrices; the kernel is `[out, in]`.
                let element = |i: usize| kernel.data[(i % out) * channels + i / out];
                let data = (0..out * channels).map(element).collect();
                let last = self.graph.transpose(x, &[0, 2, 3, 1])?;
                let y = self.byte_product(&last, name, &Weight { shape: vec![channels, out], data })?;
                return Ok(self.graph.transpose(&y, &[0, 3, 1, 2])?);
            }
        };
        let bias = self.constant(&format!("{name}.bias"))?;
        Ok(self.graph.conv(x, &weight, &bias, &POINTWISE, 1)?)
    }

    /// `x · weight + bias` over the last axis.
    fn linear(&mut self, x: &Value<f32>, name: &str) -> Result<Value<f32>> {
        let weight = self.weights.tensor(&format!("{name}.weight"))?.clone();
        let out = weight.shape[1];
        let matrix = match self.precision {
            Precision::F32 => self.constant(&format!("{name}.weight"))?,
            Precision::Int8Weights => {
                let q = quantize::per_channel(&weight.data, out, |i| i % out);
                self.dequantized(name, &weight.shape, &q, 1)?
            }
            Precision::Int8Dynamic => return self.byte_product(x, name, &weight),
        };
        let y = self.graph.matmul(x, &matrix)?;
        let bias = self.constant(&format!("{name}.bias"))?;
        Ok(self.graph.add(&y, &bias)?)
    }

    /// Bytes that the engine turns into floats while it loads, since all of it is constant.
    fn dequantized(&mut self, name: &str, shape: &[usize], q: &Quantized, axis: usize) -> Built<Value<f32>> {
        let channels = q.scales.len();
        let bytes = self.graph.constant(&format!("{name}.weight_int8"), shape, &q.bytes)?;
        let scale = self.graph.constant(&format!("{name}.weight_scale"), &[channels], &q.scales)?;
        let zero = self.graph.constant(&format!("{name}.weight_zero"), &[channels], &vec![0i8; channels])?;
        self.graph.dequantize(&bytes, &scale, &zero, axis)
    }

    /// `x · weight + bias` with both factors as bytes; `weight` is `[in, out]`.
    fn byte_product(&mut self, x: &Value<f32>, name: &str, weight: &Weight) -> Result<Value<f32>> {
        let out = weight.shape[1];
        let q = quantize::per_channel(&weight.data, out, |i| i % out);
        let bytes = self.graph.constant(&format!("{name}.weight_int8"), &weight.shape, &q.bytes)?;
        let scales = self.graph.constant(&format!("{name}.weight_scale"), &[out], &q.scales)?;
        let (x, x_scale, x_zero) = self.graph.dynamic_quantize(x);
        let sum = self.graph.matmul_integer(&x, &bytes, &x_zero)?;
        let sum: Value<f32> = self.graph.cast(&sum);
        let scale = self.graph.mul(&x_scale, &scales)?;
        let y = self.graph.mul(&sum, &scale)?;
        let bias = self.constant(&format!("{name}.bias"))?;
        Ok(self.graph.add(&y, &bias)?)
    }

    /// Weight and bias as floats.
    fn pair(&mut self, name: &str) -> Result<(Value<f32>, Value<f32>)> {
        Ok((self.constant(&format!("{name}.weight"))?, self.constant(&format!("{name}.bias"))?))
    }

    fn constant(&mut self, name: &str) -> Result<Value<f32>> {
        let weight = self.weights.tensor(name)?;
        Ok(self.graph.constant(name, &weight.shape, &weight.data)?)
    }
}
