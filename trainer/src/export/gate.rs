//! The accuracy gate: what quantization costs on the validation set.

use super::trained::Trained;
use super::{About, Contents, Opened, Precision, sets};
use crate::error::{Failure, Result};
use crate::evaluate::{HearOptions, Score};
use crate::manifest::Manifest;

/// Word errors of both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    /// Of the float weights.
    pub float: Score,
    /// Of the package.
    pub quantized: Score,
}

impl Gate {
    /// Points of word error rate lost; negative where quantization won some.
    pub fn loss(&self) -> f64 {
        100.0 * (self.quantized.wer() - self.float.wer())
    }

    /// Refuses when more than `allowed` points are lost.
    pub fn check(&self, allowed: f64) -> Result<()> {
        // A loss that is no number is not within anything.
        if self.loss() <= allowed {
            return Ok(());
        }
        Err(Failure::refused(format!(
            "quantization raises the word error rate from {:.2} % to {:.2} %, by more than {allowed} points; export with another \
             --precision, train longer, or accept it with --allow-loss {:.2}",
            100.0 * self.float.wer(),
            100.0 * self.quantized.wer(),
            self.loss() + 0.005,
        )))
    }
}

/// Hears the validation set with both and compares.
pub fn judge(
    contents: &Contents<'_>,
    trained: &Trained,
    quantized: &Opened,
    valid: &Manifest,
    options: &HearOptions,
    allowed: f64,
) -> Result<Gate> {
    let quantized = sets::score(quantized, valid, options)?.total;
    let float = if contents.precision == Precision::F32 {
        quantized
    } else {
        let contents = |about: About| contents.in_precision(about, Precision::F32);
        sets::score(&Opened::float(trained, contents)?, valid, options)?.total
    };
    let gate = Gate { float, quantized };
    eprintln!(
        "validation: float {:.2} %, package {:.2} % of {} words wrong",
        100.0 * float.wer(),
        100.0 * gate.quantized.wer(),
        float.words.reference
    );
    gate.check(allowed)?;
    Ok(gate)
}
