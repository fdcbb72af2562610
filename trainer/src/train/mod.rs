//! `pretrain` and `finetune`.

use std::path::PathBuf;

use clap::Args;

use crate::error::{Failure, Result};

/// Methods that exist.
pub const METHODS: [&str; 1] = ["ctc"];

/// Arguments of `linnet-train pretrain METHOD`.
#[derive(Debug, Args)]
pub struct PretrainArgs {
    /// What is trained: `ctc`.
    pub method: String,
}

/// Arguments of `linnet-train finetune METHOD`.
#[derive(Debug, Args)]
pub struct FinetuneArgs {
    /// What is trained: `ctc`.
    pub method: String,
    /// Directory with the weights to start from.
    #[arg(long)]
    pub from: PathBuf,
}

/// Runs `pretrain`.
pub fn pretrain(args: PretrainArgs) -> Result<()> {
    known_method(&args.method)
}

/// Runs `finetune`.
pub fn finetune(args: FinetuneArgs) -> Result<()> {
    known_method(&args.method)
}

fn known_method(method: &str) -> Result<()> {
    if METHODS.contains(&method) {
        return Ok(());
    }
    Err(Failure::usage(format!("there is no method `{method}`; the methods are: {}", METHODS.join(", "))))
}
