//! Manifests that a model is judged on.

use std::path::{Path, PathBuf};

use super::Opened;
use super::card::TestResult;
use crate::bad::{BadRows, OnBad};
use crate::error::{Failure, Result};
use crate::evaluate::{HearOptions, SetScore, hear_all};
use crate::manifest::{self, Manifest, Purpose};

/// A test set for the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestSet {
    /// Title in the table.
    pub title: String,
    /// Its manifest.
    pub manifest: PathBuf,
}

/// Reads `TITLE=MANIFEST`.
pub fn parse(argument: &str) -> std::result::Result<TestSet, String> {
    match argument.split_once('=') {
        Some((title, manifest)) if !title.trim().is_empty() && !manifest.trim().is_empty() => {
            Ok(TestSet { title: title.trim().to_owned(), manifest: manifest.trim().into() })
        }
        _ => Err("it is TITLE=MANIFEST, such as 'held-out reader=reader/test.jsonl'".into()),
    }
}

/// Reads a manifest for judging; a bad row stops, because figures must be of the whole set.
pub fn read(path: &Path) -> Result<Manifest> {
    let set = manifest::read(path, Purpose::Evaluation, &mut BadRows::new(OnBad::Stop))?;
    if set.utterances.is_empty() {
        return Err(Failure::data(format!("{}: the manifest is empty", path.display())));
    }
    Ok(set)
}

/// Titles and manifests of the test sets.
pub fn read_all(tests: &[TestSet]) -> Result<Vec<(String, Manifest)>> {
    tests.iter().map(|test| Ok((test.title.clone(), read(&test.manifest)?))).collect()
}

/// Errors of a model on each test set.
pub fn score_all(opened: &Opened, tests: &[(String, Manifest)], options: &HearOptions) -> Result<Vec<TestResult>> {
    tests
        .iter()
        .map(|(title, set)| Ok(TestResult { title: title.clone(), score: score(opened, set, options)? }))
        .collect()
}

/// Errors of a model on a set.
pub fn score(opened: &Opened, set: &Manifest, options: &HearOptions) -> Result<SetScore> {
    let heard = hear_all(&opened.pipeline, set, options, &mut BadRows::new(OnBad::Stop))?;
    Ok(SetScore::new(&heard))
}
