//! Weights by name: one flat buffer on the host, read from and written to `model.safetensors`.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Failure, Result};
use crate::train::random::Random;

/// What a configuration says of the model that it describes.
pub trait Shape {
    /// Its tensors in their order.
    fn layout(&self) -> Layout;

    /// Checks the configuration; the error is the broken rule.
    fn check(&self) -> Result<(), String>;
}

/// How a tensor starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// 0.
    Zeros,
    /// 1.
    Ones,
    /// Uniform between plus and minus this.
    Uniform(f32),
}

/// One tensor's place in the flat buffer.
#[derive(Debug, Clone)]
pub struct Place {
    /// Name.
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

/// The tensors of one configuration, in order.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    places: Vec<Place>,
    by_name: HashMap<String, usize>,
    len: usize,
}

impl Layout {
    /// One tensor more.
    pub fn push(&mut self, name: String, shape: &[usize], start: Start) {
        let len: usize = shape.iter().product();
        self.by_name.insert(name.clone(), self.places.len());
        self.places.push(Place { name, shape: shape.to_vec(), range: self.len..self.len + len, start });
        self.len += len;
    }

    /// A matrix `[input, output]` and a bias.
    pub fn linear(&mut self, name: &str, input: usize, output: usize) {
        self.push(format!("{name}.weight"), &[input, output], Start::Uniform((input as f32).sqrt().recip()));
        self.push(format!("{name}.bias"), &[output], Start::Zeros);
    }

    /// A kernel and a bias.
    pub fn conv(&mut self, name: &str, shape: &[usize]) {
        let fan_in: usize = shape[1..].iter().product();
        self.push(format!("{name}.weight"), shape, Start::Uniform((fan_in as f32).sqrt().recip()));
        self.push(format!("{name}.bias"), &shape[..1], Start::Zeros);
    }

    /// Gain and bias of a norm.
    pub fn norm(&mut self, name: &str, width: usize) {
        self.push(format!("{name}.weight"), &[width], Start::Ones);
        self.push(format!("{name}.bias"), &[width], Start::Zeros);
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

/// Weights of one model.
#[derive(Debug, Clone)]
pub struct Weights {
    /// Names and places.
    pub layout: Layout,
    /// All weights, one tensor after another.
    pub flat: Vec<f32>,
}

impl Weights {
    /// Random weights as the layout starts them.
    pub fn random(config: &impl Shape, seed: u64) -> Self {
        let layout = config.layout();
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
    pub fn read(config: &impl Shape, path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| Failure::read(path, error))?;
        Self::from_safetensors(config, &bytes).map_err(|rule| Failure::data(format!("{}: {rule}", path.display())))
    }

    /// As [`Weights::read`], from bytes; the error is the rule that they break.
    pub fn from_safetensors(config: &impl Shape, bytes: &[u8]) -> Result<Self, String> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| format!("not a safetensors file: {error}"))?;
        let layout = config.layout();
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
        self.file(Dtype::F32, 4, &bytes)
    }

    /// As [`Weights::to_safetensors`], rounded to f16: half the size.
    pub fn to_half(&self) -> Result<Vec<u8>> {
        let bytes: Vec<u8> = self.flat.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect();
        self.file(Dtype::F16, 2, &bytes)
    }

    fn file(&self, dtype: Dtype, size: usize, bytes: &[u8]) -> Result<Vec<u8>> {
        let views = self.layout.places.iter().map(|place| {
            let data = &bytes[place.range.start * size..place.range.end * size];
            let view = TensorView::new(dtype, place.shape.clone(), data);
            view.map(|view| (place.name.clone(), view)).map_err(|error| Failure::software(error.to_string()))
        });
        let views: Vec<_> = views.collect::<Result<_>>()?;
        safetensors::serialize(views, None).map_err(|error| Failure::software(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EncoderConfig;

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
