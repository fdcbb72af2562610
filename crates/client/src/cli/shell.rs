//! Completions and manual pages, made from the arguments themselves.

use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;

use super::{Cli, output};
use crate::ClientError;

pub(super) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, ClientError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "linnet", &mut script);
    output::write(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn man(dir: Option<&Path>) -> Result<ExitCode, ClientError> {
    match dir {
        Some(dir) => linnet_manual::write_pages(Cli::command(), SECTION, dir)
            .map_err(|source| ClientError::Write { path: dir.to_owned(), source })?,
        None => {
            let page = linnet_manual::page(Cli::command(), SECTION).map_err(ClientError::Output)?;
            output::write(&String::from_utf8_lossy(&page))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The manual's section of what anybody runs.
const SECTION: &str = "1";
