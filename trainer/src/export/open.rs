//! A model that is ready to hear: an exported package, or float weights packed for the occasion.

use std::path::Path;

use linnet::engine::tract::TractEngine;
use linnet::store::{MANIFEST, Package};
use linnet::task::transcribe::TranscribePipeline;
use linnet_proto::model_config::CtcConfig;
use tempfile::TempDir;

use super::package::{About, Contents, read_lm};
use super::trained::{Trained, WEIGHTS};
use super::{Precision, store};
use crate::error::{Failure, Kind, Result};

/// A loaded package.
#[derive(Debug)]
pub struct Opened {
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub package: Package,
    /// Its configuration.
    pub config: CtcConfig,
    /// The daemon's own pipeline.
    pub pipeline: TranscribePipeline,
    /// Where it lies when it was packed for the occasion; removed with this value.
    _temporary: Option<TempDir>,
}

impl Opened {
    /// A package's directory, or one with float weights, to which `lm` belongs.
    pub fn model(path: &Path, lm: Option<&Path>) -> Result<Self> {
        if path.join(MANIFEST).is_file() {
            if lm.is_some() {
                return Err(Failure::usage(format!(
                    "{} is a package, which has its language model inside; leave --lm out",
                    path.display()
                )));
            }
            return Self::package(path);
        }
        if path.join(WEIGHTS).is_file() {
            let trained = Trained::open(path)?;
            let lm = lm.map(read_lm).transpose()?;
            return Self::float(&trained, |about| Contents::new(about, &trained, Precision::F32, lm, 30.0));
        }
        Err(Failure::new(
            Kind::NoInput,
            format!("{}: neither a package ({MANIFEST}) nor weights ({WEIGHTS}) are there", path.display()),
        ))
    }

    /// Verifies and loads a package as the daemon does.
    pub fn package(dir: &Path) -> Result<Self> {
        let package = Package::open(dir).map_err(|e| Failure::data(e.to_string()))?;
        let pipeline =
            TranscribePipeline::load(&package, &TractEngine::default()).map_err(|e| Failure::data(e.to_string()))?;
        let config = package.ctc().map_err(|e| Failure::data(e.to_string()))?.config;
        Ok(Self { name: package.manifest.name.clone(), package, config, pipeline, _temporary: None })
    }

    /// Packs float weights in a temporary directory and loads them.
    pub(super) fn float<'a>(trained: &Trained, contents: impl FnOnce(About) -> Result<Contents<'a>>) -> Result<Self> {
        let about = About {
            name: "float".into(),
            version: "0.0.0".into(),
            aliases: Vec::new(),
            languages: vec!["en".into()],
            license: "none".into(),
            description: format!("{} float parameters", trained.parameters()),
        };
        let temporary = tempfile::tempdir().map_err(|e| Failure::write(&std::env::temp_dir(), e))?;
        contents(about)?.write(temporary.path())?;
        let opened = Self::package(temporary.path())?;
        Ok(Self { _temporary: Some(temporary), ..opened })
    }
}

impl From<linnet::store::PackageError> for Failure {
    fn from(error: linnet::store::PackageError) -> Self {
        store(error)
    }
}
