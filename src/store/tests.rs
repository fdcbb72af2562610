use std::collections::BTreeMap;

use linnet_proto::manifest::{Canary, CanarySearch, CanaryStatus, MANIFEST_VERSION, SpeechCanary};
use linnet_proto::model_config::{DecodingDefaults, Normalization, UnitKind};
use tempfile::TempDir;

use super::memory::Memory;
use super::*;
use crate::engine::Tensor;
use crate::engine::fake::{FakeEngine, FakeModel, FakeRun};

const UNITS: [&str; 4] = ["<blank>", "▁", "a", "b"];

fn config() -> CtcConfig {
    CtcConfig {
        model_type: CTC_FAMILY.into(),
        sample_rate: 16_000,
        mel_bins: 80,
        frame_shift_ms: 10.0,
        normalization: Normalization::Utterance,
        subsampling: 4,
        blank_id: 0,
        units: UNITS.len(),
        max_segment_secs: 30.0,
        unit_kind: UnitKind::Characters,
        onnx: "onnx/model.onnx".into(),
        language_model: None,
        decoding: DecodingDefaults::default(),
    }
}

fn manifest() -> Manifest {
    Manifest {
        manifest_version: MANIFEST_VERSION,
        name: "stt".into(),
        version: "1.2.3".into(),
        aliases: vec!["whisper-1".into()],
        tasks: vec!["transcribe".into()],
        languages: vec!["en".into()],
        pairs: Vec::new(),
        license: "MIT".into(),
        description: "for tests".into(),
        family: CTC_FAMILY.into(),
        memory_mib: 1,
        files: BTreeMap::new(),
        dtype: None,
        canary: Some(Canary::Speech(SpeechCanary {
            status: CanaryStatus::Recorded,
            audio: "canary.wav".into(),
            text: "a b".into(),
            search: CanarySearch::Greedy,
            logprob: -0.1,
            logprob_tolerance: 0.01,
        })),
    }
}

fn speech(manifest: &mut Manifest) -> &mut SpeechCanary {
    match &mut manifest.canary {
        Some(Canary::Speech(canary)) => canary,
        other => panic!("{other:?}"),
    }
}

fn tokenizer(vocabulary: &[(&str, u32)]) -> String {
    let vocabulary: BTreeMap<_, _> = vocabulary.iter().copied().collect();
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "<blank>", "vocab": vocabulary},
    })
    .to_string()
}

/// Writes a whole package, with digests that are right.
fn write(dir: &Path, mut manifest: Manifest, config: &CtcConfig, tokenizer: &str) {
    std::fs::create_dir_all(dir.join("onnx")).expect("creates");
    let json = serde_json::to_string(config).expect("serializes");
    for (name, content) in [
        (CONFIG, json.as_bytes()),
        (TOKENIZER, tokenizer.as_bytes()),
        ("canary.wav", b"RIFF"),
        ("onnx/model.onnx", b"onnx"),
    ] {
        std::fs::write(dir.join(name), content).expect("writes");
        manifest.files.insert(name.into(), file_entry(&dir.join(name)).expect("readable"));
    }
    write_manifest(dir, &manifest);
}

fn write_manifest(dir: &Path, manifest: &Manifest) {
    std::fs::write(dir.join(MANIFEST), toml::to_string(manifest).expect("serializes")).expect("writes");
}

fn good_tokenizer() -> String {
    let ids: Vec<_> = UNITS.iter().copied().zip(0..).collect();
    tokenizer(&ids)
}

fn good() -> TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    write(dir.path(), manifest(), &config(), &good_tokenizer());
    dir
}

#[track_caller]
fn refusal(dir: &Path) -> String {
    let error = Package::open(dir).expect_err("must be refused").to_string();
    assert!(error.contains(&*dir.to_string_lossy()) && !error.contains('\n'), "{error}");
    error
}

/// The reason why a package is refused after `change` of its manifest.
fn manifest_refusal(change: impl FnOnce(&mut Manifest)) -> String {
    let dir = good();
    let mut manifest = read_manifest(dir.path()).expect("well formed");
    change(&mut manifest);
    write_manifest(dir.path(), &manifest);
    let error = refusal(dir.path());
    assert!(error.contains(MANIFEST), "{error}");
    error
}

