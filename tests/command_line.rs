//! `linnet` as a person uses it: the real program against a real `linnetd`.

mod harness;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use harness::{Daemon, Mosquitto, audio, models, mosquitto, sample, skip};
use serde_json::Value;

/// `linnet`, which `cargo build --workspace` puts beside `linnetd`.
fn linnet(arguments: &[&str]) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_linnetd")).with_file_name("linnet");
    assert!(program.is_file(), "{} is missing; build it: cargo build --release --workspace", program.display());
    let mut command = Command::new(program);
    command.args(arguments).env_remove("LINNET_SOCKET").env_remove("XDG_RUNTIME_DIR").stdin(Stdio::null());
    command
}

/// Runs it against `daemon`.
fn ask(daemon: &Daemon, arguments: &[&str]) -> Output {
    linnet(arguments).env("LINNET_SOCKET", daemon.socket()).output().expect("linnet runs")
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn refused(output: &Output) -> (i32, String) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("linnet: ") && said.trim_end().lines().count() == 1, "one sentence: {said:?}");
    assert!(output.stdout.is_empty(), "nothing on standard output");
    (output.status.code().expect("a code"), said)
}

fn path(file: PathBuf) -> String {
    file.display().to_string()
}

#[test]
fn json_is_one_object_on_one_line_with_all_that_others_rely_on() {
    let daemon = Daemon::start();
    let line = printed(&ask(&daemon, &["transcribe", &path(audio("sample.wav")), "--json"]));
    assert_eq!(line.matches('\n').count(), 1, "{line:?}");
    let heard: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(heard["model"], "stt-en-small");
    assert!(heard["text"].as_str().is_some_and(|t| !t.is_empty()), "{heard}");
    assert!((4.0..4.5).contains(&heard["duration_secs"].as_f64().expect("a length")), "{heard}");
    assert!(heard["rtf"].as_f64().expect("a factor") > 0.0);
    let words = heard["words"].as_array().expect("words");
    let spoken: Vec<&str> = words.iter().filter_map(|w| w["word"].as_str()).collect();
    assert_eq!(spoken.join(" "), heard["text"].as_str().expect("a text"));
    assert!(!heard["segments"].as_array().expect("segments").is_empty());
}

