//! What the daemon says of itself: snapshot, health, metrics, events.

mod change_models;
pub mod events;
pub mod link;
pub mod metrics;
pub mod snapshot;
mod tally;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use linnet_proto::status::Status;

use crate::sys::reloads::Reloads;

pub use change_models::{Archive, ChangeModels};
pub use events::{Events, Subject};
pub use link::{BrokerLink, LinkCount, LinkState};
pub use metrics::Metrics;
pub use snapshot::DaemonStatus;
pub use tally::Tally;

/// What transports may ask of the daemon's state. Cheap: never waits for a worker.
pub trait StatusSource: Send + Sync + 'static {
    /// A snapshot.
    fn status(&self) -> Status;
    /// Whether requests are taken (`/readyz`).
    fn is_ready(&self) -> bool;
    /// Prometheus text exposition (`/metrics`).
    fn metrics(&self) -> String;
    /// Where to ask for a reload; `None` where nobody grants one.
    fn reloads(&self) -> Option<Reloads> {
        None
    }
    /// Who adds and removes models; `None` where nobody does.
    fn change_models(&self) -> Option<Arc<dyn ChangeModels>> {
        None
    }
}
