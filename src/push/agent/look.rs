//! The look for metadata: each source in turn, verified, committed, and what they mean for this device.

use linnet_fleet::clock::Clock;
use linnet_fleet::select::{Refused, choose};
use linnet_fleet::trust::{Contents, Limits, TrustError, refresh};
use linnet_proto::fleet::DeviceFacts;

use super::effects::Device;
use super::sources::Reached;
use super::standing::{AskedFor, Blame};
use crate::config::fleet::FleetSource;
use crate::push::bounds::TIME_MARK_EVERY_SECS;
use crate::push::machine::{Fault, Wanted};

impl Device {
    /// Asks the sources, and gives the generation that this device shall begin, where there is one. An error where no source could
    /// be used; what is trusted then stays as it was.
    pub(super) fn look(&mut self) -> Result<Option<Wanted>, Fault> {
        // Somebody may have added or removed one meanwhile: the next report says so.
        self.local_packages = crate::daemon::models::added_locally(&self.config);
        self.sources.follow_authorities(&self.settings);
        let mut faults = self.set_up_sources();
        let mut reached = false;
        for place in self.standings.for_metadata(self.moment()) {
            let Some(source) = self.sources.get(place).cloned() else { continue };
            // Directories cost nothing to ask; of servers the first that answers is enough.
            if reached && !self.is_directory(place) {
                continue;
            }
            let refreshed = self.refresh_from(&source);
            if self.stop.token.is_cancelled() {
                return Ok(None);
            }
            match refreshed {
                Ok(()) => {
                    reached = true;
                    self.standings.answered(place, self.moment());
                }
                Err((fault, blame)) => {
                    if let Some(blame) = blame {
                        self.set_back(place, AskedFor::Metadata, &fault, blame);
                    }
                    faults.push((place, fault));
                }
            }
        }
        faults.sort_by_key(|(place, _)| *place);
        for (place, fault) in &faults {
            self.standings.failed(*place, AskedFor::Metadata, fault, self.moment());
        }
        self.tell_sources();
        if !reached {
            return Err(self.fault_of(&faults));
        }
        for (place, fault) in &faults {
            log::debug!("update: {} was passed over: {}", self.standings.name(*place), fault.reason);
        }
        self.wanted()
    }

    fn is_directory(&self, place: usize) -> bool {
        matches!(self.settings.sources.get(place), Some(FleetSource::Directory(_)))
    }

    /// A fault comes with what it sets the source back for, if anything.
    fn refresh_from(&mut self, reached: &Reached) -> Result<(), (Fault, Option<Blame>)> {
        let (trusted, clock) = (self.trusted.clone(), self.clock());
        let limits = Limits::default();
        let looked = self.wait(async { refresh(&trusted, &*reached.source, &clock, &limits).await });
        if let Some(broker) = &reached.broker {
            // Cut off by the end, the connection ends with the process.
            self.wait(broker.close());
        }
        let refreshed = match looked {
            None => return Ok(()),
            Some(Err(e)) => return Err((Fault::new(e.code(), e.to_string()), blame_of(&e))),
            Some(Ok(refreshed)) => refreshed,
        };
        let marked = self.marked_secs;
        let is_mark_due = refreshed.trusted.known_time().secs >= marked.saturating_add(TIME_MARK_EVERY_SECS);
        if refreshed.changed || is_mark_due {
            // Trusted only once it is on the disk: a power cut must not take back what was acted upon.
            self.store.commit_trust(&refreshed.trusted.to_json()).map_err(|e| (e.into(), None))?;
            self.marked_secs = refreshed.trusted.known_time().secs;
        }
        if refreshed.changed {
            let versions = refreshed.trusted.versions();
            log::info!("update: metadata of {} are trusted: {versions}", self.standings.name(reached.place));
        }
        self.contents = refreshed.contents;
        self.trusted = refreshed.trusted;
        Ok(())
    }

    /// What the trusted metadata mean for this device.
    fn wanted(&mut self) -> Result<Option<Wanted>, Fault> {
        let facts = self.facts()?;
        let refused = self.refused(&self.contents);
        let choice = choose(&self.contents, &self.settings.name, &facts, self.store.good(), &refused);
        for (number, why) in &choice.passed {
            log::debug!("update: generation {number} is passed over: {why}");
        }
        Ok(choice.begin.map(|begin| Wanted { generation: begin.number, attempt: begin.attempt, sha256: begin.sha256 }))
    }

    pub(super) fn facts(&self) -> Result<DeviceFacts, Fault> {
        Ok(DeviceFacts {
            name: self.config.device.clone(),
            groups: self.settings.groups.clone(),
            labels: self.settings.labels.clone(),
            free_mib: self.store.free_bytes().map_err(Fault::from)? >> 20,
        })
    }

    /// Which of the generations that are offered this device has refused, under which attempt.
    fn refused(&self, contents: &Contents) -> Vec<Refused> {
        let opened = contents.rollouts.iter().filter_map(|entry| entry.rollout.as_ref().ok());
        let refused = opened.filter(|rollout| self.store.is_refused(&rollout.sha256, rollout.attempt));
        refused.map(|rollout| Refused { sha256: rollout.sha256.clone(), attempt: rollout.attempt }).collect()
    }

    /// Whether the clock counts as right.
    pub(super) fn is_clock_trusted(&self) -> bool {
        self.clock().trusted()
    }
}

/// What metadata that were not trusted set their source back for. Those of an honest one may be late, older than another's, or in the middle of being
/// copied; refusing them costs a few questions.
fn blame_of(e: &TrustError) -> Option<Blame> {
    use TrustError as E;
    match e {
        E::TooSlow(_)
        | E::TooLarge { .. }
        | E::Garbage { .. }
        | E::WrongKeys { .. }
        | E::BelowThreshold { .. }
        | E::Unsigned { .. }
        | E::Extraneous(_)
        | E::Shape(_)
        | E::OtherGeneration(_)
        | E::WrongDigest { .. } => Some(Blame::Harmful),
        E::Missing { .. }
        | E::Unreachable(_)
        | E::Expired { .. }
        | E::Rollback(_)
        | E::MixAndMatch(_)
        | E::TooManyRoots(_)
        | E::OwnState(_)
        | E::Scratch(_) => None,
    }
}
