//! What is written here is read back by `tough` after every change, as a device reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use linnet_proto::fleet::{CUSTOM, Release, Rollout, Selector};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tough::schema::{Signed, Timestamp};
use tough::{FilesystemTransport, RepositoryLoader, TargetName};
use url::Url;

use super::edit::tough_time;
use super::*;
use crate::keys::{KeyError, Keys, Locator, generate};

const DAY: u64 = 86_400;

/// A fleet on a disk of its own.
struct Fleet {
    base: TempDir,
    now: u64,
}

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).expect("after 1970")
}

impl Fleet {
    fn dir(&self) -> PathBuf {
        self.base.path().join("repository")
    }

    fn keys_dir(&self) -> PathBuf {
        self.base.path().join("keys")
    }

    fn new() -> Self {
        Self::found(|_| {})
    }

    fn found(change: impl FnOnce(&mut Founding)) -> Self {
        let base = tempfile::tempdir().expect("a directory");
        let fleet = Self { base, now: now() };
        std::fs::create_dir(fleet.keys_dir()).expect("made");
        let mut founding = Founding::simple("home", &fleet.keys_dir());
        change(&mut founding);
        for locator in founding.roles.values().flat_map(|role| &role.keys) {
            let Locator::File(path) = locator else { panic!("a file") };
            generate(path, None).expect("made");
        }
        Editor::init(&fleet.dir(), &founding, &mut Keys::default(), fleet.now).expect("founded");
        fleet
    }

    fn edit(&self, operation: &str) -> Editor {
        Editor::begin(&self.dir(), operation).expect("begun")
    }

    fn load(&self) -> Repository {
        Repository::load(&self.dir()).expect("loads")
    }

    fn draft(&self, config: &str) -> Draft {
        Draft { config: config.into(), config_version: 1, lifetime_secs: 365 * DAY, ..Draft::default() }
    }

    fn publish(&self, draft: &Draft) -> u64 {
        let mut editor = self.edit("publish");
        let prepared = editor.prepare(draft, self.now).expect("prepared");
        editor.publish(&prepared, &mut Keys::default(), self.now).expect("published");
        prepared.generation.number
    }

    fn open(&self, number: u64, opened: u32, wave: u32) {
        let mut editor = self.edit("open");
        let mut rollout = editor.new_rollout(number, Selector::default(), "salt").expect("a rollout");
        (rollout.opened, rollout.wave) = (opened, wave);
        editor.roll_out(&rollout, &mut Keys::default(), self.now).expect("opened");
    }

    fn package(&self, name: &str, content: &str) -> PathBuf {
        let dir = self.base.path().join("packages").join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("onnx")).expect("made");
        std::fs::write(dir.join("onnx/model.onnx"), content).expect("written");
        let manifest = format!(
            "manifest_version = 1\nname = \"{name}\"\nversion = \"1.0.0\"\ntasks = []\nlanguages = []\nlicense = \"MIT\"\n\
             description = \"\"\nfamily = \"raw\"\nmemory_mib = 1\n[files.\"onnx/model.onnx\"]\nbytes = {}\nsha256 = \"{}\"\n",
            content.len(),
            hex::encode(Sha256::digest(content))
        );
        std::fs::write(dir.join("manifest.toml"), manifest).expect("written");
        dir
    }

    /// Reads by `tough` from the first root, as a device that was just provisioned.
    fn read(&self) -> Result<tough::Repository, String> {
        self.read_with(None)
    }

    fn read_with(&self, datastore: Option<&Path>) -> Result<tough::Repository, String> {
        read(&self.dir(), datastore)
    }
}

fn read(dir: &Path, datastore: Option<&Path>) -> Result<tough::Repository, String> {
    let root = std::fs::read(dir.join("metadata/1.root.json")).map_err(|e| e.to_string())?;
    read_from(dir, &root, datastore)
}

