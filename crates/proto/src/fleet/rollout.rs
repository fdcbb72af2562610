//! How far a generation has been opened.

use serde::{Deserialize, Serialize};

use super::Selector;

/// Signed by the online role: which devices may begin with a generation now.
///
/// Devices never open a wave themselves: `opened` only rises when the operator's process has seen the last wave's reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// [`Selector::wire`] of `to`.
    pub wire: u32,
    /// The fleet.
    pub fleet: String,
    /// The generation's number.
    pub number: u64,
    /// SHA-256 of the generation's target file, so that the online role cannot open what `releases` has not signed.
    pub sha256: String,
    /// Which devices are meant, within the generation's own audience.
    #[serde(default)]
    pub to: Selector,
    /// What the buckets are salted with: the same for every wave of a push, so that each wave holds the one before.
    pub salt: String,
    /// Devices whose bucket ([`BUCKETS`](Self::BUCKETS) of them, by a stable hash of salt and name) is below this may begin.
    pub opened: u32,
    /// The wave that is open, from 1; for people and reports.
    pub wave: u32,
    /// No device begins while this is set; who has begun goes on by its own rules.
    #[serde(default)]
    pub paused: bool,
    /// Raised when a device that has rejected it or gone back shall try again.
    #[serde(default = "first")]
    pub attempt: Attempt,
}

/// How often an operator has asked for the same generation, from 1.
pub type Attempt = u32;

fn first() -> Attempt {
    1
}

impl Rollout {
    /// Buckets that devices fall into.
    pub const BUCKETS: u32 = 1_000_000;

    /// Whether a device in `bucket`, which the selectors mean, may begin now.
    pub fn opens(&self, bucket: u32) -> bool {
        !self.paused && bucket < self.opened
    }

    /// The rules that need no device.
    pub fn check(&self) -> Result<(), String> {
        super::check_wire("rollout", self.wire, self.to.wire())?;
        self.to.check()?;
        if self.opened > Self::BUCKETS {
            return Err(format!("the rollout opens {} of {} buckets", self.opened, Self::BUCKETS));
        }
        Ok(())
    }
}
