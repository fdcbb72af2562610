//! Cargo asks nothing of `[build-dependencies]` where there is no build script.

fn main() {}
