//! Models come and go while the daemon serves: added in the layout of their export, listed, verified, removed.

mod harness;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use harness::daemon::{NOBODY, linnetd_without_root};
use harness::http::Answer;
use harness::{Daemon, eventually, root};
use serde_json::{Value, json};

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
    linnet_command(daemon, arguments).output().expect("linnet is built with the workspace")
}

fn linnet_command(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = linnet_of(&daemon.socket(), daemon.home());
    command.args(arguments);
    command
}

fn linnet_of(socket: &Path, home: &Path) -> Command {
    let own = PathBuf::from(env!("CARGO_BIN_EXE_linnetd"));
    let mut command = Command::new(own.with_file_name("linnet"));
    command.env_clear().env("HOME", home).env("LINNET_SOCKET", socket);
    command
}

/// A daemon with an empty directory of models: it is not ready, but it answers.
fn without_models(home: &Path) -> (PathBuf, Daemon) {
    let models = home.join("models");
    std::fs::create_dir(&models).expect("a directory");
    let daemon = Daemon::builder().models(&models).spawn();
    daemon.wait_for_log("ready: no model serves");
    (models, daemon)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("reads").flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copies");
    }
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
    let (models, daemon) = without_models(home.path());
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

    let other = linnet(&daemon, &["models", "add", from, "--name", "other"]);
    assert!(other.status.success(), "{}", said(&other));
    let removed = linnet(&daemon, &["models", "remove", "graph"]);
    assert!(removed.status.success(), "{}", said(&removed));
    assert!(names(&daemon) == ["other"] && !models.join("graph").exists());
    let none = linnet(&daemon, &["models", "remove", "graph"]);
    assert!(!none.status.success() && said(&none).contains("no model graph"), "{}", said(&none));
    assert!(!daemon.log().contains("the configuration was read again"), "nobody asked for that");
}

fn add(daemon: &Daemon, asked: &Value) -> Answer {
    daemon.send("POST", "/v1/models", &[("Content-Type", "application/json")], asked.to_string().as_bytes())
}

#[test]
fn what_cannot_be_added_is_refused_in_a_sentence_and_what_serves_goes_on() {
    let home = tempfile::tempdir().expect("a directory");
    let models = home.path().join("models");
    std::fs::create_dir(&models).expect("a directory");
    copy(&root().join("models/lang-id"), &models.join("lang-id"));
    let daemon = Daemon::builder().models(&models).start();
    let package = home.path().join("package");
    copy(&root().join("models/lang-id"), &package);
    let path = package.to_str().expect("UTF-8");
    for (asked, status, says) in [
        (json!({"path": path, "name": "a/b"}), 400, "a name is"),
        (json!({"path": path}), 400, "--replace"),
        (json!({"path": home.path().join("nowhere")}), 400, "cannot read"),
        (json!({"path": "models/lang-id"}), 400, "from the root"),
        (json!({"name": "x"}), 400, "`path` is missing"),
        (json!({"path": path, "nmae": "x"}), 400, "nmae"),
        (json!("a path"), 400, "object"),
    ] {
        let refused = add(&daemon, &asked);
        assert_eq!(refused.status, status, "{asked}: {}", refused.text());
        assert!(refused.text().contains(says), "{asked}: {}", refused.text());
    }
    // A canary that is not met: the model does not take its place, and nobody else is asked to go.
    let manifest = package.join("manifest.toml");
    let text = std::fs::read_to_string(&manifest).expect("reads");
    let canary = text.find("[canary.rms]").expect("a canary");
    let at = canary + text[canary..].find(" = 0").expect("a number") + 3;
    std::fs::write(&manifest, format!("{}7{}", &text[..at], &text[at + 1..])).expect("writes");
    let refused = add(&daemon, &json!({"path": path, "name": "bad"}));
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.json()["error"]["code"] == "model_failed", "{}", refused.text());
    let bad = linnet(&daemon, &["models", "add", path, "--name", "bad"]);
    assert_eq!(bad.status.code(), Some(65), "{}", said(&bad));
    for name in ["nobody", "%2e%2e", "..%2flang-id"] {
        let refused = daemon.send("DELETE", &format!("/v1/models/{name}"), &[], &[]);
        assert!(refused.status == 400 && refused.text().contains("no model"), "{name}: {}", refused.text());
    }
    assert_eq!(names(&daemon), ["lang-id"]);
    assert_eq!(std::fs::read_dir(&models).expect("reads").count(), 1, "nothing is left behind");
}

