//! Remembers what was verified, for a process that plays thousands of devices.

use std::sync::{Arc, Mutex, PoisonError};

use super::File;
use super::contents::Contents;
use super::error::TrustError;
use super::fetcher::Fetcher;
use super::trusted::{Accepted, Trusted};

/// Most runs that are remembered; the oldest is forgotten first.
const MAX_RUNS: usize = 64;

/// Runs that went well. Whether metadata are accepted depends on nothing but what was trusted and what the source answered (expiry
/// is judged apart), so where every byte of both is the same, the signatures need no second look. A device has no use for this; in a
/// simulation ten thousand devices see the same bytes.
#[derive(Debug, Default)]
pub struct Memo(Mutex<Vec<Arc<Run>>>);

#[derive(Debug)]
struct Run {
    from: Trusted,
    asked: Vec<(String, Option<File>)>,
    accepted: Accepted,
    contents: Contents,
}

impl Memo {
    /// What a load would give, if it has been seen. Every file is asked for as the load would.
    pub(super) async fn recall(
        &self,
        trusted: &Trusted,
        fetcher: &mut Fetcher<'_>,
    ) -> Result<Option<(Trusted, Contents)>, TrustError> {
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
            return Ok(Some((trusted.accepting(run.accepted.clone()), run.contents.clone())));
        }
        Ok(None)
    }

    pub(super) fn remember(&self, from: &Trusted, fetcher: &Fetcher<'_>, accepted: Accepted, contents: &Contents) {
        let run = Run { from: from.clone(), asked: fetcher.asked().to_vec(), accepted, contents: contents.clone() };
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() >= MAX_RUNS {
            runs.remove(0);
        }
        runs.push(Arc::new(run));
    }
}
