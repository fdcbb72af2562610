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
