//! Repositories that lie in every way, against the code that a device runs.

mod attacks;
mod bounds;
mod clocks;
mod golden;
mod http;
mod support;
