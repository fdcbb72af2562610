//! An operator with keys and a repository, and devices of his fleet.

use std::path::{Path, PathBuf};
use std::time::Duration;

use linnet_fleet::keys::{Keys, Locator, generate};
use linnet_fleet::repository::{Draft, Editor, Founding, Role, RoleFounding};
use linnet_proto::fleet::{Rollout, Selector};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Daemon, DaemonBuilder, eventually, root};

/// The fleet of every test.
pub const FLEET: &str = "home";

/// Keys, a repository, and what else an operator has.
pub struct Operator {
    dir: TempDir,
}

/// Seconds since 1970-01-01 UTC.
pub fn now() -> u64 {
    linnet::sys::clock::since_epoch().as_secs()
}

impl Operator {
    /// With a repository that has no generation yet.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let operator = Self { dir };
        let keys = operator.dir.path().join("keys");
        std::fs::create_dir(&keys).expect("a directory");
        let founding = Founding::simple(FLEET, &keys);
        for named in founding.roles.values() {
            for key in &named.keys {
                let Locator::File(path) = key else { continue };
                generate(path, None).expect("a key");
            }
        }
        Editor::init(&operator.repository(), &founding, &mut Keys::default(), now()).expect("a repository");
        operator
    }

    /// The repository's directory, which is a source as well.
    pub fn repository(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    /// A path of the operator's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn edit(&self, what: impl FnOnce(&mut Editor, &mut Keys<'_>)) {
        let mut editor = Editor::begin(&self.repository(), "a test").expect("the lock");
        what(&mut editor, &mut Keys::default());
    }

    /// Publishes a generation and gives its number; nobody may begin with it yet.
    pub fn publish(&self, config: &str, packages: &[PathBuf]) -> u64 {
        self.publish_draft(Draft {
            config: config.to_owned(),
            config_version: 1,
            packages: packages.to_vec(),
            lifetime_secs: 86_400,
            ..Draft::default()
        })
    }

    /// The same with everything that can be said of it.
    pub fn publish_draft(&self, draft: Draft) -> u64 {
        let mut number = 0;
        self.edit(|editor, keys| {
            let prepared = editor.prepare(&draft, now()).expect("a generation");
            number = prepared.generation.number;
            editor.publish(&prepared, keys, now()).expect("published");
        });
        number
    }

    /// Publishes the content of `number` under a higher number.
    pub fn publish_again(&self, number: u64) -> u64 {
        let mut again = 0;
        self.edit(|editor, keys| {
            let prepared = editor.prepare_rollback(number, "back", now()).expect("a generation");
            again = prepared.generation.number;
            editor.publish(&prepared, keys, now()).expect("published");
        });
        again
    }

    /// Opens `number` for every device.
    pub fn open(&self, number: u64) {
        self.roll_out(number, |rollout| rollout.opened = Rollout::BUCKETS);
    }

    /// Signs the rollout of `number` as `change` leaves it.
    pub fn roll_out(&self, number: u64, change: impl FnOnce(&mut Rollout)) {
        self.edit(|editor, keys| {
            let known = editor.rollout(number).expect("readable");
            let mut rollout =
                known.unwrap_or_else(|| editor.new_rollout(number, Selector::default(), "salt").expect("a rollout"));
            rollout.wave += 1;
            change(&mut rollout);
            editor.roll_out(&rollout, keys, now()).expect("signed");
        });
    }

    /// Publishes and opens.
    pub fn push(&self, config: &str, packages: &[PathBuf]) -> u64 {
        let number = self.publish(config, packages);
        self.open(number);
        number
    }

    /// Gives a role other keys.
    pub fn rotate(&self, role: Role) {
        let path = self.path("keys").join(format!("{role}-{}.pem", rand_name()));
        generate(&path, None).expect("a key");
        let locator = Locator::File(path);
        self.edit(|editor, keys| {
            let founding = RoleFounding { keys: vec![locator], threshold: 1 };
            editor.rotate(&[(role, founding)].into(), keys, now()).expect("rotated");
        });
    }

    /// The `[fleet]` of a device that takes generations from `source`, quickly.
    pub fn fleet(&self, source: &str) -> String {
        let shipped = self.path("shipped-root.json");
        if !shipped.exists() {
            std::fs::copy(self.repository().join("metadata/1.root.json"), &shipped).expect("the root");
        }
        format!(
            "[fleet]\nname = \"{FLEET}\"\nroot = {shipped:?}\nsources = [{source:?}]\nrefresh_secs = 10\ntrial_secs = 2\nprobe_secs = 60\nclock = \"always\"\n"
        )
    }

    /// A device of the fleet that looks into the repository's directory; with one small model.
    pub fn device(&self) -> DaemonBuilder {
        let source = self.repository();
        Daemon::builder().models_of_the_configuration().config(format!(
            "models = [{:?}]\n{}",
            self.bundled(),
            self.fleet(&source.display().to_string())
        ))
    }

    /// A directory of models with the bundled `lang-id` alone: it loads at once.
    pub fn bundled(&self) -> PathBuf {
        let models = self.path("bundled");
        if !models.exists() {
            std::fs::create_dir(&models).expect("a directory");
            copy_dir(&root().join("models/lang-id"), &models.join("lang-id"));
        }
        models
    }

    /// The bundled `lang-id` as a package of another name and version, in a directory of its own.
    pub fn package(&self, name: &str, version: &str) -> PathBuf {
        let dir = self.path("packages").join(format!("{name}-{version}")).join(name);
        std::fs::create_dir_all(dir.parent().expect("a parent")).expect("a directory");
        copy_dir(&root().join("models/lang-id"), &dir);
        let manifest = dir.join("manifest.toml");
        let text = std::fs::read_to_string(&manifest).expect("a manifest");
        let lines = text.lines().map(|line| match line.split(" = ").next() {
            Some("name") => format!("name = {name:?}"),
            Some("version") => format!("version = {version:?}"),
            Some("aliases") => "aliases = []".to_owned(),
            _ => line.to_owned(),
        });
        std::fs::write(&manifest, lines.collect::<Vec<_>>().join("\n") + "\n").expect("a manifest");
        dir
    }
}

fn rand_name() -> u128 {
    linnet::sys::clock::since_epoch().as_nanos()
}

/// Copies files and directories.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("readable").flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy_dir(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

/// `/v1/status`.
pub fn status(daemon: &Daemon) -> Value {
    daemon.get("/v1/status").json()
}

/// Has the daemon look for metadata now: a reload does.
pub fn look(daemon: &Daemon) {
    daemon.signal("HUP");
    std::thread::sleep(Duration::from_millis(700));
}

/// Two looks have come to their end, whatever they found.
pub fn look_twice(daemon: &Daemon) {
    look(daemon);
    look(daemon);
    std::thread::sleep(Duration::from_secs(1));
}

/// Waits until `text` is logged.
pub fn wait_for_log(daemon: &Daemon, text: &str) {
    eventually(&format!("the log says: {text}"), || {
        look(daemon);
        daemon.log().contains(text).then_some(())
    });
}

/// Waits until generation `number` serves, confirmed.
pub fn wait_for(daemon: &Daemon, number: u64) {
    eventually(&format!("generation {number} is confirmed"), || {
        look(daemon);
        let serving = &status(daemon)["generation"];
        (serving["generation"] == number && serving["confirmed"] == true).then_some(())
    });
}
