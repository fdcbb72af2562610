//! The attacks that The Update Framework names, against the real daemon: each is told by its name, what serves goes on serving, nothing is
//! left on the disk, and the honest repository is followed afterwards as if nothing had been.

use std::path::{Path, PathBuf};

use linnet_fleet::keys::{Locator, generate};
use linnet_fleet::repository::{Draft, Role};
use linnet_proto::fleet::Selector;
use serde_json::{Value, json};

use crate::forge::{Forge, sha256};
use crate::harness::Daemon;
use crate::operator::{
    Operator, answers, copy_dir, half_written, look, look_twice, looking, now, status, wait_for, wait_for_log,
};

/// A device that follows a mirror of the operator's repository, and has taken its first generation from it.
struct Site {
    operator: Operator,
    mirror: PathBuf,
    daemon: Daemon,
}

/// The first generation.
const ONE: &str = "[limits]\nmax_upload_mib = 7\n";
/// The one after it.
const TWO: &str = "[limits]\nmax_upload_mib = 8\n";

impl Site {
    fn new() -> Self {
        Self::of(Operator::new())
    }

    fn of(operator: Operator) -> Self {
        let mirror = operator.path("mirror");
        let one = operator.push(ONE, &[]);
        copy_dir(&operator.repository(), &mirror);
        let daemon = operator.device_of(&mirror.display().to_string()).start();
        wait_for(&daemon, one);
        Self { operator, mirror, daemon }
    }

    /// Has the mirror show what the operator has published.
    fn is_honest(&self) {
        std::fs::remove_dir_all(&self.mirror).expect("removed");
        copy_dir(&self.operator.repository(), &self.mirror);
    }

    /// Waits until the device trusts what the mirror shows.
    fn is_trusted(&self) {
        wait_for_log(&self.daemon, &format!("timestamp: {},", self.forge().version("timestamp")));
    }

    fn forge(&self) -> Forge {
        Forge::of(&self.mirror, &self.operator.keys())
    }

    /// What the device trusts, as it lies on the disk.
    fn trusted(&self) -> Vec<u8> {
        std::fs::read(self.daemon.home().join("state/fleet/trust.json")).expect("it trusts something")
    }

    /// Has the device look at what `attack` does to the mirror. It must say `code`, and be as it was.
    fn refuses(&self, what: &str, code: &str, attack: impl FnOnce(&Path)) {
        let (said, trusted) = (self.daemon.log().len(), self.trusted());
        // It must not look at an attack that is half made.
        self.daemon.signal("STOP");
        attack(&self.mirror);
        self.daemon.signal("CONT");
        looking(&self.daemon, &format!("{what} is refused as {code}"), || {
            self.daemon.log()[said..].contains(&format!("no newer metadata can be had ({code}: ")).then_some(())
        });
        self.is_unharmed(what);
        assert!(self.trusted() == trusted, "{what}: what is trusted has changed");
        self.is_honest();
        look(&self.daemon);
    }

    /// The first generation serves, and nothing of another is there.
    fn is_unharmed(&self, what: &str) {
        answers(&self.daemon);
        let said = status(&self.daemon);
        assert_eq!(said["generation"], json!({ "generation": 1, "confirmed": true }), "{what}");
        assert_eq!(said["limits"]["max_upload_bytes"], 7 << 20, "{what}");
        assert_eq!(half_written(&self.daemon), Vec::<PathBuf>::new(), "{what}");
        let generations = self.daemon.home().join("state/fleet/generations");
        assert_eq!(std::fs::read_dir(generations).expect("readable").count(), 1, "{what}");
    }

    /// What the operator publishes next is taken.
    fn goes_on(&self) {
        let next = self.operator.push(TWO, &[]);
        self.is_honest();
        wait_for(&self.daemon, next);
        assert_eq!(status(&self.daemon)["limits"]["max_upload_bytes"], 8 << 20);
    }
}

