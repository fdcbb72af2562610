//! `linnet models`.

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use linnet_proto::models::{AddModel, AddedModel, ModelFiles};
use linnet_proto::status::{ModelState, ModelStatus};
use linnet_proto::{ErrorCode, WireError};
use tokio::process::Command;

use super::args::{ModelsArgs, ModelsCommand};
use super::doctor;
use super::output;
use super::pull::{self, Pull};
use crate::archive::Archive;
use crate::{ClientError, Local};

pub(super) async fn run(local: &Local, args: ModelsArgs) -> Result<ExitCode, ClientError> {
    match args.command {
        ModelsCommand::List { json } => list(local, json).await,
        ModelsCommand::Verify { packages, json } => verify(local, &packages, json).await,
        ModelsCommand::Add { dir, name, aliases, dtype, copy, replace, models, json } => {
            let asked = AddModel { name, aliases, dtype, copy, replace, ..AddModel::default() };
            add(local, &dir, asked, models, json).await
        }
        ModelsCommand::Pull { repository, revision, name, dtype, endpoint, cache, replace, models, json } => {
            let asked = Pull { repository: repository.clone(), revision, dtype, endpoint, cache };
            let pulled = tokio::task::spawn_blocking(move || pull::pull(&asked))
                .await
                .map_err(|e| ClientError::Pull(e.to_string()))??;
            eprintln!("linnet: {repository} at {}", pulled.commit);
            let own = repository.rsplit('/').next().unwrap_or(&repository).to_lowercase();
            let name = Some(name.unwrap_or(own));
            let asked = AddModel { name, dtype: pulled.dtype, replace, ..AddModel::default() };
            add(local, &pulled.dir, asked, models, json).await
        }
        ModelsCommand::Remove { name, models } => match changes(local, models).await? {
            Changes::ByDaemon => {
                let removed = local.remove_model(&name).await?;
                output::write(&format!("removed {}\n", removed.dir))?;
                Ok(ExitCode::SUCCESS)
            }
            beside => {
                let mut command = command("remove");
                command.arg(name);
                beside.run(local, command).await
            }
        },
    }
}

/// Who changes a directory of models.
enum Changes {
    /// The running daemon, its own directory.
    ByDaemon,
    /// The `linnetd` beside this program: no daemon runs, or the directory is not the one that the daemon adds to.
    Beside {
        /// The directory, where it is named.
        models: Option<PathBuf>,
        /// Whether a daemon runs, which may look into that directory.
        daemon: bool,
    },
}

async fn changes(local: &Local, models: Option<PathBuf>) -> Result<Changes, ClientError> {
    let status = match local.status().await {
        Ok(status) => status,
        Err(ClientError::NoDaemon { .. }) => return Ok(Changes::Beside { models, daemon: false }),
        // It is there, and must not be gone around.
        Err(e) => return Err(e),
    };
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let daemons = status.models_dir.as_deref().map(|dir| real(Path::new(dir)));
    Ok(match models {
        Some(models) if Some(real(&models)) != daemons => Changes::Beside { models: Some(models), daemon: true },
        _ => Changes::ByDaemon,
    })
}

impl Changes {
    /// Runs a change beside the daemon, and has one that runs look at its directories again.
    async fn run(self, local: &Local, mut command: Command) -> Result<ExitCode, ClientError> {
        let Self::Beside { models, daemon } = self else { return Ok(ExitCode::SUCCESS) };
        if let Some(models) = models {
            command.arg("--models").arg(models);
        }
        let code = finish(command).await?;
        if code == ExitCode::SUCCESS && daemon {
            local.reload().await?;
        }
        Ok(code)
    }
}

async fn add(
    local: &Local,
    dir: &Path,
    asked: AddModel,
    models: Option<PathBuf>,
    json: bool,
) -> Result<ExitCode, ClientError> {
    match changes(local, models).await? {
        Changes::ByDaemon => {
            if std::io::stderr().is_terminal() {
                eprintln!("linnet: linnetd takes it in, loads it and has it prove itself …");
            }
            match add_by_daemon(local, dir, asked).await? {
                Ok(added) if json => output::json(&added)?,
                Ok(added) => output::write(&added.to_string())?,
                Err(code) => return Ok(code),
            }
            Ok(ExitCode::SUCCESS)
        }
        beside => {
            let mut command = command("import");
            command.arg(dir);
            let AddModel { name, aliases, dtype, copy, replace, .. } = &asked;
            let named = name.iter().flat_map(|name| ["--name", name.as_str()]);
            let aliases = aliases.iter().flat_map(|name| ["--alias", name.as_str()]);
            let dtype = dtype.iter().flat_map(|dtype| ["--dtype", dtype.as_str()]);
            command.args(named.chain(aliases).chain(dtype));
            for (flag, given) in [("--copy", *copy), ("--replace", *replace), ("--json", json)] {
                command.args(given.then_some(flag));
            }
            beside.run(local, command).await
        }
    }
}