fn config_refusal(change: impl FnOnce(&mut CtcConfig)) -> String {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut config = config();
    change(&mut config);
    write(dir.path(), manifest(), &config, &good_tokenizer());
    let error = refusal(dir.path());
    assert!(error.contains(CONFIG), "{error}");
    error
}

fn tokenizer_refusal(tokenizer: &str) -> String {
    let dir = tempfile::tempdir().expect("temporary directory");
    write(dir.path(), manifest(), &config(), tokenizer);
    let error = refusal(dir.path());
    assert!(error.contains(TOKENIZER), "{error}");
    error
}

#[test]
fn a_whole_package_opens_and_names_what_it_does_not_list() {
    let dir = good();
    std::fs::write(dir.path().join("onnx/notes.txt"), "").expect("writes");
    let package = Package::open(dir.path()).expect("whole");
    let parts = package.ctc().expect("whole");
    assert_eq!((parts.units, parts.config), (UNITS.map(str::to_owned).to_vec(), config()));
    assert_eq!(package.unlisted, ["onnx/notes.txt"]);
    let verified = verify(dir.path()).expect("whole");
    assert_eq!((verified.name.as_str(), verified.version.as_str(), verified.files), ("stt", "1.2.3", 4));
}

#[test]
fn a_file_that_is_missing_cut_off_longer_or_other_is_named() {
    for name in ["onnx/model.onnx", CONFIG, TOKENIZER, "canary.wav"] {
        let dir = good();
        let path = dir.path().join(name);
        let content = std::fs::read(&path).expect("readable");
        std::fs::write(&path, &content[1..]).expect("writes");
        assert!(matches!(Package::open(dir.path()), Err(PackageError::Size { path: p, .. }) if p == path));
        std::fs::write(&path, [&content[..], b"x"].concat()).expect("writes");
        assert!(matches!(Package::open(dir.path()), Err(PackageError::Size { path: p, .. }) if p == path));
        let mut other = content.clone();
        other[0] ^= 1;
        std::fs::write(&path, other).expect("writes");
        assert!(matches!(Package::open(dir.path()), Err(PackageError::Digest { path: p, .. }) if p == path));
        std::fs::remove_file(&path).expect("removes");
        assert!(matches!(Package::open(dir.path()), Err(PackageError::Missing { path: p }) if p == path));
        std::fs::create_dir(&path).expect("creates");
        assert!(matches!(Package::open(dir.path()), Err(PackageError::Invalid { path: p, .. }) if p == path));
    }
}

#[test]
fn a_package_may_only_name_its_own_files() {
    for name in ["../secret", "/etc/hostname", "a/../../secret", "./a", "a//b", "", "a\\b", "a\nb"] {
        let error = manifest_refusal(|m| {
            let entry = m.files[CONFIG].clone();
            m.files.insert(name.into(), entry);
        });
        assert!(error.contains("files lists"), "{name:?}: {error}");
        let error = config_refusal(|c| c.onnx = name.into());
        assert!(error.contains("onnx names"), "{name:?}: {error}");
    }
    // A link that leads outside, listed with the digest of what it leads to.
    let dir = good();
    let outside = tempfile::NamedTempFile::new().expect("temporary file");
    std::fs::write(outside.path(), "RIFF").expect("writes");
    let link = dir.path().join("canary.wav");
    std::fs::remove_file(&link).expect("removes");
    std::os::unix::fs::symlink(outside.path(), &link).expect("links");
    assert!(matches!(Package::open(dir.path()), Err(PackageError::Outside { path }) if path == link));
}

#[test]
fn a_pipe_in_a_package_is_refused_and_not_waited_for() {
    for name in [MANIFEST, CONFIG, TOKENIZER, "onnx/model.onnx"] {
        let dir = good();
        let path = dir.path().join(name);
        std::fs::remove_file(&path).expect("the file goes");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
        // Where it is waited for, this thread stands still; the test need not.
        let (sender, refused) = std::sync::mpsc::sync_channel(1);
        let dir = std::sync::Arc::new(dir);
        let of_thread = std::sync::Arc::clone(&dir);
        std::thread::spawn(move || sender.send(refusal(of_thread.path())));
        let refusal = refused.recv_timeout(std::time::Duration::from_secs(30)).expect("an answer");
        assert!(refusal.contains(name) && refusal.ends_with("not a regular file"), "{refusal}");
    }
}

