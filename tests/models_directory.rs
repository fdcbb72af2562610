//! Models come and go while the daemon serves: added in the layout of their export, listed, verified, removed.

mod harness;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::{Daemon, root};
use serde_json::Value;

/// A graph alone, of no known family.
fn graph_alone(dir: &Path) -> PathBuf {
    let from = dir.join("export");
    std::fs::create_dir_all(&from).expect("a directory");
    let graph = root().join("tests/goldens/families/bert/onnx/model.onnx");
    std::fs::copy(graph, from.join("encoder.onnx")).expect("the goldens are part of the tree");
    from
}

/// Runs `linnet`, as a person would who has nothing configured.
fn linnet(daemon: &Daemon, arguments: &[&str]) -> Output {
    let own = PathBuf::from(env!("CARGO_BIN_EXE_linnetd"));
    let linnet = own.parent().expect("a directory").join("linnet");
    Command::new(linnet)
        .env_clear()
        .env("HOME", daemon.home())
        .env("LINNET_SOCKET", daemon.socket())
        .args(arguments)
        .output()
        .expect("linnet is built with the workspace")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn names(daemon: &Daemon) -> Vec<String> {
    let models = daemon.get("/v1/models").json();
    models["data"].as_array().expect("a list").iter().map(|m| m["id"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_model_is_added_to_a_running_daemon_serves_and_is_removed() {
    let home = tempfile::tempdir().expect("a directory");
    let models = home.path().join("models");
    std::fs::create_dir(&models).expect("a directory");
    // Without a model it is not ready, but it answers.
    let daemon = Daemon::builder().models(&models).spawn();
    daemon.wait_for_log("ready: no model serves");
    let from = graph_alone(home.path());
    let from = from.to_str().expect("UTF-8");

    let added = linnet(&daemon, &["models", "add", from, "--name", "graph", "--alias", "also", "--json"]);
    assert!(added.status.success(), "{}", said(&added));
    let report: Value = serde_json::from_slice(&added.stdout).expect("one JSON object");
    assert_eq!((report["name"].as_str(), report["family"].as_str()), (Some("graph"), Some("raw")), "{report}");
    assert!(models.join("graph/manifest.toml").is_file(), "it lies in the running daemon's directory");
    assert_eq!(names(&daemon), ["graph"]);

    let manifest = std::fs::read_to_string(models.join("graph/manifest.toml")).expect("reads");
    assert!(manifest.contains("status = \"recorded\"") && manifest.contains("sha256"), "{manifest}");

    let again = linnet(&daemon, &["models", "add", from, "--name", "graph"]);
    assert_eq!(again.status.code(), Some(64), "{}", said(&again));
    assert!(said(&again).contains("--replace"), "{}", said(&again));
    let replaced = linnet(&daemon, &["models", "add", from, "--name", "graph", "--replace", "--copy"]);
    assert!(replaced.status.success() && said(&replaced).contains("a raw model"), "{}", said(&replaced));

    // The last model is not let go of: a reload that leaves nothing to serve is refused.
    let other = linnet(&daemon, &["models", "add", from, "--name", "other"]);
    assert!(other.status.success(), "{}", said(&other));
    let removed = linnet(&daemon, &["models", "remove", "graph"]);
    assert!(removed.status.success(), "{}", said(&removed));
    assert!(names(&daemon) == ["other"] && !models.join("graph").exists());
    let none = linnet(&daemon, &["models", "remove", "graph"]);
    assert!(!none.status.success() && said(&none).contains("no model graph"), "{}", said(&none));
}

#[test]
fn what_is_no_model_is_refused_and_leaves_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let models = home.path().join("models");
    std::fs::create_dir(&models).expect("a directory");
    // Without a model it is not ready, but it answers.
    let daemon = Daemon::builder().models(&models).spawn();
    daemon.wait_for_log("ready: no model serves");
    let empty = home.path().join("empty");
    std::fs::create_dir(&empty).expect("a directory");
    let truncated = graph_alone(home.path());
    let graph = truncated.join("encoder.onnx");
    let bytes = std::fs::read(&graph).expect("reads");
    std::fs::write(&graph, &bytes[..bytes.len() / 2]).expect("writes");
    for (from, says) in
        [(home.path().join("nowhere"), "nowhere"), (empty, "manifest.toml"), (truncated.clone(), "truncated")]
    {
        let refused = linnet(&daemon, &["models", "add", from.to_str().expect("UTF-8"), "--name", "bad"]);
        assert!(!refused.status.success() && said(&refused).contains(says), "{}", said(&refused));
        let left = std::fs::read_dir(&models).expect("reads").count();
        assert_eq!(left, 0, "{}", said(&refused));
    }
    let name = linnet(&daemon, &["models", "add", truncated.to_str().expect("UTF-8"), "--name", "../out"]);
    assert!(!name.status.success() && said(&name).contains("a name is"), "{}", said(&name));
}

#[test]
fn a_reload_is_granted_over_the_unix_socket_and_answers_when_it_is_done() {
    let daemon = Daemon::start();
    let answer = daemon.send("POST", "/v1/reload", &[], &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["health"], "ready");
    daemon.wait_for_log("the configuration was read again");
}
