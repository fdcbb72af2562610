//! The forward pass of `docs/model.md`.

use std::sync::Arc;

use burn::tensor::Tensor;
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::module::linear;

use super::ops::attention::{Attention, Span};
use super::ops::depthwise::Depthwise;
use super::ops::gate::{glu, silu};
use super::ops::residual::residual;
use super::ops::subsample;
use super::{Bound, EncoderConfig, Noise};

/// An encoder on a device.
pub struct Encoder<'a> {
    config: &'a EncoderConfig,
    bound: &'a Bound<'a>,
}

/// What all blocks need of one batch.
struct Shared {
    batch: usize,
    attention: Attention,
    depthwise: Depthwise,
}

impl<'a> Encoder<'a> {
    /// The encoder that `config` makes of weights on a device.
    pub fn new(config: &'a EncoderConfig, bound: &'a Bound<'a>) -> Self {
        Self { config, bound }
    }

    /// `features` `[batch, frames, mel_bins]`, zeros behind each sequence's `lengths` → log-probabilities
    /// `[batch, ⌈frames / subsampling⌉, units]`. `noise` turns dropout on.
    pub fn forward(&self, features: Tensor<3>, lengths: &[usize], noise: Option<Noise>) -> Tensor<3> {
        let config = self.config;
        let [batch, frames, _] = features.dims();
        let frames = config.output_frames(frames);
        let span = Span {
            batch,
            frames,
            lengths: lengths.iter().map(|length| config.output_frames(*length)).collect::<Arc<[usize]>>(),
            heads: config.heads,
            chunk: config.chunk_frames,
            left: config.left_chunks,
        };
        let attention = Attention::new(span, config.d_model, &features.device(), self.bound.path());
        let depthwise = Depthwise::new(config.conv_kernel, &features.device(), self.bound.path());
        let shared = Shared { batch, attention, depthwise };
        let mut x = self.subsample(features);
        for b in 0..config.layers {
            x = self.block(b, x, &shared, noise);
        }
        let x = self.bound.linear("head", x);
        log_softmax(x, 1).reshape([batch, frames, config.units])
    }

    fn subsample(&self, features: Tensor<3>) -> Tensor<2> {
        let (channels, bins) = (self.config.conv_channels, self.config.reduced_bins());
        let tensors = |name: &str| (self.bound.get(&format!("{name}.weight")), self.bound.get(&format!("{name}.bias")));
        let (weight, bias) = tensors("sub.conv0");
        let mut x = subsample::halve(features.unsqueeze_dim::<4>(3), weight, bias, true, self.bound.path());
        for i in 1..self.config.halvings() {
            let (weight, bias) = tensors(&format!("sub.dw{i}"));
            x = subsample::halve(x, weight, bias, false, self.bound.path());
            let dims @ [batch, time, bins, _] = x.dims();
            let pointwise = self.bound.get::<4>(&format!("sub.pw{i}.weight")).reshape([channels, channels]).transpose();
            let bias = self.bound.get(&format!("sub.pw{i}.bias"));
            x = relu(linear(x.reshape([batch * time * bins, channels]), pointwise, Some(bias))).reshape(dims);
        }
        // The projection's rows are ordered channel first (index c · F + f); here channels come last.
        let [batch, time, ..] = x.dims();
        let width = self.config.d_model;
        let project = self.bound.get::<2>("sub.out.weight").reshape([channels, bins, width]).swap_dims(0, 1);
        let project = project.reshape([bins * channels, width]);
        linear(x.reshape([batch * time, bins * channels]), project, Some(self.bound.get("sub.out.bias")))
    }

    fn block(&self, b: usize, x: Tensor<2>, shared: &Shared, noise: Option<Noise>) -> Tensor<2> {
        let name = format!("blocks.{b}");
        let join = |x: Tensor<2>, y: Tensor<2>, scale: f32, part: u64| {
            let dropout = Noise::dropout(noise, self.config.dropout, b as u64 * 4 + part);
            residual(x, y, scale, dropout, self.bound.path())
        };
        let y = self.feed_forward(&format!("{name}.ff1"), x.clone());
        let x = join(x, y, 0.5, 0);
        let y = self.bound.norm(&format!("{name}.attn.norm"), x.clone());
        let y = shared.attention.apply(self.bound.linear(&format!("{name}.attn.qkv"), y));
        let x = join(x, self.bound.linear(&format!("{name}.attn.out"), y), 1.0, 1);
        let y = self.convolution(&format!("{name}.conv"), x.clone(), shared);
        let x = join(x, y, 1.0, 2);
        let y = self.feed_forward(&format!("{name}.ff2"), x.clone());
        let x = join(x, y, 0.5, 3);
        self.bound.norm(&format!("{name}.norm"), x)
    }

    fn feed_forward(&self, name: &str, x: Tensor<2>) -> Tensor<2> {
        let x = self.bound.norm(&format!("{name}.norm"), x);
        let x = silu(self.bound.linear(&format!("{name}.in"), x), self.bound.path());
        self.bound.linear(&format!("{name}.out"), x)
    }

    fn convolution(&self, name: &str, x: Tensor<2>, shared: &Shared) -> Tensor<2> {
        let x = self.bound.norm(&format!("{name}.norm"), x);
        let x = glu(self.bound.linear(&format!("{name}.pw1"), x), self.bound.path());
        let (weight, bias) = (self.bound.get(&format!("{name}.dw.weight")), self.bound.get(&format!("{name}.dw.bias")));
        let x = shared.depthwise.apply(x, weight, bias, shared.batch);
        let x = silu(self.bound.norm(&format!("{name}.mid_norm"), x), self.bound.path());
        self.bound.linear(&format!("{name}.pw2"), x)
    }
}
