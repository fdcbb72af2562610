//! The configuration that is in use: which file, what `linnetd` says of it, and the values that the other checks need.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tokio::process::Command;
use toml::{Table, Value};

use super::files::KEYS;
use super::finding::{Finding, Trouble};
use super::process::Process;
use super::programs::{self, Said};
use crate::cli::models;
use crate::socket::SYSTEM_PATH;

const CHECK: &str = "config";
/// The file of a daemon that systemd started (`systemd/linnetd.service`).
const SYSTEM_FILE: &str = "/etc/linnet/linnet.toml";
/// Its state directory.
const SYSTEM_STATE: &str = "/var/lib/linnet";
/// Largest file or page that is read, bytes.
pub(super) const MAX_BYTES: u64 = 1 << 20;
/// Variables that make a configuration, besides those that begin with `LINNET_`.
const OF_SURROUNDINGS: [&str; 5] =
    ["RUNTIME_DIRECTORY", "STATE_DIRECTORY", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME"];

/// What `linnetd --check` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checked {
    /// There is no file to check.
    NoFile,
    /// This user may not read the file.
    Unreadable(String),
    /// There is no `linnetd` to ask, or it did not end.
    NotAsked(String),
    /// It is right.
    Right,
    /// It breaks rules, one a line.
    Faults(String),
}

/// The configuration in use.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// The file; `None` where the daemon runs without one.
    pub(super) file: Option<PathBuf>,
    /// The page of `--explain`, where this `linnetd` has one.
    pub(super) page: Option<String>,
    values: Table,
}

impl Settings {
    #[cfg(test)]
    pub(super) fn of(text: &str) -> Self {
        Self { file: Some("/etc/linnet/linnet.toml".into()), page: None, values: text.parse().expect("TOML") }
    }

    /// The value of `section.name` or `name`.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let mut parts = key.split('.');
        let first = self.values.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_integer().and_then(|n| u64::try_from(n).ok())
    }

    /// A path; a relative one begins at the file's directory.
    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(key)?);
        Some(match self.file.as_deref().and_then(Path::parent) {
            Some(directory) => directory.join(path),
            None => path,
        })
    }

    /// Every value without the file's comments, which may hold anything. Of a file that nobody has found right, a text is shown only where its
    /// key is known to hold no secret: somebody may have written his password under a key of his own.
    pub(super) fn without_comments(&self, is_right: bool) -> String {
        let mut values = self.values.clone();
        if !is_right {
            each_text(&mut values, "", &mut |key, text| {
                if !is_harmless(key) {
                    *text = format!("[a text of {} characters]", text.chars().count());
                }
            });
        }
        toml::to_string(&values).unwrap_or_default()
    }

    /// Texts of keys that are not known to hold no secret.
    pub(super) fn doubtful_texts(&self) -> Vec<String> {
        let mut found = Vec::new();
        each_text(&mut self.values.clone(), "", &mut |key, text| {
            if !is_harmless(key) {
                found.push(text.clone());
            }
        });
        found
    }

    /// Whether this is the configuration, or the socket, of a daemon that systemd starts.
    fn is_systems(&self, socket: &Path) -> bool {
        socket == Path::new(SYSTEM_PATH) || self.file.as_deref() == Some(Path::new(SYSTEM_FILE))
    }
}

/// Keys whose texts are no secret, whatever stands there; logins in URLs are taken out apart.
const HARMLESS: [&str; 17] = [
    "device",
    "socket",
    "state",
    "models",
    "default_model",
    "dtype",
    "preload",
    "pinned",
    "log",
    "http.socket_mode",
    "http.socket_group",
    "http.tcp",
    "mqtt.url",
    "mqtt.device",
    "wyoming.tcp",
    "fleet.name",
    "fleet.root",
];

fn is_harmless(key: &str) -> bool {
    HARMLESS.contains(&key) || KEYS.iter().any(|(own, _)| *own == key)
}

