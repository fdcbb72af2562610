//! The rows of a run and of its epochs.

use sha2::{Digest, Sha256};

use super::Trainer;
use crate::data::set::{Item, Loader};
use crate::error::{Failure, Result};
use crate::manifest::Purpose;

impl Trainer<'_> {
    pub(super) fn loader(&mut self) -> Loader<'_> {
        Loader {
            units: self.units,
            config: &self.state.config,
            cache: &mut self.cache,
            bad: &mut self.bad,
            known_bad: &mut self.known_bad,
            progress: true,
        }
    }

    /// Reads the training manifests; notes what changed since the checkpoint.
    pub(super) fn load(&mut self) -> Result<()> {
        let mut train = Vec::with_capacity(self.args.data.len());
        for source in &self.args.data {
            train.push(self.loader().load(&source.manifest, Purpose::Training)?);
        }
        if train.iter().all(Vec::is_empty) {
            return Err(Failure::data("there is no good training row in the manifests of --data"));
        }
        let mut hash = Sha256::new();
        for (source, items) in self.args.data.iter().zip(&train) {
            hash.update(format!("{}*{}@{:?}\n", source.manifest.display(), source.repeat, source.hours));
            for item in items {
                hash.update(format!("{} {}\n", item.utterance.text, item.frames));
            }
        }
        let digest = hex::encode(hash.finalize());
        if !self.state.data.is_empty() && self.state.data != digest {
            if !self.args.allow_new_data {
                return Err(Failure::usage(
                    "the training rows differ from those of the checkpoint; --allow-new-data goes on with the new ones",
                ));
            }
            // The rest of a begun epoch has lost its meaning.
            if self.state.batch > 0 {
                self.state.epoch += 1;
                self.state.batch = 0;
                self.state.epoch_loss = (0.0, 0);
            }
        }
        if self.state.data != digest {
            for (source, items) in self.args.data.iter().zip(&train) {
                let hours = items.iter().map(|item| item.frames as f64).sum::<f64>() / 360_000.0;
                self.report.say(&format!("{}: {} rows, {hours:.2} hours", source.manifest.display(), items.len()));
            }
        }
        (self.state.data, self.train) = (digest, train);
        Ok(())
    }

    /// The rows of an epoch, as positions in all sources' rows one after another.
    pub(super) fn epoch_rows(&self, all: &mut Vec<Item>) -> Vec<usize> {
        let mut rows = Vec::new();
        for (i, (source, items)) in self.args.data.iter().zip(&self.train).enumerate() {
            let seconds: Vec<f64> = items.iter().map(|item| item.frames as f64 / 100.0).collect();
            let seed = self.args.seed.wrapping_add(i as u64);
            rows.extend(source.rows(&seconds, seed, self.state.epoch).into_iter().map(|row| row + all.len()));
            all.extend(items.iter().cloned());
        }
        rows
    }
}
