//! `self-test`: one training step on made-up data, to see that a build trains on this machine.

use burn::tensor::{Tensor, TensorData};
use clap::Args;

use super::args::Backend;
use super::device::device;
use super::method::Objective;
use super::optimizer::{Optimizer, StepOptions};
use super::random::Random;
use super::step::{Outcome, Stepper};
use crate::data::MEL_BINS;
use crate::error::{Failure, Result};
use crate::model::ops::product::Products;
use crate::model::{Encoder, Noise, Weights, ctc};

/// Options of `self-test`.
#[derive(Debug, Args)]
pub struct SelfTestArgs {
    /// Where the arithmetic runs.
    #[arg(long, value_enum, default_value_t)]
    pub backend: Backend,
    /// Steps to take.
    #[arg(long, default_value_t = 2)]
    pub steps: u64,
    /// Rows in a step.
    #[arg(long, default_value_t = 2)]
    pub rows: usize,
    /// Seconds of each row.
    #[arg(long, default_value_t = 1.0)]
    pub secs: f64,
    /// Shape of the encoder.
    #[command(flatten)]
    pub shape: super::ctc::ShapeArgs,
}

/// Runs `self-test`: prints the loss for each unit of each step, and fails where it is no number.
pub fn run(args: SelfTestArgs) -> Result<()> {
    let device = device(args.backend)?.autodiff();
    let config = args.shape.config(29, None)?;
    let frames = ((args.secs * 100.0) as usize).clamp(40, 6000);
    let mut weights = Weights::random(&config, 1);
    let mut optimizer = Optimizer::new(&weights.flat);
    let mut random = Random::new(&[1]);
    let targets: Vec<Vec<u32>> =
        (0..args.rows).map(|_| (0..frames / 10).map(|_| 1 + random.below(28) as u32).collect()).collect();
    let targets: Vec<&[u32]> = targets.iter().map(Vec::as_slice).collect();
    let features: Vec<f32> = (0..args.rows * frames * MEL_BINS).map(|_| random.between(-1.7, 1.7)).collect();
    let options = StepOptions { rate: 1e-3, weight_decay: 0.01, clip: 5.0, ema: 0.99 };
    let stepper = Stepper { device: &device, options, products: Products::F32 };
    let units: usize = targets.iter().map(|target| target.len()).sum();
    println!("{} weights, {} s of audio a step", weights.layout.len(), args.rows * frames / 100);
    for number in 0..args.steps {
        let begun = std::time::Instant::now();
        let outcome = stepper.step(&mut weights, &mut optimizer, number, |bound| {
            let data = TensorData::new(features.clone(), [args.rows, frames, MEL_BINS]);
            let features = Tensor::<3>::from_data(data, bound.device());
            let lengths = vec![frames; args.rows];
            let log_probs = Encoder::new(&config, bound).forward(features, &lengths, Some(Noise(number)));
            let lengths = vec![config.output_frames(frames); args.rows];
            let (losses, mean) = ctc::losses_and_objective(log_probs, &lengths, &targets, 1.0 / units as f32);
            Ok(Objective { losses, units, mean, amount: args.rows as f64 * args.secs })
        })?;
        let Outcome::Moved { loss, norm, .. } = outcome else {
            return Err(Failure::software(format!(
                "step {number}: the loss or its gradient is no number: {outcome:?}"
            )));
        };
        println!(
            "step {number}: loss {:.4}, gradient {norm:.3}, {} ms",
            loss / units as f64,
            begun.elapsed().as_millis()
        );
    }
    Ok(())
}
