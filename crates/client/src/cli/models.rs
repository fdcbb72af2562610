//! `linnet models`.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use linnet_proto::status::{ModelState, ModelStatus};

use super::args::{ModelsArgs, ModelsCommand};
use super::output;
use crate::{ClientError, Local};

pub(super) async fn run(local: &Local, args: ModelsArgs) -> Result<ExitCode, ClientError> {
    match args.command {
        ModelsCommand::List { json } => list(local, json).await,
        ModelsCommand::Verify { packages, json } => verify(&packages, json).await,
    }
}

async fn list(local: &Local, json: bool) -> Result<ExitCode, ClientError> {
    let models = local.status().await?.models;
    if json {
        output::json(&models)?;
    } else {
        let mut text = String::new();
        for model in &models {
            text.push_str(&line(model));
            text.push('\n');
            if let ModelState::Failed { reason } = &model.state {
                text.push_str(&format!("  failed: {reason}\n"));
            }
        }
        output::write(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A model on one line, for people.
pub(super) fn line(model: &ModelStatus) -> String {
    let state = match &model.state {
        ModelState::Ready => "ready",
        ModelState::Unloaded => "loads on first use",
        ModelState::Loading => "loading",
        ModelState::Failed { .. } => "failed",
    };
    let also = match model.aliases.as_slice() {
        [] => String::new(),
        aliases => format!(", also {}", aliases.join(", ")),
    };
    format!(
        "{} {} ({state}; {}; {}; {} MiB{also})",
        model.name,
        model.version,
        model.tasks.join(", "),
        model.languages.join(", "),
        model.memory_mib
    )
}

/// Runs `linnetd verify`, which holds the engine that a canary needs.
async fn verify(packages: &[String], json: bool) -> Result<ExitCode, ClientError> {
    let program = beside("linnetd");
    let mut command = tokio::process::Command::new(&program);
    command.arg("verify").args(packages).kill_on_drop(true);
    if json {
        command.arg("--json");
    }
    let status = command.status().await.map_err(|e| {
        let way_out = match e.kind() {
            ErrorKind::NotFound => "; `linnet models verify` runs the linnetd that is installed beside it, or in PATH",
            _ => "",
        };
        ClientError::Beside(format!("{}: {e}{way_out}", program.display()))
    })?;
    match status.code() {
        Some(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        None => Err(ClientError::Beside(format!("{}: ended by a signal", program.display()))),
    }
}

/// A program in this one's directory, else its bare name, which `PATH` resolves.
fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().ok().and_then(|own| own.parent().map(|dir| dir.join(name)));
    own.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}
