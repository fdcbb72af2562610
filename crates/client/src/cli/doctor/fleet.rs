//! The fleet that the device belongs to: whom it trusts at first, and which generation serves.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use linnet_proto::fleet::Running;
use serde_json::Value;

use super::dates;
use super::finding::{Finding, Trouble};
use super::settings::Settings;

const CHECK: &str = "fleet";
/// Largest `root.json` that is read, bytes.
const MAX_ROOT_BYTES: u64 = 1 << 20;

/// What was seen of `fleet.root`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Root {
    NotNamed,
    Missing,
    /// This user may not read it.
    Closed,
    Failed(String),
    /// It is no root of TUF.
    Broken(String),
    /// Its version, and when it expires, seconds since 1970.
    Read {
        version: u64,
        expires: i64,
    },
}

/// What was seen.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// `fleet.name`.
    pub(super) name: Option<String>,
    pub(super) path: Option<PathBuf>,
    pub(super) root: Root,
    /// The generation that serves, where the daemon tells it.
    pub(super) running: Option<Running>,
    /// Whether a daemon answers.
    pub(super) answers: bool,
}

/// `status` is the daemon's as it came, which an older client understands in part.
pub(super) fn look(settings: &Settings, status: Option<&Value>) -> Seen {
    let path = settings.path("fleet.root");
    let running = status.and_then(|status| serde_json::from_value(status.get("generation")?.clone()).ok());
    Seen {
        name: settings.text("fleet.name").map(ToOwned::to_owned),
        root: path.as_deref().map_or(Root::NotNamed, read),
        path,
        running,
        answers: status.is_some(),
    }
}

fn read(path: &Path) -> Root {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_ROOT_BYTES).read_to_string(&mut text));
    match read {
        Err(e) if e.kind() == ErrorKind::NotFound => Root::Missing,
        Err(e) if e.kind() == ErrorKind::PermissionDenied => Root::Closed,
        Err(e) => Root::Failed(e.to_string()),
        Ok(_) => parse(&text),
    }
}

fn parse(text: &str) -> Root {
    let root: Value = match serde_json::from_str(text) {
        Ok(root) => root,
        Err(e) => return Root::Broken(format!("it is no JSON: {e}")),
    };
    let signed = &root["signed"];
    if signed["_type"] != "root" {
        return Root::Broken("it is JSON, but no root of TUF (`signed._type`)".into());
    }
    let expires = signed["expires"].as_str().and_then(dates::of_rfc3339);
    match (signed["version"].as_u64(), expires) {
        (Some(version), Some(expires)) => Root::Read { version, expires },
        _ => Root::Broken("it has no version, or no date on which it expires".into()),
    }
}

