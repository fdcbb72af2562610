//! Quantized matmul and attention kernels, and the tract operators on them.
//!
//! The only crate that may hold `unsafe`, each block with its SAFETY comment. Empty of kernels until a measurement
//! shows that tract's own are too slow for a goal: see `docs/decisions/`.
