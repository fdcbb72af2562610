//! Claims: how a device that has nothing but a file gets a name of its own, without anybody's hand.
//!
//! The operator makes a claim ([`ClaimFile`]) and puts it on one device, or on the image of a batch. The device makes a key, asks for a name
//! ([`proof`]), and the operator's process ([`Registrar`]) grants one, once, and remembers it ([`ledger`]). Three keys, all Ed25519, each for one statement:
//! the claim's says that who asks was given the claim; the device's says that the name is for the holder of this key; the operator's says that the
//! answer is his. The operator keeps only the public half of the claim's.

mod create;
mod file;
mod grant_command;
mod journal;
pub mod ledger;
mod names;
#[cfg(test)]
mod power_cut;
pub mod proof;
mod registrar;
#[cfg(test)]
mod tests;

pub use create::{CreateError, Draft, create, date};
pub use file::{ClaimError, ClaimFile};
pub use grant_command::GrantCommand;
pub use ledger::{Claim, Ledger, LedgerError};
pub use names::Names;
pub use registrar::{Answered, Registrar};

/// Largest claim that is read, bytes: a root has some thousand, an authority's certificates too.
pub const MAX_CLAIM_BYTES: u64 = 256 << 10;
/// Largest ledger that is read, bytes: a million grants with a password each.
pub const MAX_LEDGER_BYTES: u64 = 1 << 30;
/// Most devices of one claim.
pub const MAX_USES: u64 = 1_000_000;
/// Longest life of a claim, days.
pub const MAX_DAYS: u32 = 3_650;
/// Most that a grant command may print, bytes: two lines and a chain of certificates.
pub const MAX_GRANT_OUTPUT_BYTES: u64 = 32 << 10;
/// How long a grant command may take: less than a device waits for its answer.
pub const GRANT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