/// A key of the thief's own.
fn thief_key(operator: &Operator) -> PathBuf {
    let path = operator.path("thief.pem");
    if !path.exists() {
        generate(&path, None).expect("a key");
    }
    path
}

#[test]
fn arbitrary_software_is_refused_by_its_digest() {
    let site = Site::new();
    let two = site.operator.push(TWO, &[]);
    site.is_honest();
    let dir = site.mirror.join("targets/generations");
    let file = std::fs::read_dir(&dir).expect("readable").flatten().map(|entry| entry.path());
    let file =
        file.into_iter().find(|path| path.to_string_lossy().ends_with(&format!(".{two}.json"))).expect("it is there");
    let text = std::fs::read_to_string(&file).expect("a generation");
    std::fs::write(&file, text.replace("max_upload_mib = 8", "max_upload_mib = 9")).expect("written");
    wait_for_log(&site.daemon, &format!("generation {two} is not what was signed for: its SHA-256 is"));
    site.is_unharmed("arbitrary software");
    site.goes_on();
}

#[test]
fn older_metadata_are_a_rollback_even_under_newer_signatures_of_the_online_keys() {
    let site = Site::new();
    let yesterday = site.operator.path("yesterday");
    copy_dir(&site.operator.repository(), &yesterday);
    // The device sees two more versions of everything, none of which opens a generation.
    site.operator.publish(TWO, &[]);
    site.operator.publish(TWO, &[]);
    site.is_honest();
    site.is_trusted();
    site.refuses("what was there yesterday", "rollback", |mirror| {
        std::fs::remove_dir_all(mirror).expect("removed");
        copy_dir(&yesterday, mirror);
    });
    // Well signed long ago, and listed anew by who has the keys of snapshot and timestamp.
    let old = Forge::of(&yesterday, &site.operator.keys());
    for (role, listed_by, listed_as) in
        [("releases", "snapshot", "releases.json"), ("snapshot", "timestamp", "snapshot.json")]
    {
        site.refuses(&format!("yesterday's {role} under today's {listed_by}"), "rollback", |mirror| {
            let (file, mut forge) = (old.file(role), site.forge());
            let (name, listed) = (file.file_name().expect("a name"), listing(&file));
            std::fs::copy(&file, mirror.join("metadata").join(name)).expect("copied");
            forge.change(listed_by, |signed| signed["meta"][listed_as] = listed).write();
        });
    }
    site.goes_on();
}

/// How metadata list the file that lies there.
fn listing(file: &Path) -> Value {
    let bytes = std::fs::read(file).expect("readable");
    let metadata: Value = serde_json::from_slice(&bytes).expect("JSON");
    json!({ "version": metadata["signed"]["version"], "length": bytes.len(), "hashes": { "sha256": sha256(&bytes) } })
}

#[test]
fn an_indefinite_freeze_is_told_when_the_signatures_expire() {
    let site = Site::new();
    // Good for five more seconds, and never replaced.
    let frozen = site.operator.path("frozen");
    copy_dir(&site.operator.repository(), &frozen);
    // As TUF writes a time: without a fraction.
    let until = |secs| json!(linnet::sys::clock::rfc3339(std::time::Duration::from_secs(secs)).replace(".000Z", "Z"));
    Forge::of(&frozen, &site.operator.keys())
        .change("timestamp", |signed| signed["expires"] = until(now() + 5))
        .write();
    copy_dir(&frozen, &site.mirror);
    site.is_trusted();
    // The operator goes on, but the mirror does not.
    site.operator.push(TWO, &[]);
    wait_for_log(&site.daemon, "(expired: ");
    let log = site.daemon.log();
    assert!(log.contains("the metadata of timestamp expired at"), "{log}");
    site.is_unharmed("an indefinite freeze");
    site.goes_on();
}