fn read_from(dir: &Path, root: &[u8], datastore: Option<&Path>) -> Result<tough::Repository, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let url = |part: &str| Url::from_directory_path(dir.join(part)).expect("a URL");
    let mut loader = RepositoryLoader::new(&root, url("metadata"), url("targets")).transport(FilesystemTransport);
    if let Some(datastore) = datastore {
        loader = loader.datastore(datastore);
    }
    runtime.block_on(loader.load()).map_err(|e| {
        let mut said = e.to_string();
        let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&e);
        while let Some(e) = cause {
            said = format!("{said}: {e}");
            cause = e.source();
        }
        said
    })
}

/// The generations that a reader finds, each one's file verified by the digest that stands in the metadata.
fn generations(repository: &tough::Repository, dir: &Path) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for (name, target) in repository.all_targets() {
        let Some(number) = name.resolved().strip_prefix("generations/").and_then(|n| n.strip_suffix(".json")) else {
            continue;
        };
        let sha256 = hex::encode(&target.hashes.sha256[..]);
        let bytes = std::fs::read(dir.join(format!("targets/generations/{sha256}.{number}.json"))).expect("the file");
        assert_eq!(hex::encode(Sha256::digest(&bytes)), sha256);
        let generation = linnet_proto::fleet::Generation::parse(&bytes).expect("a generation");
        let release: Release = serde_json::from_value(target.custom[CUSTOM].clone()).expect("a release");
        assert_eq!(release.audience, generation.audience);
        for file in generation.files() {
            let content = std::fs::read(dir.join("files").join(&file.sha256)).expect("its file");
            assert_eq!(
                (content.len() as u64, hex::encode(Sha256::digest(&content))),
                (file.bytes, file.sha256.clone())
            );
        }
        found.insert(generation.number);
    }
    found
}

fn rollout(repository: &tough::Repository, number: u64) -> Rollout {
    let name = TargetName::new(format!("rollouts/{number}.json")).expect("a name");
    let target = repository.targets().signed.find_target(&name, false).expect("the target");
    assert_eq!(target.length, 0);
    serde_json::from_value(target.custom[CUSTOM].clone()).expect("a rollout")
}

#[test]
fn every_step_of_an_operators_day_is_read_back_by_tough() {
    let fleet = Fleet::new();
    let dir = fleet.dir();
    let versions = |repository: &tough::Repository| {
        (
            repository.root().signed.version.get(),
            repository.timestamp().signed.version.get(),
            repository.snapshot().signed.version.get(),
        )
    };
    assert_eq!(versions(&fleet.read().expect("after init")), (1, 1, 1));

    let package = fleet.package("stt", "weights");
    let draft = Draft { packages: vec![package], ..fleet.draft("log = \"info\"\n") };
    assert_eq!(fleet.publish(&draft), 1);
    let read = fleet.read().expect("after publish");
    assert_eq!((versions(&read), generations(&read, &dir)), ((1, 2, 2), [1].into()));

    fleet.open(1, 10_000, 1);
    fleet.open(1, 100_000, 2);
    let read = fleet.read().expect("after two waves");
    assert_eq!((rollout(&read, 1).opened, rollout(&read, 1).wave), (100_000, 2));
    assert_eq!(rollout(&read, 1).sha256, fleet.load().generation_sha256(1).expect("there"));

    fleet.edit("refresh").refresh(&[Role::Rollouts].into(), &mut Keys::default(), fleet.now + DAY).expect("refreshed");
    let read = fleet.read().expect("after refresh");
    assert_eq!(versions(&read), (1, 5, 5));
    assert_eq!(read.timestamp().signed.expires, tough_time::at(fleet.now + 31 * DAY));
    assert_eq!(rollout(&read, 1).opened, 100_000, "what was open stays open");

    let new = fleet.keys_dir().join("new.pem");
    for role in Role::ALL {
        let new = new.with_file_name(format!("{role}-new.pem"));
        generate(&new, None).expect("made");
        let founding = RoleFounding { keys: vec![Locator::File(new)], threshold: 1 };
        fleet.edit("rotate").rotate(&[(role, founding)].into(), &mut Keys::default(), fleet.now).expect("rotated");
        let read = fleet.read().unwrap_or_else(|e| panic!("after the rotation of {role}: {e}"));
        assert_eq!((generations(&read, &dir), rollout(&read, 1).opened), ([1].into(), 100_000), "{role}");
    }
    for role in Role::ALL {
        std::fs::remove_file(fleet.keys_dir().join(format!("{role}.pem"))).expect("the old key is gone");
    }

    fleet.publish(&fleet.draft("log = \"debug\"\n"));
    let mut editor = fleet.edit("rollback");
    let back = editor.prepare_rollback(1, "debug was too much", fleet.now).expect("prepared");
    editor.publish(&back, &mut Keys::default(), fleet.now).expect("published");
    drop(editor);
    let read = fleet.read().expect("after rollback");
    assert_eq!(generations(&read, &dir), [1, 2, 3].into());
    let (first, third) = (fleet.load().generation(1).expect("1"), fleet.load().generation(3).expect("3"));
    assert_eq!((third.content_of, &third.config, &third.packages), (Some(1), &first.config, &first.packages));

    let copy = fleet.base.path().join("stick");
    fleet.edit("export").export(&copy).expect("exported");
    assert_eq!(generations(&read_at(&copy), &copy), [1, 2, 3].into());
    assert!(!copy.join("fleet.json").exists() && !copy.join(".lock").exists(), "the operator's own stays at home");
    let again = fleet.edit("export").export(&copy).expect("exported again");
    assert_eq!((again.files, again.bytes), (0, 0), "what is there is not copied again");
}

