//! Generations that were pushed: proved before they serve.

pub mod probe;
