//! What systemd says of the unit: why a daemon that does not answer has ended.

use std::collections::BTreeMap;
use std::path::Path;

use tokio::process::Command;

use super::finding::{Finding, Trouble};
use super::programs;

const CHECK: &str = "service";
pub(super) const UNIT: &str = "linnetd.service";
/// What is asked: nothing of the unit's environment, which may hold what is secret, and none of its log.
const PROPERTIES: &str = "LoadState,ActiveState,SubState,UnitFileState,FragmentPath,DropInPaths,Result,ExecMainPID,ExecMainCode,\
                          ExecMainStatus,ExecMainStartTimestamp,ExecMainExitTimestamp,NRestarts,StatusText,MemoryCurrent,\
                          MemoryPeak,MemoryHigh,MemoryMax,CPUUsageNSec,TasksCurrent,User,Group,NeedDaemonReload";
/// Largest answer, bytes.
const MAX_BYTES: u64 = 32 << 10;

/// `systemctl show`: each property with its value.
pub(super) type Properties = BTreeMap<String, String>;

/// `None` on a machine that systemd did not start.
pub(super) async fn look() -> Option<Properties> {
    if !Path::new("/run/systemd/system").is_dir() {
        return None;
    }
    let mut command = Command::new("systemctl");
    command.args(["show", UNIT, "--no-pager", "--property", PROPERTIES]);
    let said = programs::ask(command, MAX_BYTES).await.ok().filter(programs::Said::succeeded)?;
    Some(properties(&said.stdout))
}

fn properties(text: &str) -> Properties {
    text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

/// `answers`: whether a daemon answers on the socket, which need not be the unit's.
pub(super) fn judge(unit: Option<&Properties>, answers: bool) -> Finding {
    let Some(unit) = unit else {
        return Finding::skipped(CHECK, "systemd does not run here", "");
    };
    let of = |name: &str| unit.get(name).map(String::as_str).unwrap_or_default();
    if of("LoadState") != "loaded" {
        return Finding::skipped(CHECK, format!("the unit {UNIT} is not installed"), "");
    }
    let restarts = of("NRestarts").parse().unwrap_or(0);
    match of("ActiveState") {
        "active" | "reloading" if restarts > 0 => Finding::warning(
            CHECK,
            format!("{UNIT} is active, after {restarts} restarts"),
            format!("see why in `journalctl -u {UNIT} -p warning`"),
        ),
        "active" | "reloading" => Finding::ok(CHECK, format!("{UNIT} is active")),
        "activating" => Finding::warning(
            CHECK,
            format!("{UNIT} is being started ({}, {restarts} restarts)", of("SubState")),
            format!("wait; if it does not end, see `journalctl -u {UNIT}`"),
        ),
        "failed" => Finding::wrong(
            CHECK,
            Trouble::Unavailable,
            format!("{UNIT} has failed: {}", why(of("Result"), of("ExecMainStatus"))),
            format!(
                "see why in `journalctl -u {UNIT}`, then `systemctl reset-failed {UNIT}` and `systemctl start {UNIT}`"
            ),
        ),
        // A daemon that somebody started by hand.
        state if answers => Finding::ok(CHECK, format!("{UNIT} is {state}; another linnetd answers")),
        state => Finding::warning(
            CHECK,
            format!("{UNIT} is installed and {state}"),
            format!("`systemctl enable --now {UNIT}` starts it, now and with the machine"),
        ),
    }
}

/// systemd's result in words; exit codes as `docs/config.md` lists them.
fn why(result: &str, status: &str) -> String {
    let words = match (result, status) {
        ("exit-code", "64") => "its command line is wrong",
        ("exit-code", "69") => "its socket belongs to another daemon",
        ("exit-code", "70") => "a fault of linnetd itself",
        ("exit-code", "71") => "the operating system refused it a thread",
        ("exit-code", "73") => "it could not create its socket or a directory",
        ("exit-code", "74") => "reading or writing failed",
        ("exit-code", "78") => "its configuration is wrong",
        ("exit-code", "203") => "its program is not there or cannot be run",
        ("exit-code", _) => "it ended with an error",
        ("oom-kill", _) => "the machine ran out of memory, or the unit's MemoryMax= was reached",
        ("watchdog", _) => "it stood still and the watchdog ended it",
        ("timeout", _) => "it was not ready in time",
        ("signal" | "core-dump", _) => "a signal ended it",
        ("start-limit-hit", _) => "it was started too often in too short a time",
        _ => "systemd does not say more",
    };
    format!("{words} ({result}, status {status})")
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn each_state_of_the_unit_has_its_verdict_and_its_words() {
        for (text, answers, verdict, words) in [
            ("LoadState=not-found\nActiveState=inactive\n", false, Verdict::Skipped, "not installed"),
            ("LoadState=loaded\nActiveState=active\nNRestarts=0\n", true, Verdict::Ok, "is active"),
            ("LoadState=loaded\nActiveState=active\nNRestarts=3\n", true, Verdict::Warning, "3 restarts"),
            (
                "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\n",
                false,
                Verdict::Warning,
                "auto-restart",
            ),
            ("LoadState=loaded\nActiveState=inactive\n", false, Verdict::Warning, "installed and inactive"),
            ("LoadState=loaded\nActiveState=inactive\n", true, Verdict::Ok, "another linnetd"),
            (
                "LoadState=loaded\nActiveState=failed\nResult=exit-code\nExecMainStatus=78\n",
                false,
                Verdict::Wrong,
                "its configuration is wrong",
            ),
            (
                "LoadState=loaded\nActiveState=failed\nResult=oom-kill\nExecMainStatus=9\n",
                false,
                Verdict::Wrong,
                "out of memory",
            ),
        ] {
            let finding = judge(Some(&properties(text)), answers);
            assert_eq!(finding.verdict, verdict, "{text}");
            assert!(finding.sentence.contains(words), "{finding:?}");
        }
        assert_eq!(judge(None, false).verdict, Verdict::Skipped);
    }

    #[test]
    fn nothing_of_the_units_environment_is_asked_for() {
        assert!(!PROPERTIES.contains("Environment") && !PROPERTIES.contains("Credential"));
    }
}