fn read_at(dir: &Path) -> tough::Repository {
    read(dir, None).expect("loads")
}

#[test]
fn a_threshold_needs_so_many_keys_and_the_sentence_names_the_missing() {
    let fleet = Fleet::found(|founding| {
        let key = |n| Locator::File(PathBuf::from(format!("releases-{n}.pem")));
        let Locator::File(one) = &founding.roles[&Role::Root].keys[0] else { panic!("a file") };
        let dir = one.parent().expect("a directory").to_owned();
        let keys = (1..=3).map(|n| match key(n) {
            Locator::File(name) => Locator::File(dir.join(name)),
            other => other,
        });
        founding.roles.insert(Role::Releases, RoleFounding { keys: keys.collect(), threshold: 2 });
    });
    std::fs::remove_file(fleet.keys_dir().join("releases-2.pem")).expect("one is away");
    fleet.publish(&fleet.draft("a = 1"));
    let signatures = fleet.load().metadata.releases.signed.signatures.len();
    assert_eq!(signatures, 2, "two of three are enough");

    std::fs::remove_file(fleet.keys_dir().join("releases-3.pem")).expect("a second one is away");
    let mut editor = fleet.edit("publish");
    let prepared = editor.prepare(&fleet.draft("a = 2"), fleet.now).expect("prepared");
    let before = snapshot_of(&fleet.dir());
    let e = editor.publish(&prepared, &mut Keys::default(), fleet.now).expect_err("one is too few").to_string();
    assert!(
        e.starts_with("releases cannot be signed") && e.contains("releases-2.pem") && e.contains("releases-3.pem"),
        "{e}"
    );
    let after = snapshot_of(&fleet.dir());
    assert_eq!(before["metadata/timestamp.json"], after["metadata/timestamp.json"], "readers see nothing of it");
    drop(editor);
    assert_eq!(fleet.load().newest(), 1);
}

/// Every file below a directory.
fn snapshot_of(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for part in ["", "metadata", "targets/generations", "targets/rollouts", "files"] {
        for name in disk::list(&dir.join(part)).expect("listed") {
            let path = if part.is_empty() { name } else { format!("{part}/{name}") };
            all.insert(path.clone(), std::fs::read(dir.join(path)).expect("read"));
        }
    }
    all
}

