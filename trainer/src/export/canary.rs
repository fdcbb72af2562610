//! The canary: what a clip's answer is, and whether a finished package gives it.

use std::path::Path;

use linnet::task::Pipeline;
use linnet_proto::manifest::Canary;

use super::package::CANARY;
use super::{Contents, Opened, tune};
use crate::error::{Failure, Result};

/// The canary's answer by the daemon's engine, and the clip's log-probabilities `[frames, units]`.
pub fn hear(opened: &Opened, contents: &Contents<'_>) -> Result<(Canary, Vec<f32>)> {
    let path = opened.package.path(CANARY);
    let heard = opened.pipeline.hear_clip(&path).map_err(Failure::data)?;
    if heard.decoded.text.is_empty() {
        return Err(Failure::refused(format!(
            "nothing is heard in the canary {}; a canary's answer must have words, or damage that silences the model would pass",
            path.display()
        )));
    }
    let canary = Canary { text: heard.decoded.text, logprob: heard.mean_best, ..contents.canary.clone() };
    Ok((canary, tune::log_probs_of_clip(opened, &path)?))
}

/// Opens the package anew, as the daemon will, and has it prove its canary.
pub fn prove(dir: &Path) -> Result<()> {
    let opened = Opened::package(dir)?;
    let canary = &opened.package.manifest.canary;
    opened.pipeline.prove(canary).map_err(|reason| Failure::refused(format!("{}: {reason}", dir.display())))
}
