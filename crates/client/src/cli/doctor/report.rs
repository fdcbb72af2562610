//! The findings together: for people, as JSON, and as an exit code.

use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;

use serde::Serialize;

use super::finding::{Finding, Verdict};
use super::{Seen, bundle};

/// What `linnet doctor` says.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// `linnet`'s version.
    version: &'static str,
    /// The daemon's socket.
    socket: String,
    /// The daemon's configuration; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<String>,
    /// The worst verdict.
    verdict: Verdict,
    /// How many checks are wrong.
    wrong: usize,
    /// How many warn.
    warnings: usize,
    /// Each check, in the order in which one would mend things.
    checks: Vec<Finding>,
    /// The support file, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bundle: Option<bundle::Written>,
}

/// Whether standard output is a terminal that shows colours (and nobody asked for none: `NO_COLOR`).
pub(super) fn colour() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && !unwanted && !dumb
}

impl Report {
    pub(super) fn new(seen: &Seen, checks: Vec<Finding>) -> Self {
        let config = seen.settings.file.as_ref().map(|path| path.display().to_string());
        Self::of(seen.socket.path.display().to_string(), config, checks)
    }

    fn of(socket: String, config: Option<String>, checks: Vec<Finding>) -> Self {
        let count = |verdict| checks.iter().filter(|finding| finding.verdict == verdict).count();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            socket,
            config,
            verdict: checks.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok),
            wrong: count(Verdict::Wrong),
            warnings: count(Verdict::Warning),
            checks,
            bundle: None,
        }
    }

    /// That of the first thing that is wrong; 0 when nothing is.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.checks.iter().find_map(|finding| finding.code).unwrap_or(0))
    }

    /// One line for each check, the worst first, and how it stands with all of them.
    pub(super) fn for_people(&self, colour: bool) -> String {
        let mut text = String::new();
        let mut sorted: Vec<&Finding> = self.checks.iter().collect();
        sorted.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
        for finding in sorted {
            let mark = mark(finding.verdict, colour);
            // Writing to a string cannot fail.
            let _ = write!(text, "{mark} {:<8} {}", finding.check, finding.sentence);
            if let Some(way_out) = &finding.way_out {
                let _ = write!(text, "; {way_out}");
            }
            text.push('\n');
        }
        let _ = writeln!(text, "{}", self.summary());
        if let Some(bundle) = &self.bundle {
            let _ = write!(text, "\n{bundle}");
        }
        text
    }

    fn summary(&self) -> String {
        let many = |n: usize, one: &str, more: &str| format!("{n} {}", if n == 1 { one } else { more });
        let warnings = many(self.warnings, "warning", "warnings");
        match (self.wrong, self.warnings) {
            (0, 0) => "Nothing is wrong.".to_owned(),
            (0, _) => format!("Nothing is wrong; {warnings}."),
            (wrong, 0) => format!("{} wrong.", many(wrong, "thing is", "things are")),
            (wrong, _) => format!("{} wrong; {warnings}.", many(wrong, "thing is", "things are")),
        }
    }
}

fn mark(verdict: Verdict, colour: bool) -> String {
    let (mark, code) = match verdict {
        Verdict::Ok => ("✓", 32),
        Verdict::Skipped => ("–", 2),
        Verdict::Warning => ("!", 33),
        Verdict::Wrong => ("✗", 31),
    };
    if colour { format!("\u{1b}[{code}m{mark}\u{1b}[0m") } else { mark.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Trouble;
    use super::*;

    fn report(checks: Vec<Finding>) -> Report {
        Report::of("/run/linnet/linnet.sock".into(), None, checks)
    }

    #[test]
    fn the_worst_stands_first_and_the_sum_last_and_the_code_is_that_of_the_first_to_mend() {
        let checks = vec![
            Finding::ok("socket", "it answers"),
            Finding::warning("version", "two versions", "install one"),
            Finding::wrong("config", Trouble::Config, "line 1 is wrong", "mend it"),
            Finding::skipped("fleet", "none", ""),
            Finding::wrong("broker", Trouble::Unavailable, "it is down", "start it"),
        ];
        let report = report(checks);
        let text = report.for_people(false);
        let marks: String = text.lines().filter_map(|line| line.chars().next()).collect();
        assert_eq!(marks, "✗✗!–✓2", "{text}");
        assert!(text.starts_with("✗ config   line 1 is wrong; mend it\n✗ broker "), "{text}");
        assert!(text.ends_with("\n2 things are wrong; 1 warning.\n"), "{text}");
        assert!(!text.contains('\u{1b}') && report.for_people(true).contains("\u{1b}[31m✗"));
        assert_eq!(report.exit_code(), ExitCode::from(78));
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!((&json["verdict"], &json["wrong"], &json["warnings"]), (&"wrong".into(), &2.into(), &1.into()));
        assert_eq!(
            json["checks"][2],
            serde_json::json!({
                "check": "config", "verdict": "wrong", "sentence": "line 1 is wrong", "way_out": "mend it",
            })
        );
    }

    #[test]
    fn warnings_alone_are_no_failure() {
        let report = report(vec![Finding::warning("clock", "not set", "set it"), Finding::ok("socket", "it answers")]);
        assert_eq!(report.exit_code(), ExitCode::SUCCESS);
        assert!(report.for_people(false).ends_with("Nothing is wrong; 1 warning.\n"));
        assert!(super::super::report::Report::of(String::new(), None, Vec::new()).summary() == "Nothing is wrong.");
    }
}
