//! `model.json`: the numbers that fix an encoder's shape.

use std::path::Path;

use linnet_proto::model_config::{Normalization, UnitKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::weights::{Layout, Shape};
use crate::error::{Failure, Result};

/// Shape of an encoder; see `docs/model.md`. Unknown keys are refused, so that a file of a later version is not half understood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// Mel bins of the features.
    pub mel_bins: usize,
    /// Feature frames for each output frame: 4 or 8.
    pub subsampling: usize,
    /// Channels of the subsampling convolutions (C).
    pub conv_channels: usize,
    /// Width of the blocks (D).
    pub d_model: usize,
    /// Blocks (L).
    pub layers: usize,
    /// Attention heads (H); `d_model / heads` is even.
    pub heads: usize,
    /// Width of the feed-forward parts, in `d_model`s.
    pub ff_mult: usize,
    /// Taps of the blocks' depthwise convolution (K).
    pub conv_kernel: usize,
    /// Output frames in a chunk of attention (N); 0 is full attention.
    pub chunk_frames: usize,
    /// Chunks to the left that a frame sees beside its own (M).
    pub left_chunks: usize,
    /// Units of the head, blank included (V).
    pub units: usize,
    /// Dropout at the end of each part while training.
    pub dropout: f32,
    /// How features are normalised before the encoder.
    #[serde(default = "by_utterance")]
    pub normalization: Normalization,
    /// What a unit is, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_kind: Option<UnitKind>,
}

fn by_utterance() -> Normalization {
    Normalization::Utterance
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self {
            mel_bins: 80,
            subsampling: 4,
            conv_channels: 32,
            d_model: 144,
            layers: 8,
            heads: 4,
            ff_mult: 4,
            conv_kernel: 15,
            chunk_frames: 64,
            left_chunks: 2,
            units: 0,
            dropout: 0.1,
            normalization: Normalization::Utterance,
            unit_kind: None,
        }
    }
}

impl EncoderConfig {
    /// Reads `model.json` and checks it.
    pub fn read(path: &Path) -> Result<Self> {
        read(path, "an encoder's")
    }

    /// Output frames for `frames` feature frames: rounded up.
    pub fn output_frames(&self, frames: usize) -> usize {
        frames.div_ceil(self.subsampling)
    }

    /// Halvings of the time axis.
    pub fn halvings(&self) -> usize {
        self.subsampling.ilog2() as usize
    }

    /// Mel bins that are left after the subsampling (F).
    pub fn reduced_bins(&self) -> usize {
        self.mel_bins / self.subsampling
    }
}

impl Shape for EncoderConfig {
    /// The tensors of `docs/model.md`, in its order.
    fn layout(&self) -> Layout {
        let mut layout = Layout::default();
        let (c, d, f) = (self.conv_channels, self.d_model, self.reduced_bins());
        layout.conv("sub.conv0", &[c, 1, 3, 3]);
        for i in 1..self.halvings() {
            layout.conv(&format!("sub.dw{i}"), &[c, 1, 3, 3]);
            layout.conv(&format!("sub.pw{i}"), &[c, c, 1, 1]);
        }
        layout.linear("sub.out", c * f, d);
        for b in 0..self.layers {
            let block = format!("blocks.{b}");
            feed_forward(&mut layout, &format!("{block}.ff1"), d, self.ff_mult);
            layout.norm(&format!("{block}.attn.norm"), d);
            layout.linear(&format!("{block}.attn.qkv"), d, 3 * d);
            layout.linear(&format!("{block}.attn.out"), d, d);
            layout.norm(&format!("{block}.conv.norm"), d);
            layout.linear(&format!("{block}.conv.pw1"), d, 2 * d);
            layout.conv(&format!("{block}.conv.dw"), &[d, 1, self.conv_kernel]);
            layout.norm(&format!("{block}.conv.mid_norm"), d);
            layout.linear(&format!("{block}.conv.pw2"), d, d);
            feed_forward(&mut layout, &format!("{block}.ff2"), d, self.ff_mult);
            layout.norm(&format!("{block}.norm"), d);
        }
        layout.linear("head", d, self.units);
        layout
    }

