//! How `linnetd` begins, reloads and ends, as systemd, an operator and a shell see it.

mod harness;

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use harness::daemon::{linnetd, linnetd_without_root};
use harness::{
    Daemon, Mosquitto, NotifySocket, PATIENCE, eventually, free_port, http, long_recording, models, noise, sample,
};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `linnetd` to its end.
fn run(command: &mut Command) -> (i32, String) {
    let output = command.output().expect("linnetd starts");
    (output.status.code().expect("it ends by itself"), said(&output))
}

/// Copies a directory of packages.
fn copy_packages(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("packages") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_packages(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[test]
fn it_serves_without_any_configuration() {
    let home = tempfile::tempdir().expect("a directory");
    let mut child = linnetd()
        .env("XDG_RUNTIME_DIR", home.path())
        .env("XDG_STATE_HOME", home.path().join("state"))
        .env_remove("RUNTIME_DIRECTORY")
        .env_remove("STATE_DIRECTORY")
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("linnetd starts");
    let socket = home.path().join("linnet/linnet.sock");
    let ready = || http::request(&socket, "GET", "/readyz", &[], b"").ok().filter(|a| a.status == 200);
    eventually("the bundled models serve", ready);
    let status = http::request(&socket, "GET", "/v1/status", &[], b"").expect("an answer").json();
    assert_eq!(status["mqtt"], "off");
    let served: Vec<_> =
        status["models"].as_array().expect("a list").iter().filter_map(|m| m["name"].as_str()).collect();
    assert_eq!(served, ["generate-stories", "lang-id", "stt-en-small", "translate-en-de"]);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn it_ends_in_good_order_and_leaves_no_socket() {
    for signal in ["TERM", "INT"] {
        let home = tempfile::tempdir().expect("a directory");
        let daemon = Daemon::builder().in_home(home.path()).start();
        let socket = daemon.socket();
        let metadata = std::fs::symlink_metadata(&socket).expect("the socket");
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
        daemon.signal(signal);
        let ended = daemon.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        assert!(!socket.exists() && !home.path().join("linnet.sock.lock").exists());
    }
}

#[test]
fn a_live_daemons_socket_is_refused_and_a_dead_ones_taken_over() {
    let home = tempfile::tempdir().expect("a directory");
    let first = Daemon::builder().in_home(home.path()).start();
    let (code, why) = run(linnetd().arg("--socket").arg(first.socket()).arg("--models").arg(models()));
    assert_eq!(code, 69, "{why}");
    assert!(why.contains("another linnetd serves on this socket"), "{why}");
    assert_eq!(first.get("/healthz").status, 200, "the first one is not disturbed");
    first.kill();
    assert!(home.path().join("linnet.sock").exists(), "a killed daemon cannot tidy up");
    let second = Daemon::builder().in_home(home.path()).start();
    assert!(second.log().contains("taking over the socket"), "{}", second.log());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("precious");
    std::fs::write(&path, "text").expect("a file");
    let (code, why) = run(linnetd().arg("--socket").arg(&path).arg("--models").arg(models()));
    assert_eq!(code, 73, "{why}");
    assert!(why.contains("precious: there is a file that is not a socket"), "{why}");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), "text");
}

#[test]
fn checking_and_starting_say_the_same_of_a_wrong_configuration() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("linnet.toml");
    std::fs::write(&file, "log = \"info\"\n\n[http]\nmax_conections = 5\nidle_timeout_secs = \"long\"\n")
        .expect("a file");
    let (checked, why) = run(linnetd().arg("--check").arg(&file));
    let (started, same) = run(linnetd().arg("--config").arg(&file));
    assert_eq!((checked, started), (78, 78));
    assert_eq!(why, same);
    let lines: Vec<_> = why.lines().collect();
    assert_eq!(lines.len(), 2, "{why}");
    assert!(lines[0].contains("linnet.toml:4: http.max_conections: ") && lines[0].contains("max_connections"), "{why}");
    assert!(lines[1].contains("linnet.toml:5: http.idle_timeout_secs: expected a whole number"), "{why}");
}

#[test]
fn the_shipped_configuration_passes_its_check() {
    let file = harness::root().join("config/linnet.toml");
    let output = linnetd().arg("--check").arg(&file).output().expect("linnetd starts");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{}: ok\n", file.display()));
}

