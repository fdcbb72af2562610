//! Where an update stands, as a device says it.

use std::collections::{BTreeMap, BTreeSet};

use linnet_proto::fleet::{FLEET_WIRE_NEWEST, PushState, Report, Running};

use super::machine::{Fault, Persisted};

/// What a report says beside the update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFacts {
    /// The device.
    pub device: String,
    /// The fleet.
    pub fleet: String,
    /// What serves.
    pub running: Running,
    /// Whether the device's clock is known to be right.
    pub clock_trusted: bool,
    /// Version of `linnetd`.
    pub linnetd: String,
    /// Its groups, labels and free storage.
    pub groups: BTreeSet<String>,
    /// See [`ReportFacts::groups`].
    pub labels: BTreeMap<String, String>,
    /// See [`ReportFacts::groups`]; MiB.
    pub free_mib: u64,
    /// Packages that were added on the device.
    pub local_packages: Vec<String>,
    /// Versions of the trusted root, timestamp and snapshot.
    pub metadata: [u64; 3],
    /// The store's instance.
    pub instance: String,
}

/// The report of an update; of what serves, where none was begun. What is waited for takes the place of a reason.
pub fn report(update: Option<&Persisted>, waiting: Option<&Fault>, facts: &ReportFacts) -> Report {
    let running = facts.running;
    let (reason, code) = match (update, waiting) {
        (Some(Persisted { reason: Some(reason), code, .. }), _) => (Some(reason.clone()), code.clone()),
        (_, Some(fault)) => (Some(fault.reason.clone()), Some(fault.code.clone())),
        _ => (None, None),
    };
    Report {
        wire: FLEET_WIRE_NEWEST,
        device: facts.device.clone(),
        fleet: facts.fleet.clone(),
        running,
        generation: update.map_or(running.generation, |update| update.generation),
        attempt: update.map_or(1, |update| update.attempt),
        state: update.map_or(PushState::Confirmed, |update| update.state),
        reason,
        code,
        since_secs: update.map_or(0, |update| update.since_secs),
        clock_trusted: facts.clock_trusted,
        took: update.map(|update| update.took.clone()).unwrap_or_default(),
        linnetd: facts.linnetd.clone(),
        groups: facts.groups.clone(),
        labels: facts.labels.clone(),
        free_mib: facts.free_mib,
        local_packages: facts.local_packages.clone(),
        metadata: facts.metadata,
        instance: facts.instance.clone(),
        contested: false,
    }
}
