//! `linnet models`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use linnet_proto::status::{ModelState, ModelStatus};
use tokio::process::Command;

use super::args::{ModelsArgs, ModelsCommand};
use super::output;
use super::pull::{self, Pull};
use crate::{ClientError, Local};

pub(super) async fn run(local: &Local, args: ModelsArgs) -> Result<ExitCode, ClientError> {
    match args.command {
        ModelsCommand::List { json } => list(local, json).await,
        ModelsCommand::Verify { packages, json } => verify(&packages, json).await,
        ModelsCommand::Add { dir, name, aliases, dtype, copy, replace, models, json } => {
            let mut command = command("import");
            command.arg(dir);
            let named = name.iter().flat_map(|name| ["--name", name.as_str()]);
            let aliases = aliases.iter().flat_map(|name| ["--alias", name.as_str()]);
            let dtype = dtype.iter().flat_map(|dtype| ["--dtype", dtype.as_str()]);
            command.args(named.chain(aliases).chain(dtype));
            for (flag, given) in [("--copy", copy), ("--replace", replace), ("--json", json)] {
                command.args(given.then_some(flag));
            }
            change(local, command, models).await
        }
        ModelsCommand::Pull { repository, revision, name, dtype, endpoint, cache, replace, models, json } => {
            let asked = Pull { repository: repository.clone(), revision, dtype, endpoint, cache };
            let pulled = tokio::task::spawn_blocking(move || pull::pull(&asked))
                .await
                .map_err(|e| ClientError::Pull(e.to_string()))??;
            eprintln!("linnet: {repository} at {}", pulled.commit);
            let own = repository.rsplit('/').next().unwrap_or(&repository).to_lowercase();
            let mut command = command("import");
            command.arg(&pulled.dir).arg("--name").arg(name.unwrap_or(own));
            if let Some(dtype) = &pulled.dtype {
                command.args(["--dtype", dtype]);
            }
            for (flag, given) in [("--replace", replace), ("--json", json)] {
                command.args(given.then_some(flag));
            }
            change(local, command, models).await
        }
        ModelsCommand::Remove { name, models } => {
            let mut command = command("remove");
            command.arg(name);
            change(local, command, models).await
        }
    }
}

/// Runs a change of the directory of models, which is the running daemon's where there is one, and has the daemon look at it.
async fn change(local: &Local, mut command: Command, models: Option<PathBuf>) -> Result<ExitCode, ClientError> {
    let daemon = local.status().await.ok();
    let models = models.or_else(|| daemon.as_ref().and_then(|status| status.models_dir.as_ref().map(PathBuf::from)));
    if let Some(models) = models {
        command.arg("--models").arg(models);
    }
    let code = finish(command).await?;
    if code == ExitCode::SUCCESS && daemon.is_some() {
        local.reload().await?;
    }
    Ok(code)
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

/// Most languages that are named for people; JSON has them all.
const LANGUAGES_SHOWN: usize = 8;

/// `en, de`, and of many the first and how many there are beside them.
fn languages(tags: &[String]) -> String {
    match tags.split_at_checked(LANGUAGES_SHOWN) {
        Some((shown, more)) if !more.is_empty() => format!("{} and {} more", shown.join(", "), more.len()),
        _ => tags.join(", "),
    }
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
        languages(&model.languages),
        model.memory_mib
    )
}

/// Runs `linnetd verify`, which holds the engine that a canary needs.
async fn verify(packages: &[String], json: bool) -> Result<ExitCode, ClientError> {
    let mut command = command("verify");
    command.args(packages).args(json.then_some("--json"));
    finish(command).await
}

/// Runs `linnetd bench`: threads, tokens of the prompt, tokens to write, rounds.
pub(super) async fn bench(model: &str, numbers: [usize; 4], json: bool) -> Result<ExitCode, ClientError> {
    let mut command = command("bench");
    command.arg(model);
    for (flag, number) in ["--threads", "--prompt-tokens", "--new-tokens", "--rounds"].iter().zip(numbers) {
        command.arg(flag).arg(number.to_string());
    }
    command.args(json.then_some("--json"));
    finish(command).await
}

/// A verb of the `linnetd` beside this program.
pub(super) fn command(verb: &str) -> Command {
    let mut command = program();
    command.arg(verb);
    command
}

/// The `linnetd` beside this program.
pub(super) fn program() -> Command {
    let mut command = Command::new(beside("linnetd"));
    command.kill_on_drop(true);
    command
}

/// Why it could not be run.
fn not_run(program: &Path, e: &std::io::Error) -> ClientError {
    let way_out = match e.kind() {
        ErrorKind::NotFound => "; this command runs the linnetd that is installed beside it, or in PATH",
        _ => "",
    };
    ClientError::Beside(format!("{}: {e}{way_out}", program.display()))
}

/// Goes on as that program. Returns only where it could not be run.
pub(super) fn become_it(mut command: Command) -> ClientError {
    use std::os::unix::process::CommandExt;
    let e = command.as_std_mut().exec();
    not_run(Path::new(command.as_std().get_program()), &e)
}

/// Runs it to its end and gives its exit code.
pub(super) async fn finish(mut command: Command) -> Result<ExitCode, ClientError> {
    let program = PathBuf::from(command.as_std().get_program());
    let status = command.status().await.map_err(|e| not_run(&program, &e))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_languages_eight_are_named_and_the_rest_counted() {
        let tags = |count: usize| (0..count).map(|n| format!("l{n}")).collect::<Vec<_>>();
        assert_eq!(languages(&tags(0)), "");
        assert_eq!(languages(&tags(2)), "l0, l1");
        assert_eq!(languages(&tags(8)), "l0, l1, l2, l3, l4, l5, l6, l7");
        assert_eq!(languages(&tags(9)), "l0, l1, l2, l3, l4, l5, l6, l7 and 1 more");
        assert!(languages(&tags(53)).ends_with("l7 and 45 more"));
    }
}
