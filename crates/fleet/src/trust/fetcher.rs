//! Gets metadata files from a source, each once, and stops everything at the first fault.

use linnet_proto::fleet::{RELEASES, ROLLOUTS};

use super::File;
use super::error::TrustError;
use super::limits::Limits;
use crate::source::{Source, SourceFault};

pub(super) const TIMESTAMP: &str = "timestamp.json";
pub(super) const SNAPSHOT: &str = "snapshot.json";
pub(super) const TARGETS: &str = "targets.json";

/// What has been fetched in one refresh. `tough` takes any failure to fetch a root for "there is no newer one", so the first fault
/// stays, fails every later question, and is what the refresh reports.
pub(super) struct Fetcher<'a> {
    source: &'a dyn Source,
    limits: &'a Limits,
    answers: Vec<(String, Option<File>)>,
    fault: Option<TrustError>,
    last: String,
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(source: &'a dyn Source, limits: &'a Limits) -> Self {
        Self { source, limits, answers: Vec::new(), fault: None, last: String::new() }
    }

    /// The file of a name, or none where the source says that there is none.
    pub(super) async fn get(&mut self, name: &str) -> Result<Option<File>, TrustError> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        name.clone_into(&mut self.last);
        if let Some((_, answer)) = self.answers.iter().find(|(asked, _)| asked == name) {
            return Ok(answer.clone());
        }
        match self.fetch(name).await {
            Ok(answer) => {
                self.answers.push((name.to_owned(), answer.clone()));
                Ok(answer)
            }
            Err(fault) => {
                self.fault = Some(fault.clone());
                Err(fault)
            }
        }
    }

    async fn fetch(&self, name: &str) -> Result<Option<File>, TrustError> {
        let cap = self.cap(name).ok_or_else(|| {
            TrustError::Extraneous(format!(
                "the metadata ask for `{}`, which no fleet repository has",
                name.escape_debug()
            ))
        })?;
        match self.limits.pace.hold(cap, self.source.metadata(name, cap)).await {
            // A source that does not keep its promise.
            Ok(file) if file.len() as u64 > cap => Err(TrustError::TooLarge { what: name.to_owned(), cap }),
            Ok(file) => Ok(Some(file)),
            Err(SourceFault::NotThere) => Ok(None),
            Err(fault) => Err(TrustError::of_source(name, fault)),
        }
    }

    /// Most bytes of a file by its name; none for a name that a fleet repository does not have. So a thief of an online key cannot
    /// make a device walk through endless delegations.
    fn cap(&self, name: &str) -> Option<u64> {
        if name == TIMESTAMP {
            return Some(self.limits.timestamp_bytes);
        }
        let (version, file) = name.split_once('.')?;
        version.parse::<u64>().ok()?;
        match file.strip_suffix(".json")? {
            "root" => Some(self.limits.root_bytes),
            "snapshot" => Some(self.limits.snapshot_bytes),
            "targets" => Some(self.limits.targets_bytes),
            RELEASES | ROLLOUTS => Some(self.limits.delegated_bytes),
            _ => None,
        }
    }

    /// The fault that stopped everything.
    pub(super) fn fault(&self) -> Option<&TrustError> {
        self.fault.as_ref()
    }

    /// The file that was asked for last, and its content where there is one.
    pub(super) fn last(&self) -> (&str, Option<&File>) {
        (&self.last, self.answer(&self.last))
    }

    /// A file that was fetched in this refresh.
    pub(super) fn fetched(&self, name: &str) -> Option<File> {
        self.answer(name).cloned()
    }

    /// Everything that was asked for, in that order, with its answer.
    pub(super) fn asked(&self) -> &[(String, Option<File>)] {
        &self.answers
    }

    fn answer(&self, name: &str) -> Option<&File> {
        self.answers.iter().find(|(asked, _)| asked == name).and_then(|(_, answer)| answer.as_ref())
    }
}
