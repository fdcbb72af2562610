//! Weights by name: one flat buffer on the host, read from and written to `model.safetensors`.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::EncoderConfig;
use crate::error::{Failure, Result};
use crate::train::random::Random;

/// How a tensor starts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Start {
    Zeros,
    Ones,
    /// Uniform between plus and minus this.
    Uniform(f32),
}

/// One tensor's place in the flat buffer.
#[derive(Debug, Clone)]
pub struct Place {
    /// Name as in `docs/model.md`.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Elements of the flat buffer.
    pub range: Range<usize>,
    start: Start,
}

impl Place {
    /// Weight decay acts on matrices and kernels, not on biases and norms.
    pub fn decays(&self) -> bool {
        self.shape.len() > 1
    }
}

/// The tensors of one configuration, in the order of `docs/model.md`.
#[derive(Debug, Clone)]
pub struct Layout {
    places: Vec<Place>,
    by_name: HashMap<String, usize>,
    len: usize,
}

impl Layout {
    /// The layout that `config` asks for.
    pub fn new(config: &EncoderConfig) -> Self {
        let mut layout = Self { places: Vec::new(), by_name: HashMap::new(), len: 0 };
        let (c, d, f) = (config.conv_channels, config.d_model, config.reduced_bins());
        layout.conv("sub.conv0", &[c, 1, 3, 3]);
        for i in 1..config.halvings() {
            layout.conv(&format!("sub.dw{i}"), &[c, 1, 3, 3]);
            layout.conv(&format!("sub.pw{i}"), &[c, c, 1, 1]);
        }
        layout.linear("sub.out", c * f, d);
        for b in 0..config.layers {
            let block = format!("blocks.{b}");
            layout.feed_forward(&format!("{block}.ff1"), d, config.ff_mult);
            layout.norm(&format!("{block}.attn.norm"), d);
            layout.linear(&format!("{block}.attn.qkv"), d, 3 * d);
            layout.linear(&format!("{block}.attn.out"), d, d);
            layout.norm(&format!("{block}.conv.norm"), d);
            layout.linear(&format!("{block}.conv.pw1"), d, 2 * d);
            layout.conv(&format!("{block}.conv.dw"), &[d, 1, config.conv_kernel]);
            layout.norm(&format!("{block}.conv.mid_norm"), d);
            layout.linear(&format!("{block}.conv.pw2"), d, d);
            layout.feed_forward(&format!("{block}.ff2"), d, config.ff_mult);
            layout.norm(&format!("{block}.norm"), d);
        }
        layout.linear("head", d, config.units);
        layout
    }

    fn push(&mut self, name: String, shape: &[usize], start: Start) {
        let len: usize = shape.iter().product();
        self.by_name.insert(name.clone(), self.places.len());
        self.places.push(Place { name, shape: shape.to_vec(), range: self.len..self.len + len, start });
        self.len += len;
    }

    fn linear(&mut self, name: &str, input: usize, output: usize) {
        self.push(format!("{name}.weight"), &[input, output], Start::Uniform((input as f32).sqrt().recip()));
        self.push(format!("{name}.bias"), &[output], Start::Zeros);
    }

    fn conv(&mut self, name: &str, shape: &[usize]) {
        let fan_in: usize = shape[1..].iter().product();
        self.push(format!("{name}.weight"), shape, Start::Uniform((fan_in as f32).sqrt().recip()));
        self.push(format!("{name}.bias"), &shape[..1], Start::Zeros);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.push(format!("{name}.weight"), &[width], Start::Ones);
        self.push(format!("{name}.bias"), &[width], Start::Zeros);
    }

    fn feed_forward(&mut self, name: &str, d: usize, mult: usize) {
        self.norm(&format!("{name}.norm"), d);
        self.linear(&format!("{name}.in"), d, mult * d);
        self.linear(&format!("{name}.out"), mult * d, d);
    }

    /// The tensors in order.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Position of `name` in [`Layout::places`].
    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Weights in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No configuration has no weights.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Weights of one encoder.
#[derive(Debug, Clone)]
pub struct Weights {
    /// Names and places.
    pub layout: Layout,
    /// All weights, one tensor after another.
    pub flat: Vec<f32>,
}

impl Weights {
    /// Random weights: uniform ±1/√(inputs) for matrices and kernels, 0 for biases, 1 for the norms' gains.
    pub fn random(config: &EncoderConfig, seed: u64) -> Self {
        let layout = Layout::new(config);
        let mut flat = Vec::with_capacity(layout.len());
        for (i, place) in layout.places.iter().enumerate() {
            let mut random = Random::new(&[seed, 0x7765_6967_6874, i as u64]);
            flat.extend(place.range.clone().map(|_| match place.start {
                Start::Zeros => 0.0,
                Start::Ones => 1.0,
                Start::Uniform(bound) => random.between(-bound, bound),
            }));
        }
        Self { layout, flat }
    }

