//! The trainer's program from outside: no verb trains on what is held out, and a killed corpus goes on.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A sentence of the committed list: the project's own recording.
const HELD_OUT: &str = include_str!("../../tests/data/audio/sample.txt");

const TEXT: &str = "open the old door\nturn on the lamp\nthe sea is far from here\nwhat time is it now\n\
    please set a timer for nine minutes\nthe fishermen told us nothing\nplay some quiet music\n";

fn trainer(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linnet-train"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    let output = trainer(arguments).output().expect("the trainer runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Text files without and with the held-out sentence.
fn texts(dir: &Path) -> (String, String) {
    let write = |name: &str, content: &str| {
        let path = dir.join(name);
        std::fs::write(&path, content).expect("written");
        path.display().to_string()
    };
    (write("clean.txt", TEXT), write("leaky.txt", &format!("{HELD_OUT}\n{TEXT}{}\n", HELD_OUT.to_uppercase())))
}

/// Whether a program is there; if not, the test is skipped so that nobody can overlook it.
fn has_program(program: &str, test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
        return true;
    }
    let line = format!("SKIPPED: {test}: {program} is not installed\n");
    assert!(std::env::var("LINNET_TEST_REQUIRE").as_deref() != Ok("all"), "{line}");
    eprint!("{line}");
    if let Some(file) = std::env::var_os("LINNET_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
        let _ = file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()));
    }
    false
}

#[test]
fn held_out_sentences_change_neither_units_nor_language_model() {
    let dir = tempfile::tempdir().expect("a directory");
    let (clean, leaky) = texts(dir.path());
    let out = |name: &str| dir.path().join(name).display().to_string();
    for (text, tokenizer, lm) in [(&clean, "a.json", "a.bin"), (&leaky, "b.json", "b.bin")] {
        run(&["units", "--kind", "bpe", "--size", "60", "--text", text, "--out", &out(tokenizer)]);
        run(&["lm", "--least-count", "1", "--text", text, "--out", &out(lm)]);
    }
    let same = |a: &str, b: &str| std::fs::read(out(a)).expect("read") == std::fs::read(out(b)).expect("read");
    assert!(same("a.json", "b.json"), "the units know the held-out sentence");
    assert!(same("a.bin", "b.bin"), "the language model knows the held-out sentence");
}

#[test]
fn a_list_of_sentences_lacks_the_held_out_ones() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, leaky) = texts(dir.path());
    // One sentence a row, as in a file of translation pairs.
    let rows = dir.path().join("rows.tsv");
    std::fs::copy(&leaky, &rows).expect("copied");
    let list = |more: &[&str]| {
        let out = dir.path().join("list.txt").display().to_string();
        run(&[&["text", &rows.display().to_string(), "--out", &out], more].concat());
        std::fs::read_to_string(&out).expect("read")
    };
    let (training, evaluation) = (list(&[]), list(&["--held-out"]));
    assert!(training.contains("turn on the lamp") && !training.contains("a long story"), "{training}");
    assert_eq!(evaluation, "the old fisherman told the children a long story about the sea\n");
}

#[test]
fn a_corpus_has_no_held_out_sentence_and_an_evaluation_set_nothing_else() {
    if !has_program("espeak-ng", "a_corpus_has_no_held_out_sentence_and_an_evaluation_set_nothing_else") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (_, leaky) = texts(dir.path());
    let make = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        let path = out.display().to_string();
        let arguments = ["synth", "--programs", "espeak", "--hours", "0.006", "--text", &leaky, "--out", &path];
        run(&[&arguments[..], more].concat());
        std::fs::read_to_string(out.join("manifest.jsonl")).expect("a manifest")
    };
    let (training, evaluation) = (make("training", &[]), make("evaluation", &["--held-out"]));
    let speaks_it = |row: &str| row.contains("the old fisherman told the children a long story about the sea");
    assert!(training.lines().count() > 5 && !training.lines().any(speaks_it), "{training}");
    assert!(evaluation.lines().count() > 2 && evaluation.lines().all(speaks_it), "{evaluation}");
}

fn samples_of(dir: &Path, manifest: &str) -> Vec<Vec<u8>> {
    let audio = |row: &str| {
        let row: serde_json::Value = serde_json::from_str(row).expect("a row");
        std::fs::read(dir.join(row["audio"].as_str().expect("a path"))).expect("its audio")
    };
    manifest.lines().map(audio).collect()
}

#[test]
fn a_corpus_that_was_killed_becomes_what_it_would_have_been() {
    if !has_program("espeak-ng", "a_corpus_that_was_killed_becomes_what_it_would_have_been") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (clean, _) = texts(dir.path());
    let arguments = |out: &PathBuf| -> Vec<String> {
        let out = out.display().to_string();
        let list =
            ["synth", "--programs", "espeak", "--hours", "0.03", "--workers", "2", "--text", &clean, "--out", &out];
        list.map(String::from).to_vec()
    };
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    let finish = |out: &PathBuf| {
        let list = arguments(out);
        run(&list.iter().map(String::as_str).collect::<Vec<_>>());
        std::fs::read_to_string(out.join("manifest.jsonl")).expect("a manifest")
    };
    let wanted = finish(&whole);
    for rows in [1, 8] {
        let list = arguments(&killed);
        let mut child =
            trainer(&list.iter().map(String::as_str).collect::<Vec<_>>()).stderr(Stdio::null()).spawn().expect("runs");
        let until = Instant::now() + Duration::from_secs(120);
        let written = || std::fs::read_to_string(killed.join("manifest.jsonl")).unwrap_or_default().lines().count();
        while written() < rows && child.try_wait().expect("asked").is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        // SIGKILL: nothing can be saved any more.
        let _ = child.kill();
        child.wait().expect("ended");
    }
    let found = finish(&killed);
    assert_eq!(found, wanted);
    assert!(samples_of(&killed, &found) == samples_of(&whole, &wanted), "the samples differ");
}

#[test]
fn an_absent_voice_program_is_named_with_the_way_to_get_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (clean, _) = texts(dir.path());
    let out = dir.path().join("out").display().to_string();
    for (program, package) in [("espeak", "espeak-ng"), ("flite", "flite"), ("festival", "festvox-us-slt-hts")] {
        let arguments = ["synth", "--programs", program, "--text", &clean, "--out", &out];
        let output = trainer(&arguments).env("PATH", dir.path()).output().expect("the trainer runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(69), "{error}");
        assert!(error.contains("apt-get install") && error.contains(package), "{error}");
        std::fs::remove_dir_all(&out).expect("begun");
    }
}
