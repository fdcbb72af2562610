//! The forward pass of `docs/model.md`.

use std::sync::Arc;

use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::module::linear;
use burn::tensor::{Device, Tensor, TensorData};

use super::ops::attention::{Attention, Span};
use super::ops::depthwise::Depthwise;
use super::ops::gate::{glu, silu};
use super::ops::layer_norm::layer_norm;
use super::ops::residual::{Dropout, residual};
use super::ops::{Path, subsample};
use super::{EncoderConfig, Weights};

/// An encoder on a device: the configuration and one tensor for each of the layout's places.
pub struct Encoder<'a> {
    config: &'a EncoderConfig,
    weights: &'a Weights,
    leaves: Vec<Tensor<1>>,
    path: Path,
}

/// What all blocks need of one batch.
struct Shared {
    batch: usize,
    attention: Attention,
    depthwise: Depthwise,
}

/// Key of a step's dropout; places inside the encoder derive theirs from it.
#[derive(Debug, Clone, Copy)]
pub struct Noise(pub u64);

impl<'a> Encoder<'a> {
    /// Copies the weights to `device`; with autodiff each of them is a leaf that keeps its gradient.
    pub fn new(config: &'a EncoderConfig, weights: &'a Weights, device: &Device) -> Self {
        Self::with_path(config, weights, device, Path::of(device))
    }

    /// As [`Encoder::new`], by a path of one's choice.
    pub fn with_path(config: &'a EncoderConfig, weights: &'a Weights, device: &Device, path: Path) -> Self {
        let leaf = |place: &super::weights::Place| {
            let values = weights.flat[place.range.clone()].to_vec();
            let tensor = Tensor::<1>::from_data(TensorData::new(values, [place.range.len()]), device);
            if device.is_autodiff() { tensor.require_grad() } else { tensor }
        };
        let leaves = weights.layout.places().iter().map(leaf).collect();
        Self { config, weights, leaves, path }
    }

    /// The leaves, in the layout's order, each flat.
    pub fn leaves(&self) -> &[Tensor<1>] {
        &self.leaves
    }

    fn get<const D: usize>(&self, name: &str) -> Tensor<D> {
        let position = self.weights.layout.position(name).expect("the layout has every tensor of its configuration");
        let shape: [usize; D] =
            self.weights.layout.places()[position].shape.as_slice().try_into().expect("the layout fixes the rank");
        self.leaves[position].clone().reshape(shape)
    }

    fn linear(&self, name: &str, x: Tensor<2>) -> Tensor<2> {
        linear(x, self.get(&format!("{name}.weight")), Some(self.get(&format!("{name}.bias"))))
    }

    fn norm(&self, name: &str, x: Tensor<2>) -> Tensor<2> {
        layer_norm(x, self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")), self.path)
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
        let attention = Attention::new(span, config.d_model, &features.device(), self.path);
        let depthwise = Depthwise::new(config.conv_kernel, &features.device(), self.path);
        let shared = Shared { batch, attention, depthwise };
        let mut x = self.subsample(features);
        for b in 0..config.layers {
            x = self.block(b, x, &shared, noise);
        }
        let x = self.linear("head", x);
        log_softmax(x, 1).reshape([batch, frames, config.units])
    }

    fn subsample(&self, features: Tensor<3>) -> Tensor<2> {
        let (channels, bins) = (self.config.conv_channels, self.config.reduced_bins());
        let tensors = |name: &str| (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let (weight, bias) = tensors("sub.conv0");
        let mut x = subsample::halve(features.unsqueeze_dim::<4>(3), weight, bias, true, self.path);
        for i in 1..self.config.halvings() {
            let (weight, bias) = tensors(&format!("sub.dw{i}"));
            x = subsample::halve(x, weight, bias, false, self.path);
            let dims @ [batch, time, bins, _] = x.dims();
            let pointwise = self.get::<4>(&format!("sub.pw{i}.weight")).reshape([channels, channels]).transpose();
            let bias = self.get(&format!("sub.pw{i}.bias"));
            x = relu(linear(x.reshape([batch * time * bins, channels]), pointwise, Some(bias))).reshape(dims);
        }
        // The projection's rows are ordered channel first (index c · F + f); here channels come last.
        let [batch, time, ..] = x.dims();
        let width = self.config.d_model;
        let project = self.get::<2>("sub.out.weight").reshape([channels, bins, width]).swap_dims(0, 1);
        let project = project.reshape([bins * channels, width]);
        linear(x.reshape([batch * time, bins * channels]), project, Some(self.get("sub.out.bias")))
    }

    fn block(&self, b: usize, x: Tensor<2>, shared: &Shared, noise: Option<Noise>) -> Tensor<2> {
        let name = format!("blocks.{b}");
        let join = |x: Tensor<2>, y: Tensor<2>, scale: f32, part: u64| {
            let share = self.config.dropout;
            let dropout = noise.filter(|_| share > 0.0).map(|Noise(key)| {
                // Any odd multipliers spread the places; the kernel hashes the key again.
                let place = (b as u64 * 4 + part + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                Dropout { share, key: key.wrapping_add(place) }
            });
            residual(x, y, scale, dropout, self.path)
        };
        let y = self.feed_forward(&format!("{name}.ff1"), x.clone());
        let x = join(x, y, 0.5, 0);
        let y = self.norm(&format!("{name}.attn.norm"), x.clone());
        let y = shared.attention.apply(self.linear(&format!("{name}.attn.qkv"), y));
        let x = join(x, self.linear(&format!("{name}.attn.out"), y), 1.0, 1);
        let y = self.convolution(&format!("{name}.conv"), x.clone(), shared);
        let x = join(x, y, 1.0, 2);
        let y = self.feed_forward(&format!("{name}.ff2"), x.clone());
        let x = join(x, y, 0.5, 3);
        self.norm(&format!("{name}.norm"), x)
    }

    fn feed_forward(&self, name: &str, x: Tensor<2>) -> Tensor<2> {
        let x = self.norm(&format!("{name}.norm"), x);
        let x = silu(self.linear(&format!("{name}.in"), x), self.path);
        self.linear(&format!("{name}.out"), x)
    }

    fn convolution(&self, name: &str, x: Tensor<2>, shared: &Shared) -> Tensor<2> {
        let x = self.norm(&format!("{name}.norm"), x);
        let x = glu(self.linear(&format!("{name}.pw1"), x), self.path);
        let (weight, bias) = (self.get(&format!("{name}.dw.weight")), self.get(&format!("{name}.dw.bias")));
        let x = shared.depthwise.apply(x, weight, bias, shared.batch);
        let x = silu(self.norm(&format!("{name}.mid_norm"), x), self.path);
        self.linear(&format!("{name}.pw2"), x)
    }
}
