//! Bytes in, bytes out. Transports know [`crate::job`] and [`crate::status`], never the engine or the tasks.

pub mod ask;
pub mod http;
pub mod media;
pub mod mqtt;
pub mod options;
mod places;