#[test]
fn what_is_to_be_pushed_is_checked_as_a_device_would_and_every_value_is_explained() {
    let home = tempfile::tempdir().expect("a directory");
    let (file, next) = (home.path().join("linnet.toml"), home.path().join("next.toml"));
    std::fs::write(&file, "log = \"error\"\ndevice = \"attic\"\n").expect("a file");
    std::fs::write(&next, "log = \"warn\"\nsocket = \"/s\"\n").expect("a file");
    let (code, why) = run(linnetd().arg("--check").arg("--generation").arg(&next));
    assert_eq!(code, 78, "{why}");
    assert!(why.contains("next.toml:2: socket: belongs to the device"), "{why}");

    std::fs::write(&next, "log = \"warn\"\n[limits]\nmax_channels = 3\n").expect("a file");
    let output = linnetd().arg("--check").arg(&file).arg("--generation").arg(&next).output().expect("linnetd starts");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let named = format!("{}: ok\n{}: ok\n", file.display(), next.display());
    assert_eq!(String::from_utf8_lossy(&output.stdout), named);

    let mut command = linnetd();
    command.arg("--check").arg(&file).arg("--explain").arg("--generation").arg(&next).arg("--socket=/flag");
    let output = command.env("LINNET_STATE", "/environment").output().expect("linnetd starts");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let page = String::from_utf8_lossy(&output.stdout);
    let sources = |line: &str| {
        let found = page.lines().find(|l| l.split("  #").next().map(str::trim_end) == Some(line));
        found.unwrap_or_else(|| panic!("no {line} in {page}")).rsplit("  # ").next().map(str::to_owned)
    };
    assert_eq!(sources("log = \"warn\""), Some(format!("{}:1", next.display())));
    assert_eq!(sources("device = \"attic\""), Some(format!("{}:2", file.display())));
    assert_eq!(sources("socket = \"/flag\"").as_deref(), Some("--socket"));
    assert_eq!(sources("state = \"/environment\"").as_deref(), Some("LINNET_STATE"));
    assert_eq!(sources("limits.max_upload_mib = 128").as_deref(), Some("default"));
}

#[test]
fn a_generation_for_another_linnetd_is_refused_by_the_check_and_by_the_proof() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("generation.json");
    let generation = |versions: &str| {
        let text = format!(
            "{{\"wire\": 1, \"fleet\": \"home\", \"number\": 7, \"created_secs\": 1, \"expires_secs\": 2, {versions} \"config_version\": 1, \
             \"config\": \"\", \"packages\": []}}"
        );
        std::fs::write(&file, text).expect("a file");
    };
    for (versions, says) in [
        ("\"min_linnetd\": \"99.0.0\",", "generation 7: it needs linnetd 99.0.0 or newer"),
        ("\"max_linnetd\": \"0.0.1\",", "it is for linnetd 0.0.1 or older"),
        ("\"min_linnetd\": \"soon\",", "`soon` is no version"),
    ] {
        generation(versions);
        let (code, why) = run(linnetd().arg("--check").arg("--generation").arg(&file));
        assert!(code == 78 && why.contains(says), "{why}");
        let output = linnetd().arg("probe").arg("--generation").arg(home.path()).output().expect("linnetd starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code() == Some(65) && said.contains("linnetd_version"), "{said}");
    }
    generation("\"min_linnetd\": \"0.0.1\", \"max_linnetd\": \"99.0.0\",");
    let (code, why) = run(linnetd().arg("--check").arg("--generation").arg(&file));
    assert_eq!(code, 0, "{why}");
}

#[test]
fn a_configuration_that_cannot_be_read_is_one_clear_sentence() {
    let home = tempfile::tempdir().expect("a directory");
    let unreadable = home.path().join("unreadable.toml");
    std::fs::write(&unreadable, "").expect("a file");
    std::fs::set_permissions(&unreadable, std::fs::Permissions::from_mode(0o000)).expect("its owner may");
    for (file, wanted) in [
        (home.path().join("none.toml"), "there is no such file"),
        (home.path().into(), "a directory"),
        (unreadable, "may not be read"),
    ] {
        for flag in ["--check", "--config"] {
            // Root reads everything.
            let (code, why) = run(linnetd_without_root(home.path()).arg(flag).arg(&file));
            assert_eq!(code, 78, "{why}");
            assert!(why.contains(wanted) && why.lines().count() == 1, "{why}");
        }
    }
}

