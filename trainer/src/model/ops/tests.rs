//! Both forms of each part give the same values and the same gradients.
#![cfg(feature = "flex")]

use burn::tensor::{Device, Tensor, TensorData};

use super::attention::{Attention, Span};
use super::cross_entropy::{NO_TARGET, cross_entropy};
use super::depthwise::Depthwise;
use super::dot_attention::{Sight, attend};
use super::embedding::{Lookup, embed};
use super::gate::{glu, silu, swiglu};
use super::layer_norm::layer_norm;
use super::product::{Products, linear};
use super::residual::{Dropout, residual};
use super::rms_norm::rms_norm;
use super::subsample::halve;
use super::{Path, Path::Composed, Path::Fused};
use crate::train::random::Random;

fn device() -> Device {
    Device::flex().autodiff()
}

fn tensor<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let mut random = Random::new(&[seed]);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.between(-2.0, 2.0)).collect();
    Tensor::from_data(TensorData::new(values, shape), &device()).require_grad()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn near(what: &str, a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= 2e-5 * (1.0 + b.abs()), "{what}[{i}]: fused {a}, composed {b}");
    }
}

/// Runs `part` in both forms on the same inputs; compares its output and, weighted by random factors, each input's gradient.
fn same<const O: usize>(
    inputs: usize,
    make: impl Fn(usize) -> Tensor<1>,
    part: impl Fn(&[Tensor<1>], Path) -> Tensor<O>,
) {
    let run = |path| {
        let inputs: Vec<Tensor<1>> = (0..inputs).map(&make).collect();
        let out = part(&inputs, path);
        let weighting = tensor(out.dims(), 99).detach();
        let gradients = (out.clone() * weighting).sum().backward();
        let gradients: Vec<Vec<f32>> =
            inputs.iter().map(|input| values(input.grad(&gradients).expect("takes part"))).collect();
        (values(out), gradients)
    };
    let (fused, composed) = (run(Fused), run(Composed));
    near("output", &fused.0, &composed.0);
    for (i, (fused, composed)) in fused.1.iter().zip(&composed.1).enumerate() {
        near(&format!("gradient of input {i}"), fused, composed);
    }
}

#[test]
fn layer_norms_agree() {
    let sizes = [300 * 20, 20, 20];
    same(
        3,
        |i| tensor([sizes[i]], i as u64),
        |x, path| layer_norm(x[0].clone().reshape([300, 20]), x[1].clone(), x[2].clone(), path),
    );
}

#[test]
fn gates_agree() {
    same(1, |i| tensor([260 * 6], i as u64), |x, path| silu(x[0].clone().reshape([260, 6]), path));
    same(1, |i| tensor([260 * 10], i as u64), |x, path| glu(x[0].clone().reshape([260, 10]), path));
    same(1, |i| tensor([260 * 10], i as u64), |x, path| swiglu(x[0].clone().reshape([260, 10]), path));
}

#[test]
fn residuals_agree() {
    same(
        2,
        |i| tensor([130 * 6], i as u64),
        |x, path| residual(x[0].clone().reshape([130, 6]), x[1].clone().reshape([130, 6]), 0.5, None, path),
    );
}

#[test]
fn dropout_drops_its_share_the_same_in_both_directions_and_scales_the_rest() {
    let (rows, width) = (400, 200);
    let (x, y) =
        (Tensor::<2>::zeros([rows, width], &device()), Tensor::<2>::ones([rows, width], &device()).require_grad());
    let dropout = Some(Dropout { share: 0.1, key: 7 });
    let out = residual(x.clone(), y.clone(), 0.5, dropout, Fused);
    let gradients = out.clone().sum().backward();
    let (out, gradient) = (values(out), values(y.grad(&gradients).unwrap()));
    assert_eq!(out, gradient);
    let dropped = out.iter().filter(|value| **value == 0.0).count() as f64 / (rows * width) as f64;
    assert!((dropped - 0.1).abs() < 0.005, "{dropped}");
    assert!(out.iter().all(|value| *value == 0.0 || (*value - 0.5 / 0.9).abs() < 1e-6));
    let other = residual(x, y, 0.5, Some(Dropout { share: 0.1, key: 8 }), Fused);
    assert_ne!(values(other), out);
}

#[test]
fn depthwise_convolutions_agree_also_where_the_kernel_is_longer_than_the_sequence() {
    for (frames, taps) in [(9, 5), (3, 7), (1, 4), (40, 15), (65, 20), (4, 1)] {
        let sizes = [2 * frames * 6, 6 * taps, 6];
        same(
            3,
            |i| tensor([sizes[i]], i as u64),
            |x, path| {
                let weight = x[1].clone().reshape([6, 1, taps]);
                let convolution = Depthwise::new(taps, &device(), path);
                convolution.apply(x[0].clone().reshape([2 * frames, 6]), weight, x[2].clone(), 2)
            },
        );
    }
}

#[test]
fn halvings_agree_for_odd_and_even_lengths() {
    for (time, inputs, rectify) in [(7, 1, true), (8, 4, false), (1, 4, true)] {
        let sizes = [2 * time * 8 * inputs, 4 * 9, 4];
        same(
            3,
            |i| tensor([sizes[i]], i as u64),
            |x, path| {
                let weight = x[1].clone().reshape([4, 1, 3, 3]);
                halve(x[0].clone().reshape([2, time, 8, inputs]), weight, x[2].clone(), rectify, path)
            },
        );
    }
}

