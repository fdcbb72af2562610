//! Signed generations for a fleet: how an operator writes them and how a device comes to trust them.
//!
//! The Update Framework (<https://theupdateframework.github.io/specification/latest/>, crate `tough`) gives signatures, thresholds,
//! key rotation, and the rules against rollback, freeze and mixing. What is Linnet's own stands in targets and in their custom
//! parts (`linnet_proto::fleet`). Nothing here knows of the engine, so that `linnet` can use it.

mod bucket;
mod child;
pub mod claims;
pub mod clock;
pub mod keys;
pub mod range_server;
pub mod repository;
pub mod select;
pub mod source;
pub mod trust;
pub mod waves;

pub use bucket::{bucket, means};
