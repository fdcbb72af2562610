//! What a fleet's operator and its devices say to each other.
//!
//! Signed statements travel as TUF metadata (<https://theupdateframework.github.io/specification/latest/>): a [`Generation`] is a
//! target file that the role `releases` signs for, a [`Rollout`] is the custom part of a target that the role `rollouts` signs for.
//! What is unsigned ([`Report`], [`Index`], [`RangeRequest`]) is believed by nobody: it only says where to look, or what was seen.

mod claim;
mod generation;
mod index;
mod percent;
mod range;
mod release;
mod report;
mod rollout;
mod selector;
mod topic;

pub use claim::{
    ClaimAnswer, ClaimOutcome, ClaimRefusal, ClaimRequest, Credentials, Fingerprint, Grant, SignedAnswer, SignedRequest,
};
pub use generation::{Generation, GenerationFault, PackageFile, PackageList};
pub use index::{Index, IndexEntry};
pub use percent::{millionths_of_percent, percent_of_millionths};
pub use range::{MAX_RANGE_BYTES, RangeHead, RangeRequest, RangeStatus};
pub use release::Release;
pub use report::{PushState, Report, Running};
pub use rollout::{Attempt, Rollout};
pub use selector::{DeviceFacts, Selector};
pub use topic::FleetTopic;

/// Version of every form in this module that says nothing newer: what older programs can read is written as they read it.
pub const FLEET_WIRE: u32 = 1;

/// Newest version that is read and written. A device that finds a newer one still refuses the generation by name. Version 2 has the share of
/// a [`Selector`], and is written where there is one.
pub const FLEET_WIRE_NEWEST: u32 = 2;

/// What is wrong with the version that a signed form bears, for a form that needs at least `needed`; one sentence.
fn check_wire(what: &str, wire: u32, needed: u32) -> Result<(), String> {
    if !(FLEET_WIRE..=FLEET_WIRE_NEWEST).contains(&wire) {
        return Err(format!(
            "the {what} is written in form {wire}, this linnetd reads forms {FLEET_WIRE} to {FLEET_WIRE_NEWEST}; update linnetd \
             first"
        ));
    }
    if wire < needed {
        return Err(format!("the {what} says what only form {needed} can say, and is written in form {wire}"));
    }
    Ok(())
}

/// Name of the custom object inside a TUF target that holds what is Linnet's own.
pub const CUSTOM: &str = "linnet";

/// Delegated role that signs generations; its keys are offline.
pub const RELEASES: &str = "releases";

/// Delegated role that opens, narrows and halts rollouts; its key is online.
pub const ROLLOUTS: &str = "rollouts";

/// Path patterns of the targets that each delegated role may sign for.
pub const RELEASES_PATHS: &str = "generations/*";
/// See [`RELEASES_PATHS`].
pub const ROLLOUTS_PATHS: &str = "rollouts/*";

/// Names that no device may bear: what a site shares by `$share` goes under the first, what concerns a whole fleet under the second.
pub const RESERVED_DEVICES: [&str; 2] = ["pool", "fleet"];

/// Name of the target that holds a generation.
pub fn generation_target(number: u64) -> String {
    format!("generations/{number}.json")
}

/// Name of the target whose custom part is the rollout of a generation.
pub fn rollout_target(number: u64) -> String {
    format!("rollouts/{number}.json")
}

/// Where a package's file lies in a repository, beside its metadata: by content, so that generations share it.
pub fn file_path(sha256: &str) -> String {
    format!("files/{sha256}")
}
