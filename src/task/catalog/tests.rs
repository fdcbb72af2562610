//! Catalogs of packages on disk.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use linnet_proto::model_config::{CtcConfig, DecodingDefaults, Normalization, UnitKind};
use linnet_proto::{ErrorCode, WireError};
use tempfile::TempDir;

use super::*;
use crate::engine::fake::{FakeEngine, FakeModel};
use crate::status::Events;
use crate::store;
use crate::task::fake::{FakePipeline, manifest, transcript};

/// Writes a whole package that verifies, and lets `change` say more in its manifest.
fn write_package(dir: &Path, name: &str, change: impl FnOnce(&mut Manifest)) {
    fs::create_dir_all(dir).expect("a directory");
    let config = CtcConfig {
        model_type: store::CTC_FAMILY.into(),
        sample_rate: 16_000,
        mel_bins: 80,
        frame_shift_ms: 10.0,
        normalization: Normalization::Utterance,
        subsampling: 4,
        blank_id: 0,
        units: 3,
        max_segment_secs: 20.0,
        unit_kind: UnitKind::Bpe,
        onnx: "model.onnx".into(),
        language_model: None,
        decoding: DecodingDefaults {
            beam_width: 4,
            lm_weight: 0.0,
            word_bonus: 0.0,
            hot_word_boost: 2.0,
            punctuate: false,
        },
    };
    let tokenizer = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"<blank>": 0, "▁a": 1, "b": 2}, "unk_token": "<blank>"}}"#;
    let mut manifest = manifest(name);
    for (file, bytes) in [
        ("config.json", serde_json::to_vec(&config).expect("a configuration is JSON")),
        ("tokenizer.json", tokenizer.into()),
        ("model.onnx", b"weights".to_vec()),
        ("canary.wav", b"speech".to_vec()),
    ] {
        fs::write(dir.join(file), bytes).expect("a file");
        manifest.files.insert(file.into(), store::file_entry(&dir.join(file)).expect("the file is there"));
    }
    change(&mut manifest);
    fs::write(dir.join("manifest.toml"), toml::to_string(&manifest).expect("a manifest is TOML")).expect("a file");
}

/// A loader whose packages all become `pipeline`, and a count of how many were loaded.
fn loader(pipeline: FakePipeline) -> (Loader, Arc<AtomicUsize>) {
    let loads = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&loads);
    let families = Families::default().with(store::CTC_FAMILY, move |_, _, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(pipeline.clone()))
    });
    let engine = Arc::new(FakeEngine(FakeModel::hearing(vec![1], 3, 4)));
    (Loader { engine, families, events: Events::default(), budget: Budget::default() }, loads)
}

fn pipeline() -> FakePipeline {
    FakePipeline::new(|_, _| Ok(transcript("heard")))
}

fn by_default(name: &str) -> Loading {
    let choices = Choices { default_model: Some(name.to_owned()), ..Choices::default() };
    Loading { choices, ..Loading::all() }
}

fn load(dirs: &[&Path]) -> Catalog {
    let dirs: Vec<_> = dirs.iter().map(|d| (*d).to_owned()).collect();
    loader(pipeline()).0.load(&dirs, &Loading::all(), None)
}

/// Why the package in the directory `dir` does not serve.
fn reason(catalog: &Catalog, dir: &str) -> String {
    let failed = catalog.failed().find(|f| f.dir.ends_with(dir));
    failed.unwrap_or_else(|| panic!("{dir} has not failed: {catalog:?}")).reason.clone()
}

fn refused(outcome: Result<Arc<Served>, WireError>) -> (ErrorCode, String) {
    let error = outcome.expect_err("it is refused");
    (error.code, error.message)
}

