//! Versions of the configuration's form: what a generation of an older one says in today's words, and back.
//!
//! A generation names the version that it is written in (`config_version`). Each version differs from the one before by one
//! named [`Step`], a list of [`Change`]s as data, so that the way back comes from the same lines as the way forward. Version 1 is
//! the first that was ever published: there is no step yet, and the tests hold the machinery by steps of their own.

mod step;
#[cfg(test)]
mod tests;

pub use step::{Change, Step};

use super::document::Setting;

/// The version of the form that this program reads and writes.
pub const CURRENT: u32 = 1;

/// The oldest version that was ever published.
const OLDEST: u32 = 1;

/// Every step, in order: the step at place `n` leads from version `OLDEST + n` to the next.
pub const STEPS: &[Step] = &[];

/// Why a text cannot be brought into another version: line, key, one sentence.
pub type MigrationFault = (usize, String, String);

/// Brings `settings`, which are written in `version`, into today's form.
pub fn to_current(settings: &mut [Setting], version: u32) -> Result<(), MigrationFault> {
    along(settings, version, CURRENT, STEPS)
}

/// Brings `settings` from version `from` to version `to` by `steps`, forward or back.
pub fn along(settings: &mut [Setting], from: u32, to: u32, steps: &[Step]) -> Result<(), MigrationFault> {
    let newest = OLDEST + u32::try_from(steps.len()).unwrap_or(u32::MAX - OLDEST);
    for version in [from, to] {
        if version > newest {
            let message = format!(
                "the configuration is written in version {version}, this linnetd knows versions up to {newest}; update linnetd first"
            );
            return Err((1, "config_version".into(), message));
        }
        if version < OLDEST {
            let message = format!("there is no version {version} of the configuration; the first is {OLDEST}");
            return Err((1, "config_version".into(), message));
        }
    }
    let place = |version: u32| (version - OLDEST) as usize;
    if from <= to {
        steps[place(from)..place(to)].iter().try_for_each(|step| step.forward(settings))
    } else {
        steps[place(to)..place(from)].iter().rev().try_for_each(|step| step.back(settings))
    }
}
