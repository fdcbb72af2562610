//! What a device says of its generation: `linnet/<device>/config/reported`, retained.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::DeviceFacts;

/// Where a device stands with the generation it was last given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`super::FLEET_WIRE_NEWEST`] of the device: which signed forms it can read. The report itself only ever gains fields.
    pub wire: u32,
    /// The device.
    pub device: String,
    /// The fleet that it belongs to.
    pub fleet: String,
    /// What serves now.
    pub running: Running,
    /// The generation that this is about; the running one when nothing else was begun.
    pub generation: u64,
    /// Which attempt at it.
    pub attempt: u32,
    /// Where it stands.
    pub state: PushState,
    /// Why it was rejected or rolled back, or what is waited for; one sentence without anybody's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Stable word for the reason: `no_space`, `canary`, `probe_timeout`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// When the state began, seconds since 1970-01-01 UTC by the device's clock.
    pub since_secs: u64,
    /// Whether that clock was known to be right.
    pub clock_trusted: bool,
    /// Seconds spent in each state so far, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub took: Vec<(PushState, u64)>,
    /// Version of `linnetd`.
    pub linnetd: String,
    /// Groups that its own configuration puts it in: what a selector asks, so that the operator knows whom a push means.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// Labels of its own configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Free storage where generations are kept, MiB.
    #[serde(default)]
    pub free_mib: u64,
    /// Packages that stand beside the generation's because they were added on the device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub local_packages: Vec<String>,
    /// Versions of the trusted metadata: root, timestamp, snapshot.
    pub metadata: [u64; 3],
    /// Random, made once on the device: two devices under one name are told apart by it.
    pub instance: String,
    /// Another client takes the broker's session from this device: two bear its name, perhaps with one instance, as copies of a card do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub contested: bool,
}

impl Report {
    /// Largest payload of a report that is read, bytes.
    pub const MAX_BYTES: usize = 16 << 10;

    /// Reads one; a fault is one sentence.
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        if payload.len() > Self::MAX_BYTES {
            return Err(format!("a report of {} bytes; at most {} are read", payload.len(), Self::MAX_BYTES));
        }
        serde_json::from_slice(payload).map_err(|e| format!("the report cannot be read: {e}"))
    }

    /// What selectors ask of the device.
    pub fn facts(&self) -> DeviceFacts {
        DeviceFacts {
            name: self.device.clone(),
            groups: self.groups.clone(),
            labels: self.labels.clone(),
            free_mib: self.free_mib,
        }
    }
}

/// The generation that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its number; 0 is what was shipped with the device.
    pub generation: u64,
    /// Whether it was confirmed.
    pub confirmed: bool,
}

/// The states of an update, in order; the last three end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushState {
    /// Signed metadata means this device; its content has not been judged yet.
    Received,
    /// The generation was read and fits this device.
    Verified,
    /// Everything that it needs lies on the disk.
    Staged,
    /// Its configuration and its new models have proved themselves in a child process.
    Probed,
    /// It serves, on trial.
    Activated,
    /// It serves and stays.
    Confirmed,
    /// It was refused before it served.
    Rejected,
    /// It served and was taken back.
    RolledBack,
}

impl PushState {
    /// Every state, in order.
    pub const ALL: [Self; 8] = [
        Self::Received,
        Self::Verified,
        Self::Staged,
        Self::Probed,
        Self::Activated,
        Self::Confirmed,
        Self::Rejected,
        Self::RolledBack,
    ];

    /// As it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Verified => "verified",
            Self::Staged => "staged",
            Self::Probed => "probed",
            Self::Activated => "activated",
            Self::Confirmed => "confirmed",
            Self::Rejected => "rejected",
            Self::RolledBack => "rolled_back",
        }
    }

    /// Whether the update has ended.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Confirmed | Self::Rejected | Self::RolledBack)
    }

    /// Whether it ended badly.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Rejected | Self::RolledBack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_as_it_is_named() {
        for state in PushState::ALL {
            let written = serde_json::to_string(&state).expect("JSON");
            assert_eq!(written, format!("\"{}\"", state.as_str()));
            assert_eq!(serde_json::from_str::<PushState>(&written).expect("reads"), state);
        }
        assert!(PushState::ALL.windows(2).all(|two| two[0] < two[1]));
    }
}
