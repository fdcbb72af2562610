//! `linnet-train`: see `linnet-train help` and `docs/training.md`.

use std::process::ExitCode;

use clap::Parser;
use linnet_train::cli::{self, Cli};

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("linnet-train: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