#[test]
fn a_manifest_that_breaks_a_rule_is_refused_with_the_key() {
    for (key, error) in [
        ("manifest_version", manifest_refusal(|m| m.manifest_version = 2)),
        ("name", manifest_refusal(|m| m.name = "Stt".into())),
        ("name", manifest_refusal(|m| m.name = "x".repeat(65))),
        ("aliases", manifest_refusal(|m| m.aliases = vec!["../x".into()])),
        ("version", manifest_refusal(|m| m.version = "1.0".into())),
        ("version", manifest_refusal(|m| m.version = "01.0.0".into())),
        ("tasks", manifest_refusal(|m| m.tasks.clear())),
        ("languages", manifest_refusal(|m| m.languages = vec!["English".into()])),
        ("license", manifest_refusal(|m| m.license = " ".into())),
        ("family", manifest_refusal(|m| m.family = String::new())),
        ("canary.wav", manifest_refusal(|m| drop(m.files.remove("canary.wav")))),
        (CONFIG, manifest_refusal(|m| drop(m.files.remove(CONFIG)))),
        ("sha256", manifest_refusal(|m| m.files.get_mut(CONFIG).expect("listed").sha256 = "A".repeat(64))),
        ("logprob", manifest_refusal(|m| speech(m).logprob = f64::NAN)),
        ("logprob", manifest_refusal(|m| speech(m).logprob = 0.5)),
        ("logprob_tolerance", manifest_refusal(|m| speech(m).logprob_tolerance = 0.0)),
    ] {
        assert!(error.contains(key), "{key}: {error}");
    }
}

#[test]
fn a_manifest_that_cannot_be_read_says_where() {
    let dir = good();
    let path = dir.path().join(MANIFEST);
    let text = std::fs::read_to_string(&path).expect("readable");
    for (content, reason) in [
        (text.replace("[canary]", "[canary"), "line"),
        (format!("colour = 1\n{text}"), "line 1: unknown field `colour`"),
        (text.replace("memory_mib = 1", "memory_mib = \"much\""), "line"),
        (text.replace("name = \"stt\"\n", ""), "missing field `name`"),
        (format!("{text}\n# {}", "x".repeat(MAX_MANIFEST_BYTES as usize)), "more than 1024 KiB"),
    ] {
        std::fs::write(&path, content).expect("writes");
        let error = Package::open(dir.path()).expect_err(reason).to_string();
        assert!(error.contains(MANIFEST) && error.contains(reason), "{error}");
    }
    std::fs::remove_file(&path).expect("removes");
    assert!(matches!(Package::open(dir.path()), Err(PackageError::Read { path: p, .. }) if p == path));
}

#[test]
fn a_configuration_that_breaks_a_rule_is_refused_with_the_key() {
    for (key, error) in [
        ("model_type", config_refusal(|c| c.model_type = "whisper".into())),
        ("sample_rate", config_refusal(|c| c.sample_rate = 8000)),
        ("mel_bins", config_refusal(|c| c.mel_bins = 40)),
        ("frame_shift_ms", config_refusal(|c| c.frame_shift_ms = 12.5)),
        ("subsampling", config_refusal(|c| c.subsampling = 0)),
        ("subsampling", config_refusal(|c| c.subsampling = usize::MAX)),
        ("units", config_refusal(|c| c.units = usize::MAX)),
        ("blank_id", config_refusal(|c| c.blank_id = 4)),
        ("max_segment_secs", config_refusal(|c| c.max_segment_secs = 0.0)),
        ("max_segment_secs", config_refusal(|c| c.max_segment_secs = 1e9)),
        ("decoding.beam_width", config_refusal(|c| c.decoding.beam_width = 0)),
        ("onnx", config_refusal(|c| c.onnx = "other.onnx".into())),
        ("language_model", config_refusal(|c| c.language_model = Some("lm.bin".into()))),
    ] {
        assert!(error.contains(key), "{key}: {error}");
    }
}