#[test]
fn endless_data_are_cut_off_at_each_file() {
    let site = Site::new();
    for role in ["root", "timestamp", "snapshot", "targets", "releases", "rollouts"] {
        site.refuses(&format!("an endless {role}"), "too_large", |mirror| {
            let mut forge = site.forge();
            // New versions of everything, so that everything is asked for.
            for role in ["targets", "releases", "rollouts"] {
                forge.change(role, |_| {});
            }
            forge.write();
            let file = if role == "root" { mirror.join("metadata/2.root.json") } else { forge.file(role) };
            std::fs::write(file, vec![b' '; 4 << 20]).expect("written");
        });
    }
    site.goes_on();
}

#[test]
fn extraneous_dependencies_are_refused() {
    let site = Site::new();
    type Attack = fn(&mut Forge);
    let attacks: [(&str, &str, Attack); 4] = [
        ("rollouts that sign for a generation", "extraneous", |forge| {
            let target = crate::forge::target(b"", json!({ "wire": 1 }));
            forge.change("rollouts", |signed| signed["targets"]["generations/9.json"] = target);
        }),
        ("rollouts that delegate further", "extraneous", |forge| {
            let more =
                json!({ "name": "more", "keyids": [], "threshold": 1, "terminating": false, "paths": ["rollouts/*"] });
            forge.change("rollouts", |signed| signed["delegations"] = json!({ "keys": {}, "roles": [more] }));
        }),
        ("targets that sign for files themselves", "shape", |forge| {
            let target = crate::forge::target(b"", json!({ "wire": 1 }));
            forge.change("targets", |signed| signed["targets"]["generations/9.json"] = target);
        }),
        ("targets that let rollouts sign for generations", "extraneous", |forge| {
            forge.change("targets", |signed| {
                let roles = signed["delegations"]["roles"].as_array_mut().expect("two roles");
                let rollouts = roles.iter_mut().find(|role| role["name"] == "rollouts").expect("rollouts");
                rollouts["paths"] = json!(["generations/*"]);
            });
        }),
    ];
    for (what, code, attack) in attacks {
        site.refuses(what, code, |_| {
            let mut forge = site.forge();
            attack(&mut forge);
            forge.write();
        });
    }
    site.goes_on();
}

#[test]
fn files_of_two_moments_are_not_mixed() {
    let site = Site::new();
    for role in ["snapshot", "releases", "rollouts"] {
        let old = std::fs::read(site.forge().file(role)).expect("readable");
        // Everything has a new version, and nothing is open yet.
        let next = site.operator.publish(TWO, &[]);
        site.operator.roll_out(next, |rollout| rollout.paused = true);
        site.refuses(&format!("the old {role} beside new files"), "mix_and_match", |mirror| {
            // Under its new name, before the new timestamp is there.
            let new = Forge::of(&site.operator.repository(), &site.operator.keys()).file(role);
            for file in std::fs::read_dir(site.operator.repository().join("metadata")).expect("readable").flatten() {
                let to = mirror.join("metadata").join(file.file_name());
                if file.path() == new {
                    std::fs::write(to, &old).expect("written");
                } else if file.file_name() != "timestamp.json" {
                    std::fs::copy(file.path(), to).expect("copied");
                }
            }
            let timestamp = Path::new("metadata/timestamp.json");
            std::fs::copy(site.operator.repository().join(timestamp), mirror.join(timestamp)).expect("copied");
        });
    }
    site.goes_on();
}

#[test]
fn nobody_else_signs_for_any_role() {
    let site = Site::new();
    let thief = thief_key(&site.operator);
    for role in ["root", "timestamp", "snapshot", "targets", "releases", "rollouts"] {
        for (by, code) in [(vec![thief.clone()], "wrong_keys"), (Vec::new(), "unsigned")] {
            site.refuses(&format!("{role} signed by {} strangers", by.len()), code, |_| {
                site.forge().change(role, |_| {}).signed_by(role, &by).write();
            });
        }
    }
    site.goes_on();
}

