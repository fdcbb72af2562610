//! Generations in a daemon that serves, over its own socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use linnet_proto::fleet::Running;

use super::*;
use crate::config::{GenerationLayer, Overrides, Surroundings};
use crate::daemon::Started;
use crate::status::StatusSource;
use crate::sys::reloads::reloads;
use crate::sys::signals::Signals;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(300);

/// Between two requests: twenty a second.
const EVERY: Duration = Duration::from_millis(50);

/// A daemon with one bundled model that tells languages apart.
struct Rig {
    home: tempfile::TempDir,
    daemon: Daemon,
    runtime: tokio::runtime::Runtime,
}

/// Copies the bundled `lang-id` to `dir`, under another name where one is given.
fn package(dir: &Path, name: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/lang-id");
    std::fs::create_dir_all(dir).expect("a directory");
    for entry in std::fs::read_dir(from).expect("the bundled package").flatten() {
        std::fs::copy(entry.path(), dir.join(entry.file_name())).expect("a copy");
    }
    let manifest = dir.join("manifest.toml");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    std::fs::write(manifest, text.replace("name = \"lang-id\"", &format!("name = \"{name}\""))).expect("a manifest");
}

impl Rig {
    fn start(config: &str) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let path = |name: &str| home.path().join(name);
        package(&path("bundled/lang-id"), "lang-id");
        std::fs::write(path("linnet.toml"), config).expect("a file");
        let around = Surroundings {
            device: "here".into(),
            socket: path("s"),
            state: path("state"),
            models: Some(path("bundled")),
            processors: 2,
        };
        let flags = Overrides { config: Some(path("linnet.toml")), ..Overrides::default() };
        let sources = Sources { flags, environment: Overrides::default(), around, generation: None };
        let config = config::load(&sources).expect("a right configuration");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let daemon = runtime.block_on(async {
            let (reloads, asked) = reloads();
            let mut signals = Signals::listen(asked).expect("signals");
            let started =
                Daemon::start(sources, config, reloads, updates().0, &mut signals, None).await.expect("it starts");
            let Started::Serves(started) = started else { panic!("nobody ends it") };
            started.0
        });
        Self { home, daemon, runtime }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A generation with packages of these names.
    fn generation(&self, number: u64, text: &str, packages: &[&str]) -> Sources {
        let dir = self.path(&format!("generations/{number}/packages"));
        std::fs::create_dir_all(&dir).expect("a directory");
        for name in packages {
            package(&dir.join(name), name);
        }
        let layer = GenerationLayer { number, config_version: 1, text: text.into(), packages: Some(dir), file: None };
        self.daemon.sources.with_generation(Some(layer))
    }

    fn activate(&mut self, candidate: Sources) -> Result<Activation, String> {
        self.runtime.block_on(self.daemon.activate(candidate, None))
    }

    fn go_back(&mut self, activation: Activation) -> Result<(), String> {
        let Outcome::Serves(back) = activation.outcome else { panic!("it does not serve: {activation:?}") };
        self.runtime.block_on(self.daemon.go_back(*back))
    }

    fn running(&self) -> Option<Running> {
        self.daemon.status.status().generation
    }

    fn models(&self) -> Vec<String> {
        self.daemon.catalog.get().served().map(|served| served.name.clone()).collect()
    }
}

/// Asks which language a sentence has; the status of the answer.
fn ask(socket: &Path) -> std::io::Result<u16> {
    let body = r#"{"q": "Guten Morgen, wie geht es Ihnen heute?"}"#;
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST /detect HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other(format!("no answer: {answer:?}")))
}

#[test]
fn twenty_requests_a_second_through_a_switch_and_back_lose_none() {
    let mut rig = Rig::start("");
    let (socket, stop) = (rig.path("s"), AtomicBool::new(false));
    let candidate =
        rig.generation(7, "[defaults]\ndetect = \"tongue\"\n[limits]\nmax_upload_mib = 7\n", &["lang-id", "tongue"]);
    let before = rig.daemon.catalog.get();
    let answers = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (mut asked, began) = (Vec::new(), Instant::now());
            while !stop.load(Ordering::Relaxed) {
                asked.push(scope.spawn(|| ask(&socket)));
                let next = EVERY * u32::try_from(asked.len()).expect("few");
                std::thread::sleep(next.saturating_sub(began.elapsed()));
            }
            asked.into_iter().map(|ask| ask.join().expect("no panic")).collect::<Vec<_>>()
        });
        std::thread::sleep(EVERY * 10);
        let activation = rig.activate(candidate).expect("it takes it");
        assert_eq!(rig.running(), Some(Running { generation: 7, confirmed: false }));
        assert_eq!(rig.models(), ["lang-id", "tongue"]);
        assert_eq!(rig.daemon.config.intake.max_upload_bytes, 7 << 20);
        std::thread::sleep(EVERY * 10);
        rig.go_back(activation).expect("it goes back");
        assert_eq!(rig.running(), Some(Running { generation: 0, confirmed: true }));
        assert!(Arc::ptr_eq(&rig.daemon.catalog.get(), &before), "as it was, without a look at the disk");
        assert_eq!(rig.daemon.config.intake.max_upload_bytes, 128 << 20);
        std::thread::sleep(EVERY * 10);
        stop.store(true, Ordering::Relaxed);
        load.join().expect("no panic")
    });
    let lost: Vec<_> = answers.iter().filter(|answer| !matches!(answer, Ok(200))).collect();
    assert!(answers.len() >= 30 && lost.is_empty(), "of {} these are lost: {lost:?}", answers.len());
}

