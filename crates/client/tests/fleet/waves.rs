//! Pushes that go from wave to wave, or halt.

use linnet_fleet::repository::Repository;
use linnet_proto::fleet::{DeviceFacts, Index, PushState, Report, Rollout, Selector};
use serde_json::Value;

use crate::bench::Bench;
use crate::broker::Mosquitto;
use crate::devices::{devices_end, eventually, opened, report, shipped, standing};

#[test]
fn a_push_to_a_percentage_is_for_whom_the_devices_say_and_names_those_that_cannot_read_it() {
    let Some(broker) = Mosquitto::start("a_push_to_a_percentage") else { return };
    let bench = Bench::with_a_generation();
    let to = Selector::parse("percent=60,not=porch").expect("a selector");
    let meant =
        |device: &&str| linnet_fleet::means(&to, &DeviceFacts { name: (*device).into(), ..DeviceFacts::default() });
    // Names enough that some are in and some are not; the last one in runs a linnetd that knows no percentage.
    let names: Vec<String> = (0..12).map(|n| format!("device-{n}")).chain(["porch".to_owned()]).collect();
    let (inside, outside): (Vec<&str>, Vec<&str>) = names.iter().map(String::as_str).partition(meant);
    assert!(inside.len() > 3 && outside.len() > 3, "{inside:?} {outside:?}");
    let (old, new) = inside.split_last().expect("some");
    for device in &names {
        let wire = if device == old { 1 } else { 2 };
        broker.report(&Report { wire, ..report(device, 0, PushState::Confirmed) });
    }
    let push = bench
        .command(&["push", "--mqtt", &broker.url(), "--to", "percent=60,not=porch", "--waves", "100%", "--wait", "10m"])
        .spawn()
        .expect("it starts");
    let rollout = eventually("the wave", || bench.rollout(1).filter(|rollout| rollout.opened > 0));
    assert_eq!((rollout.wire, &rollout.to), (2, &to));
    eventually("they are told", || {
        let told = |device: &&str| broker.retained(&format!("linnet/{device}/config/desired")).is_some();
        new.iter().all(told).then_some(())
    });
    assert!(standing(&bench, &broker).contains("generation 1 to not=porch,percent=60, wave 1 of 1"));
    for device in new {
        broker.report(&Report { wire: 2, ..report(device, 1, PushState::Confirmed) });
    }
    let output = push.wait_with_output().expect("it ended");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains(&format!("generation 1 for {} devices (not=porch,percent=60), waves: 1", new.len())),
        "{said}"
    );
    assert!(said.contains(&format!("run a linnetd that knows no percent=: {old}; update linnetd there")), "{said}");
    for device in outside.iter().chain([old]) {
        assert_eq!(broker.retained(&format!("linnet/{device}/config/desired")), None, "{device} is not meant");
    }
    let done = standing(&bench, &broker);
    assert!(done.contains(&format!("done: {} confirmed, 0 failed, 0 have not ended", new.len())), "{done}");
    // To a larger share: those that have it are among them, and an empty one is a slip.
    let (code, e) = bench.fail(&["push", "--mqtt", &broker.url(), "--to", "percent=0"]);
    assert!(code == 64 && e.contains("expected a number above 0 and up to 100"), "{code}: {e}");
}

#[test]
fn a_push_that_means_no_known_device_says_so() {
    let Some(broker) = Mosquitto::start("a_push_that_means_no_known_device") else { return };
    let bench = Bench::with_a_generation();
    shipped(&broker);
    let url = broker.url();
    let (code, e) = bench.fail(&["push", "--mqtt", &url, "--to", "group=nobody", "--waves", "50%,100%"]);
    assert!(code == 64 && e.contains("no device that --to means has reported"), "{code}: {e}");
    let push = ["push", "--mqtt", &url, "--to", "group=nobody,percent=0.5", "--waves", "100%"];
    let done = bench.run(&push);
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{err}");
    assert!(out.starts_with("no known device is meant: generation 1 is open for those that report later"), "{out}");
    assert!(
        err.contains("wave 1 of 1 is open (100%): no known device is meant") && !err.contains("0 devices"),
        "{err}"
    );
}