#[test]
fn a_second_operator_is_refused_by_name_and_overwrites_nothing() {
    let fleet = Fleet::new();
    let first = fleet.edit("publish");
    let before = snapshot_of(&fleet.dir());
    let e = Editor::begin(&fleet.dir(), "rollback").expect_err("held").to_string();
    assert!(e.contains("by `publish` of") && e.contains("`rollback` of") && e.contains("changed nothing"), "{e}");
    assert!(e.matches(&format!("process {}", std::process::id())).count() == 2, "{e}");
    assert_eq!(snapshot_of(&fleet.dir()), before);
    drop(first);
    fleet.edit("rollback");

    // Who prepared before the other published is told so, instead of taking the same number.
    let prepared = fleet.load().prepare(&fleet.draft("a = 1"), fleet.now).expect("prepared");
    fleet.publish(&fleet.draft("a = 2"));
    let e = fleet.edit("publish").publish(&prepared, &mut Keys::default(), fleet.now).expect_err("taken").to_string();
    assert!(e.contains("published by somebody else"), "{e}");
    assert_eq!(fleet.load().generation(1).expect("there").config, "a = 2");
}

/// Stops before the step `at` (counted from 0); counts them all.
fn cut(at: usize) -> (Hook, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let hook: Hook = Box::new(move |_| match counter.fetch_add(1, Ordering::Relaxed) {
        n if n == at => Err(std::io::Error::other("cut off")),
        _ => Ok(()),
    });
    (hook, count)
}

/// Does `change` with a cut before every step in turn, each on a fleet that `prepare` made; after each one a reader finds the repository as
/// it was or as it is to be, and doing it again succeeds.
fn cut_everywhere(
    prepare: impl Fn() -> Fleet,
    change: impl Fn(&Fleet, &mut Editor) -> Result<(), RepositoryError>,
) -> usize {
    let mut at = 0;
    loop {
        let fleet = prepare();
        let before = fleet.read().expect("before").timestamp().signed.version;
        let (hook, steps) = cut(at);
        let mut editor = fleet.edit("change");
        editor.hook(hook);
        let done = change(&fleet, &mut editor);
        drop(editor);
        if steps.load(Ordering::Relaxed) <= at {
            done.expect("nothing stopped it");
            return at;
        }
        done.expect_err("it was cut off");
        let read = fleet.read().unwrap_or_else(|e| panic!("cut before step {at}: {e}"));
        generations(&read, &fleet.dir());
        assert!(read.timestamp().signed.version.get() - before.get() <= 1);
        // The operator's own view is the same one.
        assert_eq!(fleet.load().version(Role::Timestamp), read.timestamp().signed.version.get());
        let mut editor = fleet.edit("again");
        change(&fleet, &mut editor).unwrap_or_else(|e| panic!("again, after a cut before step {at}: {e}"));
        drop(editor);
        let read = fleet.read().unwrap_or_else(|e| panic!("again, after a cut before step {at}: {e}"));
        generations(&read, &fleet.dir());
        let left = disk::list(&fleet.dir().join("metadata")).expect("listed");
        assert!(left.iter().all(|name| !name.ends_with(disk::UNFINISHED)), "{left:?}");
        at += 1;
    }
}

#[test]
fn a_publish_that_is_cut_off_anywhere_leaves_a_repository_that_loads() {
    let prepare = || {
        let fleet = Fleet::found(|founding| founding.keep_generations = 2);
        for n in 0..3 {
            let package = fleet.package("stt", &format!("weights {n}"));
            fleet.publish(&Draft { packages: vec![package], ..fleet.draft(&format!("n = {n}")) });
            fleet.open(n + 1, 1_000, 1);
        }
        fleet
    };
    let steps = cut_everywhere(prepare, |fleet, editor| {
        let package = fleet.package("stt", "weights of the next");
        let prepared = editor.prepare(&Draft { packages: vec![package], ..fleet.draft("n = 9") }, fleet.now)?;
        editor.publish(&prepared, &mut Keys::default(), fleet.now)
    });
    assert!(steps > 25, "only {steps} steps: does the hook see them?");
}

