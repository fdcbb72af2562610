//! What an operator is told whom the broker does not let in.

use std::process::Command;

use crate::bench::Bench;
use crate::broker::{Mosquitto, find};

#[test]
fn whom_the_broker_does_not_let_in_is_told_what_to_give_it() {
    let test = "whom_the_broker_does_not_let_in_is_told_what_to_give_it";
    let bench = Bench::with_a_generation();
    let passwords = bench.dir.path().join("passwords");
    let lines = format!("allow_anonymous false\npassword_file {}", passwords.display());
    let Some(passwd) = find("mosquitto_passwd") else {
        eprintln!("SKIPPED {test}: `mosquitto_passwd` is not installed (Debian: apt-get install mosquitto)");
        assert!(std::env::var("LINNET_TEST_REQUIRE").as_deref() != Ok("all"), "mosquitto_passwd is required");
        return;
    };
    let made = Command::new(passwd).args(["-c", "-b"]).arg(&passwords).args(["ann", "right"]).status();
    assert!(made.expect("it runs").success());
    let Some(broker) = Mosquitto::start_with(test, &lines) else { return };
    let with_user = broker.url().replace("mqtt://", "mqtt://ann@");
    for (url, password, told) in [
        (broker.url(), None, "without a login: name the user in the URL"),
        (with_user.clone(), None, "does not let in ann without a password: give it in LINNET_MQTT_PASSWORD"),
        (with_user.clone(), Some("wrong"), "does not let in ann with this password"),
    ] {
        let mut command = bench.command(&["status", "--mqtt", &url]);
        command.env_remove("LINNET_MQTT_PASSWORD").envs(password.map(|it| ("LINNET_MQTT_PASSWORD", it)));
        let output = command.output().expect("linnet runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(77) && said.contains(told), "{told}: {said}");
        assert!(!said.contains("wrong"), "no password is printed: {said}");
    }
    let mut command = bench.command(&["status", "--mqtt", &with_user]);
    let let_in = command.env("LINNET_MQTT_PASSWORD", "right").output().expect("linnet runs");
    assert!(let_in.status.success(), "{let_in:?}");
    let said = String::from_utf8_lossy(&let_in.stderr).into_owned();
    assert!(said.contains("no report of a device of this fleet"), "{said}");

    // A claim tells devices where the broker is; the operator's own login is none of theirs.
    let (code, said) = bench.fail(&["claim", "create", "--mqtt", &with_user]);
    assert!(code == 64 && said.contains("without a user") && said.contains("--mqtt-user"), "{code}: {said}");
}
