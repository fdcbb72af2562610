//! What a device does with what is pushed, from a directory.

use std::path::Path;

use linnet_fleet::repository::Draft;
use linnet_proto::fleet::{DeviceFacts, Rollout, Selector};

use crate::harness::eventually;
use crate::operator::{Operator, copy_dir, look_twice, looking, status, wait_for, wait_for_log};

fn models(daemon: &crate::harness::Daemon) -> Vec<String> {
    let status = status(daemon);
    let models = status["models"].as_array().expect("models");
    models.iter().map(|model| model["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_change_of_configuration_is_taken_while_it_serves_and_outlives_a_restart() {
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let daemon = operator.device().in_home(home.path()).start();
    assert_eq!(status(&daemon)["generation"]["generation"], 0);
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, one);
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], 7 << 20);
    let two = operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    wait_for(&daemon, two);
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], 8 << 20);
    assert!(daemon.stop().status.success());
    let daemon = operator.device().in_home(home.path()).start();
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], 8 << 20, "before anything was looked for");
    wait_for(&daemon, two);
}

#[test]
fn a_new_model_is_fetched_proved_and_served_and_the_old_one_goes() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let one = operator.push("", &[operator.package("pushed", "1.0.0")]);
    wait_for(&daemon, one);
    assert_eq!(models(&daemon), ["lang-id", "pushed"]);
    assert!(daemon.log().contains("pushed 1.0.0 proved itself"), "{}", daemon.log());
    let two = operator.push("", &[operator.package("other", "1.0.0")]);
    wait_for(&daemon, two);
    assert_eq!(models(&daemon), ["lang-id", "other"]);
    let generations = daemon.home().join("state/fleet/generations");
    eventually("what nobody needs has gone", || {
        let there: Vec<_> =
            std::fs::read_dir(&generations).expect("readable").flatten().map(|e| e.file_name()).collect();
        (there.len() == 1).then_some(())
    });
}

#[test]
fn a_model_that_stays_loaded_through_many_generations_goes_on_proving_itself() {
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let speech = crate::harness::models().join("stt-en-small");
    let config = |mib: u32| format!("preload = [\"all\"]\n[limits]\nmax_upload_mib = {mib}\n");
    let daemon = operator.device().in_home(home.path()).start();
    let first = operator.push(&config(7), std::slice::from_ref(&speech));
    wait_for(&daemon, first);
    // Loaded out of this generation's directory, which goes while the model stays.
    assert!(daemon.stop().status.success());
    let daemon = operator.device().in_home(home.path()).start();
    for mib in 8..11 {
        let next = operator.push(&config(mib), std::slice::from_ref(&speech));
        wait_for(&daemon, next);
    }
    assert!(!home.path().join(format!("state/fleet/generations/{first}")).exists(), "what it was loaded from is gone");
    assert!(!daemon.log().contains("rolled back"), "{}", daemon.log());
}

#[test]
fn a_generation_that_is_opened_while_another_is_on_trial_begins_at_its_end() {
    let operator = Operator::new();
    // By itself it would look again long after this test has given it up.
    let config = operator.device_config(&operator.repository().display().to_string());
    let config =
        config.replace("trial_secs = 1\n", "trial_secs = 8\n").replace("refresh_secs = 10\n", "refresh_secs = 3600\n");
    let first = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    let daemon = crate::harness::Daemon::builder().models_of_the_configuration().config(&config).start();
    wait_for_log(&daemon, &format!("generation {first} serves"));
    let second = operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    crate::operator::look(&daemon);
    let is_confirmed = || daemon.log().contains(&format!("generation {first} is confirmed"));
    assert!(!is_confirmed(), "the trial goes on");
    // From here on nobody asks it to look.
    eventually("the end of the trial", || is_confirmed().then_some(()));
    eventually("what was put off begins", || {
        daemon.log().contains(&format!("generation {second} is received")).then_some(())
    });
}

