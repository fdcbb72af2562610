//! A real tokenizer, as people have it: Whisper's, of the shared data, against what `transformers` makes of it
//! (`tests/goldens/tokenizers/generate.py`).

mod harness;

use linnet::task::tokenizer::{Encode, TextTokenizer};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    size: u32,
    eos: u32,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    text: Option<String>,
    ids: Vec<u32>,
    skip: String,
    keep: Option<String>,
}

/// `tokenizers/whisper/hf-whisper-base` of the archive, in a folder of its own.
fn package() -> Option<tempfile::TempDir> {
    let archive = harness::shared_data().map(|data| data.join("tokenizers/whisper.tar.gz")).filter(|a| a.is_file());
    let Some(archive) = archive else {
        harness::skip_without_shared_data("whisper_tokenizer", "shared data tokenizers/whisper.tar.gz");
        return None;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let mut tar = std::process::Command::new("tar");
    tar.arg("-xzf").arg(archive).arg("-C").arg(dir.path());
    tar.args(["--strip-components=3", "tokenizers/whisper/hf-whisper-base"]);
    assert!(tar.status().expect("tar runs").success(), "the archive is unpacked");
    Some(dir)
}

fn golden() -> Golden {
    let path = harness::root().join("tests/goldens/tokenizers/whisper_base.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the golden")).expect("the golden")
}

fn check(tokenizer: &TextTokenizer, golden: &Golden) {
    assert_eq!((tokenizer.vocab_size(), tokenizer.special().eos), (golden.size, Some(golden.eos)));
    for row in &golden.rows {
        if let Some(text) = &row.text {
            let how = Encode { allow_special_in_text: true, ..Encode::default() };
            assert_eq!(tokenizer.encode(text, how).expect("encoded").ids, row.ids, "{text:?}");
        }
        assert_eq!(tokenizer.decode(&row.ids, true), row.skip, "{:?}", row.ids);
        assert_eq!(&tokenizer.decode(&row.ids, false), row.keep.as_ref().unwrap_or(&row.skip), "{:?}", row.ids);
    }
    assert!(golden.rows.len() > 20);
}

#[test]
fn the_ids_of_whispers_tokenizer_are_those_of_transformers() {
    let Some(dir) = package() else { return };
    check(&TextTokenizer::load(dir.path()).expect("loaded"), &golden());
}

#[test]
fn vocab_and_merges_make_the_same_tokenizer() {
    let Some(dir) = package() else { return };
    std::fs::remove_file(dir.path().join("tokenizer.json")).expect("removed");
    check(&TextTokenizer::load(dir.path()).expect("loaded"), &golden());
}

/// Whoever names the folder means it: a file that is missing there is no reason to pass a test over.
#[test]
fn shared_data_that_is_named_and_lacks_a_file_fails_its_test() {
    let test = "the_ids_of_whispers_tokenizer_are_those_of_transformers";
    let empty = tempfile::tempdir().expect("a folder");
    for folder in [empty.path().to_owned(), empty.path().join("nowhere")] {
        let mut again = std::process::Command::new(std::env::current_exe().expect("this test"));
        again.args(["--exact", test]).env(harness::SHARED_DATA, &folder).env_remove("LINNET_TEST_REQUIRE");
        let output = again.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && said.contains("1 failed"), "{said}");
        let names = [folder.to_str().expect("UTF-8"), "shared data tokenizers/whisper.tar.gz is missing"];
        assert!(names.iter().all(|name| said.contains(name)), "{said}");
    }
}
