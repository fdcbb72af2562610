//! The clock: certificates and pushed metadata count from a day to a day, so a clock that is wrong breaks both.

use std::path::Path;

use tokio::process::Command;

use super::dates;
use super::finding::{Finding, Trouble};
use super::programs;

const CHECK: &str = "clock";
/// Linnet is younger: a clock before this year was never set.
const FIRST_YEAR: i64 = 2024;
/// How far the daemon's clock may be from ours, seconds: its answers name whole seconds and take a while.
const MAX_SKEW_SECS: i64 = 5;

/// What was seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Seconds since 1970.
    pub(super) now: i64,
    /// Whether systemd-timesyncd, or the kernel by whoever sets it, counts it as synchronised.
    pub(super) synchronized: bool,
    /// Whether a clock runs on while the machine is off.
    pub(super) has_rtc: bool,
    /// What the daemon said that it is, seconds since 1970.
    pub(super) daemon: Option<i64>,
}

pub(super) async fn look(daemon: Option<&str>, now: i64) -> Seen {
    let mark = Path::new("/run/systemd/timesync/synchronized").exists();
    Seen {
        now,
        synchronized: mark || kernel_is_synchronized().await,
        has_rtc: ["/dev/rtc", "/dev/rtc0", "/sys/class/rtc/rtc0"].iter().any(|path| Path::new(path).exists()),
        daemon: daemon.and_then(dates::of_http),
    }
}

/// chrony and ntpd leave no mark of timesyncd's; systemd asks the kernel.
async fn kernel_is_synchronized() -> bool {
    if !Path::new("/run/systemd/system").is_dir() {
        return false;
    }
    let mut command = Command::new("timedatectl");
    command.args(["show", "--property=NTPSynchronized", "--value"]);
    programs::ask(command, 64).await.is_ok_and(|said| said.stdout.trim() == "yes")
}

pub(super) fn judge(seen: &Seen) -> Finding {
    let day = dates::day(seen.now);
    if dates::year(seen.now) < FIRST_YEAR {
        return Finding::wrong(
            CHECK,
            Trouble::Unavailable,
            format!("the clock stands at {day}: certificates and pushed metadata look as if they did not count yet"),
            "let it be set from the network (`timedatectl set-ntp true`, and port 123 open), or set it by hand (`date -s`)",
        );
    }
    if let Some(daemon) = seen.daemon
        && (daemon - seen.now).abs() > MAX_SKEW_SECS
    {
        let (apart, side) = ((daemon - seen.now).abs(), if daemon > seen.now { "ahead of" } else { "behind" });
        return Finding::warning(
            CHECK,
            format!("linnetd's clock is {apart} s {side} this one"),
            "is its socket another machine's? Let both clocks be set from the network (`timedatectl set-ntp true`)",
        );
    }
    match (seen.synchronized, seen.has_rtc) {
        (true, _) => Finding::ok(CHECK, format!("{day}, set from the network")),
        (false, true) => Finding::ok(
            CHECK,
            format!("{day}; not known to be set from the network, but kept while the machine is off"),
        ),
        (false, false) => Finding::warning(
            CHECK,
            format!("{day}, not set from the network, and nothing keeps the time while the machine is off"),
            "let it be set from the network (`timedatectl set-ntp true`), or add a real-time clock",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict::{self, Ok, Warning, Wrong};
    use super::*;

    #[test]
    fn the_clock_is_judged_by_its_year_then_by_the_daemons_then_by_who_keeps_it() {
        let now = dates::of_rfc3339("2026-03-01T12:00:00Z").expect("a date");
        let past = dates::of_rfc3339("2023-12-31T23:59:59Z").expect("a date");
        type Row = (i64, bool, bool, Option<i64>, Verdict, &'static str);
        let table: [Row; 9] = [
            (0, true, true, None, Wrong, "1970-01-01"),
            (past, true, true, None, Wrong, "2023-12-31"),
            (now, true, false, None, Ok, "set from the network"),
            (now, false, true, None, Ok, "kept while"),
            (now, false, false, None, Warning, "nothing keeps the time"),
            (now, true, true, Some(now + 5), Ok, "set from"),
            (now, true, true, Some(now - 5), Ok, "set from"),
            (now, true, true, Some(now + 6), Warning, "6 s ahead of"),
            (now, true, true, Some(now - 3600), Warning, "3600 s behind"),
        ];
        for (now, synchronized, has_rtc, daemon, verdict, words) in table {
            let finding = judge(&Seen { now, synchronized, has_rtc, daemon });
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.sentence.contains(words), "{finding:?}");
        }
    }
}
