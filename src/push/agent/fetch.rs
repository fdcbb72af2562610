//! The fetch of what a generation lacks: piece by piece, each made durable as the store does it, going on where it stopped.

use std::time::Duration;

use linnet_fleet::source::{LeastRate, Pace, SourceFault};
use linnet_proto::fleet::{Generation, PackageFile, file_path};

use super::effects::Device;
use super::sources::Reached;
use crate::push::Progress;
use crate::push::machine::{Fault, Outcome, Persisted};
use crate::store::generations::StoreError;

impl Device {
    /// One piece, or the installation when nothing lacks any more.
    pub(super) fn fetch_next(&mut self, update: &Persisted) -> Progress {
        let generation = match self.known_generation(update) {
            Ok(generation) => generation,
            Err(fault) => return Progress::Ended(Outcome::Failed(fault)),
        };
        let missing = self.store.missing_files(&generation).map(|files| files.into_iter().next().cloned());
        match missing {
            Err(e) => self.wait_for_disk(e.into()),
            Ok(Some(file)) => self.fetch_piece(&generation, &file),
            Ok(None) => {
                for broker in self.sources.all().filter_map(|reached| reached.broker.as_ref()) {
                    self.wait(broker.close());
                }
                self.install(update, &generation)
            }
        }
    }

    fn fetch_piece(&mut self, generation: &Generation, file: &PackageFile) -> Progress {
        let have = match self.store.have(&file.sha256) {
            Ok(have) => have,
            Err(e) => return self.wait_for_disk(e.into()),
        };
        if have >= file.bytes {
            return self.finish(file);
        }
        if have == 0
            && let Err(e) = self.store.reserve(generation)
        {
            return Progress::Ended(Outcome::Failed(e.into()));
        }
        let path = file_path(&file.sha256);
        let mut last = Fault::new("source", "no source of fleet.sources can be used");
        let mut sources = self.sources_in_turn();
        // Files pass a broker twice; whatever else has them is asked first.
        sources.sort_by_key(|reached| reached.broker.is_some());
        for (turn, reached) in sources.into_iter().enumerate() {
            let Reached { source, .. } = &reached;
            let bytes = source.piece_bytes().min(file.bytes - have);
            // Held over one file; another source begins anew.
            let mut rate = self.rate.take().filter(|_| turn == 0).unwrap_or_else(|| LeastRate::new(Pace::default()));
            match self.wait(async { rate.piece(&**source, &path, have, bytes).await }) {
                None => return self.ending(),
                Some(Ok(piece)) => {
                    if turn > 0 {
                        self.first_source = reached.place;
                    }
                    return match self.store.put_piece(&file.sha256, have, &piece) {
                        Ok(()) if have + piece.len() as u64 >= file.bytes => self.finish(file),
                        Ok(()) => {
                            self.rate = Some(rate);
                            Progress::Working(Duration::ZERO)
                        }
                        Err(e) => self.wait_for_disk(e.into()),
                    };
                }
                Some(Err(fault)) => {
                    let reason = format!("{}: {path}: {fault}", source.name());
                    last = Fault::new(code(&fault), reason);
                }
            }
        }
        self.wait_for_source(last)
    }

    /// A file whose bytes are all there: they are digested before it is one.
    fn finish(&mut self, file: &PackageFile) -> Progress {
        match self.store.finish_file(&file.sha256, file.bytes) {
            Ok(()) => Progress::Working(Duration::ZERO),
            // The source gave other bytes. They are gone; another source is asked first, and after some tries it is given up.
            Err(e @ StoreError::Digest { .. }) => {
                self.lies += 1;
                let sources = self.settings.sources.len().max(1);
                self.first_source = (self.first_source + 1) % sources;
                let fault = Fault::from(e);
                if self.lies as usize > 2 * sources {
                    return Progress::Ended(Outcome::Failed(fault));
                }
                self.wait_for_source(fault)
            }
            Err(e) => self.wait_for_disk(e.into()),
        }
    }

    fn install(&mut self, update: &Persisted, generation: &Generation) -> Progress {
        let Some(document) = self.store.document(&update.sha256) else {
            return Progress::Ended(Outcome::Failed(Fault::new("damaged", "its document is damaged on the disk")));
        };
        match self.store.install(&document, generation) {
            Ok(()) => Progress::Ended(Outcome::Done),
            Err(e) => self.wait_for_disk(e.into()),
        }
    }
}

fn code(fault: &SourceFault) -> &'static str {
    match fault {
        SourceFault::NotThere => "not_there",
        SourceFault::Unreachable(_) => "unreachable",
        SourceFault::TooLarge { .. } => "too_large",
        SourceFault::TooSlow(_) => "too_slow",
        SourceFault::Lied(_) => "source_lied",
    }
}
