//! An encoder-decoder as Marian has it (Junczys-Dowmunt et al. 2018; Vaswani et al. 2017), so that `transformers` computes
//! the same from the exported weights (`MarianMTModel`): norms behind each part, sinusoidal positions, one table for both
//! sides and for the logits, which have a bias.

use std::path::Path as File;
use std::sync::Arc;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::ops::dot_attention::{Sight, attend};
use super::ops::embedding::{Lookup, embed};
use super::ops::gate::silu;
use super::ops::residual::residual;
use super::weights::{Layout, Shape, Start};
use super::{Bound, Noise, config};
use crate::error::Result;

/// Shape of an encoder-decoder. Unknown keys are refused, so that a file of a later version is not half understood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seq2SeqConfig {
    /// What kind of model the file describes.
    pub method: Seq2SeqMethod,
    /// Tokens (V).
    pub vocab: usize,
    /// Width (D).
    pub d_model: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward parts.
    pub ffn: usize,
    /// Longest sequence, tokens.
    pub positions: usize,
    /// Dropout of the embeddings and at the end of each part while training.
    pub dropout: f32,
    /// Token that ends a text.
    pub eos: u32,
    /// Token that pads, and that begins the decoder's text.
    pub pad: u32,
}

/// The one value of `method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Seq2SeqMethod {
    /// This method.
    #[default]
    #[serde(rename = "seq2seq")]
    Seq2Seq,
}

impl Default for Seq2SeqConfig {
    fn default() -> Self {
        Self {
            method: Seq2SeqMethod::Seq2Seq,
            vocab: 0,
            d_model: 256,
            encoder_layers: 4,
            decoder_layers: 2,
            heads: 8,
            ffn: 1024,
            positions: 256,
            dropout: 0.1,
            eos: 0,
            pad: 2,
        }
    }
}

impl Seq2SeqConfig {
    /// Reads `model.json` and checks it.
    pub fn read(path: &File) -> Result<Self> {
        config::read(path, "an encoder-decoder's")
    }

    /// Sinusoidal positions `[rows, d_model]`: sines in the first half, cosines in the second.
    pub fn sinusoids(&self, rows: usize) -> Vec<f32> {
        let (d, half) = (self.d_model, self.d_model / 2);
        let angle = |t: usize, i: usize| t as f64 / 10_000f64.powf((2 * i) as f64 / d as f64);
        let value = |t: usize, i: usize| if i < half { angle(t, i).sin() } else { angle(t, i - half).cos() };
        (0..rows * d).map(|at| value(at / d, at % d) as f32).collect()
    }
}

impl Shape for Seq2SeqConfig {
    fn layout(&self) -> Layout {
        let mut layout = Layout::default();
        let (d, f) = (self.d_model, self.ffn);
        // Standard deviation 1/√D: a scaled row has elements of size 1, and so have the first logits.
        layout.push("shared.weight".into(), &[self.vocab, d], Start::Uniform((3.0 / d as f32).sqrt()));
        layout.push("logits.bias".into(), &[self.vocab], Start::Zeros);
        let mut layers = |side: &str, count: usize, attentions: &[&str]| {
            for i in 0..count {
                let layer = format!("{side}.{i}");
                for attention in attentions {
                    let name = format!("{layer}.{attention}");
                    // As `fairseq` starts them: Xavier's bound over √2 for what is one product of three.
                    let bound = (1.5 / d as f32).sqrt();
                    matrix(&mut layout, &format!("{name}.q"), d, d, bound);
                    matrix(&mut layout, &format!("{name}.kv"), d, 2 * d, bound);
                    matrix(&mut layout, &format!("{name}.out"), d, d, (3.0 / d as f32).sqrt());
                    layout.norm(&format!("{name}.norm"), d);
                }
                let bound = (6.0 / (d + f) as f32).sqrt();
                matrix(&mut layout, &format!("{layer}.ff.in"), d, f, bound);
                matrix(&mut layout, &format!("{layer}.ff.out"), f, d, bound);
                layout.norm(&format!("{layer}.ff.norm"), d);
            }
        };
        layers("encoder", self.encoder_layers, &["self"]);
        layers("decoder", self.decoder_layers, &["self", "cross"]);
        layout
    }

    fn check(&self) -> Result<(), String> {
        config::within("vocab", self.vocab, 4, 1 << 17)?;
        config::within("d_model", self.d_model, 2, 2048)?;
        config::within("encoder_layers", self.encoder_layers, 1, 64)?;
        config::within("decoder_layers", self.decoder_layers, 1, 64)?;
        config::within("heads", self.heads, 1, 64)?;
        config::within("ffn", self.ffn, 1, 1 << 14)?;
        config::within("positions", self.positions, 8, 1 << 14)?;
        config::divisible("d_model", self.d_model, 2 * self.heads, "twice the heads")?;
        config::share("dropout", self.dropout)?;
        if self.eos == self.pad || [self.eos, self.pad].iter().any(|id| *id as usize >= self.vocab) {
            return Err(format!(
                "eos is {} and pad {}; they must be two of the {} tokens",
                self.eos, self.pad, self.vocab
            ));
        }
        Ok(())
    }
}