#[test]
fn a_model_that_is_added_takes_no_other_models_name() {
    let home = tempfile::tempdir().expect("a directory");
    let (_, daemon) = without_models(home.path());
    let package = home.path().join("package");
    copy(&root().join("models/stt-en-small"), &package);
    let ask = |more: Value| {
        let mut asked = json!({"path": package});
        asked.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        add(&daemon, &asked)
    };
    assert_eq!(ask(json!({"name": "two"})).status, 200);
    for (more, name) in
        [(json!({"name": "whisper-1"}), "whisper-1"), (json!({"name": "one", "aliases": ["two"]}), "two")]
    {
        let refused = ask(more);
        assert!(
            refused.status == 400 && refused.text().contains(&format!("the name {name} belongs to the model two")),
            "{}",
            refused.text()
        );
    }
    // An alias that the package brings stays with who has it.
    assert_eq!(ask(json!({"name": "one"})).status, 200);
    let status = daemon.get("/v1/status").json();
    let models = status["models"].as_array().expect("models");
    assert!(models.iter().all(|model| model["state"]["state"] != "failed"), "{status}");
    assert_eq!(models.iter().find(|model| model["name"] == "one").expect("one")["aliases"], json!([]));
}

#[test]
fn a_model_that_the_configuration_means_stays() {
    let home = tempfile::tempdir().expect("a directory");
    let models = home.path().join("models");
    copy(&root().join("models/lang-id"), &models.join("lang-id"));
    let daemon = Daemon::builder().models(&models).config("default_model = \"lang-id\"\n").start();
    let refused = linnet(&daemon, &["models", "remove", "lang-id"]);
    assert!(!refused.status.success() && said(&refused).contains("default_model"), "{}", said(&refused));
    assert_eq!(names(&daemon), ["lang-id"]);
    assert!(models.join("lang-id/manifest.toml").is_file(), "it was put back");
}

#[test]
fn the_first_model_of_a_fresh_state_directory_serves_at_once() {
    let home = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::builder().models_of_the_configuration().start();
    let added_to = daemon.home().join("state/models");
    assert!(!added_to.exists() && !daemon.log().contains("is passed over"), "{}", daemon.log());
    let package = home.path().join("package");
    copy(&root().join("models/lang-id"), &package);
    let path = package.to_str().expect("UTF-8");
    let bad = linnet(&daemon, &["models", "add", home.path().to_str().expect("UTF-8"), "--name", "bad"]);
    assert!(!bad.status.success(), "{}", said(&bad));
    for _ in 0..2 {
        let added = linnet(&daemon, &["models", "add", path, "--name", "tongues"]);
        assert!(added.status.success(), "{}", said(&added));
        assert!(names(&daemon).contains(&"tongues".to_owned()), "{:?}", names(&daemon));
        let asked = json!({"model": "tongues", "q": "Der Hund schläft auf dem alten Sofa."}).to_string();
        let answer = daemon.post("/detect", "application/json", asked.as_bytes());
        assert!(answer.status == 200 && answer.text().contains("\"de\""), "{}", answer.text());
        let removed = linnet(&daemon, &["models", "remove", "tongues"]);
        assert!(removed.status.success(), "{}", said(&removed));
        assert!(!names(&daemon).contains(&"tongues".to_owned()));
        assert_eq!(std::fs::read_dir(&added_to).expect("reads").count(), 0, "nothing is left behind");
    }
    // Under the name of a bundled model: it serves in its stead, until it is removed.
    let version = || {
        let status = daemon.get("/v1/status").json();
        let models = status["models"].as_array().expect("models");
        let named: Vec<_> = models.iter().filter(|model| model["name"] == "lang-id").collect();
        assert_eq!(named.len(), 1, "{status}");
        named[0]["version"].as_str().expect("a version").to_owned()
    };
    let bundled = version();
    let manifest = package.join("manifest.toml");
    let text = std::fs::read_to_string(&manifest).expect("reads");
    std::fs::write(&manifest, text.replacen(&format!("version = \"{bundled}\""), "version = \"9.9.9\"", 1))
        .expect("writes");
    let added = linnet(&daemon, &["models", "add", path]);
    assert!(added.status.success(), "{}", said(&added));
    assert_eq!(version(), "9.9.9");
    let removed = linnet(&daemon, &["models", "remove", "lang-id"]);
    assert!(removed.status.success(), "{}", said(&removed));
    assert_eq!(version(), bundled);
}

