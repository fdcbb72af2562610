//! `linnetd probe`: the proof of a generation in a process of its own, on real packages, whole and damaged.

mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use harness::{PATIENCE, models};
use linnet::push::probe::{Code, Probe, ProbeFault, ProbeLimits, Proved};
use linnet_proto::fleet::Generation;

/// A device with a generation on its disk.
struct Device(tempfile::TempDir);

impl Device {
    /// The generation's configuration, and the bundled packages that it holds.
    fn with(config: &str, packages: &[&str]) -> Self {
        let device = Self(tempfile::tempdir().expect("a directory"));
        let generation = Generation { config: config.into(), ..Generation::empty("home", 7) };
        std::fs::create_dir_all(device.generation().join("packages")).expect("a directory");
        let text = serde_json::to_vec(&generation).expect("JSON");
        std::fs::write(device.generation().join("generation.json"), text).expect("a file");
        std::fs::write(device.file(), "").expect("a file");
        for name in packages {
            copy(&models().join(name), &device.package(name));
        }
        device
    }

    fn generation(&self) -> PathBuf {
        self.0.path().join("7")
    }

    fn package(&self, name: &str) -> PathBuf {
        self.generation().join("packages").join(name)
    }

    /// The device's own configuration.
    fn file(&self) -> PathBuf {
        self.0.path().join("linnet.toml")
    }

    /// Proves the packages of these names.
    fn probe(&self, names: &[&str], limits: ProbeLimits) -> Result<Proved, ProbeFault> {
        let flag = |name: &str, path: &Path| format!("--{name}={}", path.display()).into();
        let probe = Probe {
            program: env!("CARGO_BIN_EXE_linnetd").into(),
            flags: vec![flag("config", &self.file()), flag("state", &self.0.path().join("state"))],
            generation: self.generation(),
            models: names.iter().map(|name| self.package(name)).collect(),
            limits,
        };
        probe.run(&AtomicBool::new(false))
    }
}

const PLENTY: ProbeLimits = ProbeLimits { time: PATIENCE, memory_mib: Some(2048) };

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a package").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Replaces a text of a file, which must be there.
fn change(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).expect("a file");
    assert!(text.contains(from), "{from} does not stand in {}", file.display());
    std::fs::write(file, text.replacen(from, to, 1)).expect("a file");
}

#[test]
fn models_that_answer_their_canaries_are_proved_in_order() {
    let device = Device::with("default_model = \"stt-en-small\"", &["lang-id", "stt-en-small", "generate-stories"]);
    let names = ["stt-en-small", "lang-id", "generate-stories"];
    let proved = device.probe(&names, PLENTY).expect("all is well");
    assert_eq!(proved.models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>(), names);
    assert!(proved.models.iter().all(|model| model.peak_mib > 0 && !model.version.is_empty()), "{proved:?}");
}

#[test]
fn a_generation_of_configuration_alone_is_proved_by_its_check() {
    let proved = Device::with("[limits]\nmax_upload_mib = 7\n", &[]).probe(&[], PLENTY).expect("all is well");
    assert!(proved.models.is_empty());
    for (config, says) in [
        ("log = \"loud\"", "generation 7, line 1: log: expected"),
        ("\nsocket = \"/s\"", "generation 7, line 2: socket: belongs to the device"),
        ("default_model = \"nobody\"", "generation 7, line 1: default_model: "),
    ] {
        let fault = Device::with(config, &["lang-id"]).probe(&[], PLENTY).expect_err(config);
        assert!(fault.code == Code::Config && fault.reason.contains(says), "{fault}");
    }
}

#[test]
fn a_wrong_answer_a_damaged_file_and_a_missing_one_are_told_apart() {
    let device = Device::with("", &["generate-stories", "lang-id"]);
    let manifest = device.package("generate-stories").join("manifest.toml");
    // A canary that asks for another answer: what the model says is not what its maker says that it should.
    change(&manifest, "tokens = [16, ", "tokens = [17, ");
    let fault = device.probe(&["lang-id", "generate-stories"], PLENTY).expect_err("a wrong answer");
    assert_eq!((fault.code, fault.model.as_deref()), (Code::Canary, Some("generate-stories")), "{fault}");

    let weights = device.package("lang-id").join("weights.bin");
    let mut bytes = std::fs::read(&weights).expect("a file");
    bytes[1000] ^= 1;
    std::fs::write(&weights, bytes).expect("a file");
    let fault = device.probe(&["lang-id"], PLENTY).expect_err("a damaged file");
    assert!(fault.code == Code::Package && fault.reason.contains("weights.bin"), "{fault}");
    std::fs::remove_file(&weights).expect("it was there");
    let fault = device.probe(&["lang-id"], PLENTY).expect_err("a missing file");
    assert!(fault.code == Code::Package && fault.reason.contains("weights.bin"), "{fault}");

    change(&manifest, "family = \"", "family = \"un");
    let fault = device.probe(&["generate-stories"], PLENTY).expect_err("an unknown family");
    assert_eq!((fault.code, fault.model.as_deref()), (Code::Load, Some("generate-stories")), "{fault}");
}

#[test]
fn a_model_that_takes_more_memory_than_it_may_is_ended_for_it() {
    let device = Device::with("", &["stt-en-small"]);
    // Wherever on its way the memory runs out, and whoever asks for what is not there.
    let limits = ProbeLimits { memory_mib: Some(10), ..PLENTY };
    let fault = device.probe(&["stt-en-small"], limits).expect_err("too little memory");
    assert_eq!((fault.code, fault.model.as_deref()), (Code::Memory, Some("stt-en-small")), "{fault}");
    assert!(fault.reason.contains("10 MiB"), "{fault}");
    // By its own manifest it does not even begin.
    change(&device.package("stt-en-small").join("manifest.toml"), "\nmemory_mib = ", "\nmemory_mib = 9000");
    let fault = device.probe(&["stt-en-small"], PLENTY).expect_err("no machine has so much");
    assert!(fault.code == Code::NoMemory && fault.reason.contains("MiB"), "{fault}");
}

#[test]
fn a_proof_that_waits_for_ever_and_one_that_computes_too_long_are_ended() {
    let device = Device::with("", &["stt-en-small"]);
    let short = ProbeLimits { time: Duration::from_millis(20), ..PLENTY };
    let fault = device.probe(&["stt-en-small"], short).expect_err("it cannot be so fast");
    assert_eq!(fault.code, Code::Timeout, "{fault}");
    // A configuration that is a pipe which nobody writes to: reading it never ends.
    std::fs::remove_file(device.file()).expect("it was there");
    assert!(Command::new("mkfifo").arg(device.file()).status().expect("mkfifo runs").success());
    let second = ProbeLimits { time: Duration::from_secs(1), ..PLENTY };
    let fault = device.probe(&[], second).expect_err("it hangs");
    assert!(fault.code == Code::Timeout && fault.model.is_none(), "{fault}");
}

#[test]
fn a_package_of_a_name_that_was_added_on_the_device_is_refused() {
    let device = Device::with("", &["lang-id"]);
    copy(&models().join("lang-id"), &device.0.path().join("state/models/lang-id"));
    let fault = device.probe(&["lang-id"], PLENTY).expect_err("a clash");
    assert!(fault.code == Code::Clash && fault.reason.contains("linnet models remove lang-id"), "{fault}");
}
