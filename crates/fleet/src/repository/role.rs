//! The roles of a repository.

use std::fmt;

use linnet_proto::fleet::{RELEASES, ROLLOUTS};
use serde::{Deserialize, Serialize};

/// Who signs what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Names every other role's keys. Offline.
    Root,
    /// Delegates to `releases` and `rollouts`, and signs nothing else. Offline.
    Targets,
    /// Signs generations. Offline, or with whoever releases.
    Releases,
    /// Opens waves. Online: the operator's process signs as reports come.
    Rollouts,
    /// Says which versions belong together. Online.
    Snapshot,
    /// Says what is newest. Online.
    Timestamp,
}

impl Role {
    /// Every role, from the most careful to the most often used.
    pub const ALL: [Self; 6] =
        [Self::Root, Self::Targets, Self::Releases, Self::Rollouts, Self::Snapshot, Self::Timestamp];

    /// The roles whose keys the operator's machine holds day by day.
    pub const ONLINE: [Self; 3] = [Self::Rollouts, Self::Snapshot, Self::Timestamp];

    /// As metadata name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Releases => RELEASES,
            Self::Rollouts => ROLLOUTS,
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }

    /// Whether its keys stand in the targets' delegations and not in the root.
    pub fn is_delegated(self) -> bool {
        matches!(self, Self::Releases | Self::Rollouts)
    }

    /// Days that its metadata are good for unless the operator says otherwise.
    pub fn default_days(self) -> u32 {
        match self {
            Self::Root => 3650,
            Self::Targets | Self::Releases => 365,
            Self::Rollouts | Self::Snapshot | Self::Timestamp => 30,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            format!("`{text}` is no role; expected one of root, targets, releases, rollouts, snapshot, timestamp")
        })
    }
}
