//! `linnet fleet`: the operator's half of config push (`docs/fleet.md`).

mod args;
mod ask;
mod change;
mod claim;
mod claim_args;
mod connection;
mod copies;
mod devices;
mod grants;
mod hearing;
mod init;
mod link;
mod new_keys;
mod outbox;
mod promoted;
mod publish;
mod pulse;
mod push;
mod refusals;
mod secret_file;
mod seen;
mod serve;
mod shared;
mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use linnet_fleet::repository::Repository;
use linnet_proto::topic::FleetName;

pub use args::{FleetArgs, FleetCommand};

use super::models;
use super::quoting::quoted;
use crate::ClientError;

pub(super) async fn run(args: FleetArgs) -> Result<ExitCode, ClientError> {
    match args.command {
        FleetCommand::Init(args) => init::run(args),
        FleetCommand::Publish(args) => publish::run(args).await,
        FleetCommand::Push(args) => push::run(args).await,
        FleetCommand::Status(args) => status::run(args).await,
        FleetCommand::Pause(args) => change::pause(args).await,
        FleetCommand::Promote(args) => change::promote(args).await,
        FleetCommand::Rollback(args) => change::rollback(args).await,
        FleetCommand::Refresh(args) => change::refresh(args).await,
        FleetCommand::RotateKey(args) => change::rotate_key(args).await,
        FleetCommand::Export(args) => change::export(&args),
        FleetCommand::Serve(args) => serve::run(args).await,
        FleetCommand::Claim(command) => claim::run(command),
        FleetCommand::Devices(args) => devices::run(args).await,
        FleetCommand::Simulate { arguments } => {
            let mut command = models::command("simulate");
            command.args(arguments);
            // In this process's place: Ctrl-C is its own to end by, since it clears what it left at a broker.
            Err(models::become_it(command))
        }
    }
}

impl FleetCommand {
    /// What becomes of a push that Ctrl-C leaves.
    pub(in crate::cli) fn after_interrupt(&self) -> &'static str {
        match self {
            Self::Push(_) => {
                "; the waves that are open stay open and no further one opens: `linnet fleet push --resume` goes on, \
                 `linnet fleet pause` lets nobody else begin"
            }
            Self::Serve(_) => {
                "; what the broker holds stays there, files are no longer served over MQTT, and no device is given a name"
            }
            _ => "",
        }
    }
}

fn load(dir: &Path) -> Result<Repository, ClientError> {
    Repository::load(dir).map_err(ClientError::Fleet)
}

fn fleet_name(repository: &Repository) -> Result<FleetName, ClientError> {
    FleetName::new(repository.fleet()).map_err(|e| ClientError::BadUrl(e.to_string()))
}

/// The directory's name, for a fleet without another.
fn name_of(dir: &Path) -> Option<String> {
    let absolute: PathBuf = std::path::absolute(dir).ok()?;
    absolute.file_name()?.to_str().map(str::to_owned)
}

/// The push of what was just published, without what the environment says already.
fn next_push(dir: &Path, waves: &str) -> String {
    format!("next: {}\n", command(dir, &format!("push --to all{waves}"), true))
}

/// `linnet fleet VERB` as it is to be typed: without what the environment says already. `mqtt`: it needs a broker.
fn command(dir: &Path, verb: &str, mqtt: bool) -> String {
    let said = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dir = match said("LINNET_FLEET_DIR") || dir == Path::new(".") {
        true => String::new(),
        false => format!(" --dir {}", quoted(&dir.display().to_string())),
    };
    let mqtt = if mqtt && !said("LINNET_MQTT_URL") { " --mqtt URL" } else { "" };
    format!("linnet fleet {verb}{dir}{mqtt}")
}

/// `1 device`, `2 devices`.
fn devices_text(n: usize) -> String {
    if n == 1 { "1 device".into() } else { format!("{n} devices") }
}