#[test]
fn a_rotation_that_is_cut_off_anywhere_leaves_a_repository_that_loads() {
    let prepare = || {
        let fleet = Fleet::new();
        fleet.publish(&fleet.draft("a = 1"));
        fleet.open(1, 1_000, 1);
        for role in Role::ALL {
            generate(&fleet.keys_dir().join(format!("{role}-new.pem")), None).expect("made");
        }
        fleet
    };
    cut_everywhere(prepare, |fleet, editor| {
        let new = Role::ALL.into_iter().map(|role| {
            let key = Locator::File(fleet.keys_dir().join(format!("{role}-new.pem")));
            (role, RoleFounding { keys: vec![key], threshold: 1 })
        });
        editor.rotate(&new.collect(), &mut Keys::default(), fleet.now)
    });
}

#[test]
fn keys_that_were_lost_are_rotated_without_them() {
    let fleet = Fleet::new();
    fleet.publish(&fleet.draft("a = 1"));
    fleet.open(1, 1_000, 1);
    let lost = [Role::Targets, Role::Releases, Role::Rollouts, Role::Snapshot, Role::Timestamp];
    let mut new = BTreeMap::new();
    for role in lost {
        std::fs::remove_file(fleet.keys_dir().join(format!("{role}.pem"))).expect("lost");
        let path = fleet.keys_dir().join(format!("{role}-new.pem"));
        generate(&path, None).expect("made");
        new.insert(role, RoleFounding { keys: vec![Locator::File(path)], threshold: 1 });
    }
    fleet.edit("rotate").rotate(&new, &mut Keys::default(), fleet.now).expect("the root's key is enough");
    assert_eq!(generations(&fleet.read().expect("loads"), &fleet.dir()), [1].into());

    std::fs::remove_file(fleet.keys_dir().join("root.pem")).expect("lost");
    let path = fleet.keys_dir().join("root-new.pem");
    generate(&path, None).expect("made");
    let settings = fleet.load().settings().clone();
    let new = [(Role::Root, RoleFounding { keys: vec![Locator::File(path)], threshold: 1 })].into();
    let e = fleet.edit("rotate").rotate(&new, &mut Keys::default(), fleet.now).expect_err("nobody replaces the root");
    assert!(matches!(e, RepositoryError::Sign { role: Role::Root, .. }) && e.to_string().contains("root.pem"), "{e}");
    assert_eq!(fleet.load().settings(), &settings, "what did not happen is not remembered");
    fleet.read().expect("nothing changed");
}

#[test]
fn a_thiefs_gigantic_versions_are_healed_by_rotating_the_online_keys() {
    let fleet = Fleet::new();
    fleet.publish(&fleet.draft("a = 1"));
    let datastore = fleet.base.path().join("device");
    std::fs::create_dir(&datastore).expect("made");
    fleet.read_with(Some(&datastore)).expect("the device reads");

    // The thief has the key of `timestamp`.
    let path = fleet.dir().join("metadata/timestamp.json");
    let mut poisoned: Signed<Timestamp> =
        serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("a timestamp");
    poisoned.signed.version = (u64::MAX - 1).try_into().expect("above 0");
    let hand = sign::open(&mut Keys::default(), &[Locator::File(fleet.keys_dir().join("timestamp.pem"))]);
    let id = poisoned.signatures[0].keyid.clone();
    let held = sign::sign(Role::Timestamp, poisoned.signed, &hand, &[&[id]], |_| Ok(())).expect("signed");
    std::fs::write(&path, held.bytes).expect("written");
    fleet.read_with(Some(&datastore)).expect("the device believes it");

    let e = fleet
        .edit("refresh")
        .refresh(&BTreeSet::new(), &mut Keys::default(), fleet.now)
        .expect_err("there is no version after it");
    assert!(
        matches!(e, RepositoryError::Exhausted { role: Role::Timestamp, .. })
            && e.to_string().contains("rotate-key online"),
        "{e}"
    );

    let mut new = BTreeMap::new();
    for role in Role::ONLINE {
        let path = fleet.keys_dir().join(format!("{role}-new.pem"));
        generate(&path, None).expect("made");
        new.insert(role, RoleFounding { keys: vec![Locator::File(path)], threshold: 1 });
    }
    let trusted = std::fs::read(datastore.join("root.json")).expect("the device's root");
    fleet.edit("rotate").rotate(&new, &mut Keys::default(), fleet.now).expect("rotated");
    assert_eq!(fleet.load().version(Role::Timestamp), 1);
    let healed = read_from(&fleet.dir(), &trusted, Some(&datastore)).expect("the device is healed");
    assert_eq!(healed.timestamp().signed.version.get(), 1);
    fleet.publish(&fleet.draft("a = 2"));
    let trusted = std::fs::read(datastore.join("root.json")).expect("the device's root");
    let read = read_from(&fleet.dir(), &trusted, Some(&datastore)).expect("and goes on");
    assert_eq!(generations(&read, &fleet.dir()), [1, 2].into());
}

