//! The fetch of what a generation lacks: piece by piece, each made durable as the store does it, going on where it stopped.

use std::collections::BTreeSet;
use std::time::Duration;

use linnet_fleet::source::{LeastRate, Pace, SourceFault};
use linnet_proto::fleet::{Generation, PackageFile, file_path};

use super::effects::Device;
use super::sources::Reached;
use super::standing::Blame;
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
        // Files pass a broker twice; whatever else has them is asked first.
        let is_broker = |place: usize| self.sources.get(place).is_some_and(|reached| reached.broker.is_some());
        let mut faults = Vec::new();
        for place in self.standings.for_files(self.moment(), is_broker) {
            let Some(Reached { source, .. }) = self.sources.get(place).cloned() else { continue };
            let bytes = source.piece_bytes().min(file.bytes - have);
            // Held over one source; another begins anew.
            let held = self.rate.take().filter(|(of, _)| *of == place).map(|(_, rate)| rate);
            let mut rate = held.unwrap_or_else(|| LeastRate::new(Pace::default()));
            match self.wait(async { rate.piece(&*source, &path, have, bytes).await }) {
                None => return self.ending(),
                Some(Ok(piece)) => {
                    self.is_fruitful();
                    self.note_giver(&file.sha256, place);
                    return match self.store.put_piece(&file.sha256, have, &piece) {
                        Ok(()) if have + piece.len() as u64 >= file.bytes => self.finish(file),
                        Ok(()) => {
                            self.rate = Some((place, rate));
                            Progress::Working(Duration::ZERO)
                        }
                        Err(e) => self.wait_for_disk(e.into()),
                    };
                }
                Some(Err(fault)) => {
                    let (code, blame) = judged(&fault);
                    let way_out = match blame {
                        Blame::Away if code == "not_there" => "; bring the source up to date (`linnet fleet export`)",
                        _ => "",
                    };
                    let fault = Fault::new(code, format!("{path}: {fault}{way_out}"));
                    self.blame(place, &fault, blame);
                    faults.push((place, fault));
                }
            }
        }
        self.wait_for_source(self.fault_of(&faults))
    }

    /// Remembers that this source gave a piece of the file of this digest.
    fn note_giver(&mut self, sha256: &str, place: usize) {
        match &mut self.givers {
            Some((of, places)) if of == sha256 => drop(places.insert(place)),
            givers => *givers = Some((sha256.to_owned(), [place].into())),
        }
    }

    /// Who gave the file of this digest, or its pieces; of what came before a restart nobody knows.
    fn take_givers(&mut self, sha256: &str) -> BTreeSet<usize> {
        self.givers.take().filter(|(of, _)| of == sha256).map(|(_, places)| places).unwrap_or_default()
    }

    /// A file whose bytes are all there: they are digested before it is one.
    fn finish(&mut self, file: &PackageFile) -> Progress {
        match self.store.finish_file(&file.sha256, file.bytes) {
            Ok(()) => {
                for place in self.take_givers(&file.sha256) {
                    self.standings.gave(place, self.moment());
                }
                self.tell_sources();
                Progress::Working(Duration::ZERO)
            }
            // A source gave other bytes. They are gone; who gave any of them is asked last, and after some tries no more. Where that is so of
            // all of them it is given up.
            Err(e @ StoreError::Digest { .. }) => {
                let fault = Fault::from(e);
                for place in self.take_givers(&file.sha256) {
                    self.blame(place, &fault, Blame::Harmful);
                    self.standings.lied(place);
                }
                if self.standings.all_lie() {
                    let path = file_path(&file.sha256);
                    let reason = format!(
                        "{path}: no source gives the bytes that are signed; export the fleet's files anew, then push with --retry"
                    );
                    return Progress::Ended(Outcome::Failed(Fault::new("digest", reason)));
                }
                self.wait_for_truth(fault)
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

/// The code of a fault, and how much it sets its source back.
fn judged(fault: &SourceFault) -> (&'static str, Blame) {
    match fault {
        SourceFault::NotThere => ("not_there", Blame::Away),
        SourceFault::Unreachable(_) => ("unreachable", Blame::Away),
        SourceFault::TooLarge { .. } => ("too_large", Blame::Harmful),
        SourceFault::TooSlow(_) => ("too_slow", Blame::Harmful),
        SourceFault::Lied(_) => ("source_lied", Blame::Harmful),
    }
}
