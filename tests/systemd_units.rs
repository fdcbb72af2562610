//! The shipped units say what the program does. `.ci/systemd` has systemd itself read them.

use std::ffi::OsString;
use std::path::Path;

use clap::Parser;
use linnet::cli::Cli;
use linnet::config::{self, Overrides, Sources, Surroundings};
use linnet::sys::surroundings;

/// The values of `key` in a unit's file, in order.
fn values(file: &str, key: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let prefix = format!("{key}=");
    text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
}

fn value(key: &str) -> String {
    let values = values("linnetd.service", key);
    assert_eq!(values.len(), 1, "{key}: {values:?}");
    values.into_iter().next().expect("one")
}

/// The variables that systemd sets for the directories of the unit.
fn variable(name: &str) -> Option<OsString> {
    match name {
        "RUNTIME_DIRECTORY" => Some(format!("/run/{}", value("RuntimeDirectory")).into()),
        "STATE_DIRECTORY" => Some(format!("/var/lib/{}", value("StateDirectory")).into()),
        _ => None,
    }
}

/// The configuration that the unit's command line and directories give, the shipped file in the place of the operator's.
fn of_the_unit() -> config::Config {
    let start = value("ExecStart");
    let cli = Cli::try_parse_from(start.split(' ')).expect("the unit's command line is one of linnetd's");
    let file = cli.serve.layer.config.clone().expect("the unit names a configuration file");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/linnet.toml");
    assert_eq!(file.parent(), Some(Path::new(&format!("/etc/{}", value("ConfigurationDirectory")))));
    let sources = Sources {
        flags: Overrides { config: Some(shipped), ..cli.serve.overrides() },
        environment: Overrides::from_environment(variable),
        around: Surroundings {
            socket: surroundings::socket(variable),
            state: surroundings::state(variable, false),
            ..surroundings::look()
        },
        generation: None,
    };
    config::load(&sources).expect("the shipped file is right")
}

#[test]
fn socket_and_state_lie_in_the_directories_that_systemd_makes() {
    let config = of_the_unit();
    assert_eq!(config.http.socket, Path::new("/run/linnet/linnet.sock"));
    assert_eq!(config.state_dir, Path::new("/var/lib/linnet"));
}

#[test]
fn systemd_waits_longer_than_the_longest_default_drain() {
    let wait: u64 = value("TimeoutStopSec").parse().expect("seconds");
    let drain = of_the_unit().scheduler.drain + 2 * linnet::limits::CLOSE_GRACE;
    assert!(wait > drain.as_secs(), "{wait} s against {drain:?}");
}

#[test]
fn the_watchdog_is_on_and_reload_is_told_to_systemd() {
    let watchdog: u64 = value("WatchdogSec").parse().expect("seconds");
    assert!(watchdog >= 10, "half of it must be a time in which a loaded machine wakes");
    assert!(value("ExecReload").ends_with("-HUP $MAINPID"));
    assert_eq!(value("Type"), "notify");
    assert_eq!(values("drop-ins/notify-reload.conf", "Type"), ["notify-reload"]);
}

#[test]
fn the_socket_lets_in_the_group_that_the_directories_let_in() {
    let config = of_the_unit();
    assert_eq!(config.http.socket_mode & 0o070, 0o060, "the group may connect");
    assert_eq!(value("RuntimeDirectoryMode"), "0750");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/linnet.tmpfiles.conf");
    let text = std::fs::read_to_string(path).expect("the file");
    let line = text.lines().find(|l| l.starts_with("d /run/linnet ")).expect("the socket's directory");
    assert_eq!(line.split(' ').collect::<Vec<_>>()[2..5], ["0750", value("User").as_str(), value("Group").as_str()]);
}

#[test]
fn a_wrong_configuration_is_not_tried_again_and_again() {
    let never = value("RestartPreventExitStatus");
    let codes: Vec<&str> = never.split(' ').collect();
    for exit in [linnet::exit::Exit::Config, linnet::exit::Exit::Usage] {
        assert!(codes.contains(&(exit as u8).to_string().as_str()), "{never}");
    }
}

#[test]
fn systemd_starts_more_often_than_a_generation_on_trial_is_opened() {
    let burst: u32 = value("StartLimitBurst").parse().expect("a number");
    // The start after the last opening is the one that goes back.
    assert!(burst > linnet::push::bounds::MAX_OPENINGS + 1, "StartLimitBurst={burst}");
}