#[test]
fn old_generations_and_metadata_go_and_what_a_reader_may_still_need_stays() {
    let fleet = Fleet::found(|founding| founding.keep_generations = 2);
    for n in 1..=5 {
        let package = fleet.package("stt", &format!("weights {n}"));
        assert_eq!(fleet.publish(&Draft { packages: vec![package], ..fleet.draft(&format!("n = {n}")) }), n);
        fleet.open(n, 1_000, 1);
    }
    let names = disk::list(&fleet.dir().join("metadata")).expect("listed");
    let of = |role: Role| names.iter().filter_map(|n| metadata::parse_name(n)).filter(|(r, _)| *r == role).count();
    assert_eq!(
        (of(Role::Root), of(Role::Snapshot), of(Role::Rollouts), of(Role::Timestamp)),
        (1, 2, 2, 1),
        "{names:?}"
    );
    let repository = fleet.load();
    assert_eq!(repository.generations().into_keys().collect::<Vec<_>>(), [4, 5]);
    assert_eq!(repository.rollouts().expect("read").into_keys().collect::<Vec<_>>(), [4, 5]);
    let e = repository.generation(3).expect_err("gone").to_string();
    assert!(e.contains("there are 4, 5"), "{e}");
    // Two packages of two files each: a manifest and weights.
    assert_eq!(disk::list(&fleet.dir().join("files")).expect("listed").len(), 4);
    let listed = index(&repository.metadata_files().expect("read"));
    assert!(listed.has("timestamp.json") && listed.has("1.root.json"), "{listed:?}");
    assert_eq!(listed.files.last().map(|file| file.name.as_str()), Some("timestamp.json"));
}

#[test]
fn packages_are_taken_along_unless_they_are_given_anew_or_left_out() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.package("a", "one"), fleet.package("b", "two"));
    fleet.publish(&Draft { packages: vec![a, b], ..fleet.draft("n = 1") });
    let b = fleet.package("b", "three");
    let draft = Draft { packages: vec![b], keep_packages: true, ..fleet.draft("n = 2") };
    let (old, new) =
        (fleet.load().generation(1).expect("1"), fleet.load().prepare(&draft, fleet.now).expect("prepared"));
    let diff = Diff::between(Some(&old), &new.generation);
    assert_eq!(diff.packages, ["~ b 1.0.0 -> 1.0.0 (2 files new or changed)"]);
    assert_eq!(diff.config, ["- n = 1", "+ n = 2"]);
    fleet.publish(&draft);
    let draft = Draft { keep_packages: true, without: vec!["a".into()], ..fleet.draft("n = 2") };
    fleet.publish(&draft);
    let names: Vec<_> = fleet.load().generation(3).expect("3").packages.into_iter().map(|p| p.name).collect();
    assert_eq!(names, ["b"]);
    let e = fleet.load().prepare(&draft, fleet.now).map(drop).expect_err("a is gone already").to_string();
    assert!(e.contains("no package `a`"), "{e}");
}

