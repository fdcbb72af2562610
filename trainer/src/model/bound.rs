//! Weights on a device.

use burn::tensor::{Device, Tensor, TensorData};

use super::Weights;
use super::ops::Path;
use super::ops::layer_norm::layer_norm;
use super::ops::product::{Products, linear};
use super::ops::residual::Dropout;

/// Weights on a device: one tensor for each of the layout's places.
pub struct Bound<'a> {
    weights: &'a Weights,
    leaves: Vec<Tensor<1>>,
    device: Device,
    path: Path,
    products: Products,
}

/// Key of a step's dropout; places inside the model derive theirs from it.
#[derive(Debug, Clone, Copy)]
pub struct Noise(pub u64);

impl Noise {
    /// Dropout of the place number `place`, where there is noise and a share.
    pub fn dropout(noise: Option<Self>, share: f32, place: u64) -> Option<Dropout> {
        noise.filter(|_| share > 0.0).map(|Self(key)| {
            // Any odd multiplier spreads the places; the kernel hashes the key again.
            Dropout { share, key: key.wrapping_add((place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) }
        })
    }
}

impl<'a> Bound<'a> {
    /// Copies the weights to `device`; with autodiff each of them is a leaf that keeps its gradient.
    pub fn new(weights: &'a Weights, device: &Device) -> Self {
        Self::with_path(weights, device, Path::of(device))
    }

    /// As [`Bound::new`], by a path of one's choice.
    pub fn with_path(weights: &'a Weights, device: &Device, path: Path) -> Self {
        let leaf = |place: &super::weights::Place| {
            let values = weights.flat[place.range.clone()].to_vec();
            let tensor = Tensor::<1>::from_data(TensorData::new(values, [place.range.len()]), device);
            if device.is_autodiff() { tensor.require_grad() } else { tensor }
        };
        let leaves = weights.layout.places().iter().map(leaf).collect();
        Self { weights, leaves, device: device.clone(), path, products: Products::F32 }
    }

    /// The same with products of this kind, which [`Products::check`] has allowed.
    pub fn multiplied(self, products: Products) -> Self {
        Self { products, ..self }
    }

    /// The leaves, in the layout's order, each flat.
    pub fn leaves(&self) -> &[Tensor<1>] {
        &self.leaves
    }

    /// Where they are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Which form of the operations runs.
    pub fn path(&self) -> Path {
        self.path
    }

    /// The tensor `name`.
    pub fn get<const D: usize>(&self, name: &str) -> Tensor<D> {
        let position = self.weights.layout.position(name).expect("the layout has every tensor of its configuration");
        let shape: [usize; D] =
            self.weights.layout.places()[position].shape.as_slice().try_into().expect("the layout fixes the rank");
        self.leaves[position].clone().reshape(shape)
    }

    /// `x · weight + bias`.
    pub fn linear(&self, name: &str, x: Tensor<2>) -> Tensor<2> {
        let bias = Some(self.get(&format!("{name}.bias")));
        linear(x, self.get(&format!("{name}.weight")), bias, false, self.products)
    }

    /// `x · weight`.
    pub fn product(&self, name: &str, x: Tensor<2>) -> Tensor<2> {
        linear(x, self.get(&format!("{name}.weight")), None, false, self.products)
    }

    /// `x · weightᵀ + bias`, by the tensors' whole names.
    pub fn turned(&self, weight: &str, bias: Option<&str>, x: Tensor<2>) -> Tensor<2> {
        linear(x, self.get(weight), bias.map(|bias| self.get(bias)), true, self.products)
    }

    /// The layer norm `name`.
    pub fn norm(&self, name: &str, x: Tensor<2>) -> Tensor<2> {
        layer_norm(x, self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")), self.path)
    }
}