#[test]
fn a_model_that_did_not_change_stays_loaded_and_is_found_where_it_lies_now() {
    let mut rig = Rig::start("preload = [\"all\"]\n");
    let of_bundled = Arc::clone(&rig.daemon.catalog.get().served().next().expect("one").home);
    let loaded = of_bundled.peek().expect("it is preloaded");
    let seven = rig.generation(7, "", &["lang-id"]);
    let activation = rig.activate(seven).expect("it takes it");
    let catalog = rig.daemon.catalog.get();
    let served = catalog.served().next().expect("one");
    assert!(served.dir.starts_with(rig.path("generations/7")), "{}", served.dir.display());
    assert!(served.home.peek().is_some_and(|now| Arc::ptr_eq(&now, &loaded)), "it was not loaded again");
    // Its old place may go, and its new one is where it is loaded from.
    std::fs::rename(rig.path("bundled"), rig.path("gone")).expect("renames");
    assert_eq!(catalog.let_go(None).len(), 1);
    served.home.pipeline(&mut || Ok(())).expect("it loads from the generation");
    std::fs::rename(rig.path("gone"), rig.path("bundled")).expect("renames");
    rig.go_back(activation).expect("it goes back");
    std::fs::remove_dir_all(rig.path("generations/7")).expect("a generation that failed is collected");
    rig.daemon.catalog.get().let_go(None);
    of_bundled.pipeline(&mut || Ok(())).expect("it loads from its old place");
}

#[test]
fn what_cannot_change_live_is_named_before_and_nothing_is_changed() {
    let mut rig = Rig::start("");
    let candidate = rig.generation(7, "[limits]\nmax_upload_mib = 7\n[scheduler]\nworkers = 5\n", &["tongue"]);
    let activation = rig.activate(candidate).expect("it is right");
    let Outcome::Restart(keys) = &activation.outcome else { panic!("{activation:?}") };
    assert_eq!(keys.iter().map(|change| change.key.as_str()).collect::<Vec<_>>(), ["scheduler.workers"]);
    assert_eq!((rig.running(), rig.models()), (None, vec!["lang-id".to_owned()]));
    assert_eq!(rig.daemon.config.intake.max_upload_bytes, 128 << 20);
    assert!(rig.daemon.sources.generation.is_none(), "a reload reads what serves");
}

#[test]
fn a_name_that_was_added_on_the_device_is_refused_and_others_stand_beside() {
    let mut rig = Rig::start("");
    package(&rig.path("state/models/tongue"), "tongue");
    let candidate = rig.generation(7, "", &["tongue", "lang-id"]);
    let refused = rig.activate(candidate).expect_err("a clash");
    assert!(refused.contains("model tongue") && refused.contains("state/models/tongue"), "{refused}");
    assert!(refused.contains("linnet models remove tongue"), "{refused}");
    assert_eq!(rig.models(), ["lang-id"]);
    let candidate = rig.generation(8, "", &["lang-id"]);
    let activation = rig.activate(candidate).expect("no clash");
    assert_eq!(activation.local_packages, ["tongue"]);
    assert_eq!(rig.models(), ["tongue", "lang-id"], "the device's own first");
}

#[test]
fn a_generation_that_cannot_be_taken_leaves_everything_as_it_was() {
    let mut rig = Rig::start("");
    let before = rig.daemon.catalog.get();
    for (number, text, says) in [
        (7, "log = \"loud\"", "generation 7, line 1: log: "),
        (8, "\ndefault_model = \"nobody\"", "generation 8, line 2: default_model: "),
        (9, "socket = \"/s\"", "generation 9, line 1: socket: belongs to the device"),
        (10, "[limits]\nmax_upload_mib = 300", "limits.max_upload_total_mib"),
    ] {
        let candidate = rig.generation(number, text, &["tongue"]);
        let refused = rig.activate(candidate).expect_err(text);
        assert!(refused.contains(says), "{refused}");
    }
    assert!(Arc::ptr_eq(&rig.daemon.catalog.get(), &before));
    assert_eq!(ask(&rig.path("s")).expect("an answer"), 200);
}

