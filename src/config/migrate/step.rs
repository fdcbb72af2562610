//! One step between two versions of the form.

use toml::Value;

use super::MigrationFault;
use crate::config::document::Setting;

/// What differs between a version and the next.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What it is about, for messages.
    pub name: &'static str,
    /// What changed, in order; the way back takes them from the end.
    pub changes: &'static [Change],
}

/// One change of the form.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    /// A key has another path; its values mean the same.
    Renamed {
        /// `section.name` before.
        old: &'static str,
        /// `section.name` after.
        new: &'static str,
    },
    /// A key's values are written otherwise.
    Rewritten {
        /// The key.
        key: &'static str,
        /// The old value in new words; the error is one sentence.
        forward: fn(&Value) -> Result<Value, String>,
        /// The new value in old words; the error is one sentence.
        back: fn(&Value) -> Result<Value, String>,
    },
    /// A key that older versions do not know: without it they do what its default says.
    Added {
        /// The key.
        key: &'static str,
    },
    /// A key that newer versions do not know.
    Removed {
        /// The key.
        key: &'static str,
        /// What does its work now; one sentence that begins small.
        instead: &'static str,
    },
}

impl Step {
    /// Brings `settings` to the next version.
    pub(super) fn forward(&self, settings: &mut [Setting]) -> Result<(), MigrationFault> {
        self.changes.iter().try_for_each(|change| match *change {
            Change::Renamed { old, new } => self.rename(settings, old, new),
            Change::Rewritten { key, forward, .. } => self.rewrite(settings, key, forward),
            Change::Added { key } => self.refuse(settings, key, "the version that it is written in does not know it"),
            Change::Removed { key, instead } => self.refuse(settings, key, instead),
        })
    }

    /// Brings `settings` to the version before.
    pub(super) fn back(&self, settings: &mut [Setting]) -> Result<(), MigrationFault> {
        self.changes.iter().rev().try_for_each(|change| match *change {
            Change::Renamed { old, new } => self.rename(settings, new, old),
            Change::Rewritten { key, back, .. } => self.rewrite(settings, key, back),
            Change::Added { key } => self.refuse(settings, key, "older versions have no such key; leave it out"),
            Change::Removed { .. } => Ok(()),
        })
    }

    fn rename(&self, settings: &mut [Setting], from: &str, to: &str) -> Result<(), MigrationFault> {
        if let Some(both) = settings.iter().find(|setting| setting.path == to) {
            let message = format!("({}) the key is called {from} in the version that this is written in", self.name);
            return Err((both.line, to.to_owned(), message));
        }
        for setting in settings.iter_mut().filter(|setting| setting.path == from) {
            setting.path = to.to_owned();
        }
        Ok(())
    }

    fn rewrite(
        &self,
        settings: &mut [Setting],
        key: &str,
        by: fn(&Value) -> Result<Value, String>,
    ) -> Result<(), MigrationFault> {
        for setting in settings.iter_mut().filter(|setting| setting.path == key) {
            // What no key takes is refused by the key's own rule, with what was expected.
            let Some(value) = &setting.value else { continue };
            let rewritten =
                by(value).map_err(|why| (setting.line, key.to_owned(), format!("({}) {why}", self.name)))?;
            setting.change(rewritten);
        }
        Ok(())
    }

    fn refuse(&self, settings: &[Setting], key: &str, why: &str) -> Result<(), MigrationFault> {
        match settings.iter().find(|setting| setting.path == key) {
            Some(setting) => Err((setting.line, key.to_owned(), format!("({}) {why}", self.name))),
            None => Ok(()),
        }
    }
}