/// Every text of a table, by the path of its key.
fn each_text(table: &mut Table, under: &str, each: &mut impl FnMut(&str, &mut String)) {
    fn of_value(value: &mut Value, key: &str, each: &mut impl FnMut(&str, &mut String)) {
        match value {
            Value::String(text) => each(key, text),
            Value::Array(values) => values.iter_mut().for_each(|value| of_value(value, key, each)),
            Value::Table(table) => {
                table.iter_mut().for_each(|(name, value)| of_value(value, &format!("{key}.{name}"), each))
            }
            _ => {}
        }
    }
    for (name, value) in table.iter_mut() {
        of_value(value, &format!("{under}{name}"), each);
    }
}

/// Finds the file: named by the caller, by the daemon's own flag or variable, else the system's.
pub(super) fn file(asked: Option<PathBuf>, process: Option<&Process>, socket: &Path, system: &Path) -> Option<PathBuf> {
    let of_daemon = || {
        let process = process?;
        let variable = || process.variable("LINNET_CONFIG").map(|path| process.absolute(Path::new(path)));
        process.path_flag("--config").or_else(variable)
    };
    let may_be_systems = process.is_none() || socket == Path::new(SYSTEM_PATH);
    asked.or_else(of_daemon).or_else(|| (may_be_systems && system.exists()).then(|| system.to_owned()))
}

/// Reads and checks the configuration of `process`, or of the daemon that would listen on `socket`.
pub(super) async fn look(asked: Option<PathBuf>, process: Option<&Process>, socket: &Path) -> (Settings, Checked) {
    let mut settings = Settings { file: file(asked, process, socket, Path::new(SYSTEM_FILE)), ..Settings::default() };
    if let Some(path) = &settings.file {
        match read(path) {
            // What is no TOML has no values; `linnetd --check` says why.
            Ok(text) => settings.values = text.parse().unwrap_or_default(),
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                return (settings, Checked::Unreadable(e.to_string()));
            }
            Err(e) => {
                let fault = format!("{}: {e}", path.display());
                return (settings, Checked::Faults(fault));
            }
        }
    }
    let mut said = explain(&settings, process, socket).await;
    // An older linnetd does not explain: it takes the flag for a mistake.
    if let (Ok(Said { code: Some(64), .. }), Some(path)) = (&said, &settings.file) {
        let mut command = models::program();
        command.arg("--check").arg(path);
        said = programs::ask(command, MAX_BYTES).await;
    }
    let checked = match said {
        Err(why) => Checked::NotAsked(why),
        Ok(said) if said.succeeded() => {
            if let Ok(values) = said.stdout.parse::<Table>()
                && !values.is_empty()
            {
                settings.values = values;
                settings.page = Some(said.stdout);
            }
            if settings.file.is_some() { Checked::Right } else { Checked::NoFile }
        }
        Ok(_) if settings.file.is_none() => Checked::NoFile,
        Ok(Said { code: Some(_), stderr, .. }) => Checked::Faults(stderr),
        Ok(Said { code: None, .. }) => Checked::NotAsked("linnetd: a signal ended it".into()),
    };
    (settings, checked)
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// `linnetd --check FILE --explain`, with the flags and in the environment of the daemon, so that it comes to the same.
async fn explain(settings: &Settings, process: Option<&Process>, socket: &Path) -> Result<Said, String> {
    let mut command = models::program();
    command.arg("--check").args(&settings.file).arg("--explain");
    if let Some(process) = process {
        for flag in ["--socket", "--state"] {
            command.args(process.path_flag(flag).into_iter().flat_map(|path| [flag.into(), path.into_os_string()]));
        }
        for models in process.flags("--models") {
            command.arg("--models").arg(process.absolute(Path::new(&models)));
        }
        for flag in ["--default-model", "--log"] {
            command.args(process.flags(flag).pop().into_iter().flat_map(|value| [flag.to_owned(), value]));
        }
    }
    surround(&mut command, process, settings.is_systems(socket), socket);
    programs::ask(command, MAX_BYTES).await
}

/// `linnetd VERB --config … --state …` of that daemon.
pub(super) fn verb_of_daemon(verb: &str, process: Option<&Process>, socket: &Path) -> Command {
    let file = file(None, process, socket, Path::new(SYSTEM_FILE));
    let settings = Settings { file, ..Settings::default() };
    let mut command = models::command(verb);
    surround(&mut command, process, settings.is_systems(socket), socket);
    command.args(settings.file.iter().flat_map(|file| [Path::new("--config"), file]));
    if let Some(process) = process {
        command.args(process.path_flag("--state").into_iter().flat_map(|path| [PathBuf::from("--state"), path]));
        let models = process.flags("--models").into_iter().map(|models| process.absolute(Path::new(&models)));
        let models: Vec<PathBuf> = models.collect();
        // As the environment's: a verb's own flag would leave out what the daemon adds to it.
        if let Some(models) = std::env::join_paths(models).ok().filter(|models| !models.is_empty()) {
            command.env("LINNET_MODELS", models);
        }
    }
    command
}

