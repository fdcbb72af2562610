//! What can be done to the weights once, so that the engine need not do it in every run.
//!
//! A layer norm is `rms(center(x)) ⊙ gain + bias`, where `center` takes the mean over the width away and `rms` divides by the
//! root of the mean square. Three facts make most of it disappear:
//!
//! - gain and bias before a product go into it: `(n ⊙ gain + bias) · W + b = n · (gain ⊙ W) + (bias · W + b)`;
//! - inside a block `x` is only ever added to and normed, and a norm does not see the mean: so `x` is centred once where the
//!   block begins, and whatever is added to it has its mean taken out of its weights. Its norms are then `rms` alone;
//! - a constant factor (half of a feed-forward, the attention's 1/√width) goes into the product before it.
//!
//! The engine has a third of the nodes less to load (see `docs/decisions/0006-graph-for-the-engine.md`). Sums are taken in f64.

use std::collections::BTreeMap;

use super::trained::{Trained, Weight};
use crate::error::{Failure, Result};

/// The encoder's tensors by name, without the norms that went into what follows them.
#[derive(Debug, Clone)]
pub struct Folded(BTreeMap<String, Weight>);

impl Folded {
    /// Folds everything that can be.
    pub fn new(trained: &Trained) -> Result<Self> {
        let config = &trained.config;
        let (width, layers) = (config.d_model, config.layers);
        let mut folded = Self(trained.tensors.clone());
        folded.center("sub.out")?;
        for block in 0..layers {
            let name = |part: &str| format!("blocks.{block}.{part}");
            for ff in ["ff1", "ff2"] {
                folded.norm_into(&name(&format!("{ff}.norm")), &name(&format!("{ff}.in")))?;
                let out = name(&format!("{ff}.out"));
                folded.scale(&out, width, 0.5)?;
                folded.center(&out)?;
            }
            folded.norm_into(&name("attn.norm"), &name("attn.qkv"))?;
            // The queries are the first columns.
            folded.scale(&name("attn.qkv"), width, 1.0 / ((width / config.heads) as f64).sqrt())?;
            folded.center(&name("attn.out"))?;
            folded.norm_into(&name("conv.norm"), &name("conv.pw1"))?;
            folded.center(&name("conv.pw2"))?;
        }
        folded.norm_into(&format!("blocks.{}.norm", layers - 1), "head")?;
        Ok(folded)
    }

    /// A tensor.
    pub fn tensor(&self, name: &str) -> Result<&Weight> {
        self.0.get(name).ok_or_else(|| missing(name))
    }

    /// Whether the norm `name` still has a gain and a bias.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(&format!("{name}.weight"))
    }

    /// Moves gain and bias of `norm` into `linear`, `[in, out]`.
    fn norm_into(&mut self, norm: &str, linear: &str) -> Result<()> {
        let take = |name: String, all: &mut BTreeMap<String, Weight>| all.remove(&name).ok_or_else(|| missing(&name));
        let gain = take(format!("{norm}.weight"), &mut self.0)?;
        let shift = take(format!("{norm}.bias"), &mut self.0)?;
        self.change(linear, |rows, bias| {
            let mut sums: Vec<f64> = bias.iter().map(|b| f64::from(*b)).collect();
            for ((row, gain), shift) in rows.chunks_exact_mut(bias.len()).zip(&gain.data).zip(&shift.data) {
                for (w, sum) in row.iter_mut().zip(&mut sums) {
                    *sum += f64::from(*shift) * f64::from(*w);
                    *w *= gain;
                }
            }
            bias.iter_mut().zip(sums).for_each(|(b, sum)| *b = sum as f32);
        })
    }

    /// Multiplies the first `columns` outputs of `linear` by `factor`.
    fn scale(&mut self, linear: &str, columns: usize, factor: f64) -> Result<()> {
        self.change(linear, |rows, bias| {
            for row in rows.chunks_exact_mut(bias.len()).chain([bias]) {
                row.iter_mut().take(columns).for_each(|v| *v = (f64::from(*v) * factor) as f32);
            }
        })
    }

    /// Takes the mean over outputs from each row and from the bias, so that what `linear` gives has mean 0.
    fn center(&mut self, linear: &str) -> Result<()> {
        self.change(linear, |rows, bias| {
            for row in rows.chunks_exact_mut(bias.len()).chain([bias]) {
                let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / row.len() as f64;
                row.iter_mut().for_each(|v| *v = (f64::from(*v) - mean) as f32);
            }
        })
    }

    /// Gives rows and bias of `linear` to `change`.
    fn change(&mut self, linear: &str, change: impl FnOnce(&mut [f32], &mut [f32])) -> Result<()> {
        let (weight, bias) = (format!("{linear}.weight"), format!("{linear}.bias"));
        let mut shift = self.0.remove(&bias).ok_or_else(|| missing(&bias))?;
        let rows = self.0.get_mut(&weight).ok_or_else(|| missing(&weight))?;
        change(&mut rows.data, &mut shift.data);
        self.0.insert(bias, shift);
        Ok(())
    }
}

fn missing(name: &str) -> Failure {
    Failure::software(format!("there is no tensor `{name}`"))
}