fn matrix(layout: &mut Layout, name: &str, input: usize, output: usize, bound: f32) {
    layout.push(format!("{name}.weight"), &[input, output], Start::Uniform(bound));
    layout.push(format!("{name}.bias"), &[output], Start::Zeros);
}

/// Texts of one side, padded to the longest.
#[derive(Debug, Clone)]
pub struct Texts {
    /// `[texts · rows]`.
    pub ids: Arc<[u32]>,
    /// Tokens of the longest.
    pub rows: usize,
    /// Tokens of each.
    pub lengths: Arc<[usize]>,
}

impl Texts {
    /// Pads `texts` with `pad`.
    pub fn new<T: AsRef<[u32]>>(texts: &[T], pad: u32) -> Self {
        let lengths: Arc<[usize]> = texts.iter().map(|text| text.as_ref().len()).collect();
        let rows = lengths.iter().copied().max().unwrap_or(0);
        let mut ids = vec![pad; rows * texts.len()];
        for (to, text) in ids.chunks_exact_mut(rows.max(1)).zip(texts) {
            to[..text.as_ref().len()].copy_from_slice(text.as_ref());
        }
        Self { ids: ids.into(), rows, lengths }
    }
}

/// An encoder-decoder on a device.
pub struct Seq2Seq<'a> {
    config: &'a Seq2SeqConfig,
    bound: &'a Bound<'a>,
    noise: Option<Noise>,
}

impl<'a> Seq2Seq<'a> {
    /// The model that `config` makes of weights on a device; `noise` turns dropout on.
    pub fn new(config: &'a Seq2SeqConfig, bound: &'a Bound<'a>, noise: Option<Noise>) -> Self {
        Self { config, bound, noise }
    }

    /// `sources` → `[texts · rows, d_model]`.
    pub fn encode(&self, sources: &Texts) -> Tensor<2> {
        let sight = self.sight(sources, sources, false);
        let mut x = self.embed(sources, 0);
        for i in 0..self.config.encoder_layers {
            let (name, place) = (format!("encoder.{i}"), 16 * i as u64 + 16);
            x = self.attention(&format!("{name}.self"), x.clone(), x, &sight, place);
            x = self.feed_forward(&format!("{name}.ff"), x, place + 1);
        }
        x
    }

    /// What was encoded of `sources`, and the decoder's `inputs` (each begins with the pad) → logits `[texts · rows, vocab]`.
    pub fn decode(&self, encoded: Tensor<2>, sources: &Texts, inputs: &Texts) -> Tensor<2> {
        let own = self.sight(inputs, inputs, true);
        let other = self.sight(inputs, sources, false);
        let mut x = self.embed(inputs, 1);
        for i in 0..self.config.decoder_layers {
            let (name, place) = (format!("decoder.{i}"), 16 * i as u64 + 24);
            x = self.attention(&format!("{name}.self"), x.clone(), x, &own, place);
            x = self.attention(&format!("{name}.cross"), x, encoded.clone(), &other, place + 1);
            x = self.feed_forward(&format!("{name}.ff"), x, place + 2);
        }
        self.bound.turned("shared.weight", Some("logits.bias"), x)
    }

    fn sight(&self, queries: &Texts, keys: &Texts, causal: bool) -> Sight {
        Sight {
            batch: queries.lengths.len(),
            query_rows: queries.rows,
            key_rows: keys.rows,
            query_lengths: Arc::clone(&queries.lengths),
            key_lengths: Arc::clone(&keys.lengths),
            causal,
            heads: self.config.heads,
            kv_heads: self.config.heads,
            width: self.config.d_model / self.config.heads,
            rotary: None,
        }
    }

    fn embed(&self, texts: &Texts, place: u64) -> Tensor<2> {
        let lookup = Lookup {
            ids: Arc::clone(&texts.ids),
            scale: (self.config.d_model as f32).sqrt(),
            positions: Some(self.config.sinusoids(texts.rows).into()),
        };
        let x = embed(self.bound.get("shared.weight"), lookup, self.bound.path());
        match Noise::dropout(self.noise, self.config.dropout, place) {
            None => x,
            dropout => {
                let nothing = Tensor::zeros(x.dims(), self.bound.device());
                residual(nothing, x, 1.0, dropout, self.bound.path())
            }
        }
    }

    /// `norm(x + attention(x, others))`.
    fn attention(&self, name: &str, x: Tensor<2>, others: Tensor<2>, sight: &Sight, place: u64) -> Tensor<2> {
        let queries = self.bound.linear(&format!("{name}.q"), x.clone());
        let kv = self.bound.linear(&format!("{name}.kv"), others);
        let y = attend(queries, kv, sight, self.bound.path());
        self.join(name, x, self.bound.linear(&format!("{name}.out"), y), place)
    }

    fn feed_forward(&self, name: &str, x: Tensor<2>, place: u64) -> Tensor<2> {
        let y = silu(self.bound.linear(&format!("{name}.in"), x.clone()), self.bound.path());
        self.join(name, x, self.bound.linear(&format!("{name}.out"), y), place)
    }

    fn join(&self, name: &str, x: Tensor<2>, y: Tensor<2>, place: u64) -> Tensor<2> {
        let dropout = Noise::dropout(self.noise, self.config.dropout, place + 1);
        self.bound.norm(&format!("{name}.norm"), residual(x, y, 1.0, dropout, self.bound.path()))
    }
}
