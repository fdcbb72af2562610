//! The rows of a run and of its epochs.

use sha2::{Digest, Sha256};

use super::Ctc;
use crate::data::set::Loader;
use crate::error::{Failure, Result};
use crate::manifest::Purpose;
use crate::train::method::Loaded;

impl Ctc<'_> {
    pub(super) fn loader(&mut self) -> Loader<'_> {
        Loader {
            units: &self.units,
            config: &self.config,
            cache: &mut self.cache,
            bad: &mut self.bad,
            known_bad: &mut self.known_bad,
            progress: true,
        }
    }

    /// Reads the training manifests.
    pub(super) fn read(&mut self) -> Result<Loaded> {
        let args = self.args;
        let mut hash = Sha256::new();
        let mut said = Vec::new();
        self.train.clear();
        self.sources.clear();
        for source in &args.data {
            let items = self.loader().load(&source.manifest, Purpose::Training)?;
            hash.update(format!("{}*{}@{:?}\n", source.manifest.display(), source.repeat, source.hours));
            for item in &items {
                hash.update(format!("{} {}\n", item.utterance.text, item.frames));
            }
            let hours = items.iter().map(|item| item.frames as f64).sum::<f64>() / 360_000.0;
            said.push(format!("{}: {} rows, {hours:.2} hours", source.manifest.display(), items.len()));
            self.sources.push(self.train.len()..self.train.len() + items.len());
            self.train.extend(items);
        }
        if self.train.is_empty() {
            return Err(Failure::data("there is no good training row in the manifests of --data"));
        }
        Ok(Loaded { digest: hex::encode(hash.finalize()), said })
    }

    /// The rows of an epoch, as positions in all sources' rows one after another.
    pub(super) fn epoch_rows(&self, seed: u64, epoch: u64) -> Vec<usize> {
        let mut rows = Vec::new();
        for (i, (source, range)) in self.args.data.iter().zip(&self.sources).enumerate() {
            let seconds: Vec<f64> = self.train[range.clone()].iter().map(|item| item.frames as f64 / 100.0).collect();
            let taken = source.rows(&seconds, seed.wrapping_add(i as u64), epoch);
            rows.extend(taken.into_iter().map(|row| row + range.start));
        }
        rows
    }
}
