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
    let command = Cli::command();
    match dir {
        Some(dir) => {
            let failed = |e| ClientError::Beside(format!("{}: {e}", dir.display()));
            std::fs::create_dir_all(dir).map_err(failed)?;
            clap_mangen::generate_to(command, dir).map_err(failed)?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).map_err(ClientError::Output)?;
            output::write(&String::from_utf8_lossy(&page))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
