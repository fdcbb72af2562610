//! `fleet.json`: what the operator's side remembers of a fleet. It is no part of what devices read.

use std::collections::BTreeMap;

use linnet_proto::topic::FleetName;
use serde::{Deserialize, Serialize};

use super::{RepositoryError, Role};
use crate::keys::Locator;
use crate::waves::PushRecord;

/// Version of the file's form.
const FORM: u32 = 1;
/// A day, seconds.
const DAY_SECS: u64 = 86_400;

/// The file `fleet.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    form: u32,
    /// The fleet's name.
    pub fleet: String,
    /// Days that each role's metadata are good for.
    pub days: BTreeMap<Role, u32>,
    /// Generations that stay in the repository; older ones go when a new one is published.
    pub keep_generations: usize,
    /// Where each role's keys are.
    pub keys: BTreeMap<Role, Vec<Locator>>,
    /// The push that is under way, or was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushRecord>,
}

/// Generations that stay unless the operator says otherwise: enough to go back, and few enough that metadata stay small.
pub const KEEP_GENERATIONS: usize = 16;

impl Settings {
    pub(super) fn new(
        fleet: &str,
        days: BTreeMap<Role, u32>,
        keep_generations: usize,
    ) -> Result<Self, RepositoryError> {
        let refuse = |text: String| Err(RepositoryError::Setting(text));
        FleetName::new(fleet).map_err(|e| RepositoryError::Setting(e.to_string()))?;
        if keep_generations < 2 {
            return refuse("at least 2 generations stay, so that there is one to go back to".into());
        }
        let mut all: BTreeMap<_, _> = Role::ALL.into_iter().map(|role| (role, role.default_days())).collect();
        all.extend(days);
        if let Some((role, days)) = all.iter().find(|(_, days)| !(1..=36_500).contains(*days)) {
            return refuse(format!("{role} expires in {days} days; from 1 to 36500 are taken"));
        }
        Ok(Self { form: FORM, fleet: fleet.to_owned(), days: all, keep_generations, keys: BTreeMap::new(), push: None })
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.form != FORM {
            return Err(format!("it is written in form {}, this linnet reads form {FORM}", self.form));
        }
        FleetName::new(self.fleet.as_str()).map(drop).map_err(|e| e.to_string())
    }

    /// When metadata of `role` expire that are signed now, seconds since 1970-01-01 UTC.
    pub(super) fn expires(&self, role: Role, now_secs: u64) -> u64 {
        let days = self.days.get(&role).copied().unwrap_or_else(|| role.default_days());
        now_secs.saturating_add(u64::from(days) * DAY_SECS)
    }
}
