//! The judgement of a generation before anything is fetched for it: its document is enough.

use linnet_fleet::trust::{Limits, fetch_document};
use linnet_proto::fleet::{Generation, GenerationFault};
use semver::Version;

use super::effects::Device;
use crate::config::{self, GenerationLayer};
use crate::push::Progress;
use crate::push::machine::{Fault, Outcome, Persisted};

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
        let mut last = Fault::new("source", "no source of fleet.sources can be used");
        for reached in self.sources_in_turn() {
            let limits = Limits::default();
            let fetched =
                self.wait(async { fetch_document(&contents, &*reached.source, update.generation, &limits).await });
            if let Some(broker) = &reached.broker {
                self.wait(broker.close());
            }
            match fetched {
                None => return Err(self.ending()),
                Some(Ok(document)) => return Ok(document),
                Some(Err(e)) => last = Fault::new(e.code(), format!("{}: {e}", reached.source.name())),
            }
        }
        // A source that lies is left for the next one; none at all is waited for.
        Err(self.wait_for_source(last))
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
        if !generation.audience.means(&self.facts()?) {
            return refuse("audience", "it was released for other devices than this one".to_owned());
        }
        let judged = self.trusted.known_time().judge(&self.clock());
        if generation.expires_secs <= judged {
            return refuse("expired", format!("it expired {} seconds ago", judged - generation.expires_secs));
        }
        let own = env!("CARGO_PKG_VERSION");
        version_fits(own, generation.min_linnetd.as_deref(), generation.max_linnetd.as_deref())
            .map_err(|reason| Fault::new("linnetd_version", reason))?;
        let layer = GenerationLayer::of(generation, None);
        let candidate = self.base.with_generation(Some(layer));
        config::load(&candidate).map_err(|e| Fault::new("config", e.to_string()))?;
        self.store.reserve(generation).map_err(Fault::from)
    }
}

/// Whether `own` lies between two versions, each inclusive and optional.
fn version_fits(own: &str, least: Option<&str>, most: Option<&str>) -> Result<(), String> {
    let read = |text: &str| Version::parse(text).map_err(|e| format!("`{text}` is no version: {e}"));
    let own = read(own)?;
    if let Some(least) = least.map(read).transpose()?
        && own < least
    {
        return Err(format!("it needs linnetd {least} or newer, this is {own}; update linnetd first"));
    }
    if let Some(most) = most.map(read).transpose()?
        && own > most
    {
        return Err(format!("it is for linnetd {most} or older, this is {own}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers_and_both_ends_fit() {
        for (own, least, most, fits) in [
            ("0.1.0", None, None, true),
            ("0.1.0", Some("0.1.0"), Some("0.1.0"), true),
            ("0.10.0", Some("0.9.0"), None, true),
            ("0.1.0", Some("0.1.1"), None, false),
            ("0.2.0", None, Some("0.1.9"), false),
            ("0.1.0", Some("soon"), None, false),
        ] {
            assert_eq!(version_fits(own, least, most).is_ok(), fits, "{own} {least:?} {most:?}");
        }
    }
}
