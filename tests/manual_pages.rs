//! Every command that `--help` shows has a manual page that `man` renders without a word of complaint.

mod harness;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program of the workspace.
fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_linnetd")).with_file_name(name)
}

fn stdout(command: &mut Command) -> String {
    let output = command.env("COLUMNS", "200").output().expect("it is built with the workspace");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What `--help` lists under `Commands:`.
fn listed(help: &str) -> Vec<String> {
    let commands = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = commands.lines().take_while(|line| line.starts_with("  "));
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|name| !name.is_empty());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Every command with its help: the words of its call.
fn commands(name: &str, words: &[String], all: &mut Vec<(Vec<String>, String)>) {
    let help = stdout(Command::new(program(name)).args(words).arg("--help"));
    for inner in listed(&help) {
        commands(name, &[words, &[inner]].concat(), all);
    }
    all.push((words.to_vec(), help));
}

#[test]
fn every_command_has_a_page_with_the_examples_of_its_help() {
    for (name, section, least) in [("linnet", 1, 35), ("linnetd", 8, 7)] {
        let dir = tempfile::tempdir().expect("a directory");
        stdout(Command::new(program(name)).arg("man").arg("--dir").arg(dir.path()));
        let mut all = Vec::new();
        commands(name, &[], &mut all);
        assert!(all.len() >= least, "{name} has {} commands", all.len());
        let mut wanted = BTreeSet::new();
        for (words, help) in all {
            let file = format!("{}.{section}", [&[name.to_owned()], &words[..]].concat().join("-"));
            let page = std::fs::read_to_string(dir.path().join(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
            assert_eq!(page.contains(".SH EXAMPLES"), help.contains("\nExample"), "{file}");
            assert!(page.contains("SH NAME") && page.contains("SH SYNOPSIS"), "{file}");
            wanted.insert(file);
        }
        let there = std::fs::read_dir(dir.path()).expect("reads").flatten();
        let there: BTreeSet<_> = there.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        assert_eq!(there, wanted, "nothing that is hidden has one");
        render(dir.path());
    }
}

/// Has groff read every page with all of its warnings.
fn render(dir: &Path) {
    let mut groff = Command::new("groff");
    groff.args(["-man", "-ww", "-Tutf8", "-Kutf8", "-rLL=100n"]).stdout(Stdio::null());
    groff.args(std::fs::read_dir(dir).expect("reads").flatten().map(|entry| entry.path()));
    match groff.output() {
        Err(_) => harness::skip("manual pages are rendered", "groff"),
        Ok(said) => {
            let complaints = String::from_utf8_lossy(&said.stderr);
            assert!(said.status.success() && complaints.is_empty(), "{complaints}");
        }
    }
}
