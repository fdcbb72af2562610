//! `linnetd demo` really sends the recording over both transports.
#![cfg(feature = "demo")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn audio(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/audio").join(name)
}

/// What the demo heard over the socket and over MQTT.
fn heard(file: Option<&Path>) -> (String, String) {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_linnetd"));
    demo.arg("demo");
    if let Some(file) = file {
        demo.arg("--file").arg(file);
    }
    let output = demo.output().expect("linnetd starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let line = |label: &str| {
        let found = text.lines().find_map(|l| l.trim_start().strip_prefix(label));
        found.unwrap_or_else(|| panic!("no line '{label}' in\n{text}")).trim().to_owned()
    };
    (line("over socket"), line("over MQTT"))
}

#[test]
fn the_demo_hears_the_same_over_both_transports_and_something_else_in_another_recording() {
    let (socket, mqtt) = heard(None);
    assert_eq!(socket, mqtt, "one recording, one answer");
    let (other_socket, other_mqtt) = heard(Some(&audio("sample2.wav")));
    assert_eq!(other_socket, other_mqtt, "one recording, one answer");
    assert_ne!(socket, other_socket, "another recording, another text over the socket");
    assert_ne!(mqtt, other_mqtt, "another recording, another text over MQTT");
}

#[test]
fn a_missing_file_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_linnetd"))
        .args(["demo", "--file", "no-such-recording.wav"])
        .output()
        .expect("linnetd starts");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no-such-recording.wav"), "{said}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_linnetd"))
        .arg("demo")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("linnetd starts");
    // As `| head -n 0` does.
    drop(demo.stdout.take());
    let output = demo.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
