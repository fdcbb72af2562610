//! Quantized matmul and attention kernels, and the tract operators on them.
//!
//! The only crate that may hold `unsafe`, each block with its SAFETY comment. A kernel is here where tract has none, or where its own
//! would hold weights in a wider form than the file has them: see `docs/decisions/`. What else needs `unsafe` lives here
//! too: [`allocator`], [`clock`].
#![expect(unsafe_code, reason = "the one crate that may; each block says why it is sound")]

pub mod allocator;
pub mod attention;
pub mod bf16;
pub mod bytes;
pub mod clock;
pub mod rows;
#[cfg(test)]
mod testing;
