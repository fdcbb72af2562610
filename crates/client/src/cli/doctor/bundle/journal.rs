//! The daemon's last records in the journal.
//!
//! Only what `linnetd` logged itself at info level and above, and what systemd says of its unit: nobody's words are logged there. What a
//! program writes to its standard error may hold anything, and is left out.

use serde_json::Value;
use tokio::process::Command;

use crate::cli::doctor::dates;
use crate::cli::doctor::programs;
use crate::cli::doctor::service::UNIT;

/// Records that are asked for.
const MAX_RECORDS: &str = "2000";
/// Largest answer of `journalctl`, bytes.
const MAX_ASKED_BYTES: u64 = 4 << 20;
/// The level `info` of syslog; `debug` is one above.
const INFO: u64 = 6;

/// The records, one a line, the newest last; or why there are none.
pub(super) async fn look() -> String {
    let mut command = Command::new("journalctl");
    command.args([
        "--unit",
        UNIT,
        "--priority",
        "info",
        "--lines",
        MAX_RECORDS,
        "--output",
        "json",
        "--no-pager",
        "--quiet",
    ]);
    command.args(["--output-fields", "PRIORITY,_TRANSPORT,SYSLOG_IDENTIFIER,_PID,MESSAGE"]);
    match programs::ask(command, MAX_ASKED_BYTES).await {
        Err(why) => format!("not there: {why}\n"),
        Ok(said) if !said.succeeded() => format!("not there: {}\n", said.stderr.trim()),
        Ok(said) => match records(&said.stdout) {
            lines if lines.is_empty() => {
                "no record that this user may read; try `sudo linnet doctor --bundle FILE`\n".into()
            }
            lines => lines,
        },
    }
}

fn records(json_lines: &str) -> String {
    json_lines.lines().filter_map(record).map(|line| line + "\n").collect()
}

/// One record as a line; `None` for one that must not be told, or that is cut off.
fn record(line: &str) -> Option<String> {
    let record: Value = serde_json::from_str(line).ok()?;
    let of = |name: &str| record[name].as_str();
    let priority = of("PRIORITY")?.parse::<u64>().ok()?;
    if priority > INFO || of("_TRANSPORT") != Some("journal") {
        return None;
    }
    let secs = of("__REALTIME_TIMESTAMP")?.parse::<i64>().ok()? / 1_000_000;
    let (day, second) = (dates::day(secs), secs.rem_euclid(86_400));
    let time = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
    let level =
        ["emerg", "alert", "crit", "error", "warning", "notice", "info"].get(usize::try_from(priority).ok()?)?;
    let who = of("SYSLOG_IDENTIFIER").unwrap_or("?");
    // A message that is no UTF-8 comes as a list of bytes: whoever wrote it, it is no sentence of ours.
    let message = of("MESSAGE")?.replace(['\n', '\r'], " ");
    Some(format!("{day}T{time}Z {level:<7} {who}[{}] {message}", of("_PID").unwrap_or("?")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_daemon_and_systemd_logged_at_info_and_above_is_told() {
        let line = |priority: &str, transport: &str, message: &str| {
            let record = serde_json::json!({
                "PRIORITY": priority, "_TRANSPORT": transport, "SYSLOG_IDENTIFIER": "linnetd", "_PID": "17",
                "MESSAGE": message, "__REALTIME_TIMESTAMP": "784111777000000",
            });
            record.to_string() + "\n"
        };
        let all = [
            line("6", "journal", "ready"),
            line("3", "journal", "a model\nfailed"),
            line("7", "journal", "what somebody said"),
            line("6", "stdout", "panicked inside of what somebody said"),
            r#"{"PRIORITY": "6", "_TRANSPORT": "journal", "MESSAGE": [255], "__REALTIME_TIMESTAMP": "1"}"#.to_owned()
                + "\n",
            "{\"PRIORITY\": \"6\", \"MESS".to_owned(),
        ];
        assert_eq!(
            records(&all.concat()),
            "1994-11-06T08:49:37Z info    linnetd[17] ready\n1994-11-06T08:49:37Z error   linnetd[17] a model failed\n"
        );
    }
}
