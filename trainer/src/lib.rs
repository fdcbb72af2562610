//! `linnet-train` as a library: each verb is a module with `run`, and tests drive them without a process.

pub mod cli;
pub mod error;
pub mod train;
