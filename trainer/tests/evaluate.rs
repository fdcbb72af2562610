//! `linnet-train evaluate` from outside, with the bundled speech model and the recordings of the repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn evaluate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linnet-train"));
    command.current_dir(root()).arg("evaluate").args(arguments).stdin(Stdio::null()).output().expect("it runs")
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn json(output: &Output) -> Value {
    let printed = printed(output);
    assert_eq!(printed.lines().count(), 1, "one object for a manifest: {printed}");
    serde_json::from_str(&printed).expect("JSON")
}

/// Three recordings of two speakers, and a row whose recording is not there.
fn manifest(dir: &Path) -> String {
    let package = root().join("models/stt-en-small");
    let canary: toml::Value =
        toml::from_str(&std::fs::read_to_string(package.join("manifest.toml")).expect("reads")).expect("TOML");
    let canary = canary["canary"]["text"].as_str().expect("a text").to_owned();
    let audio = root().join("tests/data/audio");
    let said = |name: &str| std::fs::read_to_string(audio.join(name)).expect("reads");
    let rows = [
        (audio.join("sample.wav"), said("sample.txt"), "anna"),
        (audio.join("sample2.wav"), said("sample2.txt"), "anna"),
        (dir.join("absent.wav"), "nobody says this".into(), "anna"),
        (package.join("canary.wav"), canary, "ben"),
    ];
    let rows = rows.map(|(audio, text, speaker)| {
        let audio = std::path::absolute(audio).expect("a path");
        format!("{}\n", serde_json::json!({ "audio": audio, "text": text, "speaker": speaker }))
    });
    let path = dir.join("set.jsonl");
    std::fs::write(&path, rows.concat()).expect("writes");
    path.display().to_string()
}

/// Fewest substitutions, deletions and insertions that make one of the other, by the whole table: slow and plain.
fn distance<T: PartialEq>(said: &[T], heard: &[T]) -> u64 {
    let mut table = vec![vec![0; heard.len() + 1]; said.len() + 1];
    for i in 0..=said.len() {
        for j in 0..=heard.len() {
            table[i][j] = match (i, j) {
                (0, n) | (n, 0) => n as u64,
                _ => {
                    let same = u64::from(said[i - 1] != heard[j - 1]);
                    (table[i - 1][j - 1] + same).min(table[i - 1][j] + 1).min(table[i][j - 1] + 1)
                }
            };
        }
    }
    table[said.len()][heard.len()]
}

/// Recordings, those without an error, errors and length in words, and in characters.
type Counts = [u64; 6];

/// What a score says.
fn counts(score: &Value) -> Counts {
    let errors = |what: &str| {
        let part = |key: &str| score[what][key].as_u64().expect("a count");
        (part("substitutions") + part("deletions") + part("insertions"), part("reference"))
    };
    for (what, rate) in [("words", "wer"), ("chars", "cer")] {
        let (errors, reference) = errors(what);
        let rate = score[rate].as_f64().expect("a rate");
        assert!((rate - errors as f64 / reference as f64).abs() < 1e-12, "{score}");
    }
    let (words, chars) = (errors("words"), errors("chars"));
    let count = |key: &str| score[key].as_u64().expect("a count");
    [count("utterances"), count("right"), words.0, words.1, chars.0, chars.1]
}

/// What the texts of `--texts` say, all and by speaker.
fn counted(evaluated: &Value, speakers: [&str; 3]) -> (Counts, BTreeMap<String, Counts>) {
    let (mut all, mut by_speaker) = ([0; 6], BTreeMap::<String, Counts>::new());
    let texts = evaluated["texts"].as_array().expect("texts");
    assert_eq!(texts.len(), speakers.len());
    for (text, speaker) in texts.iter().zip(speakers) {
        let [said, heard] = ["said", "heard"].map(|key| text[key].as_str().expect("a text"));
        let words = [said, heard].map(|text| text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>());
        let chars = [said, heard].map(|text| text.chars().collect::<Vec<_>>());
        let one = [
            1,
            u64::from(said == heard),
            distance(&words[0], &words[1]),
            words[0].len() as u64,
            distance(&chars[0], &chars[1]),
            chars[0].len() as u64,
        ];
        for sum in [&mut all, by_speaker.entry(speaker.to_owned()).or_default()] {
            sum.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
        }
    }
    (all, by_speaker)
}

const SPEAKERS: [&str; 3] = ["anna", "anna", "ben"];
const PACKAGE: &str = "models/stt-en-small";
const WEIGHTS: &str = "trainer/checkpoints/stt-en-small";