#[test]
fn a_tokenizer_that_does_not_match_the_model_is_refused() {
    assert!(tokenizer_refusal("{}").contains("not a tokenizer"));
    assert!(tokenizer_refusal(&tokenizer(&[("<blank>", 0), ("a", 1), ("b", 2)])).contains("has 3 units"));
    assert!(tokenizer_refusal(&tokenizer(&[("<blank>", 0), ("▁", 1), ("a", 2), ("b", 4)])).contains("without a gap"));
    assert!(tokenizer_refusal(&tokenizer(&[("▁", 0), ("<blank>", 1), ("a", 2), ("b", 3)])).contains("<blank>"));
}

#[test]
fn a_model_that_needs_more_memory_than_there_is_stays_out() {
    let dir = good();
    let mut package = Package::open(dir.path()).expect("whole");
    package.manifest.memory_mib = 300;
    let left = |available_mib| Some(Memory { total_mib: 1000, available_mib });
    let error = package.check_memory(left(299)).expect_err("too little").to_string();
    assert!(error.contains("`stt`") && error.contains("300 MiB") && error.contains("299 MiB"), "{error}");
    assert!(package.check_memory(left(300)).is_ok() && package.check_memory(None).is_ok());
    package.manifest.memory_mib = u64::MAX;
    let model = FakeModel::hearing(vec![], UNITS.len(), 4);
    assert!(matches!(package.load_ctc(&config(), &FakeEngine(model.clone())), Err(PackageError::Memory { .. })));
    assert_eq!(model.sessions(), 0, "nothing of it was loaded");
}

#[test]
fn a_graph_whose_outputs_are_not_those_of_the_configuration_is_refused() {
    let dir = good();
    let package = Package::open(dir.path()).expect("whole");
    let load = |model| package.load_ctc(&config(), &FakeEngine(model));
    load(FakeModel::hearing(vec![1], UNITS.len(), 4)).expect("fits");
    let error = load(FakeModel::hearing(vec![1], 5, 4)).expect_err("five units").to_string();
    assert!(error.contains("model.onnx") && error.contains("[1, 5, 5]"), "{error}");
    assert!(load(FakeModel::hearing(vec![1], UNITS.len(), 8)).is_err());
    let gives = |name: &'static str, value: f32| {
        FakeModel::new(move |_, _| FakeRun::Outputs(vec![(name.into(), Tensor::f32([1, 5, 4], vec![value; 20]))]))
    };
    load(gives("log_probs", -1.4)).expect("fits");
    assert!(load(gives("logits", -1.4)).expect_err("another name").to_string().contains("no output `log_probs`"));
    for nonsense in [f32::NAN, 3.0, f32::INFINITY] {
        assert!(load(gives("log_probs", nonsense)).expect_err("nonsense").to_string().contains("no log-probabilities"));
    }
    let fails = FakeModel::new(|_, _| FakeRun::Fail("no such kernel".into()));
    assert!(load(fails).expect_err("does not run").to_string().contains("no such kernel"));
}

#[test]
fn a_scan_goes_by_name_passes_over_what_is_no_package_and_refuses_a_second_of_one_name() {
    let root = tempfile::tempdir().expect("temporary directory");
    for (directory, name, alias) in
        [("b", "two", "whisper-1"), ("a", "one", "whisper-1"), ("c", "one", "x"), (".d", "four", "y")]
    {
        let manifest = Manifest { name: name.into(), aliases: vec![alias.into()], ..manifest() };
        write(&root.path().join(directory), manifest, &config(), &good_tokenizer());
    }
    std::fs::write(root.path().join("README"), "").expect("writes");
    std::fs::create_dir(root.path().join("empty")).expect("creates");
    let found = scan(root.path());
    let places: Vec<_> = found.iter().map(|(dir, _)| dir.strip_prefix(root.path()).expect("inside")).collect();
    assert_eq!(places, ["a", "b", "c", "empty"].map(Path::new));
    assert_eq!(found[0].1.as_ref().expect("the first of its names").manifest.name, "one");
    for (index, taken) in [(1, "whisper-1"), (2, "one")] {
        assert!(matches!(&found[index].1, Err(PackageError::Duplicate { name, .. }) if name == taken));
    }
    assert!(matches!(&found[3].1, Err(PackageError::Read { path, .. }) if path.ends_with(MANIFEST)));
    assert!(matches!(&scan(Path::new("/nonexistent"))[..], [(_, Err(PackageError::Read { .. }))]));
}