#[test]
fn what_cannot_be_published_is_refused_with_the_way_out() {
    let fleet = Fleet::new();
    let prepare = |draft: &Draft| fleet.load().prepare(draft, fleet.now).map(drop);
    let with = |package: PathBuf| Draft { packages: vec![package], ..fleet.draft("") };

    let empty = fleet.base.path().join("empty");
    std::fs::create_dir(&empty).expect("made");
    assert!(prepare(&with(empty)).expect_err("no manifest").to_string().contains("linnet models add"));

    let torn = fleet.package("torn", "weights");
    std::fs::write(torn.join("onnx/model.onnx"), "other weights").expect("written");
    assert!(
        prepare(&with(torn)).expect_err("not what it says").to_string().contains("onnx/model.onnx is not the file")
    );

    let outside = fleet.package("outside", "weights");
    let manifest = std::fs::read_to_string(outside.join("manifest.toml")).expect("read");
    std::fs::write(outside.join("manifest.toml"), manifest.replace("onnx/model.onnx", "../../secret"))
        .expect("written");
    assert!(prepare(&with(outside)).expect_err("outside").to_string().contains("no path inside"));

    let one = fleet.package("one", "weights");
    let twice = Draft { packages: vec![one.clone(), one.clone()], ..fleet.draft("") };
    assert!(prepare(&twice).expect_err("twice").to_string().contains("listed twice"));

    // A file that changes between being read and being signed for.
    let mut editor = fleet.edit("publish");
    let prepared = editor.prepare(&with(one.clone()), fleet.now).expect("prepared");
    std::fs::write(one.join("onnx/model.onnx"), "changed").expect("written");
    let e = editor.publish(&prepared, &mut Keys::default(), fleet.now).expect_err("changed").to_string();
    assert!(e.contains("changed while it was read"), "{e}");
    drop(editor);
    assert_eq!(fleet.load().newest(), 0);

    let mut editor = fleet.edit("open");
    let e = editor.new_rollout(7, Selector::default(), "s").expect_err("no such").to_string();
    assert!(e.contains("no generation 7") && e.contains("linnet fleet publish"), "{e}");
    let published = editor.prepare(&fleet.draft(""), fleet.now).expect("prepared");
    editor.publish(&published, &mut Keys::default(), fleet.now).expect("published");
    let good = editor.new_rollout(1, Selector::default(), "s").expect("a rollout");
    for (wrong, said) in [
        (Rollout { fleet: "other".into(), ..good.clone() }, "of the fleet `other`"),
        (Rollout { sha256: "ab".repeat(32), ..good.clone() }, "another generation"),
        (Rollout { opened: 2_000_000, ..good.clone() }, "buckets"),
    ] {
        let e = editor.roll_out(&wrong, &mut Keys::default(), fleet.now).expect_err(said).to_string();
        assert!(e.contains(said), "{e}");
    }
}

#[test]
fn only_what_says_a_share_is_signed_in_the_newer_form() {
    let fleet = Fleet::new();
    let everybody = fleet.publish(&fleet.draft("a = 1"));
    let share = Selector::parse("percent=10").expect("a selector");
    let tenth = fleet.publish(&Draft { audience: share.clone(), ..fleet.draft("a = 2") });
    let mut editor = fleet.edit("open");
    for (number, to, wire) in [(everybody, Selector::default(), 1), (tenth, share.clone(), 2)] {
        let rollout = editor.new_rollout(number, to, "salt").expect("a rollout");
        assert_eq!(rollout.wire, wire);
        editor.roll_out(&rollout, &mut Keys::default(), fleet.now).expect("signed");
        assert_eq!(editor.generation(number).expect("there").wire, wire);
    }
    // As an older program wrote it, and would read it: without the number nobody may say it.
    let mut hidden = editor.new_rollout(tenth, share, "salt").expect("a rollout");
    hidden.wire = 1;
    let e = editor.roll_out(&hidden, &mut Keys::default(), fleet.now).expect_err("refused").to_string();
    assert!(e.contains("form 2"), "{e}");
    drop(editor);
    let repository = fleet.load();
    assert_eq!(repository.rollout(tenth).expect("read").expect("there").to.to_string(), "percent=10");
    let tough = fleet.read().expect("reads");
    let wire = |name: &str| {
        let targets = &tough.all_targets().find(|(target, _)| target.raw() == name).expect(name).1;
        targets.custom[CUSTOM]["wire"].clone()
    };
    for (number, expected) in [(everybody, 1), (tenth, 2)] {
        assert_eq!(wire(&format!("generations/{number}.json")), expected);
        assert_eq!(wire(&format!("rollouts/{number}.json")), expected);
    }
}