#[test]
fn a_push_opens_wave_after_wave_until_every_device_has_it() {
    let Some(broker) = Mosquitto::start("a_push_opens_wave_after_wave") else { return };
    let bench = Bench::with_a_generation();
    shipped(&broker);
    let push = bench.command(&[
        "push",
        "--mqtt",
        &broker.url(),
        "--to",
        "all",
        "--waves",
        "10%,60%,100%",
        "--wait",
        "10m",
        "--json",
    ]);
    let push = { push }.spawn().expect("it starts");
    let first = eventually("the first wave", || bench.rollout(1));
    assert_eq!(
        (opened(&first).len(), first.wave),
        (1, 1),
        "a wave holds at least one device, and only the first is open"
    );
    let (code, last, said) = devices_end(&bench, &broker, push, 1, PushState::Confirmed);
    assert_eq!(code, 0, "{said}");
    assert_eq!((&last["confirmed"], &last["failed"], &last["wave"]), (&4.into(), &0.into(), &3.into()), "{last}");
    assert!(said.contains("wave 1 of 3 is open") && said.contains("wave 3 of 3 is open"), "{said}");
    let rollout = bench.rollout(1).expect("signed");
    assert_eq!((rollout.opened, rollout.paused), (Rollout::BUCKETS, false));

    // What the broker retains is what the repository holds.
    let index = Index::parse(&broker.retained("linnet/fleet/home/index").expect("an index")).expect("reads");
    let repository = Repository::load(&bench.fleet()).expect("loads");
    let files = repository.metadata_files().expect("read");
    assert_eq!(index.files.len(), files.len());
    for (name, bytes) in &files {
        let topic = match name.strip_suffix(".root.json") {
            Some(version) => format!("linnet/fleet/home/root/{version}"),
            None => format!("linnet/fleet/home/metadata/{name}"),
        };
        let held = broker.retained(&topic).unwrap_or_else(|| panic!("{topic}"));
        assert_eq!(&held, bytes, "{topic}");
    }
    assert!(
        broker.retained("linnet/fleet/home/metadata/1.snapshot.json").is_none(),
        "what no longer exists is cleared"
    );
    assert!(broker.retained("linnet/kitchen/config/desired").is_some(), "devices were told to look");
    let status: Value =
        serde_json::from_str(&bench.succeed(&["status", "--mqtt", &broker.url(), "--json"])).expect("JSON");
    assert_eq!((&status["confirmed"], status["devices"].as_array().expect("a list").len()), (&4.into(), 4), "{status}");
}

#[test]
fn a_failure_in_the_first_wave_halts_the_push_and_nobody_else_begins() {
    let Some(broker) = Mosquitto::start("a_failure_in_the_first_wave_halts") else { return };
    let bench = Bench::with_a_generation();
    shipped(&broker);
    let push = bench.command(&["push", "--mqtt", &broker.url(), "--to", "all", "--json"]).spawn().expect("it starts");
    let (code, last, said) = devices_end(&bench, &broker, push, 1, PushState::Rejected);
    assert_eq!((code, &last["halted"], &last["failed"]), (70, &true.into(), &1.into()), "{last} {said}");
    assert!(said.contains("1 of 1 reports are failures") && said.contains("rollback"), "{said}");
    assert!(said.contains("(rejected: its canary heard something else)"), "{said}");
    let rollout = bench.rollout(1).expect("signed");
    assert!(rollout.paused && rollout.wave == 1 && opened(&rollout).is_empty(), "{rollout:?}");
    // The pause reached the broker before the program ended.
    let repository = Repository::load(&bench.fleet()).expect("loads");
    let version = repository.version(linnet_fleet::repository::Role::Rollouts);
    let held = broker.retained(&format!("linnet/fleet/home/metadata/{version}.rollouts.json")).expect("retained");
    assert!(String::from_utf8_lossy(&held).contains("\"paused\":true"));
    let table = bench.succeed(&["status", "--mqtt", &broker.url()]);
    assert!(
        table.contains("rejected") && table.contains("canary heard something else") && table.contains("paused"),
        "{table}"
    );
}
