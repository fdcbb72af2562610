//! `linnet doctor` from the outside: the real program, a daemon that only answers, and beside it a `linnetd` that only explains.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use linnet_proto::status::{Health, Limits, ModelState, ModelStatus, Status};
use serde_json::Value;
use tempfile::TempDir;

/// Prints the configuration that it is asked about as its own explanation, and refuses one with the word `nonsense`.
const LINNETD: &str = "#!/bin/sh\n\
    case \"$1\" in\n\
      --version) echo 'linnetd 0.1.0' ;;\n\
      explain-cpu) printf 'processor     X\\narchitecture  aarch64\\nfeatures      dotprod\\nthreads       4\\n' ;;\n\
      --check)\n\
        if grep -q nonsense \"$2\"; then printf \"$2:1: nonsense: no such key\\n$2:2: more: no such key\\n\" >&2; exit 78; fi\n\
        if [ -n \"$OLD\" ] && [ \"$3\" = --explain ]; then echo 'unexpected argument --explain' >&2; exit 64; fi\n\
        if [ \"$3\" = --explain ]; then cat \"$2\"; else echo \"$2: ok\"; fi ;;\n\
      *) exit 64 ;;\n\
    esac\n";

/// A machine on which the unit is not installed.
const SYSTEMCTL: &str = "#!/bin/sh\necho LoadState=not-found\n";

fn program(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("may run");
}

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("ours");
}

/// A directory with `linnet`, its `linnetd`, a configuration and a state directory.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        // A copy and not a link: the program looks beside where it lies.
        if std::fs::hard_link(env!("CARGO_BIN_EXE_linnet"), at("linnet")).is_err() {
            // By another program: what this one writes stays open in what another test starts meanwhile, and cannot be run until that is over.
            let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_linnet")).arg(at("linnet")).status();
            assert!(copied.expect("cp is there").success());
        }
        program(&at("linnetd"), LINNETD);
        std::fs::create_dir(at("bin")).expect("made");
        program(&at("bin/systemctl"), SYSTEMCTL);
        std::fs::create_dir(at("state")).expect("made");
        std::fs::set_permissions(at("state"), std::fs::Permissions::from_mode(0o700)).expect("ours");
        let bench = Self { dir };
        bench.config("");
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.at("linnet.sock")
    }

    /// `text` after the state's own key.
    fn config(&self, text: &str) {
        std::fs::write(self.at("linnet.toml"), format!("state = \"state\"\n{text}")).expect("written");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.at("linnet"));
        command.arg("--socket").arg(self.socket()).arg("doctor").arg("--config").arg(self.at("linnet.toml"));
        command.args(arguments).stdin(Stdio::null());
        command.env("PATH", format!("{}:/usr/bin:/bin", self.at("bin").display()));
        for name in ["LINNET_SOCKET", "LINNET_CONFIG", "LINNET_STATE", "LINNET_MQTT_PASSWORD", "OLD"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    /// Exit code and the report.
    fn report(&self) -> (i32, Value) {
        self.report_with(&[])
    }

    fn report_with(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(&[&["--json"], arguments].concat());
        let line = String::from_utf8(output.stdout.clone()).expect("UTF-8");
        assert_eq!(line.matches('\n').count(), 1, "one object on one line: {output:?}");
        (output.status.code().expect("a code"), serde_json::from_str(&line).expect("JSON"))
    }
}

/// Those findings of a check, as `verdict: sentence; way out`.
fn findings(report: &Value, check: &str) -> Vec<String> {
    let all = report["checks"].as_array().expect("a list");
    let of_check = all.iter().filter(|finding| finding["check"] == check);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    of_check
        .map(|it| format!("{}: {}; {}", text(&it["verdict"]), text(&it["sentence"]), text(&it["way_out"])))
        .collect()
}

fn finding(report: &Value, check: &str) -> String {
    let all = findings(report, check);
    assert_eq!(all.len(), 1, "{check}: {all:?}");
    all.into_iter().next().expect("one")
}

fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        device: "kitchen".into(),
        health: Health::Ready,
        uptime_secs: 60.0,
        models: vec![model("stt-en-small", ModelState::Ready)],
        generation: None,
        fleet_sources: Vec::new(),
        fleet_last_failure: None,
        provisioning: None,
        models_dir: None,
        limits: Limits {
            max_upload_bytes: 1 << 20,
            max_audio_secs: 60,
            max_packet_bytes: 0,
            queue_length: 64,
            default_deadline_ms: 1000,
            max_deadline_ms: 1000,
        },
        queue_depth: 0,
        workers: 2,
        worker_restarts: 0,
        workers_stuck: 0,
        mqtt: "off".into(),
        mqtt_reason: None,
        mqtt_contested: None,
        mqtt_storage: None,
        stalled: Vec::new(),
    }
}

