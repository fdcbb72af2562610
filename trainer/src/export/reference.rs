//! An independent engine's opinion: ONNX Runtime, in a Python that the user names.

use std::path::Path;
use std::process::Command;

use linnet::task::decode::LogProbs;
use linnet_features::logmel::MEL_BINS;

use super::canary::Clip;
use super::package::ONNX;
use super::{Contents, Opened, tune};
use crate::error::{Failure, Result};

const SCRIPT: &str = include_str!("reference.py");
/// Largest difference of a probability (not of its logarithm) that rounding may make.
const MOST_DIFFERENCE: f32 = 1e-3;

/// Has `python` run the package's graph on the canary's features and refuses unless it gives `log_probs`: every probability,
/// the mean log-probability, and the likeliest unit of each frame wherever it is not a tie.
pub fn agree(
    python: &Path,
    dir: &Path,
    opened: &Opened,
    clip: &Clip,
    log_probs: &[f32],
    contents: &Contents<'_>,
) -> Result<()> {
    let features = tune::features_of_clip(opened, &clip.path)?;
    let theirs = run(python, &dir.join(ONNX), &features)?;
    let units = opened.config.units;
    compare(log_probs, &theirs, units, contents.canary.logprob_tolerance).map_err(|reason| {
        Failure::refused(format!(
            "ONNX Runtime does not agree on the canary: {reason}; the graph would mean two things"
        ))
    })
}

/// Log-probabilities by ONNX Runtime for features `[frames, 80]`.
pub fn run(python: &Path, onnx: &Path, features: &[f32]) -> Result<Vec<f32>> {
    let dir = tempfile::tempdir().map_err(|e| Failure::write(&std::env::temp_dir(), e))?;
    let [script, input, output] = ["reference.py", "features.f32", "log_probs.f32"].map(|name| dir.path().join(name));
    let bytes: Vec<u8> = features.iter().flat_map(|v| v.to_le_bytes()).collect();
    for (path, content) in [(&script, SCRIPT.as_bytes()), (&input, &bytes)] {
        std::fs::write(path, content).map_err(|e| Failure::write(path, e))?;
    }
    let frames = (features.len() / MEL_BINS).to_string();
    let ran = Command::new(python).args([&script, onnx, &input, Path::new(&frames), &output]).output();
    let ran = ran.map_err(|e| {
        Failure::unavailable(format!(
            "{}: {e}; --reference names a Python that has numpy and onnxruntime",
            python.display()
        ))
    })?;
    if !ran.status.success() {
        let last = String::from_utf8_lossy(&ran.stderr).lines().last().unwrap_or("it said nothing").to_owned();
        return Err(Failure::unavailable(format!(
            "{} cannot run the graph ({last}); does it have numpy and onnxruntime? {0} -m pip install numpy onnxruntime",
            python.display()
        )));
    }
    let bytes = std::fs::read(&output).map_err(|e| Failure::read(&output, e))?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

fn compare(ours: &[f32], theirs: &[f32], units: usize, tolerance: f64) -> std::result::Result<(), String> {
    if ours.len() != theirs.len() {
        return Err(format!("it gives {} numbers where linnetd's engine gives {}", theirs.len(), ours.len()));
    }
    let differs = |(a, b): (&f32, &f32)| (a.exp() - b.exp()).abs() > MOST_DIFFERENCE || a.is_nan() || b.is_nan();
    if let Some(at) = ours.iter().zip(theirs).position(differs) {
        let (frame, unit) = (at / units, at % units);
        return Err(format!("frame {frame}, unit {unit} has {} instead of {}", theirs[at], ours[at]));
    }
    let [ours, theirs] = [ours, theirs].map(|data| LogProbs::new(data, units).map(|l| l.mean_best()));
    let (ours, theirs) = (ours.map_err(|e| e.to_string())?, theirs.map_err(|e| e.to_string())?);
    if (ours - theirs).abs() > tolerance / 2.0 {
        return Err(format!("its mean log-probability is {theirs:.6} instead of {ours:.6}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_agrees_and_anything_more_does_not() {
        let ours = [-0.1f32, -2.4, -0.2, -1.8];
        let near = ours.map(|v| v - 1e-5);
        assert_eq!(compare(&ours, &near, 2, 1e-3), Ok(()));
        let mut far = ours;
        far[3] = -1.79;
        assert!(compare(&ours, &far, 2, 1e-3).is_err_and(|e| e.starts_with("frame 1, unit 1")));
        far[3] = f32::NAN;
        assert!(compare(&ours, &far, 2, 1e-3).is_err());
        assert!(compare(&ours, &ours[..2], 2, 1e-3).is_err());
        assert!(compare(&ours, &ours.map(|v| v - 8e-4), 2, 1e-3).is_err_and(|e| e.contains("mean")));
    }
}
