//! A generation on trial that cannot serve, or that loses the broker: it goes back by itself, and nobody takes what serves instead for it.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Daemon, DaemonBuilder, Mosquitto, Tmpfs, eventually};
use crate::operator::{Operator, answers, look_twice, looking, status, wait_for, wait_for_log};

/// A device whose generations may set these keys, which are its own otherwise. `more` follows its file.
fn device(operator: &Operator, home: &Path, allowed: &[&str], trial_secs: u32, more: &str) -> Daemon {
    builder(operator, home, allowed, trial_secs, more).start()
}

fn builder(operator: &Operator, home: &Path, allowed: &[&str], trial_secs: u32, more: &str) -> DaemonBuilder {
    let config = operator.device_config(&operator.repository().display().to_string());
    let config =
        config.replace("trial_secs = 1\n", &format!("trial_secs = {trial_secs}\nallow_local_keys = {allowed:?}\n"));
    assert!(config.contains("allow_local_keys"), "{config}");
    Daemon::builder().models_of_the_configuration().in_home(home).config(format!("{config}{more}"))
}

/// What is told of the generation that was not kept last.
fn last_failure(daemon: &Daemon) -> Value {
    status(daemon)["fleet_last_failure"].clone()
}

/// It serves the good one, says why the other was not kept, and does not try that one again.
fn went_back(daemon: &Daemon, good: u64, bad: u64, reason: &str) {
    looking(daemon, "the good one serves", || {
        (status(daemon)["generation"] == json!({ "generation": good, "confirmed": true })).then_some(())
    });
    let failure = eventually("it is told", || Some(last_failure(daemon)).filter(Value::is_object));
    assert_eq!((&failure["generation"], &failure["state"]), (&json!(bad), &json!("rolled_back")), "{failure}");
    assert!(failure["reason"].as_str().is_some_and(|said| said.contains(reason)), "{failure}");
    answers(daemon);
    look_twice(daemon);
    assert_eq!(status(daemon)["generation"]["generation"], good);
    assert_eq!(daemon.log().matches(&format!("generation {bad} is received")).count(), 1, "{}", daemon.log());
}

#[test]
fn a_generation_on_trial_that_no_longer_goes_with_the_file_is_rolled_back_and_never_confirmed() {
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let key = "[mqtt]\nclient_cert = \"/mine.pem\"\nclient_key = \"/mine.key\"\n";
    let daemon = device(&operator, home.path(), &["mqtt.client_cert"], 1, key);
    let good = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, good);
    drop(daemon);
    let daemon = device(&operator, home.path(), &["mqtt.client_cert"], 600, key);
    let bad = operator.push("[mqtt]\nclient_cert = \"/pushed.pem\"\n", &[]);
    looking(&daemon, "it is on trial", || (status(&daemon)["generation"]["generation"] == bad).then_some(()));
    drop(daemon);
    // Somebody takes the key out of the file: what was pushed lacks it now, and the file by itself is right.
    let daemon = device(&operator, home.path(), &["mqtt.client_cert"], 1, "");
    went_back(&daemon, good, bad, "needs mqtt.client_key beside it");
    drop(daemon);
    // With the file as it was it is not tried again either.
    let daemon = device(&operator, home.path(), &["mqtt.client_cert"], 1, key);
    went_back(&daemon, good, bad, "needs mqtt.client_key beside it");
}

#[test]
fn a_generation_that_needs_a_restart_and_then_cannot_start_goes_back_without_systemd() {
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let daemon = device(&operator, home.path(), &["mqtt.url", "mqtt.ca_file"], 1, "");
    let good = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, good);
    let pid = daemon.pid();
    let bad = operator
        .push("[scheduler]\nworkers = 1\n[mqtt]\nurl = \"mqtts://127.0.0.1:1\"\nca_file = \"/nowhere/ca.pem\"\n", &[]);
    wait_for_log(&daemon, "linnetd restarts for scheduler.workers");
    // No signal while the process begins anew.
    daemon.wait_for_log(&format!("generation {bad} is rolled_back"));
    assert_eq!(daemon.pid(), pid, "the same process, begun anew");
    assert_eq!(daemon.log().matches(" starts on ").count(), 3, "{}", daemon.log());
    went_back(&daemon, good, bad, "/nowhere/ca.pem");
}