/// The variables of the daemon in place of the caller's.
fn surround(command: &mut Command, process: Option<&Process>, is_systems: bool, socket: &Path) {
    let own: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    let makes_a_configuration = |name: &str| name.starts_with("LINNET_") || OF_SURROUNDINGS.contains(&name);
    let replace = |command: &mut Command, with: Vec<(String, OsString)>| {
        for name in own.iter().filter(|name| makes_a_configuration(name)) {
            command.env_remove(name);
        }
        command.envs(with);
    };
    let of_system = || {
        let directory = |path: &Path| path.parent().map(|dir| dir.as_os_str().to_owned()).unwrap_or_default();
        vec![
            ("STATE_DIRECTORY".to_owned(), OsString::from(SYSTEM_STATE)),
            ("RUNTIME_DIRECTORY".to_owned(), directory(Path::new(SYSTEM_PATH))),
        ]
    };
    match process.map(|process| &process.environment) {
        Some(Some(environment)) => {
            let its = environment.iter().filter(|(name, _)| makes_a_configuration(name));
            replace(command, its.map(|(name, value)| (name.clone(), value.clone())).collect());
        }
        // Another user's daemon, or the system's that is not running.
        _ if is_systems => replace(command, of_system()),
        _ => {
            command.env("LINNET_SOCKET", socket);
        }
    }
}

/// The state directory of the daemon: by its flag, its environment, the explained configuration, or where systemd puts it.
pub(super) fn state_dir(settings: &Settings, process: Option<&Process>, socket: &Path) -> Option<PathBuf> {
    let own = |process: &Process| {
        let variable = |name: &str| process.variable(name).map(PathBuf::from);
        process.path_flag("--state").or_else(|| variable("LINNET_STATE"))
    };
    let of_system = || settings.is_systems(socket).then(|| PathBuf::from(SYSTEM_STATE));
    process.and_then(own).or_else(|| settings.path("state")).or_else(of_system)
}