#[test]
fn a_model_that_cannot_serve_where_it_was_put_is_taken_away_again() {
    let home = tempfile::tempdir().expect("a directory");
    let (models, gone) = (home.path().join("models"), home.path().join("gone"));
    copy(&root().join("models/lang-id"), &models.join("lang-id"));
    let config = format!("models = [{models:?}, {gone:?}]\ndefault_model = \"lang-id\"\n");
    let daemon = Daemon::builder().models_of_the_configuration().config(config).start();
    let said_so = format!("{}: the directory of models is passed over", gone.display());
    assert!(daemon.log().contains(&said_so), "one that is configured and not there is told: {}", daemon.log());
    // Its owner takes the default model away: the configuration would mean nobody.
    std::fs::rename(models.join("lang-id"), home.path().join("lang-id")).expect("moves");
    let from = graph_alone(home.path());
    let refused = add(&daemon, &json!({"path": from, "name": "graph"}));
    assert!(refused.status == 400 && refused.text().contains("default_model"), "{}", refused.text());
    assert_eq!(std::fs::read_dir(&models).expect("reads").count(), 0, "nothing is left behind");
    std::fs::rename(home.path().join("lang-id"), models.join("lang-id")).expect("moves");
    assert_eq!(add(&daemon, &json!({"path": from, "name": "graph"})).status, 200);
    assert!(
        models.join("graph").is_dir() && !daemon.home().join("state/models").exists(),
        "in the first that is configured"
    );
}

#[test]
fn where_the_configuration_names_the_bundled_models_alone_nothing_is_added() {
    let bundled = harness::models();
    let config = format!("models = {bundled:?}\n");
    let daemon = Daemon::builder().models_of_the_configuration().config(config).start();
    // Under a bundled name, too: that one serves, and not what was added.
    for name in ["graph", "lang-id"] {
        let refused = add(&daemon, &json!({"path": root().join("models/lang-id"), "name": name, "copy": true}));
        assert!(
            refused.status == 500 && refused.text().contains("`models` in its configuration"),
            "{}",
            refused.text()
        );
    }
    let added_to = daemon.home().join("state/models");
    assert_eq!(std::fs::read_dir(added_to).expect("reads").count(), 0, "nothing is left behind");
}

#[test]
fn of_two_who_add_one_name_at_once_one_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let (_, daemon) = without_models(home.path());
    let package = home.path().join("package");
    copy(&root().join("models/lang-id"), &package);
    let asked = json!({"path": package, "name": "one"});
    let answers: Vec<_> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..4).map(|_| scope.spawn(|| add(&daemon, &asked))).collect();
        both.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400, 400, 400]);
    assert!(answers.iter().any(|answer| answer.text().contains("already")));
    assert_eq!(names(&daemon), ["one"]);
}

#[test]
fn a_caller_who_leaves_and_a_daemon_that_is_killed_leave_no_half_model() {
    let home = tempfile::tempdir().expect("a directory");
    let models = home.path().join("models");
    copy(&root().join("models/lang-id"), &models.join("lang-id"));
    let daemon = Daemon::builder().models(&models).in_home(home.path()).start();
    let package = home.path().join("package");
    copy(&root().join("models/stt-en-small"), &package);
    let begin = || {
        let mut client = linnet_command(&daemon, &["models", "add", package.to_str().expect("UTF-8"), "--name", "two"]);
        let client = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("linnet is there");
        eventually("the import has begun", || hidden(&models).pop());
        client
    };
    let mut client = begin();
    client.kill().expect("it runs");
    client.wait().expect("it ends");
    eventually("what was begun is gone", || hidden(&models).is_empty().then_some(()));
    assert_eq!(names(&daemon), ["lang-id"], "it did not take its place");
    let mut client = begin();
    // As a power cut: nobody tidies up.
    daemon.signal("KILL");
    client.wait().expect("it ends");
    drop(daemon);
    let daemon = Daemon::builder().models(&models).in_home(home.path()).start();
    eventually("the next start tidies up", || hidden(&models).is_empty().then_some(()));
    assert_eq!(names(&daemon), ["lang-id"]);
}

