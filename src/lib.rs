//! The daemon as a library, so that the binary is thin and everything is testable.
//!
//! A request reads as a sentence: [`transport`] decodes a `linnet_proto` message, [`job`] admits it, [`scheduler`]
//! orders it, a worker runs a [`task`] pipeline on an [`engine`] session, and the reply leaves by the transport that
//! it came from. `docs/ARCHITECTURE.md` is the map.

pub mod config;
pub mod engine;
pub mod job;
pub mod scheduler;
pub mod status;
pub mod store;
pub mod sys;
pub mod task;
pub mod transport;