/// The daemon reads the directory itself where it can. Where it cannot, since it is another user or sees no home, the files are sent. The
/// inner error is the exit code of a `linnetd import` that has said why.
async fn add_by_daemon(
    local: &Local,
    dir: &Path,
    asked: AddModel,
) -> Result<Result<AddedModel, ExitCode>, ClientError> {
    let failed = |source| ClientError::Read { path: dir.display().to_string(), source };
    let dir = &dir.canonicalize().map_err(failed)?;
    std::fs::read_dir(dir).map_err(failed)?;
    let by_path = match dir.to_str() {
        Some(path) => local.add_model(&AddModel { path: path.to_owned(), ..asked.clone() }).await,
        // JSON has no such path.
        None => Err(ClientError::Refused(WireError::new(ErrorCode::InvalidRequest, "").with_param("path"))),
    };
    match by_path {
        Err(ClientError::Refused(refused)) if refused.param.as_deref() == Some("path") => {}
        other => return other.map(Ok).map_err(as_checked),
    }
    let mut command = command("import");
    command.arg("--files").args(asked.dtype.iter().flat_map(|dtype| ["--dtype", dtype.as_str()])).arg(dir);
    let said = command.output().await.map_err(|e| not_beside(&command, &e))?;
    if !said.status.success() {
        // It has said why.
        let _ = std::io::stderr().lock().write_all(&said.stderr);
        return Ok(Err(exit_code(&command, said.status)?));
    }
    let ModelFiles { files } = serde_json::from_slice(&said.stdout)
        .map_err(|e| ClientError::Broken(format!("linnetd import --files: {e}")))?;
    let directory = dir.file_name().map(|name| name.to_string_lossy().into_owned());
    let asked = AddModel { directory, ..asked };
    local.send_model(&asked, Archive::of(dir, files)).await.map(Ok).map_err(as_checked)
}

/// A model that fails its check is a fault of the model here, and none of the daemon.
fn as_checked(e: ClientError) -> ClientError {
    match e {
        ClientError::Refused(refused) if refused.code == ErrorCode::ModelFailed => {
            ClientError::Checked(refused.message)
        }
        other => other,
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

/// Runs `linnetd verify`, which holds the engine that a canary needs. Who names no directory of models himself means those of the daemon of
/// this machine.
async fn verify(local: &Local, packages: &[String], json: bool) -> Result<ExitCode, ClientError> {
    let mut command = match std::env::var_os("LINNET_MODELS").is_some_and(|models| !models.is_empty()) {
        true => command("verify"),
        false => doctor::verb_of_daemon(local, "verify").await,
    };
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
fn not_beside(command: &Command, e: &std::io::Error) -> ClientError {
    let way_out = match e.kind() {
        ErrorKind::NotFound => "; this command runs the linnetd that is installed beside it, or in PATH",
        _ => "",
    };
    ClientError::Beside(format!("{}: {e}{way_out}", Path::new(command.as_std().get_program()).display()))
}

/// Goes on as that program. Returns only where it could not be run.
pub(super) fn become_it(mut command: Command) -> ClientError {
    use std::os::unix::process::CommandExt;
    let e = command.as_std_mut().exec();
    not_beside(&command, &e)
}

/// Runs it to its end and gives its exit code.
pub(super) async fn finish(mut command: Command) -> Result<ExitCode, ClientError> {
    let status = command.status().await.map_err(|e| not_beside(&command, &e))?;
    exit_code(&command, status)
}

fn exit_code(command: &Command, status: std::process::ExitStatus) -> Result<ExitCode, ClientError> {
    match status.code() {
        Some(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        None => {
            let program = Path::new(command.as_std().get_program()).display().to_string();
            Err(ClientError::Beside(format!("{program}: ended by a signal")))
        }
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