fn model(name: &str, state: ModelState) -> ModelStatus {
    ModelStatus {
        name: name.into(),
        version: "0.2.0".into(),
        aliases: Vec::new(),
        tasks: vec!["transcribe".into()],
        languages: vec!["en".into()],
        family: "ctc".into(),
        state,
        memory_mib: 12,
    }
}

/// Answers `/readyz`, `/v1/status` and `/metrics` for as long as the test runs.
fn daemon(bench: &Bench, ready: bool, status: &impl serde::Serialize) {
    let listener = UnixListener::bind(bench.socket()).expect("a socket");
    std::fs::set_permissions(bench.socket(), std::fs::Permissions::from_mode(0o660)).expect("ours");
    let status = serde_json::to_string(status).expect("JSON");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who only looks whether somebody listens asks for nothing.
            let _ = answer(stream, ready, &status);
        }
    });
}

fn answer(mut stream: UnixStream, ready: bool, status: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let head = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let (code, body) = match head.split(' ').nth(1) {
        Some("/readyz") => (if ready { 200 } else { 503 }, "{}"),
        Some("/v1/status") => (200, status),
        Some("/metrics") => (200, "# TYPE linnet_requests counter\nlinnet_requests_total 3\n# EOF\n"),
        _ => (404, "{}"),
    };
    let length = body.len();
    write!(stream, "HTTP/1.1 {code} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

#[test]
fn a_daemon_that_is_well_is_told_so_check_by_check() {
    let bench = Bench::new();
    private(&bench.at("token"), "a-bearer-token\n");
    bench.config("[http]\ntoken_file = \"token\"\n");
    daemon(&bench, true, &status());
    let (code, report) = bench.report();
    assert_eq!((code, &report["wrong"]), (0, &0.into()), "{report}");
    for (check, words) in [
        ("socket", "ok: "),
        ("service", "skipped: "),
        ("config", "linnet.toml is right"),
        ("version", "ok: linnetd and linnet are both 0.1.0"),
        ("health", "ok: kitchen serves"),
        ("models", "ok: none of 1 models failed"),
        ("broker", "skipped: MQTT is off"),
        ("state", "to spare"),
        ("files", "ok: 1 of 1 files"),
        ("fleet", "skipped: "),
        ("cpu", "ok: X, 4 threads, with dotprod"),
    ] {
        let found = finding(&report, check);
        assert!(found.contains(words), "{check}: {found}");
    }
    for check in ["clock", "memory", "journal"] {
        assert_eq!(findings(&report, check).len(), 1, "{check} depends on this machine, and is there");
    }
    let output = bench.run(&[]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!text.contains('\u{1b}'), "no colours into a pipe: {text}");
    let checks = report["checks"].as_array().expect("a list").len();
    assert_eq!(text.lines().count(), checks + 1, "a line for each check and the summary: {text}");
    assert!(text.lines().last().is_some_and(|line| line.starts_with("Nothing is wrong")), "{text}");
}

#[test]
fn without_a_daemon_everything_else_is_looked_at_all_the_same() {
    let bench = Bench::new();
    let (code, report) = bench.report();
    assert_eq!(code, 69, "{report}");
    assert!(finding(&report, "socket").starts_with("wrong: "), "{report}");
    assert!(finding(&report, "socket").contains("systemctl start linnetd"), "{report}");
    assert!(finding(&report, "config").starts_with("ok: "), "{report}");
    assert!(finding(&report, "state").starts_with("ok: "), "{report}");
    assert!(findings(&report, "version").is_empty(), "nobody tells one");
    let text = String::from_utf8(bench.run(&[]).stdout).expect("UTF-8");
    assert!(text.starts_with("✗ socket "), "the worst stands first: {text}");
}

#[test]
fn what_the_daemon_tells_of_itself_is_judged() {
    let bench = Bench::new();
    let mut told = status();
    told.version = "9.9.9".into();
    told.health = Health::Degraded;
    told.stalled = vec!["the MQTT link".into()];
    let reason = "model.onnx is cut off\u{1b}[2J";
    told.models.push(model("torn", ModelState::Failed { reason: reason.into() }));
    daemon(&bench, true, &told);
    let (code, report) = bench.report();
    assert_eq!(code, 70, "a part that stands still is linnetd's own fault: {report}");
    assert!(finding(&report, "version").starts_with("warning: linnetd is 9.9.9"), "{report}");
    assert!(finding(&report, "health").contains("stands still: the MQTT link"), "{report}");
    assert!(
        finding(&report, "models").starts_with("wrong: torn 0.2.0 failed (it takes 12 MiB): model.onnx"),
        "{report}"
    );
    let text = bench.run(&[]).stdout;
    assert!(!text.contains(&0x1b), "what a daemon says moves no cursor");
}

#[test]
fn a_configuration_that_linnetd_refuses_is_told_in_its_own_words() {
    let bench = Bench::new();
    bench.config("nonsense = 1\n");
    daemon(&bench, true, &status());
    let (code, report) = bench.report();
    let found = finding(&report, "config");
    assert!(code == 78 && found.contains(":1: nonsense: no such key (and 1 more)"), "{code} {found}");
}

#[test]
fn a_broker_that_is_down_is_tried_from_here() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its number").port();
    bench.config(&format!("[mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\n"));
    let told = Status { mqtt: "down".into(), mqtt_reason: Some("not authorised".into()), ..status() };
    daemon(&bench, true, &told);
    let (code, report) = bench.report();
    let found = finding(&report, "broker");
    assert!(code == 69 && found.contains("not authorised") && found.contains("takes the connection"), "{code} {found}");
    drop(listener);
    let found = finding(&bench.report().1, "broker");
    assert!(found.contains(&format!("127.0.0.1:{port} refuses the connection")), "{found}");
}

#[test]
fn files_that_others_may_read_or_that_are_missing_are_named() {
    let bench = Bench::new();
    std::fs::write(bench.at("password"), "pass-marker").expect("written");
    std::fs::set_permissions(bench.at("password"), std::fs::Permissions::from_mode(0o644)).expect("ours");
    bench.config("[mqtt]\npassword_file = \"password\"\nca_file = \"missing.pem\"\n");
    daemon(&bench, true, &status());
    let (code, report) = bench.report();
    let found = findings(&report, "files");
    assert!(code == 77 && found.len() == 2, "{code} {found:?}");
    assert!(found[0].contains("password (mqtt.password_file) has mode 0644"), "{found:?}");
    assert!(found[1].contains("missing.pem (mqtt.ca_file) is not there"), "{found:?}");
}

#[test]
fn a_linnetd_that_cannot_explain_is_asked_to_check() {
    let bench = Bench::new();
    bench.config("[mqtt]\npassword_file = \"missing\"\n");
    daemon(&bench, true, &status());
    let output = bench.command(&["--json"]).env("OLD", "1").output().expect("it runs");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(finding(&report, "config").starts_with("ok: "), "{report}");
    assert!(finding(&report, "files").contains("missing (mqtt.password_file)"), "the file itself is read: {report}");
}

/// Name and text of everything in a support file.
fn unpack(path: &Path) -> BTreeMap<String, String> {
    let file = std::fs::File::open(path).expect("it is there");
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let entries = archive.entries().expect("a tar");
    entries
        .map(|entry| {
            let mut entry = entry.expect("whole");
            let name = entry.path().expect("a name").display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            (name, text)
        })
        .collect()
}

#[test]
fn a_support_file_holds_what_helps_and_nothing_that_is_secret_or_that_anybody_said() {
    let bench = Bench::new();
    // Every marker is one that must not leave the machine.
    private(&bench.at("password"), "marker-password\n");
    private(&bench.at("token"), "marker-token\n");
    private(&bench.at("key.pem"), "-----BEGIN PRIVATE KEY-----\nbWFya2VyLWtleQ==\n-----END PRIVATE KEY-----\n");
    std::fs::create_dir(bench.at("state/outbox")).expect("made");
    std::fs::write(bench.at("state/outbox/1"), "marker-answer that waits").expect("written");
    bench.config(
        "# once it was marker-comment\nlog = \"info\" # marker-comment\n[http]\ntoken_file = \"token\"\ntls_key = \"key.pem\"\n\
         [mqtt]\nurl = \"mqtt://ann:marker-login@127.0.0.1:1\"\npassword_file = \"password\"\n",
    );
    let record = |priority: &str, transport: &str, message: &str| {
        serde_json::json!({
            "PRIORITY": priority, "_TRANSPORT": transport, "SYSLOG_IDENTIFIER": "linnetd", "_PID": "1", "MESSAGE": message,
            "__REALTIME_TIMESTAMP": "1700000000000000",
        })
        .to_string()
    };
    let records = [
        record("6", "journal", "linnetd is ready"),
        record("4", "journal", "the broker refused marker-password and bWFya2VyLWtleQ=="),
        record("7", "journal", "heard: marker-speech"),
        record("6", "stdout", "byte index 3 is inside of marker-speech"),
    ];
    std::fs::write(bench.at("journal"), records.join("\n")).expect("written");
    program(&bench.at("bin/journalctl"), &format!("#!/bin/sh\ncat {:?}\n", bench.at("journal")));
    let told = Status { mqtt: "down".into(), mqtt_reason: Some("refused marker-token".into()), ..status() };
    daemon(&bench, true, &told);

    let bundle = bench.at("support.tar.gz");
    std::fs::write(&bundle, "an old one").expect("written");
    let mut command = bench.command(&["--bundle", &bundle.display().to_string()]);
    // The old linnetd, so that the file itself is what is told of the configuration, without its comments.
    let output = command.env("OLD", "1").output().expect("it runs");
    assert_eq!(output.status.code(), Some(69), "the broker is down, bundle or not: {output:?}");
    let parts = unpack(&bundle);
    let listed = String::from_utf8(output.stdout).expect("UTF-8");
    for (name, words) in [
        ("versions.txt", "running: 0.1.0"),
        ("doctor.json", "\"check\": \"broker\""),
        ("status.json", "\"stt-en-small\""),
        ("metrics.txt", "linnet_requests_total 3"),
        ("config.txt", "password_file = \"password\""),
        ("service.txt", ""),
        ("journal.txt", "2023-11-14T22:13:20Z info    linnetd[1] linnetd is ready\n"),
        ("cpu.txt", "features      dotprod"),
        ("system.txt", "# /proc/meminfo"),
    ] {
        let text = parts.get(&format!("linnet-support/{name}")).unwrap_or_else(|| panic!("{name}: {:?}", parts.keys()));
        assert!(text.contains(words), "{name}: {text}");
        assert!(listed.contains(name), "{name} is listed: {listed}");
    }
    assert_eq!(parts.len(), 9, "and nothing that is not listed: {:?}", parts.keys());
    for (name, text) in &parts {
        for marker in ["marker-", "bWFya2VyLWtleQ", "an old one"] {
            assert!(!text.contains(marker), "{name} holds {marker}: {text}");
        }
    }
    assert!(parts["linnet-support/journal.txt"].contains("the broker refused [removed] and [removed]"));
    serde_json::from_str::<Value>(&parts["linnet-support/status.json"]).expect("JSON still");
    serde_json::from_str::<Value>(&parts["linnet-support/doctor.json"]).expect("JSON still");
    let seen = std::fs::metadata(&bundle).expect("it is there");
    assert_eq!(seen.permissions().mode() & 0o777, 0o600, "for this user alone");
    assert!(seen.len() < 1 << 20, "{} bytes", seen.len());
}

#[test]
fn a_password_under_a_key_that_linnetd_does_not_know_stays_out_of_the_support_file() {
    let bench = Bench::new();
    // What is refused is quoted by this linnetd.
    bench.config("nonsense = \"marker-own\"\n");
    program(&bench.at("linnetd"), "#!/bin/sh\ncat \"$2\" >&2\nexit 78\n");
    daemon(&bench, true, &status());
    let bundle = bench.at("support.tar.gz");
    let (code, report) = bench.report_with(&["--bundle", &bundle.display().to_string()]);
    assert_eq!(code, 78, "{report}");
    let parts = unpack(&bundle);
    let config = &parts["linnet-support/config.txt"];
    assert!(config.contains("nonsense = \"[a text of 10 characters]\""), "{config}");
    assert!(parts.values().all(|text| !text.contains("marker-")), "{config}");
}

#[test]
fn a_support_file_is_bounded_whatever_is_told() {
    let bench = Bench::new();
    let mut told = status();
    // Close to what a status may hold at most.
    told.models = (0..2000).map(|n| model(&format!("{n:0300}"), ModelState::Unloaded)).collect();
    daemon(&bench, true, &told);
    program(&bench.at("bin/journalctl"), "#!/bin/sh\nhead -c 20000000 /dev/zero | tr '\\0' x\n");
    let bundle = bench.at("support.tar.gz");
    let (code, report) = bench.report_with(&["--bundle", &bundle.display().to_string()]);
    assert_eq!(code, 0, "{report}");
    let parts = unpack(&bundle);
    assert!(parts.values().map(String::len).sum::<usize>() < 5 << 20);
    assert!(parts["linnet-support/status.json"].ends_with("\n[cut off here]\n"));
    let holds = report["bundle"]["holds"].as_array().expect("a list");
    assert_eq!(holds.len(), parts.len(), "{}", report["bundle"]);
}

#[test]
fn a_place_that_cannot_be_written_is_one_sentence() {
    let bench = Bench::new();
    let output = bench.run(&["--bundle", "/proc/nowhere/support.tar.gz"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(74), "{said}");
    assert!(said.starts_with("linnet: /proc/nowhere/support.tar.gz cannot be written: ") && said.lines().count() == 1);
}