#[test]
fn a_model_that_answers_its_canary_otherwise_is_refused_and_nothing_else_changes() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let good = operator.push("[limits]\nmax_upload_mib = 7\n", &[operator.package("pushed", "1.0.0")]);
    wait_for(&daemon, good);
    let bad = operator.package("pushed", "2.0.0");
    spoil_canary(&bad);
    let refused = operator.push("[limits]\nmax_upload_mib = 9\n", &[bad]);
    wait_for_log(&daemon, &format!("generation {refused} is rejected"));
    wait_for(&daemon, good);
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], 7 << 20);
    let failure = status(&daemon)["fleet_last_failure"].clone();
    assert!(failure["generation"] == refused && failure["state"] == "rejected", "{failure}");
    assert!(failure["reason"].as_str().is_some_and(|reason| reason.contains("pushed")), "{failure}");
    let version = |daemon: &crate::harness::Daemon| {
        status(daemon)["models"].as_array().expect("models").iter().find(|m| m["name"] == "pushed").expect("it serves")
            ["version"]
            .clone()
    };
    assert_eq!(version(&daemon), "1.0.0");
    // It is remembered, and a higher attempt asks for it again.
    let tries = || daemon.log().matches(&format!("generation {refused} is rejected")).count();
    crate::operator::look_twice(&daemon);
    assert_eq!(tries(), 1);
    operator.roll_out(refused, |rollout| rollout.attempt = 2);
    looking(&daemon, "it is tried again", || (tries() == 2).then_some(()));
}

/// Has the package's canary ask for another answer than the model gives: its first number gets another first digit.
pub fn spoil_canary(package: &Path) {
    let manifest = package.join("manifest.toml");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    let canary = text.find("[canary.rms]").or_else(|| text.find("[canary")).expect("a canary");
    let value = canary + text[canary..].find(" = ").expect("a value");
    let at = value + text[value..].find(|c: char| c.is_ascii_digit()).expect("a number");
    let digit = if &text[at..=at] == "7" { "3" } else { "7" };
    std::fs::write(&manifest, format!("{}{digit}{}", &text[..at], &text[at + 1..])).expect("a manifest");
}