#[test]
fn a_flag_goes_before_the_environment_before_the_file() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("linnet.toml");
    std::fs::write(&file, "models = \"of-the-file\"\n").expect("a file");
    let mut command = linnetd();
    command.arg("--config").arg(&file).arg("--socket").arg(home.path().join("s"));
    assert!(run(&mut command).1.contains("of-the-file: "));
    command.env("LINNET_MODELS", "/of-the-environment");
    assert!(run(&mut command).1.contains("/of-the-environment: "));
    command.arg("--models").arg("/of-the-flag");
    let (code, why) = run(&mut command);
    assert!(code == 66 && why.contains("/of-the-flag: "), "{code}: {why}");
}

#[test]
fn systemd_is_told_when_it_is_ready_reloads_and_ends_and_is_fed() {
    let systemd = NotifySocket::new();
    let daemon =
        Daemon::builder().variable("NOTIFY_SOCKET", systemd.path()).variable("WATCHDOG_USEC", "100000").start();
    // Models that load for longer than TimeoutStartSec cost no start.
    assert!(systemd.wait_for("EXTEND_TIMEOUT_USEC=30000000").contains("STATUS=loading models"));
    assert!(systemd.wait_for("READY=1").contains("STATUS=serving with "));
    for _ in 0..3 {
        systemd.wait_for("WATCHDOG=1");
    }
    daemon.signal("HUP");
    let reloading = systemd.wait_for("RELOADING=1");
    let stamp = reloading.lines().find_map(|l| l.strip_prefix("MONOTONIC_USEC=")).expect("a time");
    assert!(stamp.parse::<u64>().expect("a number") > 0);
    systemd.wait_for("READY=1");
    daemon.signal("TERM");
    systemd.wait_for("STOPPING=1");
    assert_eq!(daemon.wait().status.code(), Some(0));
}

#[test]
fn a_reload_applies_what_it_can_and_refuses_the_rest_by_name() {
    let systemd = NotifySocket::new();
    let builder = Daemon::builder().models_of_the_configuration().variable("NOTIFY_SOCKET", systemd.path());
    let daemon = builder.start();
    let reload = |text: &str| {
        daemon.write_config(text);
        daemon.signal("HUP");
        systemd.wait_for("RELOADING=1");
        systemd.wait_for("READY=1");
    };
    let upload_mib = || daemon.get("/v1/status").json()["limits"]["max_upload_bytes"].as_u64().map(|b| b >> 20);
    systemd.wait_for("READY=1");
    assert_eq!(upload_mib(), Some(128));

    reload("log = \"debug\"\n[limits]\nmax_upload_mib = 1\n[scheduler]\nworkers = 1\n");
    assert_eq!(upload_mib(), Some(1));
    assert_eq!(daemon.post("/v1/audio/transcriptions", "audio/wav", &vec![0; 2 << 20]).status, 413);
    let log = daemon.log();
    assert!(log.contains("changed: limits.max_upload_mib: 128 -> 1"), "{log}");
    assert!(log.contains("needs a restart and keeps its old value: scheduler.workers: 0 -> 1"), "{log}");
    assert!(log.contains(" DEBUG "), "{log}");

    reload("[limits]\nmax_uplaod_mib = 2\n");
    assert_eq!(upload_mib(), Some(1), "a wrong file changes nothing");
    assert!(daemon.log().contains("did you mean `limits.max_upload_mib`?"), "{}", daemon.log());

    // HTTP is told first and takes it; the models are told later and cannot.
    reload("models = \"nowhere\"\n[limits]\nmax_upload_mib = 3\n");
    let answer = daemon.post("/v1/audio/transcriptions", "audio/wav", &vec![0; 2 << 20]);
    assert_eq!(upload_mib(), Some(1));
    assert_eq!(answer.status, 413, "what was applied is taken back");
    assert_eq!(daemon.get("/readyz").status, 200);
}

