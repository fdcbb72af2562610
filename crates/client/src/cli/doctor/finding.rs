//! What a check found.

use serde::Serialize;

/// How it stands with what was looked at, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// Not looked at: it is not in use, or this user may not see it.
    Skipped,
    /// It works, and somebody should know.
    Warning,
    /// It does not work, or a stranger can read what is secret.
    Wrong,
}

/// What kind of thing is wrong: an exit code of `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Something that is needed is missing or does not work: the daemon, a model, the broker, the disk, the clock.
    Unavailable = 69,
    /// A fault of the daemon's own.
    Software = 70,
    /// Somebody may not do what he needs to, or may read what he must not.
    NotAllowed = 77,
    /// The configuration, or a file that it names.
    Config = 78,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Which check.
    pub(super) check: &'static str,
    /// How it stands.
    pub(super) verdict: Verdict,
    /// What was found, one sentence without its full stop.
    pub(super) sentence: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) way_out: Option<String>,
    /// The exit code, where it is wrong.
    #[serde(skip)]
    pub(super) code: Option<u8>,
}

/// Longest sentence that is passed on, characters: what a daemon says may be longer than a line should be.
const LONGEST: usize = 600;

impl Finding {
    pub(super) fn ok(check: &'static str, sentence: impl AsRef<str>) -> Self {
        Self { check, verdict: Verdict::Ok, sentence: one_line(sentence.as_ref()), way_out: None, code: None }
    }

    /// `way_out` is empty where nothing needs to be done.
    pub(super) fn skipped(check: &'static str, sentence: impl AsRef<str>, way_out: &str) -> Self {
        let way_out = Some(way_out).filter(|way| !way.is_empty()).map(one_line);
        Self { verdict: Verdict::Skipped, way_out, ..Self::ok(check, sentence) }
    }

    pub(super) fn warning(check: &'static str, sentence: impl AsRef<str>, way_out: impl AsRef<str>) -> Self {
        Self { verdict: Verdict::Warning, way_out: Some(one_line(way_out.as_ref())), ..Self::ok(check, sentence) }
    }

    pub(super) fn wrong(
        check: &'static str,
        trouble: Trouble,
        sentence: impl AsRef<str>,
        way_out: impl AsRef<str>,
    ) -> Self {
        let code = Some(trouble as u8);
        Self { verdict: Verdict::Wrong, code, ..Self::warning(check, sentence, way_out) }
    }
}

/// Text of others on one line, without what would move a terminal's cursor.
pub(super) fn one_line(text: &str) -> String {
    let plain: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match plain.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &plain[..end]),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_stays_on_one_line_and_is_bounded() {
        let finding = Finding::ok("models", "a\nb\u{1b}[2Jc");
        assert_eq!(finding.sentence, "a b [2Jc");
        assert!(Finding::ok("models", "ä".repeat(5_000)).sentence.chars().count() < LONGEST + 3);
    }

    #[test]
    fn verdicts_are_ordered_from_best_to_worst() {
        assert!(Verdict::Ok < Verdict::Skipped && Verdict::Skipped < Verdict::Warning);
        assert!(Verdict::Warning < Verdict::Wrong);
    }
}