    fn check(&self) -> Result<(), String> {
        if !matches!(self.subsampling, 4 | 8) {
            return Err(format!("subsampling is {}; it must be 4 or 8", self.subsampling));
        }
        within("mel_bins", self.mel_bins, 8, 512)?;
        if !self.mel_bins.is_multiple_of(self.subsampling) {
            return Err(format!("mel_bins is {}; it must be a multiple of subsampling", self.mel_bins));
        }
        within("conv_channels", self.conv_channels, 1, 1024)?;
        within("d_model", self.d_model, 2, 2048)?;
        within("layers", self.layers, 1, 64)?;
        within("heads", self.heads, 1, 64)?;
        if !self.d_model.is_multiple_of(2 * self.heads) {
            return Err(format!(
                "d_model is {}; it must be a multiple of twice the {} heads",
                self.d_model, self.heads
            ));
        }
        within("ff_mult", self.ff_mult, 1, 16)?;
        within("conv_kernel", self.conv_kernel, 1, 127)?;
        within("chunk_frames", self.chunk_frames, 0, 1 << 20)?;
        within("left_chunks", self.left_chunks, 0, 1 << 20)?;
        within("units", self.units, 2, 1 << 16)?;
        share("dropout", self.dropout)
    }
}

/// Reads a `model.json` and checks it; `whose` says what kind of model it is of.
pub fn read<C: Shape + DeserializeOwned>(path: &Path, whose: &str) -> Result<C> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::read(path, error))?;
    let config: C = serde_json::from_str(&text)
        .map_err(|error| Failure::data(format!("{}: not {whose} model.json: {error}", path.display())))?;
    config.check().map_err(|rule| Failure::data(format!("{}: {rule}", path.display())))?;
    Ok(config)
}

/// The rule that `value` must lie in a range.
pub(super) fn within(name: &str, value: usize, low: usize, high: usize) -> Result<(), String> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(format!("{name} is {value}; it must lie between {low} and {high}"))
}

/// The rule that `value` must be a multiple of `of`, which `what` names.
pub(super) fn divisible(name: &str, value: usize, of: usize, what: &str) -> Result<(), String> {
    if value.is_multiple_of(of) {
        return Ok(());
    }
    Err(format!("{name} is {value}; it must be a multiple of {of}, {what}"))
}

/// The rule that `value` must be a share.
pub(super) fn share(name: &str, value: f32) -> Result<(), String> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(format!("{name} is {value}; it must lie between 0 and 1"))
}

fn feed_forward(layout: &mut Layout, name: &str, d: usize, mult: usize) {
    layout.norm(&format!("{name}.norm"), d);
    layout.linear(&format!("{name}.in"), d, mult * d);
    layout.linear(&format!("{name}.out"), mult * d, d);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> EncoderConfig {
        EncoderConfig { units: 30, ..EncoderConfig::default() }
    }

    #[test]
    fn the_default_shape_is_legal_once_units_are_known() {
        assert_eq!(valid().check(), Ok(()));
        assert!(EncoderConfig::default().check().unwrap_err().starts_with("units is 0"));
    }

    #[test]
    fn each_rule_names_its_key() {
        let broken = [
            (EncoderConfig { subsampling: 5, ..valid() }, "subsampling"),
            (EncoderConfig { mel_bins: 81, ..valid() }, "mel_bins"),
            (EncoderConfig { heads: 5, ..valid() }, "d_model"),
            (EncoderConfig { dropout: 1.0, ..valid() }, "dropout"),
        ];
        for (config, key) in broken {
            assert!(config.check().unwrap_err().starts_with(key), "{key}");
        }
    }

    #[test]
    fn output_frames_round_up() {
        assert_eq!([1, 4, 5, 8, 9].map(|frames| valid().output_frames(frames)), [1, 1, 2, 2, 3]);
    }
}