#[test]
fn a_model_is_found_by_name_by_alias_and_without_a_name() {
    let home = TempDir::new().expect("a directory");
    write_package(&home.path().join("a"), "first", |_| {});
    write_package(&home.path().join("b"), "second", |m| m.aliases = vec!["whisper-1".into()]);
    let catalog = load(&[home.path()]);
    for (asked, name) in [(None, "first"), (Some("second"), "second"), (Some("whisper-1"), "second")] {
        assert_eq!(catalog.resolve("transcribe", asked).expect("it serves").name, name);
    }
    assert!(catalog.serves() && !catalog.has_failed());
    let status = catalog.status();
    assert_eq!(status.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    assert!(status.iter().all(|s| s.state == ModelState::Ready && s.memory_mib == 3));
}

#[test]
fn the_configured_default_is_used_and_its_failure_is_told() {
    let home = TempDir::new().expect("a directory");
    write_package(&home.path().join("a"), "first", |_| {});
    write_package(&home.path().join("b"), "second", |_| {});
    let dirs = [home.path().to_owned()];
    let (loader, _) = loader(pipeline());
    let catalog = loader.load(&dirs, &by_default("second"), None);
    assert_eq!(catalog.resolve("transcribe", None).expect("it serves").name, "second");
    fs::write(home.path().join("b/model.onnx"), "damaged").expect("a file");
    let (code, message) = refused(loader.load(&dirs, &by_default("second"), None).resolve("transcribe", None));
    assert_eq!(code, ErrorCode::ModelFailed);
    assert!(message.contains("second") && message.contains("SHA-256"), "{message}");
    assert_eq!(
        refused(loader.load(&dirs, &by_default("third"), None).resolve("transcribe", None)).0,
        ErrorCode::UnknownModel
    );
}

#[test]
fn a_name_is_known_whether_its_package_serves_is_only_listed_or_failed() {
    let home = TempDir::new().expect("a directory");
    write_package(&home.path().join("a"), "stt-en-small", |m| m.aliases = vec!["whisper-1".into()]);
    write_package(&home.path().join("b"), "stt-en-large", |_| {});
    fs::remove_file(home.path().join("b/model.onnx")).expect("it was there");
    fs::create_dir(home.path().join("no-package")).expect("a directory");
    for catalog in [load(&[home.path()]), Catalog::listed(&[home.path().to_owned(), home.path().join("nowhere")])] {
        for known in ["stt-en-small", "whisper-1", "stt-en-large"] {
            assert_eq!(catalog.unknown_name(known), None, "{catalog:?}");
        }
        let why = catalog.unknown_name("stt-en-larg").expect("a typo");
        assert!(why.ends_with("did you mean stt-en-large?"), "{why}");
    }
    assert!(Catalog::default().unknown_name("any").is_some_and(|why| why.ends_with("there is none")));
}

#[test]
fn a_broken_package_is_kept_with_its_reason_and_the_others_serve() {
    let home = TempDir::new().expect("a directory");
    let at = |name: &str| home.path().join(name);
    for name in ["whole", "lost-file", "truncated", "changed", "garbled", "outside"] {
        write_package(&at(name), name, |_| {});
    }
    write_package(&at("copy"), "whole", |_| {});
    write_package(&at("too-big"), "too-big", |m| m.memory_mib = 1 << 40);
    fs::remove_file(at("lost-file").join("model.onnx")).expect("it was there");
    fs::write(at("truncated").join("model.onnx"), "wei").expect("a file");
    fs::write(at("changed").join("model.onnx"), "Weights").expect("a file");
    fs::write(at("garbled").join("manifest.toml"), "name = ").expect("a file");
    fs::remove_file(at("outside").join("model.onnx")).expect("it was there");
    std::os::unix::fs::symlink("/etc/hostname", at("outside").join("model.onnx")).expect("a link");
    fs::create_dir(at(".staging")).expect("a directory");

    // The real loader of the family: it asks for the memory.
    let real = Loader { families: Families::built_in(), ..loader(pipeline()).0 };
    let catalog = real.load(&[home.path().to_owned()], &Loading::all(), None);
    for (name, why) in [
        ("lost-file", "missing"),
        ("truncated", "bytes where the manifest lists"),
        ("changed", "SHA-256"),
        ("garbled", "line 1"),
        ("outside", "out of its package"),
        ("too-big", "MiB"),
        // The first in order has the name.
        ("whole", "already taken"),
    ] {
        let reason = reason(&catalog, name);
        assert!(reason.contains(why), "{name}: {reason}");
    }

    let catalog = load(&[home.path()]);
    assert_eq!(catalog.resolve("transcribe", None).expect("one is whole").dir, at("copy"));
    let (code, message) = refused(catalog.resolve("transcribe", Some("truncated")));
    assert_eq!(code, ErrorCode::ModelFailed);
    assert!(message.contains("model.onnx"), "{message}");
    let failed = catalog.status().into_iter().find(|s| s.name == "changed").expect("it is listed");
    assert_eq!((failed.version.as_str(), failed.memory_mib), ("1.2.3", 0), "what its manifest says is still told");
}

#[test]
fn a_model_that_fails_its_canary_does_not_serve() {
    let home = TempDir::new().expect("a directory");
    write_package(&home.path().join("a"), "deaf", |_| {});
    let (loader, _) = loader(pipeline().with_canary(Err("its canary was heard as nothing".into())));
    let catalog = loader.load(&[home.path().to_owned()], &Loading::all(), None);
    assert!(!catalog.serves());
    let (code, message) = refused(catalog.resolve("transcribe", None));
    assert_eq!(code, ErrorCode::ModelFailed);
    assert!(message.contains("deaf") && message.contains("canary"), "{message}");
}

#[test]
fn a_loader_that_fails_or_panics_takes_only_its_own_model_along() {
    let home = TempDir::new().expect("a directory");
    for name in ["a-panics", "b-fails", "c-serves"] {
        write_package(&home.path().join(name), name, |_| {});
    }
    let mut loader = loader(pipeline()).0;
    loader.families =
        Families::default().with(store::CTC_FAMILY, |package, _, _| match package.manifest.name.as_str() {
            "a-panics" => panic!("the graph makes no sense"),
            "b-fails" => Err("model.onnx: unknown operator".into()),
            _ => Ok(Arc::new(pipeline())),
        });
    let catalog = loader.load(&[home.path().to_owned()], &Loading::all(), None);
    assert!(reason(&catalog, "a-panics").contains("panicked"));
    assert_eq!(reason(&catalog, "b-fails"), "model.onnx: unknown operator");
    assert_eq!(catalog.resolve("transcribe", None).expect("one serves").name, "c-serves");

    loader.families = Families::default();
    let catalog = loader.load(&[home.path().to_owned()], &Loading::all(), None);
    assert!(reason(&catalog, "c-serves").contains("family"), "{catalog:?}");
}

#[test]
fn an_earlier_directory_goes_before_a_later_one() {
    let (own, bundled) = (TempDir::new().expect("a directory"), TempDir::new().expect("a directory"));
    write_package(&own.path().join("mine"), "stt", |m| m.aliases = vec!["whisper-1".into()]);
    write_package(&bundled.path().join("stt"), "stt", |_| {});
    write_package(&bundled.path().join("stt-2"), "stt-2", |m| m.aliases = vec!["whisper-1".into(), "two".into()]);
    let catalog = load(&[own.path(), bundled.path()]);
    assert!(!catalog.has_failed(), "{catalog:?}");
    assert_eq!(catalog.resolve("transcribe", Some("stt")).expect("it serves").dir, own.path().join("mine"));
    assert_eq!(catalog.resolve("transcribe", Some("whisper-1")).expect("it serves").name, "stt");
    assert_eq!(catalog.resolve("transcribe", Some("two")).expect("it serves").name, "stt-2");
    assert_eq!(catalog.status()[1].aliases, ["two"], "the alias that is another's is not told");
}

#[test]
fn a_reload_loads_only_what_has_changed() {
    let home = TempDir::new().expect("a directory");
    let dirs = [home.path().to_owned()];
    write_package(&home.path().join("a"), "same", |_| {});
    write_package(&home.path().join("b"), "other", |_| {});
    let (loader, loads) = loader(pipeline());
    let before = loader.load(&dirs, &Loading::all(), None);
    assert_eq!(loads.load(Ordering::SeqCst), 2);
    write_package(&home.path().join("b"), "other", |m| m.version = "2.0.0".into());
    let after = loader.load(&dirs, &Loading::all(), Some(&before));
    assert_eq!(loads.load(Ordering::SeqCst), 3);
    let model = |catalog: &Catalog, name| catalog.resolve("transcribe", Some(name)).expect("it serves");
    assert!(Arc::ptr_eq(&model(&before, "same"), &model(&after, "same")));
    assert_eq!(model(&after, "other").manifest.version, "2.0.0");
    assert!(before.holds(&model(&after, "same")) && !before.holds(&model(&after, "other")));
    // A file that was written is verified again even so.
    fs::write(home.path().join("a/model.onnx"), "damaged").expect("a file");
    touch(&home.path().join("a/model.onnx"));
    assert!(reason(&loader.load(&dirs, &Loading::all(), Some(&after)), "a").contains("SHA-256"));
}

/// Gives the file another time, as any write does that does not come within the same tick of the file system's clock.
fn touch(file: &Path) {
    let file = fs::File::options().write(true).open(file).expect("it is there");
    file.set_modified(std::time::UNIX_EPOCH).expect("it is ours");
}

/// Changes a byte of the file without changing what tells of a change.
fn damage_unseen(file: &Path) {
    let modified = fs::metadata(file).and_then(|told| told.modified()).expect("a time");
    let mut bytes = fs::read(file).expect("reads");
    bytes[0] ^= 1;
    fs::write(file, bytes).expect("writes");
    fs::File::options().write(true).open(file).and_then(|file| file.set_modified(modified)).expect("sets it back");
}

#[test]
fn files_that_did_not_change_are_not_read_again_at_a_switch_but_at_each_load() {
    let dir = TempDir::new().expect("a directory");
    let (old, new) = (dir.path().join("1"), dir.path().join("2"));
    write_package(&old.join("a"), "a", |_| {});
    let (loader, loads) = loader(pipeline());
    let first = loader.load(std::slice::from_ref(&old), &Loading::all(), None);
    // The next generation holds the same files, by hard links.
    fs::create_dir_all(new.join("a")).expect("a directory");
    for file in ["config.json", "tokenizer.json", "model.onnx", "canary.wav", "manifest.toml"] {
        fs::hard_link(old.join("a").join(file), new.join("a").join(file)).expect("a link");
    }
    // Whoever read them would see this.
    damage_unseen(&old.join("a/model.onnx"));
    let second = loader.load(std::slice::from_ref(&new), &Loading::all(), Some(&first));
    assert!(second.failed().next().is_none(), "{:?}", second.failed().next());
    assert_eq!(loads.load(Ordering::SeqCst), 1, "it stayed in memory");
    // Touched, it is read, and what it is now is not what was signed.
    touch(&new.join("a/model.onnx"));
    let third = loader.load(std::slice::from_ref(&new), &Loading::all(), Some(&second));
    assert!(reason(&third, "a").contains("model.onnx"), "{}", reason(&third, "a"));
    // And so it is by who loads it, whatever its mark.
    let fourth = loader.load(&[new], &Loading::all(), None);
    assert!(reason(&fourth, "a").contains("model.onnx"), "{}", reason(&fourth, "a"));
}

#[test]
fn a_refusal_says_what_there_is_and_what_may_be_meant() {
    let home = TempDir::new().expect("a directory");
    write_package(&home.path().join("a"), "stt-en-small", |m| m.aliases = vec!["whisper-1".into()]);
    write_package(&home.path().join("b"), "mt-en-de", |m| m.tasks = vec!["translate".into()]);
    let catalog = load(&[home.path()]);
    let (code, message) = refused(catalog.resolve("transcribe", Some("stt-en-smal")));
    assert_eq!(code, ErrorCode::UnknownModel);
    assert!(message.ends_with("there is: stt-en-small, mt-en-de; did you mean stt-en-small?"), "{message}");
    let (_, message) = refused(catalog.resolve("transcribe", Some("Whisper-1")));
    assert!(message.ends_with("did you mean whisper-1?"), "{message}");
    let (_, message) = refused(catalog.resolve("transcribe", Some(&"x".repeat(10_000))));
    assert!(message.len() < 300 && !message.contains("mean"), "{message}");
    let (code, message) = refused(catalog.resolve("transcribe", Some("mt-en-de")));
    assert_eq!(
        (code, message.as_str()),
        (ErrorCode::UnsupportedTask, "the model mt-en-de does not transcribe; it does: translate")
    );
    assert_eq!(refused(catalog.resolve("embed", None)).0, ErrorCode::UnsupportedTask);
    assert_eq!(catalog.resolve("translate", None).expect("it serves").name, "mt-en-de");
    assert!(refused(Catalog::default().resolve("transcribe", None)).1.contains("has no model"));
}

#[test]
fn a_models_directory_that_is_not_there_is_named() {
    let home = TempDir::new().expect("a directory");
    let catalog = load(&[&home.path().join("nowhere")]);
    assert!(!catalog.serves());
    assert!(reason(&catalog, "nowhere").contains("nowhere"));
}
