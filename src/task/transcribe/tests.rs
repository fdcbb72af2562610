//! What the tests of all families share: the clips of `tests/goldens/whisper`, and packages to be broken.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use linnet_features::audio::{AudioLimits, AudioReader, Media};
use linnet_proto::TranscribeOptions;
use serde_json::Value;
use tempfile::TempDir;

use super::*;

pub(super) fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

/// A clip as it lies on disk.
pub(super) fn file(name: &str) -> Bytes {
    std::fs::read(goldens().join(format!("whisper/{name}.wav"))).expect("the clip is there").into()
}

/// A clip's samples.
pub(super) fn clip(name: &str) -> Vec<f32> {
    let mut reader = AudioReader::open(file(name), &Media::Detect, &AudioLimits::default()).expect("well-formed audio");
    let mut samples = Vec::new();
    while reader.read(&mut samples).expect("well-formed audio") {}
    samples
}

/// A copy of a tiny model, to be broken.
pub(super) fn copy(from: &Path) -> TempDir {
    fn all(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a directory");
        for entry in std::fs::read_dir(from).expect("reads").flatten() {
            let (path, to) = (entry.path(), to.join(entry.file_name()));
            if path.is_dir() { all(&path, &to) } else { std::fs::copy(&path, &to).map(|_| ()).expect("copies") }
        }
    }
    let dir = tempfile::tempdir().expect("temporary directory");
    all(from, dir.path());
    dir
}

/// Changes a JSON file.
pub(super) fn edit(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path).expect("reads")).expect("JSON");
    edit(&mut value);
    std::fs::write(path, value.to_string()).expect("writes");
}

#[test]
fn options_that_a_family_has_no_use_for_are_named() {
    let all = TranscribeOptions {
        prompt: Some("a".into()),
        hot_word_boost: Some(1.0),
        beam_width: Some(2),
        lm_weight: Some(1.0),
        temperature: Some(0.5),
        seed: Some(1),
        condition_on_previous_text: Some(true),
        punctuate: Some(true),
        ..TranscribeOptions::default()
    };
    let unused = |family: &str| without_effect(family, &all);
    assert_eq!(unused("whisper"), ["hot_word_boost", "lm_weight", "punctuate"]);
    assert_eq!(unused("linnet-ctc"), ["temperature", "seed", "condition_on_previous_text"]);
    assert_eq!(unused("wav2vec2"), ["lm_weight", "temperature", "seed", "condition_on_previous_text"]);
    assert_eq!(unused("moonshine").len(), 8);
    assert!(!unused("transducer").contains(&"beam_width"));
    assert!(
        without_effect("moonshine", &TranscribeOptions::default()).is_empty(),
        "what is not asked for is not named"
    );
}