/// Names in `dir` that begin with a dot.
fn hidden(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).expect("reads").flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with('.')).collect()
}

#[test]
fn a_model_that_the_daemon_cannot_read_is_sent_to_it() {
    let home = tempfile::tempdir().expect("a directory");
    let (models, daemon) = without_models(home.path());
    let from = graph_alone(home.path());
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_path_with_name(from.join("encoder.onnx"), "encoder.onnx").expect("packs");
    let tar = tar.into_inner().expect("packs");
    let headers = [("Content-Type", "application/x-tar")];
    let sent = daemon.send("POST", "/v1/models?directory=export-en-de&alias=also", &headers, &tar);
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert_eq!(sent.json()["name"], "export-en-de");
    assert_eq!(names(&daemon), ["export-en-de"]);
    for (query, body, says) in [
        ("?name=other", &tar[..700], "ends after"),
        ("?name=other", &[][..], "no file"),
        ("?name=other&path=/etc", &tar[..], "path"),
        ("?name=../other", &tar[..], "a name is"),
    ] {
        let refused = daemon.send("POST", &format!("/v1/models{query}"), &headers, body);
        assert!(refused.status >= 400 && refused.text().contains(says), "{query}: {}", refused.text());
    }
    assert!(hidden(&models).is_empty());
    assert_eq!(names(&daemon), ["export-en-de"]);
    // Only the local socket is asked for it.
    let removed = linnet(&daemon, &["models", "remove", "export-en-de"]);
    assert!(removed.status.success() && names(&daemon).is_empty(), "{}", said(&removed));
}

/// A daemon of another user, as a system's is: it sees nothing of the caller's home.
#[test]
fn a_daemon_of_another_user_gets_the_files_by_its_socket() {
    if !rustix::process::geteuid().is_root() {
        harness::skip("a daemon of another user gets the files by its socket", "root, to be another user");
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let chown = |path: &Path| std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
    let place = home.path().join("daemon");
    let models = place.join("models");
    std::fs::create_dir_all(&models).expect("directories");
    chown(&place);
    chown(&models);
    let own = home.path().join("own");
    std::fs::create_dir(&own).expect("a directory");
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o700)).expect("ours");
    let from = graph_alone(&own);
    let socket = place.join("s");
    let mut command = linnetd_without_root(home.path());
    command.arg("--socket").arg(&socket).arg("--models").arg(&models).arg("--state").arg(place.join("state"));
    command.env_clear().stdout(Stdio::null()).stderr(Stdio::null());
    let mut daemon = command.spawn().expect("it starts");
    eventually("it answers", || std::os::unix::net::UnixStream::connect(&socket).ok());
    let mut command = linnet_of(&socket, home.path());
    let added = command.args(["models", "add", from.to_str().expect("UTF-8"), "--name", "sent"]).output();
    let listed = linnet_of(&socket, home.path()).args(["models", "list"]).output();
    daemon.kill().expect("it runs");
    daemon.wait().expect("it ends");
    let (added, listed) = (added.expect("linnet runs"), listed.expect("linnet runs"));
    assert!(added.status.success() && said(&added).contains("a raw model"), "{}", said(&added));
    assert!(said(&listed).starts_with("sent "), "{}", said(&listed));
    let mode = std::fs::metadata(models.join("sent/encoder.onnx")).expect("it is there");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&mode), NOBODY);
}

#[test]
fn without_a_daemon_a_directory_of_models_is_changed_all_the_same() {
    let home = tempfile::tempdir().expect("a directory");
    let from = graph_alone(home.path());
    let socket = home.path().join("nobody");
    let models = home.path().join("models");
    let run = |arguments: &[&str]| {
        let mut command = linnet_of(&socket, home.path());
        command.env("LINNET_MODELS", &models).args(arguments).output().expect("linnet runs")
    };
    let added = run(&["models", "add", from.to_str().expect("UTF-8"), "--name", "graph"]);
    assert!(added.status.success() && models.join("graph/manifest.toml").is_file(), "{}", said(&added));
    let removed = run(&["models", "remove", "graph"]);
    assert!(removed.status.success() && !models.join("graph").exists(), "{}", said(&removed));
    assert!(hidden(&models).is_empty());
}

#[test]
fn what_is_no_model_is_refused_and_leaves_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let (models, daemon) = without_models(home.path());
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