#[test]
fn attentions_agree_with_chunks_padding_and_without() {
    for (chunk, left) in [(0, 0), (4, 1), (3, 0)] {
        let span = Span { batch: 2, frames: 11, lengths: [11, 6].into(), heads: 2, chunk, left };
        // Rows of padding are of no meaning, so that they must not count.
        let mut real = vec![0.0f32; 2 * 11 * 12];
        for (b, rows) in real.chunks_exact_mut(11 * 12).enumerate() {
            rows[..span.lengths[b] * 12].fill(1.0);
        }
        same(
            1,
            |i| tensor([2 * 11 * 36], i as u64),
            |x, path| {
                let real = Tensor::<2>::from_data(TensorData::new(real.clone(), [22, 12]), &device());
                Attention::new(span.clone(), 12, &device(), path).apply(x[0].clone().reshape([22, 36])) * real
            },
        );
    }
}

#[test]
fn norms_by_the_mean_square_agree() {
    let sizes = [300 * 20, 20];
    same(
        2,
        |i| tensor([sizes[i]], i as u64),
        |x, path| rms_norm(x[0].clone().reshape([300, 20]), x[1].clone(), 1e-5, path),
    );
}

#[test]
fn embeddings_agree() {
    let lookup = |positions: bool| Lookup {
        ids: [3, 0, 3, 6, 1, 3].into(),
        scale: 1.5,
        positions: positions.then(|| (0..15).map(|i| i as f32 * 0.1).collect()),
    };
    for positions in [false, true] {
        same(1, |i| tensor([7 * 5], i as u64), |x, path| embed(x[0].clone().reshape([7, 5]), lookup(positions), path));
    }
}

#[test]
fn cross_entropies_agree() {
    for smoothing in [0.0, 0.1] {
        same(
            1,
            |i| tensor([40 * 37], i as u64),
            |x, path| {
                let targets = (0..40).map(|i| if i % 5 == 3 { NO_TARGET } else { i * 7 % 37 }).collect();
                cross_entropy(x[0].clone().reshape([40, 37]), targets, smoothing, path)
            },
        );
    }
}

#[test]
fn attentions_of_text_models_agree() {
    let sight = Sight {
        batch: 3,
        query_rows: 5,
        key_rows: 7,
        query_lengths: [5, 2, 4].into(),
        key_lengths: [3, 7, 1].into(),
        causal: false,
        heads: 4,
        kv_heads: 2,
        width: 6,
        rotary: None,
    };
    let causal =
        Sight { key_rows: 5, key_lengths: [5, 2, 4].into(), causal: true, rotary: Some(10_000.0), ..sight.clone() };
    for sight in [sight, causal] {
        let (queries, keys) = (sight.batch * sight.query_rows, sight.batch * sight.key_rows);
        let sizes = [queries * 24, keys * 24];
        same(
            2,
            |i| tensor([sizes[i]], i as u64),
            |x, path| {
                let (q, kv) = (x[0].clone().reshape([queries, 24]), x[1].clone().reshape([keys, 24]));
                let y = attend(q, kv, &sight, path);
                // Padding is of no meaning.
                let known = (0..queries * 24).map(|i| {
                    let row = i / 24;
                    if row % sight.query_rows < sight.query_lengths[row / sight.query_rows] { 1.0 } else { 0.0f32 }
                });
                let known =
                    Tensor::<2>::from_data(TensorData::new(known.collect::<Vec<_>>(), [queries, 24]), &device());
                y * known
            },
        );
    }
}

#[test]
fn rounded_products_are_near_and_have_gradients_that_are_near() {
    let (rows, inner, outer) = (150, 40, 70);
    let sizes = [rows * inner, inner * outer, outer];
    for turned in [false, true] {
        let run = |products| {
            let inputs: Vec<Tensor<1>> = (0..3).map(|i| tensor([sizes[i]], i as u64)).collect();
            let shape = if turned { [outer, inner] } else { [inner, outer] };
            let (x, weight) = (inputs[0].clone().reshape([rows, inner]), inputs[1].clone().reshape(shape));
            let with = linear(x.clone(), weight.clone(), Some(inputs[2].clone()), turned, products);
            let out = with + linear(x, weight, None, turned, products);
            let weighting = tensor(out.dims(), 99).detach();
            let gradients = (out.clone() * weighting).sum().backward();
            let gradients = inputs.iter().map(|input| values(input.grad(&gradients).expect("takes part")));
            (values(out), gradients.collect::<Vec<_>>())
        };
        let (rounded, whole) = (run(Products::Bf16), run(Products::F32));
        let apart = |a: &[f32], b: &[f32]| {
            assert_eq!(a.len(), b.len());
            let size = (b.iter().map(|b| b * b).sum::<f32>() / b.len() as f32).sqrt();
            let most = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            most / size
        };
        assert!(apart(&rounded.0, &whole.0) < 0.02);
        for (rounded, whole) in rounded.1.iter().zip(&whole.1) {
            assert!(apart(rounded, whole) < 0.03);
        }
        assert!(apart(&rounded.0, &whole.0) > 1e-5, "it must be another computation");
    }
}
