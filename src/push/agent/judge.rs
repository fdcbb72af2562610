//! The judgement of a generation before anything is fetched for it: its document is enough.

use linnet_fleet::clock::date;
use linnet_fleet::trust::{Limits, TrustError, fetch_document};
use linnet_proto::fleet::{Generation, GenerationFault};

use super::effects::Device;
use super::standing::Blame;
use crate::config::{self, GenerationLayer};
use crate::push::machine::{Fault, Outcome, Persisted};
use crate::push::{Progress, versions};
use crate::store::generations::Reserved;

impl Device {
    pub(super) fn judge_generation(&mut self, update: &Persisted) -> Progress {
        if let Err(e) = self.store.collect_garbage(Some(&update.sha256)) {
            return self.wait_for_disk(e.into());
        }
        let document = match self.document(update) {
            Ok(document) => document,
            Err(progress) => return progress,
        };
        let judged = Generation::parse(&document)
            .map_err(|GenerationFault(reason)| Fault::new("generation", reason))
            .and_then(|generation| self.fits(update, &generation).map(|()| generation));
        match judged {
            Err(fault) => Progress::Ended(Outcome::Failed(fault)),
            Ok(generation) => match self.store.keep_document(&document) {
                Ok(_) => {
                    self.generation = Some(generation);
                    Progress::Ended(Outcome::Done)
                }
                Err(e) => self.wait_for_disk(e.into()),
            },
        }
    }

    /// The document: what was kept of it, or fetched.
    fn document(&mut self, update: &Persisted) -> Result<Vec<u8>, Progress> {
        if let Some(document) = self.store.document(&update.sha256) {
            return Ok(document);
        }
        let contents = self.contents.clone();
        let mut faults = Vec::new();
        for place in self.standings.for_files(self.moment(), |_| false) {
            let Some(reached) = self.sources.get(place).cloned() else { continue };
            let limits = Limits::default();
            let fetched =
                self.wait(async { fetch_document(&contents, &*reached.source, update.generation, &limits).await });
            if let Some(broker) = &reached.broker {
                self.wait(broker.close());
            }
            match fetched {
                None => return Err(self.ending()),
                Some(Ok(document)) => {
                    self.is_fruitful();
                    self.standings.gave(place, self.moment());
                    return Ok(document);
                }
                Some(Err(e)) => {
                    let blame = match e {
                        TrustError::Missing { .. } | TrustError::Unreachable(_) | TrustError::Scratch(_) => Blame::Away,
                        _ => Blame::Harmful,
                    };
                    let fault = Fault::new(e.code(), e.to_string());
                    self.blame(place, &fault, blame);
                    faults.push((place, fault));
                }
            }
        }
        // A source that lies is left for the next one; none at all is waited for.
        Err(self.wait_for_source(self.fault_of(&faults)))
    }

    /// Everything that can be said without its packages.
    fn fits(&mut self, update: &Persisted, generation: &Generation) -> Result<(), Fault> {
        let refuse = |code: &str, reason: String| Err(Fault::new(code, reason));
        let number = generation.number;
        if number != update.generation {
            return refuse(
                "generation",
                format!("the target of generation {} holds generation {number}", update.generation),
            );
        }
        if generation.fleet != self.settings.name {
            let (theirs, ours) = (&generation.fleet, &self.settings.name);
            return refuse("other_fleet", format!("it is for fleet `{theirs}`, this device belongs to `{ours}`"));
        }
        if !linnet_fleet::means(&generation.audience, &self.facts()?) {
            return refuse("audience", "it was released for other devices than this one".to_owned());
        }
        let judged = self.trusted.known_time().judge(&self.clock());
        if generation.expires_secs <= judged {
            let (then, now) = (date(generation.expires_secs), date(judged));
            let way_out = "publish it anew (`linnet fleet publish`), or set this device's clock";
            return refuse("expired", format!("it expired at {then}, and it is {now}; {way_out}"));
        }
        versions::fit(generation).map_err(|reason| Fault::new("linnetd_version", reason))?;
        let layer = GenerationLayer::of(generation, None);
        let candidate = self.base.with_generation(Some(layer));
        config::load(&candidate).map_err(|e| Fault::new("config", e.to_string()))?;
        if self.store.reserve(generation)? == Reserved::OnlyChecked {
            log::info!("update: this file system cannot hold room for a file: there was enough when it was looked at");
        }
        Ok(())
    }
}
