//! Which language a text is in: letters in groups, hashed, and one weight for each group and language. `linnet-train lang-id` makes the
//! weights; it counts the groups with the code here.

pub mod features;
mod weights;

use std::sync::Arc;

use linnet_proto::manifest::{Canary, CanaryStatus, OutputsCanary};
use linnet_proto::translate::{Detected, DetectedLanguage};
use linnet_proto::{ErrorCode, WireError};

use super::{Execute, Pipeline, TaskContext, wrong_task};
use crate::job::{Answer, Job, TaskRequest};
use crate::store::{Package, PackageError};
pub use weights::Weights;

/// `model_type` of a package.
pub const FAMILY: &str = "linnet-lang-id";
/// Name of the weights in a package.
pub const WEIGHTS: &str = "weights.bin";
/// Candidates that are given at most.
const MOST_CANDIDATES: usize = 5;
/// Candidates below this share are not worth a line.
const LEAST_CONFIDENCE: f32 = 0.01;
/// What a canary says.
const CANARY: &str = "The quick brown fox. Der schnelle braune Fuchs. Le rapide renard brun.";

/// A loaded model.
#[derive(Debug, Clone)]
pub struct DetectPipeline(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    weights: Weights,
}

impl DetectPipeline {
    /// Loads a package.
    pub fn load(package: &Package) -> Result<Self, PackageError> {
        let weights = Weights::read(&package.dir)?;
        Ok(Self(Arc::new(Shared { name: package.manifest.name.clone(), weights })))
    }

    /// Languages that a text may be in, the likeliest first.
    pub fn detect(&self, text: &str) -> Vec<DetectedLanguage> {
        let probabilities = self.0.weights.probabilities(text);
        let mut found: Vec<DetectedLanguage> = self
            .0
            .weights
            .languages()
            .iter()
            .zip(probabilities)
            .map(|(language, confidence)| DetectedLanguage { language: language.clone(), confidence })
            .collect();
        found.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        found.truncate(MOST_CANDIDATES);
        let first = found.first().cloned();
        found.retain(|own| own.confidence >= LEAST_CONFIDENCE);
        if found.is_empty() { first.into_iter().collect() } else { found }
    }

    /// A canary of what the model says now.
    pub fn canary(&self, status: CanaryStatus) -> Canary {
        let rms = self.0.weights.languages().iter().cloned().zip(self.0.weights.probabilities(CANARY));
        let rms = rms.map(|(language, p)| (language, f64::from(p))).collect();
        Canary::Outputs(OutputsCanary { status, input: Vec::new(), rms, tolerance: 1e-3 })
    }
}

impl Pipeline for DetectPipeline {
    fn memory_bytes(&self) -> u64 {
        self.0.weights.bytes()
    }

    fn executor(&self) -> Result<Box<dyn Execute>, WireError> {
        Ok(Box::new(self.clone()))
    }

    fn prove(&self, canary: &Canary) -> Result<(), String> {
        let Canary::Outputs(canary) = canary else {
            return Err("its canary is not one of outputs, which a model of its family needs".into());
        };
        let Canary::Outputs(now) = self.canary(canary.status) else { return Err("no canary can be made".into()) };
        super::raw::prove_outputs(canary, &now.rms)
    }

    fn record(&self) -> Result<Canary, String> {
        Ok(self.canary(CanaryStatus::Recorded))
    }
}

impl Execute for DetectPipeline {
    fn execute(&mut self, job: &Job, ctx: &mut TaskContext) -> Result<Answer, WireError> {
        let TaskRequest::Detect(request) = &job.request.task else { return Err(wrong_task(&job.request.task)) };
        let mut results = Vec::with_capacity(request.texts.len());
        for text in &request.texts {
            ctx.checkpoint()?;
            if !text.chars().any(char::is_alphabetic) {
                let message = "the text holds no letter; its language cannot be told";
                return Err(WireError::new(ErrorCode::InvalidRequest, message).with_param("q"));
            }
            results.push(self.detect(text));
        }
        Ok(Answer::Detected(Detected { results, model: self.0.name.clone() }))
    }
}
