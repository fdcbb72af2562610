//! Quantized matmul and attention kernels, and the tract operators on them.
//!
//! The only crate that may hold `unsafe`, each block with its SAFETY comment. Empty of kernels until a measurement
//! shows that tract's own are too slow for a goal: see `docs/decisions/`. What else needs `unsafe` lives here too: [`allocator`].
#![expect(unsafe_code, reason = "the one crate that may; each block says why it is sound")]

pub mod allocator;
