//! An operator with keys and a repository, and devices of his fleet.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use linnet_fleet::keys::{Keys, Locator, generate};
use linnet_fleet::repository::{Draft, Editor, Founding, Repository, Role, RoleFounding};
use linnet_proto::fleet::{Rollout, Selector};
use serde_json::Value;
use sha2::Digest;
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
        Self::founded(|_, _| {})
    }

    /// The same with other keys or thresholds than one for each role; `change` is given the directory of keys.
    pub fn founded(change: impl FnOnce(&mut Founding, &Path)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let operator = Self { dir };
        let keys = operator.keys();
        std::fs::create_dir(&keys).expect("a directory");
        let mut founding = Founding::simple(FLEET, &keys);
        change(&mut founding, &keys);
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

    /// The directory of his keys: `<role>.pem`.
    pub fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    /// A path of the operator's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn edit(&self, what: impl FnOnce(&mut Editor, &mut Keys<'_>)) {
        // A program that another test starts in this moment holds it, too, until it has become that program.
        let mut editor = eventually("the lock", || Editor::begin(&self.repository(), "a test").ok());
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

    /// SHA-256 of the document of `number`.
    pub fn sha256(&self, number: u64) -> String {
        let repository = Repository::load(&self.repository()).expect("readable");
        repository.new_rollout(number, Selector::default(), "salt").expect("it was published").sha256
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

    /// Gives roles other keys, all in one change.
    pub fn rotate(&self, roles: &[Role]) {
        let anew = roles.iter().map(|role| {
            let path = self.keys().join(format!("{role}-{}.pem", rand_name()));
            generate(&path, None).expect("a key");
            (*role, RoleFounding { keys: vec![Locator::File(path)], threshold: 1 })
        });
        let anew = anew.collect();
        self.edit(|editor, keys| editor.rotate(&anew, keys, now()).expect("rotated"));
    }

    /// The `[fleet]` of a device that takes generations from `source`, quickly.
    pub fn fleet(&self, source: &str) -> String {
        let shipped = self.path("shipped-root.json");
        if !shipped.exists() {
            std::fs::copy(self.repository().join("metadata/1.root.json"), &shipped).expect("the root");
        }
        format!(
            "[fleet]\nname = \"{FLEET}\"\nroot = {shipped:?}\nsources = [{source:?}]\nrefresh_secs = 10\ntrial_secs = 1\nprobe_secs = 60\nclock = \"always\"\n"
        )
    }

    /// A device of the fleet that looks into the repository's directory; with one small model.
    pub fn device(&self) -> DaemonBuilder {
        self.device_of(&self.repository().display().to_string())
    }

    /// The same with another source.
    pub fn device_of(&self, source: &str) -> DaemonBuilder {
        Daemon::builder().models_of_the_configuration().config(self.device_config(source))
    }

    /// The configuration of such a device.
    pub fn device_config(&self, source: &str) -> String {
        format!("models = [{:?}]\n{}", self.bundled(), self.fleet(source))
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

    /// The same with a file of `bytes` bytes that no package has had before: one that comes in many pieces.
    pub fn large_package(&self, name: &str, version: &str, bytes: usize) -> PathBuf {
        let dir = self.package(name, version);
        let mut seed = rand_name() as u64 | 1;
        let large = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        });
        let large: Vec<u8> = large.take(bytes).collect();
        std::fs::write(dir.join("large.bin"), &large).expect("written");
        let sha256 = hex::encode(sha2::Sha256::digest(&large));
        change_manifest(&dir, |text| {
            text.replacen(
                "[canary]",
                &format!("[files.\"large.bin\"]\nbytes = {bytes}\nsha256 = {sha256:?}\n\n[canary]"),
                1,
            )
        });
        dir
    }
}

/// Writes another manifest of a package.
pub fn change_manifest(package: &Path, change: impl FnOnce(String) -> String) {
    let manifest = package.join("manifest.toml");
    let text = change(std::fs::read_to_string(&manifest).expect("a manifest"));
    std::fs::write(manifest, text).expect("a manifest");
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

/// Asks which language a sentence has: what serves answers, and rightly.
pub fn answers(daemon: &Daemon) {
    let answer =
        daemon.post("/detect", "application/json", r#"{"q":"Guten Morgen, wie geht es Ihnen heute?"}"#.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()[0]["language"], "de", "{}", answer.text());
}

/// What lies in the store besides whole generations and their files: downloads, and what was being made. A device that has come to an
/// end of its update has nothing of it.
pub fn half_written(daemon: &Daemon) -> Vec<PathBuf> {
    let fleet = daemon.home().join("state/fleet");
    let list = |dir: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let is_new = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let new = ["", "files", "generations"].map(|dir| list(&fleet.join(dir))).concat().into_iter().filter(is_new);
    new.chain(list(&fleet.join("partial"))).collect()
}

/// The version of a model that is served; none where it is not.
pub fn served_version(daemon: &Daemon, name: &str) -> Option<String> {
    let status = status(daemon);
    let models = status["models"].as_array().expect("models");
    models
        .iter()
        .find(|model| model["name"] == name)
        .map(|model| model["version"].as_str().expect("a version").to_owned())
}

/// After a reload the daemon looks for metadata within half a second, and for a while.
const LOOK: Duration = Duration::from_millis(700);

/// Has the daemon look for metadata now: a reload does.
pub fn look(daemon: &Daemon) {
    daemon.signal("HUP");
    std::thread::sleep(LOOK);
}

/// Two looks have come to their end, whatever they found.
pub fn look_twice(daemon: &Daemon) {
    look(daemon);
    look(daemon);
}

/// Has the daemon look again and again until `done` gives something.
pub fn looking<T>(daemon: &Daemon, what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let mut last: Option<Instant> = None;
    eventually(what, || {
        if last.is_none_or(|last| last.elapsed() >= LOOK) {
            daemon.signal("HUP");
            last = Some(Instant::now());
        }
        // A question to the daemon is a request of its own.
        std::thread::sleep(Duration::from_millis(20));
        done()
    })
}

/// Waits until `text` is logged.
pub fn wait_for_log(daemon: &Daemon, text: &str) {
    looking(daemon, &format!("the log says: {text}"), || daemon.log().contains(text).then_some(()));
}

/// Waits until generation `number` serves, confirmed.
pub fn wait_for(daemon: &Daemon, number: u64) {
    looking(daemon, &format!("generation {number} is confirmed"), || {
        let serving = &status(daemon)["generation"];
        (serving["generation"] == number && serving["confirmed"] == true).then_some(())
    });
}