#[test]
fn the_figures_are_those_of_the_texts_in_all_and_by_speaker() {
    let dir = tempfile::tempdir().expect("a directory");
    let manifest = manifest(dir.path());
    let output = evaluate(&[PACKAGE, "--manifest", &manifest, "--json", "--texts"]);
    let found = json(&output);
    assert_eq!((&found["model"], &found["manifest"]), (&"stt-en-small".into(), &manifest.as_str().into()));
    let (all, by_speaker) = counted(&found, SPEAKERS);
    assert_eq!(counts(&found), all, "{found}");
    let speakers = found["speakers"].as_array().expect("speakers");
    let own = speakers.iter().map(|s| (s["speaker"].as_str().expect("a name").to_owned(), counts(s)));
    assert_eq!(own.collect::<BTreeMap<_, _>>(), by_speaker, "{found}");
    // The canary is heard right by definition, so that not all is wrong; and a model of this size does not hear all.
    assert!(by_speaker["ben"][1] == 1 && by_speaker["ben"][2] == 0 && all[2] > 0, "{found}");
    let recordings = ["tests/data/audio/sample.wav", "tests/data/audio/sample2.wav", "models/stt-en-small/canary.wav"];
    let bytes: u64 = recordings.map(|path| root().join(path).metadata().expect("it is there").len()).iter().sum();
    let secs = found["audio_secs"].as_f64().expect("a length");
    assert!((secs - bytes as f64 / 32_000.0).abs() < 0.02, "{secs} s of {bytes} bytes of 16-bit samples at 16 kHz");
    assert!(found["rtf"].as_f64().expect("a factor") > 0.0);

    // The row that could not be heard is counted and named, and is in no figure.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(found["bad_rows"], 1);
    assert!(said.contains("set.jsonl:3: the audio file") && said.contains("1 bad rows skipped: 1 missing"), "{said}");
    let stopped = evaluate(&[PACKAGE, "--manifest", &manifest, "--json", "--on-bad", "stop"]);
    assert_eq!((stopped.status.code(), stopped.stdout.len()), (Some(65), 0));

    // People read the same figures.
    let table = printed(&evaluate(&[PACKAGE, "--manifest", &manifest]));
    let rows = speakers.iter().map(|s| (s["speaker"].as_str().expect("a name"), s)).chain([("all", &found)]);
    for (name, score) in rows {
        let row = table.lines().find(|line| line.split_whitespace().next() == Some(name)).expect("a row");
        let columns: Vec<&str> = row.split_whitespace().collect();
        let of = |key: &str| score["words"][key].to_string();
        let wer = format!("{:.2}", 100.0 * score["wer"].as_f64().expect("a rate"));
        let want = [wer, "%".into(), of("reference"), of("substitutions"), of("deletions"), of("insertions")];
        assert_eq!(columns[1..7], want, "{table}");
    }
}

/// The package that `export` makes of the weights in the repository, which may be older than the bundled one's.
fn exported(dir: &Path, manifest: &str, lm: &str) -> String {
    let package = root().join(PACKAGE);
    let canary = std::fs::read_to_string(package.join("manifest.toml")).expect("reads");
    let canary: toml::Value = toml::from_str(&canary).expect("TOML");
    std::fs::write(dir.join("clip.txt"), canary["canary"]["text"].as_str().expect("a text")).expect("writes");
    std::fs::copy(package.join("canary.wav"), dir.join("clip.wav")).expect("copies");
    // Export stops at a row that cannot be heard.
    let rows = std::fs::read_to_string(manifest).expect("reads");
    let valid = dir.join("valid.jsonl");
    let heard = rows.lines().filter(|row| !row.contains("absent.wav")).map(|row| format!("{row}\n"));
    std::fs::write(&valid, heard.collect::<String>()).expect("writes");
    let valid = valid.display().to_string();
    let (clip, out) = (dir.join("clip.wav").display().to_string(), dir.join("package").display().to_string());
    let mut export = Command::new(env!("CARGO_BIN_EXE_linnet-train"));
    export.current_dir(root()).args(["export", "--from", WEIGHTS, "--out", &out]);
    export.args(["--name", "float", "--license", "MIT"]);
    export.args(["--description", "a test", "--lm", lm, "--valid", &valid, "--allow-loss", "100"]);
    export.args(["--canary", &clip, "--canary-as-heard", "--canary-margin", "0"]);
    printed(&export.stdin(Stdio::null()).output().expect("it runs"));
    out
}

#[test]
fn float_weights_are_heard_like_the_package_that_is_made_of_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let manifest = manifest(dir.path());
    let lm = format!("{PACKAGE}/lm.bin");
    let made = exported(dir.path(), &manifest, &lm);
    let common = ["--manifest", &manifest, "--json", "--texts"];
    let package = json(&evaluate(&[&[made.as_str()][..], &common].concat()));
    let float = json(&evaluate(&[&[WEIGHTS, "--lm", &lm][..], &common].concat()));
    let (all, _) = counted(&float, SPEAKERS);
    assert_eq!(counts(&float), all, "{float}");
    // The same words but for what rounding to bytes does; and the canary is heard right.
    let errors = |found: &Value| counts(found)[2];
    assert!(errors(&float).abs_diff(errors(&package)) <= 2, "{package}\n{float}");
    assert_eq!(float["texts"][2]["heard"], float["texts"][2]["said"], "{float}");
    assert_eq!((&package["model"], &float["model"]), (&"float".into(), &"float".into()));
    // A package has its language model inside.
    let refused = evaluate(&[PACKAGE, "--lm", &lm, "--manifest", &manifest]);
    assert_eq!(refused.status.code(), Some(64));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("leave --lm out"), "{said}");
}
