//! A decoder as Llama has it (Touvron et al. 2023), so that `transformers` computes the same from the exported weights
//! (`LlamaForCausalLM`): norms by the mean square before each part, rotary positions, gated feed-forward parts, no biases, one
//! table for the tokens and for the logits.

use std::path::Path as File;
use std::sync::Arc;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::ops::dot_attention::{Sight, attend};
use super::ops::embedding::{Lookup, embed};
use super::ops::gate::swiglu;
use super::ops::residual::residual;
use super::ops::rms_norm::rms_norm;
use super::seq2seq::Texts;
use super::weights::{Layout, Shape, Start};
use super::{Bound, Noise, config};
use crate::error::Result;

/// Shape of a decoder. Unknown keys are refused, so that a file of a later version is not half understood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CausalConfig {
    /// What kind of model the file describes.
    pub method: CausalMethod,
    /// Tokens (V).
    pub vocab: usize,
    /// Width (D).
    pub d_model: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Width of the feed-forward parts.
    pub ffn: usize,
    /// Longest text, tokens.
    pub positions: usize,
    /// Base of the rotary positions' frequencies.
    pub rope_theta: f32,
    /// ε of the norms.
    pub norm_epsilon: f32,
    /// Dropout at the end of each part while training.
    pub dropout: f32,
    /// Token that begins a text.
    pub bos: u32,
    /// Token that ends it.
    pub eos: u32,
    /// Token that pads.
    pub pad: u32,
}

/// The one value of `method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CausalMethod {
    /// This method.
    #[default]
    #[serde(rename = "causal-lm")]
    CausalLm,
}

impl Default for CausalConfig {
    fn default() -> Self {
        Self {
            method: CausalMethod::CausalLm,
            vocab: 0,
            d_model: 256,
            layers: 5,
            heads: 8,
            kv_heads: 4,
            ffn: 688,
            positions: 512,
            rope_theta: 10_000.0,
            norm_epsilon: 1e-5,
            dropout: 0.1,
            bos: 1,
            eos: 2,
            pad: 0,
        }
    }
}

impl CausalConfig {
    /// Reads `model.json` and checks it.
    pub fn read(path: &File) -> Result<Self> {
        config::read(path, "a decoder's")
    }

    /// Width of a head.
    pub fn head(&self) -> usize {
        self.d_model / self.heads
    }
}

impl Shape for CausalConfig {
    fn layout(&self) -> Layout {
        let mut layout = Layout::default();
        let (d, f, kv) = (self.d_model, self.ffn, self.kv_heads * self.head());
        // √3 · 0.02: the standard deviation that Llama starts with; what adds to the stream is smaller in a deep model.
        let (bound, last) = (0.0346, 0.0346 / (2.0 * self.layers as f32).sqrt());
        let mut matrix = |name: String, shape: [usize; 2], bound: f32| layout.push(name, &shape, Start::Uniform(bound));
        matrix("tokens.weight".into(), [self.vocab, d], bound);
        for i in 0..self.layers {
            let layer = format!("layers.{i}");
            matrix(format!("{layer}.q.weight"), [d, d], bound);
            matrix(format!("{layer}.kv.weight"), [d, 2 * kv], bound);
            matrix(format!("{layer}.out.weight"), [d, d], last);
            matrix(format!("{layer}.gate_up.weight"), [d, 2 * f], bound);
            matrix(format!("{layer}.down.weight"), [f, d], last);
        }
        for i in 0..self.layers {
            layout.push(format!("layers.{i}.attn_norm.weight"), &[d], Start::Ones);
            layout.push(format!("layers.{i}.ff_norm.weight"), &[d], Start::Ones);
        }
        layout.push("norm.weight".into(), &[d], Start::Ones);
        layout
    }

    fn check(&self) -> Result<(), String> {
        config::within("vocab", self.vocab, 4, 1 << 17)?;
        config::within("d_model", self.d_model, 2, 2048)?;
        config::within("layers", self.layers, 1, 64)?;
        config::within("heads", self.heads, 1, 64)?;
        config::within("kv_heads", self.kv_heads, 1, 64)?;
        config::within("ffn", self.ffn, 1, 1 << 14)?;
        config::within("positions", self.positions, 8, 1 << 14)?;
        config::divisible("d_model", self.d_model, 2 * self.heads, "twice the heads")?;
        config::divisible("heads", self.heads, self.kv_heads, "kv_heads")?;
        config::share("dropout", self.dropout)?;
        if !(self.rope_theta > 1.0 && self.rope_theta.is_finite()) {
            return Err(format!("rope_theta is {}; it must be more than 1", self.rope_theta));
        }
        if !(self.norm_epsilon > 0.0 && self.norm_epsilon < 1.0) {
            return Err(format!("norm_epsilon is {}; it must lie between 0 and 1", self.norm_epsilon));
        }
        if [self.bos, self.eos, self.pad].iter().any(|id| *id as usize >= self.vocab) || self.eos == self.pad {
            return Err(format!("bos, eos and pad must be among the {} tokens, and eos not be pad", self.vocab));
        }
        Ok(())
    }
}

/// A decoder on a device.
pub struct Causal<'a> {
    config: &'a CausalConfig,
    bound: &'a Bound<'a>,
    noise: Option<Noise>,
}

impl<'a> Causal<'a> {
    /// The model that `config` makes of weights on a device; `noise` turns dropout on.
    pub fn new(config: &'a CausalConfig, bound: &'a Bound<'a>, noise: Option<Noise>) -> Self {
        Self { config, bound, noise }
    }

    /// `texts` → logits of what follows each token, `[texts · rows, vocab]`.
    pub fn forward(&self, texts: &Texts) -> Tensor<2> {
        let (config, path) = (self.config, self.bound.path());
        let sight = Sight {
            batch: texts.lengths.len(),
            query_rows: texts.rows,
            key_rows: texts.rows,
            query_lengths: Arc::clone(&texts.lengths),
            key_lengths: Arc::clone(&texts.lengths),
            causal: true,
            heads: config.heads,
            kv_heads: config.kv_heads,
            width: config.head(),
            rotary: Some(config.rope_theta),
        };
        let lookup = Lookup { ids: Arc::clone(&texts.ids), scale: 1.0, positions: None };
        let mut x = embed(self.bound.get("tokens.weight"), lookup, path);
        for i in 0..config.layers {
            let name = format!("layers.{i}");
            let join = |x: Tensor<2>, y: Tensor<2>, part: u64| {
                residual(x, y, 1.0, Noise::dropout(self.noise, config.dropout, 2 * i as u64 + part), path)
            };
            let y = self.norm(&format!("{name}.attn_norm"), x.clone());
            let queries = self.bound.product(&format!("{name}.q"), y.clone());
            let y = attend(queries, self.bound.product(&format!("{name}.kv"), y), &sight, path);
            x = join(x, self.bound.product(&format!("{name}.out"), y), 0);
            let y = self.norm(&format!("{name}.ff_norm"), x.clone());
            let y = swiglu(self.bound.product(&format!("{name}.gate_up"), y), path);
            x = join(x, self.bound.product(&format!("{name}.down"), y), 1);
        }
        self.bound.turned("tokens.weight", None, self.norm("norm", x))
    }

    fn norm(&self, name: &str, x: Tensor<2>) -> Tensor<2> {
        rms_norm(x, self.bound.get(&format!("{name}.weight")), self.config.norm_epsilon, self.bound.path())
    }
}