#[test]
fn a_model_that_is_broken_fails_alone_and_serves_again_when_it_is_mended() {
    let home = tempfile::tempdir().expect("a directory");
    let packages = home.path().join("packages");
    copy_packages(&models(), &packages);
    // A second package beside the first, broken: its graph is cut short.
    let (good, broken) = (packages.join("stt-en-small"), packages.join("stt-en-broken"));
    copy_packages(&good, &broken);
    let manifest = std::fs::read_to_string(broken.join("manifest.toml")).expect("a manifest");
    let manifest = manifest.replace("name = \"stt-en-small\"", "name = \"stt-en-broken\"");
    let manifest: String = manifest.lines().filter(|l| !l.starts_with("aliases")).map(|l| format!("{l}\n")).collect();
    std::fs::write(broken.join("manifest.toml"), manifest).expect("a manifest");
    let graph = std::fs::read_dir(&broken).expect("files").flatten().map(|e| e.path());
    let graph = graph.into_iter().find(|p| p.extension().is_some_and(|e| e == "onnx")).expect("a graph");
    let whole = std::fs::read(&graph).expect("a graph");
    std::fs::write(&graph, &whole[..whole.len() / 2]).expect("a graph");

    let systemd = NotifySocket::new();
    let daemon = Daemon::builder().models(&packages).variable("NOTIFY_SOCKET", systemd.path()).start();
    systemd.wait_for("READY=1");
    let status = daemon.get("/v1/status").json();
    assert_eq!(status["health"], "degraded");
    let model = |name: &str| {
        let models = daemon.get("/v1/status").json()["models"].clone();
        let found = models.as_array().expect("a list").iter().find(|m| m["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("no {name} in {models}"))
    };
    assert_eq!(model("stt-en-broken")["state"]["state"], "failed");
    let reason = model("stt-en-broken")["state"]["reason"].to_string();
    assert!(reason.contains(".onnx"), "{reason}");
    assert_eq!(daemon.transcribe(&sample())["model"], "stt-en-small");

    std::fs::write(&graph, &whole).expect("a graph");
    daemon.signal("HUP");
    systemd.wait_for("RELOADING=1");
    systemd.wait_for("READY=1");
    assert_eq!(model("stt-en-broken")["state"]["state"], "ready", "{}", daemon.log());
    assert_eq!(daemon.get("/v1/status").json()["health"], "ready");
}

#[test]
fn a_running_request_is_answered_before_the_end() {
    let daemon = Daemon::builder().config("[scheduler]\ndrain_secs = 600\n").start();
    let socket = daemon.socket();
    let recording = long_recording(3);
    let request = std::thread::spawn(move || {
        let path = "/v1/audio/transcriptions?response_format=linnet_json";
        http::request(&socket, "POST", path, &[("content-type", "audio/wav")], &recording)
    });
    let running = || daemon.get("/metrics").text().lines().any(|l| l == "linnet_jobs_running 1").then_some(());
    eventually("the request runs", running);
    daemon.signal("TERM");
    let answer = request.join().expect("no panic").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let ended = daemon.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

/// Who began to ask before the end is answered, and told that this one takes no more.
#[test]
fn while_it_drains_it_is_not_ready_and_takes_no_new_request() {
    use std::io::Write;
    let daemon = Daemon::builder().config("[scheduler]\ndrain_secs = 600\n[http]\nheader_timeout_secs = 600\n").start();
    let recording = noise(600);
    let mut running = http::connect(&daemon.socket()).expect("connects");
    let path = "/v1/audio/transcriptions?timeout_ms=3600000";
    running.write_all(&http::head("POST", path, &[("content-type", "audio/wav")], recording.len())).expect("a head");
    running.write_all(&recording).expect("a body");
    daemon.wait_until_busy(0);
    let speech = http::head("POST", "/v1/audio/transcriptions", &[("content-type", "audio/wav")], 0);
    let begun: Vec<_> = (0..50)
        .flat_map(|_| [http::head("GET", "/readyz", &[], 0), speech.clone()])
        .map(|head| {
            let mut stream = http::connect(&daemon.socket()).expect("connects");
            let (most, rest) = head.split_at(head.len() - 2);
            stream.write_all(most).expect("all but the end of a head");
            (stream, rest.to_vec())
        })
        .collect();
    // Connections are accepted in their order.
    assert_eq!(daemon.get("/readyz").status, 200);
    daemon.signal("TERM");
    daemon.wait_for_log("ending: running requests have");
    let (mut begun, mut unready) = (begun.into_iter(), 0);
    // It is told a moment before it is so.
    while unready < 10 {
        std::thread::sleep(Duration::from_millis(10));
        let mut answer = || {
            let (mut stream, rest) = begun.next().expect("one of them is answered while it drains");
            stream.write_all(&rest).expect("the end of a head");
            http::read_answer(&mut stream).expect("an answer")
        };
        let (ready, speech) = (answer(), answer());
        if ready.status == 200 && unready == 0 {
            continue;
        }
        for answer in [ready, speech] {
            assert_eq!((answer.status, answer.error_code().as_str()), (503, "unavailable"), "{}", answer.text());
            assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
        }
        unready += 1;
    }
}

#[test]
fn without_a_model_that_serves_it_is_not_ready_and_a_request_is_told_why() {
    let home = tempfile::tempdir().expect("a directory");
    let packages = home.path().join("packages");
    copy_packages(&models().join("stt-en-small"), &packages.join("stt-en-small"));
    let graph = std::fs::read_dir(packages.join("stt-en-small")).expect("files").flatten().map(|e| e.path());
    let graph = graph.into_iter().find(|p| p.extension().is_some_and(|e| e == "onnx")).expect("a graph");
    let whole = std::fs::read(&graph).expect("a graph");
    std::fs::write(&graph, &whole[..whole.len() / 2]).expect("a graph");
    let daemon = Daemon::builder().models(&packages).spawn();
    daemon.wait_for_log("no model serves");
    let unready = daemon.get("/readyz");
    assert_eq!((unready.status, unready.error_code().as_str()), (503, "unavailable"), "{}", unready.text());
    assert!(
        unready.text().contains("no model serves") && unready.header("retry-after").is_some(),
        "{}",
        unready.text()
    );
    assert_eq!(daemon.get("/healthz").status, 200, "the process is well");
    let failed = daemon.post("/v1/audio/transcriptions", "audio/wav", &sample());
    assert_eq!((failed.status, failed.error_code().as_str()), (503, "model_failed"), "{}", failed.text());

    std::fs::write(&graph, &whole).expect("a graph");
    daemon.signal("HUP");
    daemon.wait_for_log("serving with 1 model");
    assert_eq!(daemon.get("/readyz").status, 200);
    assert_eq!(daemon.transcribe(&sample())["model"], "stt-en-small");
}

/// The path is there before the models are: whoever comes meanwhile waits, and is turned away by nobody.
#[test]
fn whoever_asks_during_the_start_is_answered_when_it_serves() {
    let daemon = Daemon::builder().spawn();
    let socket = daemon.socket();
    eventually("the socket is there", || socket.exists().then_some(()));
    let ready = daemon.get("/readyz");
    assert_eq!(ready.status, 200, "{}", ready.text());
}

#[test]
fn a_second_signal_ends_at_once_and_the_drain_ends_with_its_time() {
    for (drain_secs, again) in [(600, true), (0, false)] {
        let daemon = Daemon::builder().config(format!("[scheduler]\ndrain_secs = {drain_secs}\n")).start();
        let socket = daemon.socket();
        let recording = long_recording(30);
        let request = std::thread::spawn(move || {
            let path = "/v1/audio/transcriptions?response_format=linnet_json";
            http::request(&socket, "POST", path, &[("content-type", "audio/wav")], &recording)
        });
        let running = || daemon.get("/metrics").text().lines().any(|l| l == "linnet_jobs_running 1").then_some(());
        eventually("the request runs", running);
        daemon.signal("TERM");
        daemon.wait_for_log("ending: running requests have");
        if again {
            daemon.signal("TERM");
        }
        let ended = daemon.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        // An error or a cut connection, but no answer that would have taken minutes.
        let answer = request.join().expect("no panic");
        assert!(answer.is_err() || answer.is_ok_and(|a| a.status == 503), "{}", ended.log);
    }
}

#[test]
fn it_is_ready_without_its_broker() {
    let daemon = Daemon::builder().config(format!("[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n", free_port())).start();
    let link = || daemon.get("/v1/status").json()["mqtt"].as_str().map(str::to_owned);
    eventually("the link is told to be down", || (link().as_deref() == Some("down")).then_some(()));
    assert_eq!(daemon.get("/readyz").status, 200);
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

#[test]
fn a_reload_turns_mqtt_on_and_off() {
    let Some(broker) = Mosquitto::start("a_reload_turns_mqtt_on_and_off") else { return };
    let systemd = NotifySocket::new();
    let daemon = Daemon::builder().variable("NOTIFY_SOCKET", systemd.path()).start();
    let link_becomes = |wanted: &str| {
        let link = || daemon.get("/v1/status").json()["mqtt"] == wanted;
        eventually(&format!("the link is {wanted}"), || link().then_some(()));
    };
    let reload = |text: &str| {
        daemon.write_config(text);
        daemon.signal("HUP");
    };
    link_becomes("off");
    reload(&format!("device = \"d\"\n[mqtt]\nurl = \"{}\"\n", broker.url()));
    link_becomes("up");
    // `device` needs a restart: the old name stays and is said.
    assert!(daemon.log().contains("needs a restart and keeps its old value: device: "), "{}", daemon.log());
    reload("");
    link_becomes("off");
    // A password that is not there cannot be taken; what was off stays off.
    reload(&format!("[mqtt]\nurl = \"{}\"\nusername = \"u\"\npassword_file = \"nowhere\"\n", broker.url()));
    daemon.wait_for_log("mqtt cannot take the new configuration, the old one stays");
    link_becomes("off");
    assert_eq!(daemon.get("/readyz").status, 200);
}

#[test]
fn a_start_that_is_interrupted_ends_in_good_order() {
    let home = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::builder().in_home(home.path()).spawn();
    let socket = daemon.socket();
    // The path is claimed before the models are loaded.
    eventually("the socket is there", || socket.exists().then_some(()));
    daemon.signal("TERM");
    let ended = daemon.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(!socket.exists());
}

#[test]
fn a_state_directory_that_cannot_be_written_stops_nobody() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("file"), "").expect("a file");
    // Under a file there can be no directory, for root neither.
    let state = home.path().join("file/state");
    let daemon = Daemon::builder().state(&state).start();
    assert!(daemon.log().contains("the state directory cannot be written"), "{}", daemon.log());
    assert_eq!(daemon.get("/v1/status").json()["health"], "ready", "nothing needs it while MQTT is off");
    drop(daemon);

    let daemon = Daemon::builder().config("[mqtt]\nurl = \"mqtt://127.0.0.1:1\"\n").state(&state).start();
    let storage = eventually("it is told what MQTT does without", || {
        daemon.get("/v1/status").json()["mqtt_storage"].as_str().map(str::to_owned)
    });
    assert_eq!(daemon.get("/v1/status").json()["health"], "degraded");
    assert!(storage.contains("file/state/mqtt: "), "{storage}");
    let log = daemon.log();
    assert!(log.contains("--state DIR") && log.contains("answers that wait are lost when linnetd ends"), "{log}");
    assert_eq!(daemon.transcribe(&sample())["model"], "stt-en-small");
    std::fs::remove_file(home.path().join("file")).expect("a file");
    eventually("it is used once it is there", || (daemon.get("/v1/status").json()["health"] == "ready").then_some(()));
    assert!(state.join("mqtt/running").is_dir());
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn of_two_daemons_that_keep_nothing_the_second_names_the_first() {
    let home = tempfile::tempdir().expect("a directory");
    let state = home.path().join("state");
    let first = Daemon::builder().state(&state).start();
    let told = format!("another linnetd (process {}) has this state directory, too", first.pid());
    let second = Daemon::builder().state(&state).start();
    assert!(second.log().contains(&told) && second.log().contains("--state DIR"), "{}", second.log());
    assert_eq!(second.transcribe(&sample())["model"], "stt-en-small");
    drop(second);
    first.kill();
    // Whoever comes after the end of the first is alone.
    let alone = Daemon::builder().state(&state).start();
    assert!(!alone.log().contains("another linnetd"), "{}", alone.log());
}

#[test]
fn two_daemons_do_not_share_a_state_directory() {
    let (home, mqtt) = (tempfile::tempdir().expect("a directory"), "[mqtt]\nurl = \"mqtt://127.0.0.1:1\"\n");
    let state = home.path().join("state");
    let first = Daemon::builder().state(&state).config(mqtt).start();
    let second = || Daemon::builder().state(&state).config(mqtt);
    let ended = second().spawn().wait();
    assert_eq!(ended.status.code(), Some(69), "{}", ended.log);
    let why = format!("another linnetd (process {}) keeps its state here", first.pid());
    assert!(ended.log.contains(&why) && ended.log.contains("--state DIR"), "{}", ended.log);
    // One that keeps nothing there disturbs nobody, but is told; and a reload that would change that is refused.
    let third = Daemon::builder().state(&state).start();
    let told = format!("another linnetd (process {}) has this state directory, too", first.pid());
    assert!(third.log().contains(&told) && third.log().contains(&state.display().to_string()), "{}", third.log());
    assert!(!first.log().contains("another linnetd"), "{}", first.log());
    third.write_config(mqtt);
    third.signal("HUP");
    third.wait_for_log("mqtt cannot take the new configuration, the old one stays");
    assert!(third.log().contains(&why), "{}", third.log());
    assert_eq!(third.get("/v1/status").json()["mqtt"], "off");
    // The lock goes with its process, however that ends.
    first.kill();
    third.signal("HUP");
    eventually("the directory is free", || (third.get("/v1/status").json()["mqtt"] != "off").then_some(()));
    let ended = second().spawn().wait();
    assert!(ended.log.contains(&format!("process {}", third.pid())), "{}", ended.log);
}

#[test]
fn the_command_line_explains_itself_with_sysexits_codes() {
    let (code, why) = run(linnetd().arg("--confg").arg("x"));
    assert_eq!(code, 64, "{why}");
    assert!(why.contains("--config"), "{why}");
    let help = linnetd().arg("--help").output().expect("linnetd starts");
    assert!(help.status.success());
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    for wanted in ["linnetd --check /etc/linnet/linnet.toml", "LINNET_SOCKET", "Exit codes"] {
        assert!(text.contains(wanted), "{text}");
    }
    let cpu = linnetd().arg("explain-cpu").output().expect("linnetd starts");
    let text = String::from_utf8_lossy(&cpu.stdout).into_owned();
    assert!(cpu.status.success());
    for wanted in ["features", "threads", "memory", "int8 matrix product"] {
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn the_group_and_mode_of_the_socket_are_those_of_the_configuration() {
    use std::os::unix::fs::MetadataExt;
    let group = rustix::process::getegid().as_raw();
    let config = format!("[http]\nsocket_mode = \"0600\"\nsocket_group = \"{group}\"\n");
    let daemon = Daemon::builder().config(config).start();
    let metadata = std::fs::metadata(daemon.socket()).expect("the socket");
    assert_eq!((metadata.mode() & 0o777, metadata.gid()), (0o600, group));
    let wrong = Daemon::builder().config("[http]\nsocket_group = \"no-such-group-here\"\n").spawn().wait();
    assert_eq!(wrong.status.code(), Some(78), "{}", wrong.log);
}

/// A connection that nobody uses does not hold up the end.
#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let daemon = Daemon::builder().config("[scheduler]\ndrain_secs = 600\n").start();
    let _idle = http::connect(&daemon.socket()).expect("a connection");
    std::thread::sleep(Duration::from_millis(50));
    let began = std::time::Instant::now();
    assert_eq!(daemon.stop().status.code(), Some(0));
    assert!(began.elapsed() < PATIENCE);
}

/// systemd's end of a daemon that is alive and whose threads all wait for somebody to read the log.
#[test]
fn a_daemon_that_stands_still_starves_its_watchdog_and_says_so() {
    use std::io::{Read, Write};
    let (systemd, home) = (NotifySocket::new(), tempfile::tempdir().expect("a directory"));
    let (mut log, writer) = std::io::pipe().expect("a pipe");
    let socket = home.path().join("linnet.sock");
    let mut child = linnetd()
        .arg("--socket")
        .arg(&socket)
        .arg("--state")
        .arg(home.path().join("state"))
        .arg("--models")
        .arg(models())
        .env("NOTIFY_SOCKET", systemd.path())
        .env("WATCHDOG_USEC", "2000000")
        .stderr(writer)
        .spawn()
        .expect("linnetd starts");
    systemd.wait_for("READY=1");
    systemd.wait_for("WATCHDOG=1");
    // Each of them is told in a line of some 200 bytes; the pipe holds 64 KiB.
    let id = "x".repeat(64);
    let request = http::head("GET", "/nowhere", &[("x-request-id", &id)], 0);
    let _waiting: Vec<_> = (0..800)
        .map(|_| {
            let mut stream = http::connect(&socket).expect("the kernel takes it");
            stream.write_all(&request).expect("the kernel takes it");
            stream
        })
        .collect();
    let until = std::time::Instant::now() + PATIENCE;
    // Fed once a second while it is well.
    while systemd.next_within(Duration::from_secs(5)).is_some() {
        assert!(std::time::Instant::now() < until, "the watchdog is fed although nobody is answered");
    }
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).map(|_| text)
    });
    systemd.wait_for("WATCHDOG=1");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let ended = eventually("it ends", || child.try_wait().expect("a child"));
    assert_eq!(ended.code(), Some(0));
    let text = reader.join().expect("no panic").expect("a log");
    // Which loop is the first to be missed, and so named before the log was full, is chance.
    let named =
        text.lines().any(|line| line.contains("stands still: no sign of life") && line.contains("no longer fed"));
    assert!(named && text.contains("everything lives again"), "{text}");
}

#[test]
fn a_reload_lets_in_who_waits_for_a_place() {
    use std::io::Write;
    let config = |most: usize| format!("[http]\nmax_connections = {most}\nheader_timeout_secs = 600\n");
    let daemon = Daemon::builder().config(config(1)).start();
    // The one place there is; the next one waits in the kernel.
    let held = eventually("the place is free", || {
        let mut held = http::connect(&daemon.socket()).expect("a connection");
        held.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").expect("a request");
        held.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
        std::io::Read::read(&mut held, &mut [0; 1]).is_ok_and(|n| n == 1).then_some(held)
    });
    let mut waiting = http::connect(&daemon.socket()).expect("a connection");
    waiting.write_all(&http::head("GET", "/healthz", &[], 0)).expect("a request");
    daemon.write_config(&config(2));
    daemon.signal("HUP");
    assert_eq!(http::read_answer(&mut waiting).expect("an answer").status, 200);
    drop(held);
    // And back: what is held already counts.
    daemon.write_config(&config(1));
    daemon.signal("HUP");
    daemon.wait_for_log("changed: http.max_connections: 2 -> 1");
    assert_eq!(daemon.get("/healthz").status, 200);
}

#[test]
fn connections_that_cannot_be_accepted_are_told_seldom_and_hurt_nobody_afterwards() {
    let daemon = Daemon::start();
    let began = std::time::Instant::now();
    daemon.limit_files(3);
    let many: Vec<_> = (0..20).map(|_| http::connect(&daemon.socket()).expect("the kernel takes it")).collect();
    daemon.wait_for_log("a connection was not accepted: ");
    // It is tried again ten times a second.
    std::thread::sleep(Duration::from_secs(2));
    let log = daemon.log();
    let lines = log.lines().filter(|line| line.contains("not accepted")).count();
    let most = 1 + usize::try_from(began.elapsed().as_secs() / 10).expect("few");
    assert!((1..=most).contains(&lines), "{lines} lines:\n{log}");
    drop(many);
    assert_eq!(daemon.get("/healthz").status, 200);
    daemon.limit_files(200);
    assert_eq!(daemon.transcribe(&sample())["model"], "stt-en-small");
}

#[test]
fn a_request_is_told_in_one_line() {
    let daemon = Daemon::start();
    let ask = |id: &str, path: &str, body: &[u8]| {
        daemon.send("POST", path, &[("content-type", "audio/wav"), ("x-request-id", id)], body).status
    };
    assert_eq!(ask("answered", "/v1/audio/transcriptions", &sample()), 200);
    assert_eq!(ask("refused", "/v1/audio/transcriptions", b""), 422);
    assert_eq!(ask("failed", "/v1/audio/transcriptions", b"no audio at all"), 415);
    assert_eq!(ask("misled", "/nowhere", b""), 404);
    let log = daemon.stop().log;
    for id in ["answered", "refused", "failed", "misled"] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&format!("REQUEST_ID={id}."))).collect();
        assert_eq!(lines.len(), 1, "{lines:#?}");
    }
}