#[test]
fn a_file_standard_input_and_every_format_give_the_same_words() {
    let daemon = Daemon::start();
    let file = path(audio("sample.wav"));
    let text = printed(&ask(&daemon, &["transcribe", &file]));
    let mut piped = linnet(&["--socket", &path(daemon.socket()), "transcribe", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("linnet runs");
    piped.stdin.take().expect("a pipe").write_all(&sample()).expect("it reads");
    assert_eq!(printed(&piped.wait_with_output().expect("it ends")), text);
    let srt = printed(&ask(&daemon, &["transcribe", &file, "--format", "srt"]));
    assert!(srt.starts_with("1\n00:00:0") && srt.contains(" --> "), "{srt}");
    assert!(printed(&ask(&daemon, &["transcribe", &file, "--format", "vtt"])).starts_with("WEBVTT"));
    let verbose: Value =
        serde_json::from_str(&printed(&ask(&daemon, &["transcribe", &file, "--format", "verbose_json"])))
            .expect("JSON");
    assert_eq!(verbose["text"], text.trim_end());
}

#[test]
fn a_missing_daemon_is_one_sentence_that_says_how_to_start_it() {
    let nowhere = tempfile::tempdir().expect("a directory");
    let socket = path(nowhere.path().join("none.sock"));
    for command in [vec!["status"], vec!["transcribe", "-"], vec!["models", "list"]] {
        let output = linnet(&["--socket", &socket]).args(command).output().expect("linnet runs");
        let (code, said) = refused(&output);
        assert_eq!(code, 69);
        assert!(said.contains(&socket) && said.contains("start it with `linnetd &`"), "{said}");
    }
}

#[test]
fn mistakes_have_the_exit_codes_that_scripts_expect() {
    let daemon = Daemon::start();
    let file = path(audio("sample.wav"));
    let text = path(audio("sample.txt"));
    for (arguments, code, part) in [
        (vec!["transcribe", "no-such-file.wav"], 66, "no-such-file.wav"),
        (vec!["transcribe", "."], 66, "directory"),
        (vec!["transcribe", text.as_str()], 65, "audio"),
        (vec!["transcribe", file.as_str(), "--model", "no-such-model"], 64, "no-such-model"),
        (vec!["transcribe", file.as_str(), "--beam-width", "900"], 64, "beam_width"),
        (vec!["transcribe", file.as_str(), "--language", "tlh"], 64, "tlh"),
        (vec!["transcribe", file.as_str(), "--mqtt", "http://x", "--device", "d"], 64, "mqtt"),
    ] {
        let (found, said) = refused(&ask(&daemon, &arguments));
        assert_eq!(found, code, "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    assert_eq!(ask(&daemon, &["transcribe"]).status.code(), Some(64));
}

#[test]
fn status_and_models_speak_to_people_and_to_scripts() {
    let daemon = Daemon::start();
    let people = printed(&ask(&daemon, &["status"]));
    assert!(people.contains("ready") && people.contains("stt-en-small"), "{people}");
    let status: Value = serde_json::from_str(&printed(&ask(&daemon, &["status", "--json"]))).expect("JSON");
    assert_eq!(status["health"], "ready");
    let listed = printed(&ask(&daemon, &["models", "list"]));
    assert!(listed.contains("stt-en-small"));
    // Of a model with many languages people see a few; JSON has them all.
    let many = listed.lines().find(|line| line.starts_with("lang-id")).expect("it is bundled");
    assert!(many.contains(" and 45 more; "), "{many}");
    let all: Value = serde_json::from_str(&printed(&ask(&daemon, &["models", "list", "--json"]))).expect("JSON");
    let of = |model: &Value| model["languages"].as_array().map_or(0, Vec::len);
    assert_eq!(all.as_array().expect("a list").iter().map(of).max(), Some(53), "{all}");
}

#[test]
fn verify_sees_a_flipped_byte() {
    let verify = |dir: &Path| linnet(&["models", "verify", &dir.display().to_string()]).output().expect("linnet runs");
    let package = models().join("stt-en-small");
    let good = verify(&package);
    assert!(printed(&good).contains(": ok"), "{}", String::from_utf8_lossy(&good.stdout));
    let copy = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir(&package).expect("the package") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("a copy");
    }
    let onnx = copy.path().join("model.onnx");
    let mut bytes = std::fs::read(&onnx).expect("the graph");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&onnx, bytes).expect("written");
    let bad = verify(copy.path());
    assert_eq!(bad.status.code(), Some(65));
    let said = String::from_utf8_lossy(&bad.stdout);
    assert!(said.contains("FAILED") && said.contains("model.onnx"), "{said}");
}

#[test]
fn completions_and_manual_pages_are_made() {
    let bash = printed(&linnet(&["completions", "bash"]).output().expect("linnet runs"));
    assert!(bash.contains("transcribe"));
    let dir = tempfile::tempdir().expect("a directory");
    printed(&linnet(&["man", "--dir", &dir.path().display().to_string()]).output().expect("linnet runs"));
    let page = std::fs::read_to_string(dir.path().join("linnet-transcribe.1")).expect("a page for each command");
    assert!(page.contains("prompt"), "{page}");
}

#[test]
fn another_device_answers_over_mqtt() {
    let test = "another_device_answers_over_mqtt";
    let Some(broker) = Mosquitto::start(test) else { return };
    let daemon = Daemon::builder().config(format!("device = \"attic\"\n[mqtt]\nurl = \"{}\"\n", broker.url())).start();
    let file = path(audio("sample.wav"));
    harness::eventually("the link is up", || (daemon.get("/v1/status").json()["mqtt"] == "up").then_some(()));
    let here: Value = serde_json::from_str(&printed(&ask(&daemon, &["transcribe", &file, "--json"]))).expect("JSON");
    let over_mqtt = ["transcribe", &file, "--json", "--mqtt", &broker.url(), "--device"];
    let there = linnet(&over_mqtt).arg("attic").output().expect("linnet runs");
    let there: Value = serde_json::from_str(&printed(&there)).expect("JSON");
    assert_eq!((&there["text"], &there["words"]), (&here["text"], &here["words"]));

    let nobody = linnet(&over_mqtt).arg("cellar").output().expect("linnet runs");
    let (code, said) = refused(&nobody);
    assert_eq!(code, 69);
    assert!(said.contains("cellar"), "{said}");
}

#[test]
fn curl_asks_as_the_readme_shows() {
    let Some(curl) = mosquitto::find("curl") else {
        return skip("curl_asks_as_the_readme_shows", "the program `curl` (Debian: apt-get install curl)");
    };
    let daemon = Daemon::start();
    let file = format!("file=@{}", path(audio("sample.wav")));
    let form = ["-F", &file, "-F", "model=stt-en-small", "-F", "response_format=verbose_json"];
    let output = Command::new(curl)
        .args(["-sS", "--unix-socket", &path(daemon.socket()), "http://localhost/v1/audio/transcriptions"])
        .args(form)
        .output()
        .expect("curl runs");
    let heard: Value = serde_json::from_str(&printed(&output)).expect("JSON");
    assert_eq!(heard["text"], daemon.transcribe(&sample())["text"], "{heard}");
}