#[test]
fn a_thief_of_the_online_keys_opens_what_was_released_and_nothing_else() {
    let site = Site::new();
    // He sits where the operator publishes.
    let forge = || Forge::of(&site.operator.repository(), &site.operator.keys());

    // A generation of his own needs the key of releases.
    site.refuses("a generation that an online key signs", "wrong_keys", |_| {
        let online = site.operator.keys().join("rollouts.pem");
        site.forge().generation(2, b"{}").signed_by("releases", &[online]).write();
    });
    // A rollout of what was never released, and of other bytes than were released, opens nothing.
    forge().open(9, &sha256(b"anything")).write();
    site.is_honest();
    site.is_trusted();
    site.is_unharmed("a rollout of what was never released");
    let two = site.operator.publish(TWO, &[]);
    forge().open(two, &sha256(b"anything")).write();
    site.is_honest();
    site.is_trusted();
    site.is_unharmed("a rollout of other bytes");
    // Whom a generation is for was signed by releases.
    let lab = Draft {
        config: "[limits]\nmax_upload_mib = 9\n".into(),
        config_version: 1,
        lifetime_secs: 86_400,
        audience: Selector::parse("group=lab").expect("a selector"),
        ..Draft::default()
    };
    let lab = site.operator.publish_draft(lab);
    site.operator.open(lab);
    site.is_honest();
    site.is_trusted();
    site.is_unharmed("what was released for the lab");
    // What was released for this device he opens at once.
    let released = site.operator.sha256(two);
    forge().open(two, &released).write();
    site.is_honest();
    wait_for(&site.daemon, two);
    // And never brings back what was before.
    forge()
        .change("rollouts", |signed| {
            signed["targets"].as_object_mut().expect("targets").remove(&format!("rollouts/{two}.json"));
        })
        .write();
    site.is_honest();
    site.is_trusted();
    look_twice(&site.daemon);
    assert_eq!(status(&site.daemon)["generation"], json!({ "generation": two, "confirmed": true }));
}

#[test]
fn stolen_targets_keys_below_the_threshold_change_nothing() {
    let operator = Operator::founded(|founding, keys| {
        let targets = founding.roles.get_mut(&Role::Targets).expect("every role has its keys");
        targets.keys.push(Locator::File(keys.join("targets-2.pem")));
        targets.threshold = 2;
    });
    let (one, two) = (operator.keys().join("targets.pem"), operator.keys().join("targets-2.pem"));
    let thief = thief_key(&operator);
    let site = Site::of(operator);
    // The thief would hand the role of releases to a key of his own.
    for (by, code) in [
        (vec![one.clone()], "below_threshold"),
        (vec![one.clone(), thief.clone()], "below_threshold"),
        (vec![one.clone(), one.clone()], "garbage"),
    ] {
        site.refuses(&format!("targets by one of two keys, {} signatures", by.len()), code, |_| {
            site.forge().change("targets", |_| {}).signed_by("targets", &by).write();
        });
    }
    // Both together are the operator.
    site.forge().change("targets", |_| {}).signed_by("targets", &[one, two]).write();
    site.is_trusted();
    site.is_unharmed("targets by both keys");
}

#[test]
fn a_fast_forward_is_healed_by_rotating_the_online_keys() {
    let site = Site::new();
    for role in ["rollouts", "snapshot", "timestamp"] {
        let mut forge = site.forge();
        forge.change(role, |signed| signed["version"] = (1_u64 << 40).into()).write();
    }
    site.is_trusted();
    site.is_unharmed("a fast-forward");
    // Whatever the operator does with the same keys is older.
    let two = site.operator.push(TWO, &[]);
    site.is_honest();
    wait_for_log(&site.daemon, "(rollback: ");
    site.is_unharmed("what is locked out");
    site.operator.rotate(&Role::ONLINE);
    site.is_honest();
    wait_for(&site.daemon, two);
    assert_eq!(status(&site.daemon)["limits"]["max_upload_bytes"], 8 << 20);
}