pub(super) fn judge(settings: &Settings, checked: &Checked) -> Finding {
    let file = settings.file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    match checked {
        Checked::NoFile => Finding::ok(CHECK, "there is no configuration file: the defaults count"),
        Checked::Right => Finding::ok(CHECK, format!("{file} is right")),
        Checked::Unreadable(why) => {
            Finding::skipped(CHECK, format!("{file}: {why}"), "run `sudo linnet doctor` to have it checked")
        }
        Checked::NotAsked(why) => Finding::skipped(
            CHECK,
            format!("{file} was not checked: {why}").trim_start(),
            "install linnetd beside linnet, or in PATH",
        ),
        Checked::Faults(said) => {
            let mut faults = said.lines().map(str::trim).filter(|line| !line.is_empty());
            let first = faults.next().unwrap_or("linnetd refuses it and does not say why");
            let first = first.strip_prefix("linnetd: ").unwrap_or(first);
            let more = match faults.count() {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            Finding::wrong(
                CHECK,
                Trouble::Config,
                format!("{first}{more}"),
                format!("mend it until `linnetd --check {file}` is content, then restart or reload linnetd"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn the_file_is_the_callers_then_the_daemons_then_the_systems() {
        let dir = tempfile::tempdir().expect("a directory");
        let system = dir.path().join("linnet.toml");
        let nowhere = dir.path().join("missing.toml");
        std::fs::write(&system, "").expect("a file");
        let flag = Process { arguments: vec!["--config=/d.toml".into()], ..Process::default() };
        let variable = Process {
            environment: Some([("LINNET_CONFIG".to_owned(), OsString::from("/v.toml"))].into()),
            ..Process::default()
        };
        let (own, theirs) = (Path::new("/run/user/7/linnet/linnet.sock"), Path::new(SYSTEM_PATH));
        let none = Process::default();
        for (asked, process, socket, system, expected) in [
            (Some("/a.toml"), Some(&flag), own, &system, Some(Path::new("/a.toml"))),
            (None, Some(&flag), own, &system, Some(Path::new("/d.toml"))),
            (None, Some(&variable), own, &system, Some(Path::new("/v.toml"))),
            (None, Some(&none), own, &system, None),
            (None, Some(&none), theirs, &system, Some(system.as_path())),
            (None, None, own, &system, Some(system.as_path())),
            (None, None, theirs, &nowhere, None),
        ] {
            assert_eq!(file(asked.map(PathBuf::from), process, socket, system).as_deref(), expected);
        }
    }

    #[test]
    fn values_are_read_from_sections_and_from_dotted_keys_alike() {
        for text in [
            "[mqtt]\nurl = \"mqtt://b\"\nca_file = \"ca.pem\"\n",
            "mqtt.url = \"mqtt://b\"  # file:2\nmqtt.ca_file = \"ca.pem\"",
        ] {
            let settings = Settings::of(text);
            assert_eq!(settings.text("mqtt.url"), Some("mqtt://b"));
            assert_eq!(settings.path("mqtt.ca_file"), Some(PathBuf::from("/etc/linnet/ca.pem")));
            assert_eq!(settings.text("mqtt.password_file"), None);
            assert_eq!(settings.text("http.tcp"), None);
        }
        assert_eq!(Settings::of("memory_limit_mib = 512").number("memory_limit_mib"), Some(512));
    }

    #[test]
    fn comments_of_the_file_are_left_out() {
        let settings = Settings::of("# the old password was hunter2\nlog = \"info\" # hunter3\n");
        let written = settings.without_comments(true);
        assert!(written.contains("log = \"info\"") && !written.contains("hunter"), "{written}");
    }

    #[test]
    fn a_text_of_a_key_that_linnetd_does_not_know_is_not_told() {
        let text =
            "log = \"info\"\n[mqtt]\nurl = \"mqtt://b\"\npass = \"hunter2\"\n[own]\na = [{ b = \"hunter3\" }]\nn = 4\n";
        let settings = Settings::of(text);
        let written = settings.without_comments(false);
        assert!(!written.contains("hunter") && written.contains("pass = \"[a text of 7 characters]\""), "{written}");
        assert!(written.contains("mqtt://b") && written.contains("n = 4"), "{written}");
        assert_eq!(settings.doubtful_texts(), ["hunter2", "hunter3"]);
    }

    #[test]
    fn state_is_where_the_daemon_keeps_it() {
        let settings = Settings::of("state = \"/s\"");
        let flag = Process { arguments: vec!["--state".into(), "/f".into()], ..Process::default() };
        let system = Path::new(SYSTEM_PATH);
        assert_eq!(state_dir(&settings, Some(&flag), system), Some("/f".into()));
        assert_eq!(state_dir(&settings, Some(&Process::default()), system), Some("/s".into()));
        assert_eq!(state_dir(&Settings::default(), None, system), Some(SYSTEM_STATE.into()));
        assert_eq!(state_dir(&Settings::default(), None, Path::new("/x")), None);
    }

    #[test]
    fn each_outcome_of_the_check_has_its_verdict() {
        let settings = Settings::of("");
        for (checked, verdict, code, words) in [
            (Checked::NoFile, Verdict::Ok, None, "defaults"),
            (Checked::Right, Verdict::Ok, None, "is right"),
            (Checked::Unreadable("permission denied".into()), Verdict::Skipped, None, "permission denied"),
            (Checked::NotAsked("linnetd: not found".into()), Verdict::Skipped, None, "not checked: linnetd: not found"),
            (
                Checked::Faults("linnetd: a:1: x: no\na:2: y: no\n".into()),
                Verdict::Wrong,
                Some(78),
                "a:1: x: no (and 1 more)",
            ),
            (Checked::Faults(String::new()), Verdict::Wrong, Some(78), "does not say why"),
        ] {
            let finding = judge(&settings, &checked);
            assert_eq!((finding.verdict, finding.code), (verdict, code), "{checked:?}");
            assert!(finding.sentence.contains(words), "{finding:?}");
        }
    }
}