#[test]
fn a_reload_keeps_the_generation_and_the_way_back_keeps_what_was_added_since() {
    let mut rig = Rig::start("");
    let candidate = rig.generation(7, "[limits]\nmax_upload_mib = 7\n", &["tongue"]);
    let activation = rig.activate(candidate).expect("it takes it");
    package(&rig.path("state/models/added"), "added");
    rig.runtime.block_on(rig.daemon.reload());
    assert_eq!(
        (rig.daemon.config.generation(), rig.models()),
        (7, vec!["added".into(), "tongue".into(), "lang-id".into()])
    );
    rig.go_back(activation).expect("it goes back");
    assert_eq!((rig.daemon.config.generation(), rig.models()), (0, vec!["added".into(), "lang-id".into()]));
}

#[test]
fn the_way_back_is_open_although_the_file_was_broken_meanwhile() {
    let mut rig = Rig::start("[limits]\nmax_channels = 3\n");
    let candidate = rig.generation(7, "[limits]\nmax_channels = 4\n", &["tongue"]);
    let activation = rig.activate(candidate).expect("it takes it");
    std::fs::write(rig.path("linnet.toml"), "[limits").expect("a file");
    rig.go_back(activation).expect("it goes back");
    assert_eq!((rig.daemon.config.generation(), rig.daemon.config.intake.audio.max_channels), (0, 3));
    assert_eq!(rig.models(), ["lang-id"]);
}

#[test]
fn requests_wait_while_the_models_are_let_go_of_and_are_answered_afterwards() {
    let mut rig = Rig::start("preload = [\"all\"]\n");
    let candidate = rig.generation(7, "", &["tongue"]);
    for activates in [false, true] {
        let window = rig.runtime.block_on(rig.daemon.open_window()).expect("nothing runs");
        assert_eq!(rig.daemon.catalog.get().held_beside(None), 0, "no model is in memory");
        let socket = rig.path("s");
        let asked = std::thread::spawn(move || ask(&socket));
        let began = Instant::now();
        while rig.daemon.scheduler.load().waiting == 0 {
            assert!(began.elapsed() < PATIENCE, "it never waits");
            std::thread::sleep(Duration::from_millis(5));
        }
        if activates {
            let activation = rig.runtime.block_on(rig.daemon.activate(candidate.clone(), Some(window)));
            assert!(matches!(activation.expect("it takes it").outcome, Outcome::Serves(_)));
        } else {
            drop(window);
        }
        assert_eq!(asked.join().expect("no panic").expect("an answer"), 200);
    }
}

#[test]
fn only_what_is_new_or_changed_is_to_be_proved_and_the_numbers_are_told() {
    let fleet =
        "preload = [\"all\"]\n[fleet]\nname = \"home\"\nroot = \"root.json\"\nsources = [\"stick\"]\nprobe_secs = 9\n";
    let mut rig = Rig::start(fleet);
    let candidate = rig.generation(7, "", &["lang-id", "tongue"]);
    let dir = rig.path("generations/7");
    let plan = rig.daemon.plan(&candidate, &dir).expect("there is room");
    assert_eq!(plan.probe.models, [dir.join("packages/tongue")]);
    assert_eq!((plan.need.start_mib, plan.room.is_drained()), (1, false));
    assert_eq!(plan.probe.limits.time, Duration::from_secs(9));
    assert!(plan.probe.flags.iter().any(|flag| flag.to_string_lossy().starts_with("--config=")));

    std::fs::write(dir.join("packages/tongue/manifest.toml"), "name = 3").expect("a file");
    let fault = rig.daemon.plan(&candidate, &dir).expect_err("it cannot be read");
    assert_eq!((fault.code, fault.model.as_deref()), (Code::Package, Some("tongue")));
    let fault = rig.daemon.plan(&rig.generation(8, "x = 1", &[]), &dir).expect_err("a wrong configuration");
    assert_eq!(fault.code, Code::Config);

    let huge = rig.generation(9, "", &["huge"]);
    let manifest = rig.path("generations/9/packages/huge/manifest.toml");
    let text =
        std::fs::read_to_string(&manifest).expect("a manifest").replace("memory_mib = 1", "memory_mib = 90000000");
    std::fs::write(&manifest, text).expect("a manifest");
    let fault = rig.daemon.plan(&huge, &rig.path("generations/9")).expect_err("no machine has so much");
    assert!(fault.code == Code::NoMemory && fault.reason.contains("90000064 MiB"), "{fault}");
    assert!(rig.activate(candidate).is_ok());
}
