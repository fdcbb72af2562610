//! Against `transformers` (`tests/goldens/tokenizers/generate.py`), and on what it does not promise.

mod bad_input;
mod golden;
mod special_text;
mod stream;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::*;

/// The folder of goldens.
pub(crate) fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/tokenizers")
}

/// What the tiny tokenizers are asked about.
pub(crate) fn sentences() -> Vec<String> {
    let text = std::fs::read_to_string(goldens().join("sentences.json")).expect("the sentences");
    serde_json::from_str(&text).expect("the sentences")
}

/// A file of a package: its text, or the name of a model beside the goldens.
#[derive(Deserialize)]
#[serde(untagged)]
enum PackageFile {
    Text(String),
    Model { model: String },
}

/// What decoding gives; a missing one equals another.
#[derive(Deserialize)]
pub(super) struct Decoded {
    skip: Option<String>,
    keep: Option<String>,
    skip_clean: Option<String>,
    keep_clean: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Case {
    text: usize,
    ids: Vec<u32>,
    bare: Vec<u32>,
    user: Option<Vec<u32>>,
    offsets: Option<Vec<(u32, u32)>>,
    #[serde(flatten)]
    decoded: Decoded,
}

#[derive(Deserialize)]
pub(super) struct Decoding {
    ids: Vec<u32>,
    #[serde(flatten)]
    decoded: Decoded,
}

#[derive(Deserialize)]
pub(super) struct InLanguage {
    source: String,
    target: String,
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
pub(super) struct Pair {
    a: String,
    b: String,
    ids: Vec<u32>,
    type_ids: Option<Vec<u32>>,
}

#[derive(Deserialize)]
pub(super) struct Golden {
    files: BTreeMap<String, PackageFile>,
    size: u32,
    special: BTreeMap<String, Option<u32>>,
    clean_up: bool,
    cases: Vec<Case>,
    decodings: Vec<Decoding>,
    tokens: BTreeMap<u32, String>,
    #[serde(default)]
    languages: Vec<InLanguage>,
    #[serde(default)]
    pairs: Vec<Pair>,
}

impl Golden {
    pub(super) fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(goldens().join(format!("{name}.json"))).expect("a golden");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The package in a folder of its own.
    pub(super) fn package(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, file) in &self.files {
            match file {
                PackageFile::Text(text) => std::fs::write(dir.path().join(name), text).expect("written"),
                PackageFile::Model { model } => {
                    std::fs::copy(goldens().join("models").join(model), dir.path().join(name)).expect("copied");
                }
            }
        }
        dir
    }

    pub(super) fn tokenizer(&self) -> TextTokenizer {
        let dir = self.package();
        TextTokenizer::load(dir.path()).unwrap_or_else(|e| panic!("{e}"))
    }
}

/// Every golden's name.
pub(super) fn all() -> Vec<String> {
    let entries = std::fs::read_dir(goldens()).expect("the goldens").flatten();
    let names = entries.filter_map(|e| Some(e.file_name().to_str()?.strip_suffix(".json")?.to_owned()));
    let mut names: Vec<String> =
        names.filter(|n| !["sentences", "sentencepiece", "whisper_base"].contains(&n.as_str())).collect();
    names.sort();
    assert!(names.len() > 20, "goldens are missing: {names:?}");
    names
}

/// A tokenizer of a golden.
pub(crate) fn tokenizer(name: &str) -> TextTokenizer {
    Golden::read(name).tokenizer()
}