    /// One tensor's values and shape.
    pub fn tensor(&self, name: &str) -> Option<(&[usize], &[f32])> {
        let place = &self.layout.places[self.layout.position(name)?];
        Some((&place.shape, &self.flat[place.range.clone()]))
    }

    /// Reads `model.safetensors` (f32 or f16). A tensor that is absent, left over, of a wrong shape or not finite is refused by name.
    pub fn read(config: &EncoderConfig, path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| Failure::read(path, error))?;
        Self::from_safetensors(config, &bytes).map_err(|rule| Failure::data(format!("{}: {rule}", path.display())))
    }

    /// As [`Weights::read`], from bytes; the error is the rule that they break.
    pub fn from_safetensors(config: &EncoderConfig, bytes: &[u8]) -> Result<Self, String> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| format!("not a safetensors file: {error}"))?;
        let layout = Layout::new(config);
        let mut flat = vec![0.0; layout.len()];
        for (name, _) in tensors.iter() {
            if layout.position(name).is_none() {
                return Err(format!("tensor `{name}` belongs to no layer of model.json; are both files of one model?"));
            }
        }
        for place in &layout.places {
            let view = tensors.tensor(&place.name).map_err(|_| format!("tensor `{}` is absent", place.name))?;
            if view.shape() != place.shape {
                let (name, is, want) = (&place.name, view.shape(), &place.shape);
                return Err(format!("tensor `{name}` has the shape {is:?}; model.json asks for {want:?}"));
            }
            let target = &mut flat[place.range.clone()];
            match view.dtype() {
                Dtype::F32 => {
                    let values = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                    target.iter_mut().zip(values).for_each(|(to, value)| *to = value);
                }
                Dtype::F16 => {
                    let values = view.data().as_chunks::<2>().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes));
                    target.iter_mut().zip(values).for_each(|(to, value)| *to = value.to_f32());
                }
                other => return Err(format!("tensor `{}` is of type {other:?}; f32 and f16 are read", place.name)),
            }
            if target.iter().any(|value| !value.is_finite()) {
                return Err(format!("tensor `{}` holds NaN or infinity", place.name));
            }
        }
        Ok(Self { layout, flat })
    }

    /// The bytes of `model.safetensors`, f32, the same for the same weights.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let bytes: Vec<u8> = self.flat.iter().flat_map(|value| value.to_le_bytes()).collect();
        let views = self.layout.places.iter().map(|place| {
            let data = &bytes[place.range.start * 4..place.range.end * 4];
            let view = TensorView::new(Dtype::F32, place.shape.clone(), data);
            view.map(|view| (place.name.clone(), view)).map_err(|error| Failure::software(error.to_string()))
        });
        let views: Vec<_> = views.collect::<Result<_>>()?;
        safetensors::serialize(views, None).map_err(|error| Failure::software(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> EncoderConfig {
        EncoderConfig { conv_channels: 3, d_model: 8, layers: 2, heads: 2, units: 5, ..EncoderConfig::default() }
    }

    #[test]
    fn weights_survive_the_file_bit_for_bit() {
        let weights = Weights::random(&small(), 7);
        let again = Weights::from_safetensors(&small(), &weights.to_safetensors().unwrap()).unwrap();
        assert_eq!(again.flat, weights.flat);
    }

    #[test]
    fn the_same_seed_gives_the_same_weights_and_another_seed_others() {
        assert_eq!(Weights::random(&small(), 7).flat, Weights::random(&small(), 7).flat);
        assert_ne!(Weights::random(&small(), 7).flat, Weights::random(&small(), 8).flat);
    }

    #[test]
    fn a_file_of_another_shape_is_refused_by_name() {
        let bytes = Weights::random(&small(), 7).to_safetensors().unwrap();
        let wider = EncoderConfig { units: 6, ..small() };
        let rule = Weights::from_safetensors(&wider, &bytes).unwrap_err();
        assert!(rule.contains("`head.weight`") && rule.contains("[8, 6]"), "{rule}");
        let deeper = EncoderConfig { layers: 3, ..small() };
        assert!(
            Weights::from_safetensors(&deeper, &bytes).unwrap_err().contains("`blocks.2.ff1.norm.weight` is absent")
        );
        let shallower = EncoderConfig { layers: 1, ..small() };
        assert!(Weights::from_safetensors(&shallower, &bytes).unwrap_err().contains("belongs to no layer"));
    }

    #[test]
    fn a_weight_that_is_no_number_is_refused() {
        let mut weights = Weights::random(&small(), 7);
        weights.flat[0] = f32::NAN;
        let rule = Weights::from_safetensors(&small(), &weights.to_safetensors().unwrap()).unwrap_err();
        assert!(rule.contains("`sub.conv0.weight` holds NaN"), "{rule}");
    }
}