/// `linnetd --check FILE --explain` on the device.
fn explained(daemon: &crate::harness::Daemon, more: &[&str]) -> String {
    let mut command = crate::harness::daemon::linnetd();
    command.arg("--check").arg(daemon.home().join("linnet.toml")).arg("--explain").args(more);
    let output = command.arg("--state").arg(daemon.home().join("state")).output().expect("linnetd starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_generation_that_serves_is_explained_on_the_device_without_being_named() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    assert!(explained(&daemon, &[]).starts_with("# what was shipped serves"), "{}", explained(&daemon, &[]));
    let one = operator.push("log = \"warn\"\n[limits]\n\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, one);
    let page = explained(&daemon, &[]);
    let source = |page: &str, key: &str| {
        let line = page.lines().find(|line| line.starts_with(&format!("{key} = "))).expect(key);
        line.rsplit("  # ").next().expect("a source").to_owned()
    };
    assert!(page.starts_with(&format!("# generation {one} serves, from ")), "{page}");
    assert_eq!(source(&page, "limits.max_upload_mib"), format!("generation {one}, line 4"));
    assert_eq!(source(&page, "log"), format!("generation {one}, line 1"));
    assert!(source(&page, "fleet.name").contains("linnet.toml:"), "local keys stay the file's");
    assert_eq!(source(&page, "state"), "--state");
    assert_eq!(source(&explained(&daemon, &["--log", "info"]), "log"), "--log");
    // Another one is named, and takes its place.
    let next = operator.path("next.toml");
    std::fs::write(&next, "[limits]\nmax_upload_mib = 9\n").expect("a file");
    let page = explained(&daemon, &["--generation", next.to_str().expect("UTF-8")]);
    assert!(source(&page, "limits.max_upload_mib").ends_with("next.toml:2"), "{page}");
    // Damaged, it is told, and nothing of it is counted.
    std::fs::write(daemon.home().join("state/fleet/pointers"), "{").expect("a file");
    let page = explained(&daemon, &[]);
    assert!(page.starts_with("# which generation serves could not be told"), "{page}");
    assert_eq!(source(&page, "log"), "default");
}

#[test]
fn a_model_that_is_added_by_hand_never_takes_a_name_of_the_generation() {
    let operator = Operator::new();
    let own = operator.path("own");
    std::fs::create_dir(&own).expect("a directory");
    let config = format!(
        "models = [{own:?}, {:?}]\n{}",
        operator.bundled(),
        operator.fleet(&operator.repository().display().to_string())
    );
    let daemon = crate::harness::Daemon::builder().models_of_the_configuration().config(config).start();
    let one = operator.push("", &[operator.package("pushed", "1.0.0")]);
    wait_for(&daemon, one);
    let package = operator.package("pushed", "2.0.0");
    let add =
        |body: String| daemon.send("POST", "/v1/models", &[("Content-Type", "application/json")], body.as_bytes());
    let refused = add(format!("{{\"path\": {package:?}}}"));
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains(&format!("belongs to generation {one}")), "{}", refused.text());
    let alias = add(format!("{{\"path\": {package:?}, \"name\": \"mine\", \"aliases\": [\"pushed\"]}}"));
    assert!(alias.status == 400 && alias.text().contains("belongs to generation"), "{}", alias.text());
    let removed = daemon.send("DELETE", "/v1/models/pushed", &[], &[]);
    assert!(removed.status == 400 && removed.text().contains("not removed by hand"), "{}", removed.text());
    assert_eq!(models(&daemon), ["lang-id", "pushed"]);
    let added = add(format!("{{\"path\": {package:?}, \"name\": \"mine\"}}"));
    assert_eq!(added.status, 200, "{}", added.text());
    assert_eq!(models(&daemon), ["lang-id", "mine", "pushed"], "it stands beside them");
    // Without the daemon the names are as much taken.
    let (home, state) = (daemon.home().to_owned(), daemon.home().join("state"));
    let config = home.join("linnet.toml");
    let offline = |arguments: &[&str]| {
        let mut command = crate::harness::daemon::linnetd();
        command.env("LINNET_CONFIG", &config).env("LINNET_STATE", &state).args(arguments);
        let output = command.output().expect("linnetd starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let path = package.to_str().expect("UTF-8");
    let (code, why) = offline(&["import", path]);
    assert!(code == Some(64) && why.contains(&format!("belongs to generation {one}")), "{why}");
    let (code, why) = offline(&["remove", "pushed"]);
    assert!(code == Some(64) && why.contains("not removed by hand"), "{why}");
    // In a directory that is none of this device's it is nobody's.
    let elsewhere = operator.path("elsewhere");
    let (code, why) = offline(&["import", path, "--models", elsewhere.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(0), "{why}");
}

#[test]
fn what_does_not_fit_this_device_is_refused_before_anything_is_fetched() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let draft = || Draft { config_version: 1, lifetime_secs: 86_400, ..Draft::default() };
    for (draft, code) in [
        (Draft { min_linnetd: Some("99.0.0".into()), ..draft() }, "update linnetd first"),
        (Draft { max_linnetd: Some("0.0.1".into()), ..draft() }, "for linnetd 0.0.1 or older"),
        (Draft { config: "lgo = \"info\"\n".into(), ..draft() }, "line 1: lgo"),
        (Draft { config: "socket = \"/tmp/s\"\n".into(), ..draft() }, "belongs to the device"),
        (Draft { config_version: 99, ..draft() }, "version 99"),
        (Draft { lifetime_secs: 0, ..draft() }, "it expired"),
    ] {
        let number = operator.publish_draft(draft);
        operator.open(number);
        wait_for_log(&daemon, &format!("generation {number} is rejected"));
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains(&format!("generation {number} is rejected"))).expect("said");
        assert!(line.contains(code), "{code}: {line}");
    }
    assert_eq!(status(&daemon)["generation"]["generation"], 0);
}

#[test]
fn only_who_is_meant_begins() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let number = operator.publish("[limits]\nmax_upload_mib = 7\n", &[]);
    operator.roll_out(number, |rollout| {
        rollout.opened = linnet_proto::fleet::Rollout::BUCKETS;
        rollout.to = Selector::parse("device=somebody-else").expect("a selector");
    });
    crate::operator::look_twice(&daemon);
    assert_eq!(status(&daemon)["generation"]["generation"], 0, "another device is meant");
    operator.roll_out(number, |rollout| {
        rollout.to = Selector::default();
        rollout.paused = true;
    });
    crate::operator::look_twice(&daemon);
    assert_eq!(status(&daemon)["generation"]["generation"], 0, "it is paused");
    operator.roll_out(number, |rollout| rollout.paused = false);
    wait_for(&daemon, number);
}

#[test]
fn a_percentage_of_the_fleet_is_decided_by_each_device_from_its_own_name() {
    let operator = Operator::new();
    let config =
        format!("device = \"kitchen\"\n{}", operator.device_config(&operator.repository().display().to_string()));
    let daemon = crate::harness::Daemon::builder().models_of_the_configuration().config(config).start();
    let kitchen = DeviceFacts { name: "kitchen".into(), ..DeviceFacts::default() };
    let share = |share| Selector { share: Some(share), ..Selector::default() };
    // The smallest share that has it in, and the next smaller one.
    let first = (1..=Rollout::BUCKETS).find(|n| linnet_fleet::means(&share(*n), &kitchen)).expect("all of them");
    let push = |number: u64, to: Selector| {
        operator
            .roll_out(number, |rollout| (rollout.wire, rollout.to, rollout.opened) = (to.wire(), to, Rollout::BUCKETS));
    };
    let one = operator.publish("[limits]\nmax_upload_mib = 7\n", &[]);
    push(one, share(first - 1));
    look_twice(&daemon);
    assert_eq!(status(&daemon)["generation"]["generation"], 0, "it is just outside");
    push(one, share(first));
    wait_for(&daemon, one);

    // Published for a share: neither by metadata nor by its own document is it for this device, whoever opens it.
    let draft = |audience| Draft {
        config: "[limits]\nmax_upload_mib = 8\n".into(),
        config_version: 1,
        lifetime_secs: 86_400,
        audience,
        ..Draft::default()
    };
    let two = operator.publish_draft(draft(share(first - 1)));
    operator.open(two);
    look_twice(&daemon);
    assert_eq!(status(&daemon)["generation"]["generation"], one);
    assert!(
        !daemon.log().contains(&format!("generation {two} is")),
        "the metadata say so, and it is not begun: {}",
        daemon.log()
    );
    let three = operator.publish_draft(draft(share(first)));
    operator.open(three);
    wait_for(&daemon, three);
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], 8 << 20);
}

