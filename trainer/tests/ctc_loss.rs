//! CTC losses and gradients against PyTorch's (`tests/goldens/ctc_loss/generate.py`).

use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};
use linnet_train::model::ctc;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    frames: usize,
    units: usize,
    lengths: Vec<usize>,
    targets: Vec<Vec<u32>>,
    logits: Vec<f32>,
    losses: Vec<f32>,
    gradient: Vec<f32>,
}

#[test]
fn losses_and_gradients_are_the_goldens() {
    let golden: Golden = serde_json::from_str(include_str!("goldens/ctc_loss/cases.json")).unwrap();
    let device = linnet_train::train::device::device(Default::default()).unwrap().autodiff();
    for case in golden.cases {
        let shape = [case.lengths.len(), case.frames, case.units];
        let logits = Tensor::<3>::from_data(TensorData::new(case.logits, shape), &device).require_grad();
        let targets: Vec<&[u32]> = case.targets.iter().map(Vec::as_slice).collect();
        let log_probs = log_softmax(logits.clone(), 2);
        let values: Vec<f32> = log_probs.clone().inner().into_data().iter::<f32>().collect();
        let (losses, objective) = ctc::losses_and_objective(log_probs, &case.lengths, &targets, 1.0);
        assert_eq!(losses, ctc::losses(&values, case.units, &case.lengths, &targets));
        let gradients = objective.backward();
        for (loss, want) in losses.iter().zip(&case.losses) {
            assert!((loss - want).abs() < 1e-4 * (1.0 + want.abs()), "loss {loss}, not {want}");
        }
        let gradient: Vec<f32> = logits.grad(&gradients).unwrap().into_data().iter::<f32>().collect();
        assert_eq!(gradient.len(), case.gradient.len());
        for (i, (value, want)) in gradient.iter().zip(&case.gradient).enumerate() {
            assert!((value - want).abs() < 1e-4, "gradient {i} is {value}, not {want}");
        }
    }
}

#[test]
fn a_log_probability_that_is_no_number_makes_the_loss_none_and_no_other() {
    let (frames, units, lengths) = (4, 3, [4, 3, 4]);
    let targets: [&[u32]; 3] = [&[1, 2], &[1], &[2]];
    let good = vec![-1.0f32; 3 * frames * units];
    let want = ctc::losses(&good, units, &lengths, &targets);
    let device = linnet_train::train::device::device(Default::default()).unwrap().autodiff();
    for at in 0..frames * units {
        // In the second row, whose last frame is padding.
        let mut log_probs = good.clone();
        log_probs[frames * units + at] = f32::NAN;
        let losses = ctc::losses(&log_probs, units, &lengths, &targets);
        assert_eq!(losses[1].is_nan(), at < 3 * units, "place {at}: {losses:?}");
        assert_eq!((losses[0], losses[2]), (want[0], want[2]));
        let tensor = Tensor::<3>::from_data(TensorData::new(log_probs, [3, frames, units]), &device);
        let (with_objective, _) = ctc::losses_and_objective(tensor, &lengths, &targets, 1.0);
        assert_eq!(with_objective[1].is_nan(), at < 3 * units, "place {at}: {with_objective:?}");
    }
}