#[test]
fn a_generation_that_loses_the_broker_goes_back_and_a_broker_that_is_away_takes_nobody_back() {
    let test = "a_generation_that_loses_the_broker_goes_back_and_a_broker_that_is_away_takes_nobody_back";
    let Some(mut broker) = Mosquitto::start(test) else { return };
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let of_file = format!("[mqtt]\nurl = \"{}\"\nbackoff_longest_secs = 1\n", broker.url());
    let daemon = device(&operator, home.path(), &["mqtt.url"], 4, &of_file);
    let link = |state: &str| looking(&daemon, state, || (status(&daemon)["mqtt"] == state).then_some(()));
    link("up");
    let good = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, good);

    // The settings lead nowhere, and those before them to a broker: the generation is at fault, and this process goes back.
    let nowhere = format!("mqtt://127.0.0.1:{}", crate::harness::free_port());
    let bad = operator.push(&format!("[mqtt]\nurl = {nowhere:?}\n"), &[]);
    wait_for_log(&daemon, &format!("generation {bad} is rolled_back"));
    looking(&daemon, "it is told", || last_failure(&daemon).is_object().then_some(()));
    assert!(
        last_failure(&daemon)["reason"]
            .as_str()
            .is_some_and(|said| said.contains("with the settings before it the broker is reached")),
        "{}",
        last_failure(&daemon)
    );
    link("up");
    assert_eq!(status(&daemon)["generation"], json!({ "generation": good, "confirmed": true }));
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], 7 << 20);

    // The broker is away, and this generation has nothing to do with it: its trial stands still, however long that lasts.
    let next = operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    looking(&daemon, "it is on trial", || (status(&daemon)["generation"]["generation"] == next).then_some(()));
    broker.stop();
    wait_for_log(&daemon, "the trial stands still while the broker is away");
    std::thread::sleep(std::time::Duration::from_secs(8));
    assert_eq!(status(&daemon)["generation"], json!({ "generation": next, "confirmed": false }));

    // Neither do settings that lead nowhere, as long as those before them do not lead anywhere else.
    broker.restart();
    wait_for(&daemon, next);
    let moved = operator.push(&format!("[mqtt]\nurl = {nowhere:?}\n[limits]\nmax_upload_mib = 9\n"), &[]);
    looking(&daemon, "it is on trial", || (status(&daemon)["generation"]["generation"] == moved).then_some(()));
    broker.stop();
    std::thread::sleep(std::time::Duration::from_secs(8));
    assert_eq!(status(&daemon)["generation"], json!({ "generation": moved, "confirmed": false }));
    broker.restart();
    wait_for_log(&daemon, &format!("generation {moved} is rolled_back"));
    answers(&daemon);
}

#[test]
fn on_a_disk_that_takes_nothing_what_does_not_come_up_is_opened_once_and_the_good_one_serves() {
    let test = "on_a_disk_that_takes_nothing_what_does_not_come_up_is_opened_once_and_the_good_one_serves";
    let Some(disk) = Tmpfs::mount(test, 256 << 10) else { return };
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let authorities = home.path().join("ca.pem");
    std::fs::copy(crate::harness::root().join("tests/goldens/fleet/tls/ca.pem"), &authorities).expect("copied");
    let begin = |more: &str| {
        builder(&operator, home.path(), &["mqtt.url", "mqtt.ca_file"], 1, more).state(disk.path().join("state"))
    };
    let daemon = begin("").start();
    let good = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, good);
    // There is no such broker, so that its trial stands still.
    let bad = operator.push(&format!("[mqtt]\nurl = \"mqtts://127.0.0.1:1\"\nca_file = {authorities:?}\n"), &[]);
    // It serves a moment before its state is on the disk.
    wait_for_log(&daemon, &format!("generation {bad} is activated"));
    drop(daemon);
    std::fs::remove_file(&authorities).expect("removed");
    let starts = |daemon: &Daemon| daemon.log().matches(" starts on ").count();

    // Its openings cannot be counted, so the good one serves; where that does not come up either, it is nobody's trial.
    disk.read_only(true);
    let own = format!("[mqtt]\nurl = \"mqtts://127.0.0.1:1\"\nca_file = {authorities:?}\n");
    let ended = begin(&own).spawn().wait();
    assert_eq!(ended.status.code(), Some(78), "{}", ended.log);
    assert_eq!(ended.log.matches(" starts on ").count(), 2, "{}", ended.log);

    // It was confirmed, and the power went before the pointers said so: it is opened without being counted.
    disk.read_only(false);
    let update = disk.path().join("state/fleet/update.json");
    let text = std::fs::read_to_string(&update).expect("an update");
    assert!(text.contains("\"activated\""), "{text}");
    std::fs::write(&update, text.replace("\"activated\"", "\"confirmed\"")).expect("written");
    disk.read_only(true);
    let daemon = begin("").start();
    // Its socket was open for a moment before the broker's settings were found wrong.
    daemon.wait_for_log(&format!("generation {bad} is rolled_back"));
    assert_eq!(status(&daemon)["generation"]["generation"], good);
    assert_eq!(last_failure(&daemon)["generation"], bad);
    answers(&daemon);
    assert_eq!(starts(&daemon), 4, "{}", daemon.log());
    drop(daemon);

    // Once the disk takes it again, the way back is kept.
    disk.read_only(false);
    let daemon = begin("").start();
    looking(&daemon, "the good one serves", || {
        (status(&daemon)["generation"] == json!({ "generation": good, "confirmed": true })).then_some(())
    });
    eventually("it is told", || (last_failure(&daemon)["generation"] == bad).then_some(()));
}