#[test]
fn a_key_that_needs_a_restart_restarts_the_process_in_order() {
    let operator = Operator::new();
    let source = operator.repository();
    let systemd = crate::harness::NotifySocket::new();
    let daemon = crate::harness::Daemon::builder()
        .models_of_the_configuration()
        .config(format!(
            "models = [{:?}]\n{}allow_local_keys = [\"device\"]\n",
            operator.bundled(),
            operator.fleet(&source.display().to_string())
        ))
        .variable("NOTIFY_SOCKET", systemd.path())
        .variable("WATCHDOG_USEC", "30000000")
        .start();
    systemd.wait_for("READY=1");
    let pid = daemon.pid();
    let number = operator.push("device = \"renamed\"\n", &[]);
    wait_for_log(&daemon, "linnetd restarts for device");
    // systemd sees one process that was busy for a while: its marks of life, and that it is ready again.
    let restarting = systemd.wait_for("RELOADING=1");
    assert!(restarting.contains("MONOTONIC_USEC="), "{restarting}");
    systemd.wait_for("WATCHDOG=1");
    systemd.wait_for("READY=1");
    wait_for(&daemon, number);
    assert_eq!(daemon.pid(), pid, "the same process, begun anew");
    assert_eq!(status(&daemon)["device"], "renamed");
}

#[test]
fn going_back_publishes_old_content_under_a_higher_number() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[operator.package("pushed", "1.0.0")]);
    wait_for(&daemon, one);
    let two = operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    wait_for(&daemon, two);
    let back = operator.publish_again(one);
    operator.open(back);
    wait_for(&daemon, back);
    assert!(back > two);
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], 7 << 20);
    assert_eq!(models(&daemon), ["lang-id", "pushed"]);
}

#[test]
fn a_package_that_was_added_on_the_device_stays_and_its_name_is_not_taken() {
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let own = home.path().join("state/models");
    std::fs::create_dir_all(&own).expect("a directory");
    copy_dir(&operator.package("own", "1.0.0"), &own.join("own"));
    let source = operator.repository();
    let config = operator.fleet(&source.display().to_string());
    let daemon =
        crate::harness::Daemon::builder().models_of_the_configuration().in_home(home.path()).config(config).start();
    let clash = operator.push("", &[operator.package("own", "2.0.0")]);
    wait_for_log(&daemon, &format!("generation {clash} is rejected"));
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains(&format!("generation {clash} is rejected"))).expect("said");
    assert!(line.contains("own"), "{line}");
    let beside = operator.push("", &[operator.package("pushed", "1.0.0")]);
    wait_for(&daemon, beside);
    let models = models(&daemon);
    assert!(models.contains(&"own".to_owned()) && models.contains(&"pushed".to_owned()), "{models:?}");
}
