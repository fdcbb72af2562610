//! How a device comes to trust metadata: The Update Framework by `tough`, with the time, the storage and the transport taken out of
//! its hands.
//!
//! `tough` verifies signatures, thresholds, versions and digests. It would also read the wall clock (and refuse to work where time
//! stepped back), write its datastore in place, and take "not reached" for "no newer root". So each refresh gives it the last
//! trusted root, a scratch copy of the datastore, a transport that stops everything at the first fault, and no rule of expiry;
//! then Linnet judges expiry by its own clock and the shape of the delegations. The result is one value that a store commits
//! atomically; a refused refresh leaves the old one as it was.

mod contents;
mod error;
mod fetcher;
mod generation;
mod limits;
mod load;
mod memo;
mod refusal;
mod shape;
mod trusted;

use bytes::Bytes;
pub use contents::{Contents, GenerationEntry, RolloutEntry};
pub use error::TrustError;
pub use generation::{fetch_document, fetch_generation};
pub use limits::Limits;
pub use memo::Memo;
pub use trusted::{Trusted, Versions};

use self::fetcher::{Fetcher, TIMESTAMP};
use crate::clock::Clock;
use crate::source::Source;

/// What a refresh found.
#[derive(Debug, Clone)]
pub struct Refreshed {
    /// The trusted metadata now: to be committed where `changed` says so.
    pub trusted: Trusted,
    /// What they say.
    pub contents: Contents,
    /// Whether any metadata differ from what was trusted before; where not, only the time mark can.
    pub changed: bool,
}

/// Asks `source` for newer metadata and verifies them against what is trusted.
///
/// Refused metadata leave `trusted` as it was. Where nothing is new, two questions are asked and only expiry is judged again.
pub async fn refresh(
    trusted: &Trusted,
    source: &dyn Source,
    clock: &dyn Clock,
    limits: &Limits,
) -> Result<Refreshed, TrustError> {
    let whole = limits.refresh;
    tokio::time::timeout(whole, attempt(trusted, source, clock, limits)).await.unwrap_or_else(|_| {
        Err(TrustError::TooSlow(format!("all of its metadata have not come within {} s", whole.as_secs())))
    })
}

async fn attempt(
    trusted: &Trusted,
    source: &dyn Source,
    clock: &dyn Clock,
    limits: &Limits,
) -> Result<Refreshed, TrustError> {
    let mut fetcher = Fetcher::new(source, limits);
    let new_root = fetcher.get(&trusted.next_root_name()).await?;
    let timestamp = fetcher.get(TIMESTAMP).await?.ok_or_else(|| TrustError::missing(TIMESTAMP))?;
    if new_root.is_none() && trusted.has_timestamp(&timestamp) {
        let trusted = trusted.judged(clock)?;
        let contents = trusted.contents()?;
        return Ok(Refreshed { trusted, contents, changed: false });
    }
    let recalled = match &limits.memo {
        Some(memo) => memo.recall(trusted, &mut fetcher).await?,
        None => None,
    };
    let loaded = match recalled {
        Some(loaded) => loaded,
        None => {
            let loaded = load::load(trusted, &mut fetcher, limits).await;
            if let Some(memo) = &limits.memo {
                memo.remember(trusted, &fetcher, &loaded);
            }
            loaded
        }
    };
    let (accepted, contents) = loaded?;
    Ok(Refreshed { trusted: trusted.accepting(accepted).judged(clock)?, contents, changed: true })
}

/// A metadata file as it came.
pub(crate) type File = Bytes;