/// `now` in seconds since 1970.
pub(super) fn judge(seen: &Seen, now: i64) -> Finding {
    let Some(name) = &seen.name else {
        return match seen.running {
            Some(running) => Finding::ok(CHECK, format!("generation {} serves", running.generation)),
            None => Finding::skipped(CHECK, "this device belongs to no fleet", ""),
        };
    };
    let path = seen.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let copy = "copy 1.root.json of the fleet's repository (docs/fleet.md) there";
    let config = |sentence: String, way_out: &str| Finding::wrong(CHECK, Trouble::Config, sentence, way_out);
    match &seen.root {
        Root::NotNamed => {
            return config(
                format!("the device belongs to the fleet {name}, and fleet.root is not set"),
                "name its root.json",
            );
        }
        Root::Missing => return config(format!("{path} (fleet.root) is not there"), copy),
        Root::Failed(why) => return config(format!("{path} (fleet.root): {why}"), copy),
        Root::Broken(why) => return config(format!("{path} (fleet.root): {why}"), copy),
        Root::Closed => {
            let sentence = format!("{path} (fleet.root): this user may not read it");
            return Finding::skipped(CHECK, sentence, "run `sudo linnet doctor`; it holds no secret: `chmod 644` it");
        }
        // A chain of roots may well begin with one that has expired; only its end has to count.
        Root::Read { version, expires } if *expires < now => {
            return Finding::warning(
                CHECK,
                format!("{path} (fleet.root), version {version}, expired on {}", dates::day(*expires)),
                "let the device reach its sources, where newer roots are; for new devices ship the newest one",
            );
        }
        Root::Read { .. } => {}
    }
    match seen.running {
        Some(Running { generation: 0, .. }) => {
            Finding::ok(CHECK, format!("{name}: what was shipped with the device serves; nothing was pushed to it yet"))
        }
        Some(Running { generation, confirmed: true }) => {
            Finding::ok(CHECK, format!("{name}: generation {generation} serves and was confirmed"))
        }
        Some(Running { generation, confirmed: false }) => Finding::warning(
            CHECK,
            format!("{name}: generation {generation} serves on trial"),
            "wait for the end of its trial (`fleet.trial_secs`); it stays, or the one before comes back",
        ),
        None if seen.answers => Finding::warning(
            CHECK,
            format!("the configuration names the fleet {name}, and linnetd tells no generation"),
            "restart linnetd, so that it reads [fleet]; an older one knows no fleets",
        ),
        None => {
            Finding::ok(CHECK, format!("{name}: {path} is in order; which generation serves shows when linnetd runs"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict::{self, Ok as Fine, Skipped, Warning, Wrong};
    use super::*;

    #[test]
    fn each_state_of_the_fleet_has_its_verdict_and_its_words() {
        let now = 20_000 * 86_400;
        let root = || Root::Read { version: 1, expires: now + 1 };
        let serves = |generation, confirmed| Some(Running { generation, confirmed });
        type Row = (Option<&'static str>, Root, Option<Running>, bool, Verdict, &'static str);
        let table: [Row; 13] = [
            (None, Root::NotNamed, None, true, Skipped, "no fleet"),
            (None, Root::NotNamed, serves(3, true), true, Fine, "generation 3"),
            (Some("home"), Root::NotNamed, None, true, Wrong, "fleet.root is not set"),
            (Some("home"), Root::Missing, None, true, Wrong, "is not there"),
            (Some("home"), Root::Closed, None, true, Skipped, "may not read"),
            (Some("home"), Root::Failed("I/O".into()), None, true, Wrong, "I/O"),
            (Some("home"), Root::Broken("no JSON".into()), None, true, Wrong, "no JSON"),
            (
                Some("home"),
                Root::Read { version: 1, expires: now - 1 },
                serves(3, true),
                true,
                Warning,
                "expired on 2024-10-03",
            ),
            (Some("home"), root(), serves(0, true), true, Fine, "shipped"),
            (Some("home"), root(), serves(3, true), true, Fine, "generation 3 serves and was confirmed"),
            (Some("home"), root(), serves(3, false), true, Warning, "on trial"),
            (Some("home"), root(), None, true, Warning, "tells no generation"),
            (Some("home"), root(), None, false, Fine, "when linnetd runs"),
        ];
        for (name, root, running, answers, verdict, words) in table {
            let path = Some(PathBuf::from("/etc/linnet/root.json"));
            let finding = judge(&Seen { name: name.map(Into::into), path, root, running, answers }, now);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.sentence.contains(words), "{words}: {finding:?}");
        }
    }

    #[test]
    fn a_root_is_read_by_its_version_and_its_end_and_anything_else_is_told() {
        let root =
            r#"{"signed": {"_type": "root", "version": 2, "expires": "2030-01-31T12:00:00Z"}, "signatures": []}"#;
        let expires = dates::of_rfc3339("2030-01-31T12:00:00Z").expect("a date");
        assert_eq!(parse(root), Root::Read { version: 2, expires });
        for text in ["", "{}", r#"{"signed": {"_type": "targets"}}"#, r#"{"signed": {"_type": "root", "version": 1}}"#]
        {
            assert!(matches!(parse(text), Root::Broken(_)), "{text}");
        }
    }

    #[test]
    fn the_generation_is_taken_from_the_daemons_own_words() {
        let status = serde_json::json!({ "generation": { "generation": 7, "confirmed": false } });
        let seen = look(&Settings::default(), Some(&status));
        assert_eq!(seen.running, Some(Running { generation: 7, confirmed: false }));
        assert_eq!(look(&Settings::default(), Some(&serde_json::json!({}))).running, None);
    }
}