#[test]
fn versions_that_no_linnetd_can_have_are_refused() {
    let fleet = Fleet::new();
    let editor = fleet.edit("publish");
    let prepare = |least: Option<&str>, most: Option<&str>| {
        let (min_linnetd, max_linnetd) = (least.map(str::to_owned), most.map(str::to_owned));
        editor.prepare(&Draft { min_linnetd, max_linnetd, config_version: 1, ..Draft::default() }, fleet.now)
    };
    for (least, most, says) in [
        (Some("soon"), None, "min_linnetd `soon` is no version"),
        (None, Some("1.0"), "max_linnetd `1.0` is no version"),
        (Some("0.10.0"), Some("0.9.0"), "min_linnetd 0.10.0 is above max_linnetd 0.9.0"),
    ] {
        let refused = prepare(least, most).expect_err(says).to_string();
        assert!(refused.contains(says), "{refused}");
    }
    prepare(Some("0.9.0"), Some("0.10.0")).expect("numbers, not letters");
    prepare(Some("0.9.0"), Some("0.9.0")).expect("both ends count");
}

#[test]
fn a_repository_that_was_tampered_with_does_not_load() {
    let fleet = Fleet::new();
    fleet.publish(&fleet.draft("a = 1"));
    let dir = fleet.dir();
    for (role, version) in
        [(Role::Root, 1), (Role::Timestamp, 0), (Role::Snapshot, 2), (Role::Targets, 1), (Role::Releases, 2)]
    {
        let path = dir.join("metadata").join(metadata::file_name(role, version));
        let whole = std::fs::read(&path).expect("read");
        let text = String::from_utf8(whole.clone()).expect("text");
        std::fs::write(&path, text.replacen("20", "21", 1)).expect("written");
        let e = Repository::load(&dir).expect_err("tampered").to_string();
        assert!(e.contains(&format!("{role}.json")), "{role}: {e}");
        std::fs::write(&path, whole).expect("written");
    }
    fleet.load();
    let sha256 = fleet.load().generation_sha256(1).expect("there");
    let path = dir.join(format!("targets/generations/{sha256}.1.json"));
    std::fs::write(&path, "{}").expect("written");
    assert!(fleet.load().generation(1).expect_err("tampered").to_string().contains("not what was signed"));
    assert!(matches!(Repository::load(fleet.base.path()), Err(RepositoryError::NotARepository { .. })));
}

#[test]
fn a_repository_is_made_only_where_there_is_room_for_it_and_with_settings_that_make_sense() {
    let fleet = Fleet::new();
    let founding = Founding::simple("home", &fleet.keys_dir());
    let init = |dir: &Path, founding: &Founding| Editor::init(dir, founding, &mut Keys::default(), 0).map(drop);
    assert!(matches!(init(&fleet.dir(), &founding), Err(RepositoryError::NotEmpty { .. })));
    let new = fleet.base.path().join("new");
    let refused = |change: &dyn Fn(&mut Founding)| {
        let mut changed = founding.clone();
        change(&mut changed);
        init(&new, &changed).expect_err("refused").to_string()
    };
    assert!(refused(&|f| f.fleet = "a/b".into()).contains("fleet's name"));
    assert!(refused(&|f| f.keep_generations = 1).contains("at least 2"));
    assert!(refused(&|f| f.days.extend([(Role::Timestamp, 0)])).contains("from 1 to 36500"));
    assert!(refused(&|f| drop(f.roles.remove(&Role::Snapshot))).contains("snapshot has no key"));
    assert!(refused(&|f| f.roles.get_mut(&Role::Root).expect("there").threshold = 2).contains("from 1 to 1"));
    let absent =
        refused(&|f| f.roles.get_mut(&Role::Root).expect("there").keys = vec![Locator::File("/nowhere".into())]);
    assert!(absent.contains("/nowhere"), "{absent}");
    init(&new, &founding).expect("the same keys may found another fleet");
    assert!(matches!(Keys::default().get(&Locator::File("/nowhere".into())), Err(KeyError::Read { .. })));
}
