//! Brokers that refuse.

use std::process::Command;

use linnet_proto::fleet::PushState;

use crate::bench::Bench;
use crate::broker::Mosquitto;
use crate::devices::{DEVICES, eventually, opened, report, shipped};

/// An operator who may do all that he needs, and what is left out.
fn operator_without(left_out: &str) -> String {
    let rights = ["topic read linnet/#", "topic write linnet/fleet/home/#", "topic write linnet/+/config/desired"];
    let rights = rights.iter().filter(|right| **right != left_out).map(|right| format!("{right}\n"));
    format!("user operator\n{}", rights.collect::<String>())
}

#[test]
fn what_a_broker_refuses_midway_is_told_with_its_reason_and_goes_on_once_it_is_allowed() {
    let (all, fleet) = (operator_without(""), operator_without("topic write linnet/fleet/home/#"));
    let Some(broker) = Mosquitto::start_with_acl("what_a_broker_refuses_midway", &fleet) else { return };
    let bench = Bench::with_a_generation();
    shipped(&broker);
    let url = broker.url().replace("//", "//operator@");
    let push = ["push", "--mqtt", &url, "--to", "all", "--waves", "25%,100%", "--json"];
    let no = "not authorised (reason code 0x87); give this user `topic write linnet/fleet/home/#`";
    // At its beginning nothing is signed yet.
    let (code, e) = bench.fail(&push);
    assert!(
        code == 77 && e.contains("does not take what is published on linnet/fleet/home/") && e.contains(no),
        "{code}: {e}"
    );
    assert_eq!(bench.rollout(1), None);

    broker.follow_acl(&all);
    let said = bench.dir.path().join("said");
    let said_to = std::fs::File::create(&said).expect("made");
    let push = bench.command(&push).stderr(said_to).spawn().expect("it starts");
    let said = || std::fs::read_to_string(&said).expect("readable");
    let first = eventually("the first wave", || bench.rollout(1).filter(|rollout| rollout.opened > 0));
    let of_first: Vec<&str> = opened(&first).into_iter().collect();
    let is_told = |device: &str| broker.retained(&format!("linnet/{device}/config/desired")).is_some();
    eventually("they are told", || of_first.iter().all(|device| is_told(device)).then_some(()));
    broker.follow_acl(&fleet);
    for device in &of_first {
        broker.report(&report(device, 1, PushState::Confirmed));
    }
    eventually("the refusal", || said().contains(no).then_some(()));
    let last = DEVICES.iter().find(|device| !of_first.contains(device)).expect("one wave more");
    assert!(!is_told(last), "nobody is told of what the broker does not have");
    assert!(!said().contains("is away") && said().matches(no).count() == 1, "{}", said());

    // Once it is allowed the push goes on; hints that are refused are told, and devices look by themselves.
    broker.follow_acl(&operator_without("topic write linnet/+/config/desired"));
    eventually("the hints", || said().contains("`topic write linnet/+/config/desired`").then_some(()));
    for device in DEVICES {
        broker.report(&report(device, 1, PushState::Confirmed));
    }
    let ended = push.wait_with_output().expect("it ended");
    assert!(ended.status.success(), "{}", said());
    assert!(said().contains("the devices were not told to look: the MQTT broker at "), "{}", said());
}

#[test]
fn a_request_that_the_broker_does_not_take_is_refused_at_once_and_not_waited_for() {
    let Some(broker) = Mosquitto::start_with_acl("a_request_that_the_broker", "user guest\ntopic read linnet/#\n")
    else {
        return;
    };
    let bench = Bench::new();
    assert!(broker.client("mosquitto_pub", &["-r", "-t", "linnet/kitchen/status", "-m", "online"]).status.success());
    let mut linnet = Command::new(bench.dir.path().join("linnet"));
    linnet.args(["translate", "--from", "en", "--to", "de", "Good morning!", "--device", "kitchen"]);
    let asked = linnet.args(["--mqtt", &broker.url().replace("//", "//guest@")]).output().expect("linnet runs");
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(asked.status.code() == Some(77) && said.contains("not authorised (reason code 0x87)"), "{asked:?}");
    assert!(said.contains("`topic write linnet/+/request/#`"), "{said}");
}
