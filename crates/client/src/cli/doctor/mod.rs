//! `linnet doctor`: says what is wrong, with or without a running daemon, and writes a support file.
//!
//! Each check is a file: `look` sees (files, sockets, other programs), `judge` decides and does nothing else.

mod broker;
mod bundle;
mod certificate;
mod clock;
mod daemon;
mod dates;
mod files;
mod finding;
mod fleet;
mod machine;
mod people;
mod process;
mod programs;
mod report;
mod service;
mod settings;
mod socket;
mod sources;
mod state;

use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use linnet_proto::status::Status;
use serde_json::Value;

use self::finding::{Finding, Trouble};
use self::people::{Caller, Names};
use self::process::Process;
use self::report::Report;
use self::settings::{Checked, Settings};
use super::args::DoctorArgs;
use super::output;
use crate::{ClientError, Local};

/// Largest `/v1/status` that is read, bytes.
const MAX_STATUS_BYTES: usize = 1 << 20;

pub(super) async fn run(local: &Local, args: DoctorArgs) -> Result<ExitCode, ClientError> {
    // An empty variable counts as none.
    let config = args.config.filter(|path| !path.as_os_str().is_empty());
    let seen = Seen::look(local, config).await;
    let findings = seen.judge();
    let mut report = Report::new(&seen, findings);
    if let Some(path) = &args.bundle {
        report.bundle = Some(bundle::write(path, local, &seen, &report).await?);
    }
    if args.json {
        output::json(&report)?;
    } else {
        output::write(&report.for_people(report::colour()))?;
    }
    Ok(report.exit_code())
}

/// Everything that was seen.
struct Seen {
    /// Seconds since 1970.
    now: i64,
    caller: Caller,
    names: Names,
    socket: socket::Seen,
    process: Option<Process>,
    told: Told,
    service: Option<service::Properties>,
    settings: Settings,
    checked: Checked,
    files: Vec<files::Named>,
    broker: broker::Seen,
    state: Option<(PathBuf, state::Place)>,
    fleet: fleet::Seen,
    clock: clock::Seen,
    cpu: Result<String, String>,
    meminfo: String,
    journal: machine::Journal,
}

/// What the daemon answered to `/v1/status`.
enum Told {
    /// No daemon answers.
    Nothing,
    /// It refused, or what came makes no sense to this client.
    Broken(String, Option<Bytes>),
    /// As it is understood here, and as it came: a newer daemon tells more.
    Status(Box<Status>, Value, Bytes),
}

impl Told {
    async fn look(local: &Local) -> Self {
        let got = match local.get("/v1/status", MAX_STATUS_BYTES).await {
            Ok(got) if got.status == 200 => got,
            Ok(got) => return Self::Broken(format!("HTTP status {}", got.status), Some(got.body)),
            Err(e) => return Self::Broken(e.to_string(), None),
        };
        match (serde_json::from_slice(&got.body), serde_json::from_slice(&got.body)) {
            (Ok(status), Ok(value)) => Self::Status(Box::new(status), value, got.body),
            (Err(e), _) | (_, Err(e)) => Self::Broken(e.to_string(), Some(got.body)),
        }
    }

    fn status(&self) -> Option<&Status> {
        match self {
            Self::Status(status, ..) => Some(status),
            _ => None,
        }
    }

    fn value(&self) -> Option<&Value> {
        match self {
            Self::Status(_, value, _) => Some(value),
            _ => None,
        }
    }

    /// The answer as it came.
    fn body(&self) -> Option<&Bytes> {
        match self {
            Self::Status(_, _, body) | Self::Broken(_, Some(body)) => Some(body),
            _ => None,
        }
    }
}

/// A verb of the `linnetd` beside this program with configuration, state directory, models and environment of the daemon that answers on the
/// socket, or that would.
pub(super) async fn verb_of_daemon(local: &Local, verb: &str) -> tokio::process::Command {
    let process = socket::look(local).await.peer.map(|(pid, uid)| Process::look(pid, uid));
    settings::verb_of_daemon(verb, process.as_ref(), local.socket())
}

impl Seen {
    async fn look(local: &Local, config: Option<PathBuf>) -> Self {
        let now = i64::try_from(crate::clock::now_secs()).unwrap_or(i64::MAX);
        let socket = socket::look(local).await;
        let process = socket.peer.map(|(pid, uid)| Process::look(pid, uid));
        let told = if socket.answers() { Told::look(local).await } else { Told::Nothing };
        let (settings, checked) = settings::look(config, process.as_ref(), local.socket()).await;
        let state_dir = settings::state_dir(&settings, process.as_ref(), local.socket());
        Self {
            now,
            caller: Caller::look(),
            names: Names::look(),
            service: service::look().await,
            files: files::look(&settings),
            broker: broker::look(told.status(), &settings).await,
            state: state_dir.map(|path| (path.clone(), state::look(&path))),
            fleet: fleet::look(&settings, told.value()),
            clock: clock::look(socket.date.as_deref(), now).await,
            cpu: machine::look_at_cpu().await,
            meminfo: std::fs::read_to_string("/proc/meminfo").unwrap_or_default(),
            journal: machine::look_at_journal(),
            socket,
            process,
            told,
            settings,
            checked,
        }
    }

    /// Every check in the order in which one would mend things.
    fn judge(&self) -> Vec<Finding> {
        let daemon_uid = self.process.as_ref().map(|process| process.uid);
        let status = self.told.status();
        let mut findings = Vec::new();
        findings.extend(socket::judge(&self.socket, &self.caller, &self.names));
        findings.push(service::judge(self.service.as_ref(), self.socket.answers()));
        findings.push(settings::judge(&self.settings, &self.checked));
        if let Told::Broken(why, _) = &self.told {
            findings.push(not_understood(why));
        }
        if let Some(status) = status {
            findings.push(daemon::judge_version(&status.version, env!("CARGO_PKG_VERSION")));
            findings.extend(daemon::judge_health(status, self.socket.ready()));
            findings.extend(daemon::judge_models(status));
        }
        findings.push(broker::judge(&self.broker));
        findings.push(clock::judge(&self.clock));
        let around = state::Around {
            daemon_uid,
            told: status.and_then(|status| status.mqtt_storage.as_deref()),
            needed: ["mqtt.url", "fleet.name", "fleet.claim"].iter().any(|key| self.settings.text(key).is_some()),
        };
        let state = self.state.as_ref().map(|(path, place)| (path, place));
        findings.extend(state::judge(state, around, &self.caller, &self.names));
        findings.extend(files::judge(&self.files, daemon_uid, &self.names, self.now));
        findings.push(fleet::judge(&self.fleet, self.now));
        let ca = self.settings.path("fleet.ca_file");
        let of_sources = status.map(|status| sources::judge(&status.fleet_sources, ca.as_deref(), self.now));
        findings.extend(of_sources.unwrap_or_default());
        findings.push(machine::judge_memory(
            machine::memory(&self.meminfo),
            self.settings.number("memory_limit_mib"),
            status,
        ));
        findings.push(machine::judge_cpu(self.cpu.as_deref().map_err(String::as_str)));
        findings.push(machine::judge_journal(self.journal));
        findings
    }
}

fn not_understood(why: &str) -> Finding {
    Finding::wrong(
        "health",
        Trouble::Unavailable,
        format!("/v1/status is not understood: {why}"),
        "install linnetd and linnet from one release; if they are, name linnetd's own socket with --socket",
    )
}
