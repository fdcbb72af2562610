//! The fleet that the device belongs to: whether it has its name, whom it trusts at first, and which generation serves.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use linnet_proto::fleet::Running;
use linnet_proto::status::{Provisioning, ProvisioningState};
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
    /// `fleet.claim`, and whether it is there.
    pub(super) claim: Option<(PathBuf, bool)>,
    /// Where the daemon waits for its name.
    pub(super) provisioning: Option<Provisioning>,
    /// The device's name, where the configuration says it.
    pub(super) device: Option<String>,
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
    let provisioning = status.and_then(|status| serde_json::from_value(status.get("provisioning")?.clone()).ok());
    Seen {
        claim: settings.path("fleet.claim").map(|path| (path.clone(), path.exists())),
        provisioning,
        device: settings.text("device").map(ToOwned::to_owned),
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

/// Of a device that has a claim and, for all that can be seen, no name yet.
fn judge_claim(seen: &Seen) -> Option<Finding> {
    let (path, is_there) = seen.claim.as_ref().map(|(path, is_there)| (path.display().to_string(), *is_there))?;
    let Some(Provisioning { state, reason, .. }) = &seen.provisioning else {
        if seen.answers || seen.name.is_some() {
            return None;
        }
        return Some(match is_there {
            true => Finding::ok(
                CHECK,
                format!("the claim {path} is there; whether the device has a name by it shows when linnetd runs"),
            ),
            false => Finding::wrong(
                CHECK,
                Trouble::Config,
                format!("{path} (fleet.claim) is not there"),
                "put the file there that `linnet fleet claim create` wrote; a device that has its name already needs it no more",
            ),
        });
    };
    let reason = reason.as_deref().unwrap_or_default();
    let no_name = format!("this device has no name in the fleet yet: {reason}");
    Some(match state {
        ProvisioningState::Asking => Finding::warning(
            CHECK,
            format!("this device asks for its name with the claim {path}"),
            "wait a minute, and ask again; MQTT and updates are off until it has one",
        ),
        ProvisioningState::Unanswered => Finding::wrong(
            CHECK,
            Trouble::Unavailable,
            no_name,
            "let the device reach the broker that its claim names, and have `linnet fleet serve` run there; it goes on asking",
        ),
        ProvisioningState::Refused => Finding::wrong(
            CHECK,
            Trouble::NotAllowed,
            no_name,
            format!("have the operator look at `linnet fleet claim list`, and put a claim that is open at {path}"),
        ),
        ProvisioningState::Failed => {
            Finding::wrong(CHECK, Trouble::Config, no_name, "mend what it names; linnetd goes on trying")
        }
    })
}

/// `now` in seconds since 1970.
pub(super) fn judge(seen: &Seen, now: i64) -> Finding {
    if let Some(finding) = judge_claim(seen) {
        return finding;
    }
    let Some(name) = &seen.name else {
        return match seen.running {
            Some(running) => Finding::ok(CHECK, format!("generation {} serves", running.generation)),
            None => Finding::skipped(CHECK, "this device belongs to no fleet", ""),
        };
    };
    let by_claim = match (&seen.claim, &seen.device) {
        (Some(_), Some(device)) => format!(" (this device is {device} there, by a claim)"),
        _ => String::new(),
    };
    let name = format!("{name}{by_claim}");
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
            let seen = Seen {
                claim: None,
                provisioning: None,
                device: None,
                name: name.map(Into::into),
                path,
                root,
                running,
                answers,
            };
            let finding = judge(&seen, now);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.sentence.contains(words), "{words}: {finding:?}");
        }
    }

    #[test]
    fn where_a_device_stands_with_its_claim_is_said_in_words() {
        use ProvisioningState::{Asking, Failed, Refused, Unanswered};
        let claim = |is_there| Some((PathBuf::from("/etc/linnet/claim.toml"), is_there));
        let seen = |provisioning, is_there, answers| Seen {
            claim: claim(is_there),
            provisioning,
            device: Some("kitchen".into()),
            name: None,
            path: None,
            root: Root::NotNamed,
            running: None,
            answers,
        };
        let told = |state, reason: &str| {
            Some(Provisioning { claim: "/etc/linnet/claim.toml".into(), state, reason: Some(reason.into()) })
        };
        for (seen, verdict, words) in [
            (seen(told(Asking, ""), true, true), Warning, "asks for its name"),
            (seen(told(Unanswered, "nobody answers"), true, true), Wrong, "nobody answers"),
            (seen(told(Refused, "the claim is used up (used_up)"), true, true), Wrong, "used up"),
            (seen(told(Failed, "claim.toml: it is no TOML"), true, true), Wrong, "no TOML"),
            (seen(None, true, false), Fine, "shows when linnetd runs"),
            (seen(None, false, false), Wrong, "is not there"),
        ] {
            let finding = judge(&seen, 0);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.sentence.contains(words), "{words}: {finding:?}");
        }
        let granted = Seen {
            name: Some("home".into()),
            root: Root::Read { version: 1, expires: 1 },
            running: Some(Running { generation: 3, confirmed: true }),
            ..seen(None, false, true)
        };
        let finding = judge(&granted, 0);
        assert!(finding.verdict == Fine && finding.sentence.contains("kitchen there, by a claim"), "{finding:?}");
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
