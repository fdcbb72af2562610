//! Remembers what was verified, for a process that plays thousands of devices.

use std::sync::{Arc, Mutex, PoisonError};

use super::File;
use super::contents::Contents;
use super::error::TrustError;
use super::fetcher::Fetcher;
use super::trusted::{Accepted, Trusted};

/// Most runs that are remembered; the oldest is forgotten first.
const MAX_RUNS: usize = 256;

/// Runs, and what they came to. Whether metadata are accepted depends on nothing but what was trusted and what the source answered (expiry
/// is judged apart), so where every byte of both is the same, the signatures need no second look. A device has no use for this; in a
/// simulation ten thousand devices see the same bytes, those of a mirror that lies, too.
#[derive(Debug, Default)]
pub struct Memo(Mutex<Vec<Arc<Run>>>);

#[derive(Debug)]
struct Run {
    from: Trusted,
    asked: Vec<(String, Option<File>)>,
    result: Result<(Accepted, Contents), TrustError>,
}

impl Memo {
    /// What a load would come to, if it has been seen. Every file is asked for as the load would. An error is the fetcher's.
    pub(super) async fn recall(
        &self,
        trusted: &Trusted,
        fetcher: &mut Fetcher<'_>,
    ) -> Result<Option<Result<(Accepted, Contents), TrustError>>, TrustError> {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        'runs: for run in runs.iter().rev().filter(|run| run.from.has_files_of(trusted)) {
            // What has been asked already differs: no need to ask for more.
            if !run.asked.starts_with(fetcher.asked()) {
                continue;
            }
            for (name, answer) in &run.asked {
                if fetcher.get(name).await? != *answer {
                    continue 'runs;
                }
            }
            return Ok(Some(run.result.clone()));
        }
        Ok(None)
    }

    /// Remembers what a load came to, unless that was the link's or this machine's doing.
    pub(super) fn remember(
        &self,
        from: &Trusted,
        fetcher: &Fetcher<'_>,
        result: &Result<(Accepted, Contents), TrustError>,
    ) {
        if fetcher.fault().is_some() || result.as_ref().is_err_and(TrustError::is_transient) {
            return;
        }
        let run = Run { from: from.clone(), asked: fetcher.asked().to_vec(), result: result.clone() };
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() >= MAX_RUNS {
            runs.remove(0);
        }
        runs.push(Arc::new(run));
    }
}
