//! One large download over a real broker, while the operator's program, the broker and the device are killed one after the other: it goes on where it
//! stopped.

use std::path::Path;

use crate::harness::{Daemon, Mosquitto, eventually};
use crate::operator::{Operator, looking, served_version, wait_for};
use crate::serving::Serving;

/// The file that is fetched, bytes.
const LARGE_BYTES: u64 = 32 << 20;
/// What may be fetched twice, bytes: by a kill of the daemon less than two steps of a download, which are not believed, and by each of the three kills
/// one piece that was under way; and small files, heads of replies, and the generation's document.
const SLACK_BYTES: u64 = (2 << 20) + 3 * (128 << 10) + (1 << 20);

/// Bytes that the broker has handed to the device in answer to its requests for pieces.
fn handed(broker: &Mosquitto) -> u64 {
    let is_piece = |line: &&str| line.contains("Sending PUBLISH to linnet-kitchen-fleet") && line.contains("/fetched/");
    let log = broker.log();
    let bytes = log.lines().filter(is_piece).map(|line| {
        let bytes = line.rsplit_once("(").and_then(|(_, rest)| rest.strip_suffix(" bytes))"));
        bytes.and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or_else(|| panic!("no length: {line}"))
    });
    bytes.sum()
}

/// How much of the download is there, bytes.
fn have(home: &Path) -> u64 {
    let partial = std::fs::read_dir(home.join("state/fleet/partial")).into_iter().flatten().flatten();
    partial.filter_map(|entry| Some(entry.metadata().ok()?.len())).max().unwrap_or(0)
}

#[test]
fn a_download_goes_on_where_it_stopped_whoever_of_the_three_is_killed() {
    let test = "a_download_goes_on_where_it_stopped_whoever_of_the_three_is_killed";
    let Some(mut broker) = Mosquitto::start_with(test, "log_type all") else { return };
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let mqtt = format!("[mqtt]\nurl = {:?}\nbackoff_first_ms = 100\n", broker.url());
    let config = format!("device = \"kitchen\"\nmodels = [{:?}]\n{mqtt}{}", operator.bundled(), operator.fleet("mqtt"));
    let start = || -> Daemon {
        Daemon::builder().models_of_the_configuration().in_home(home.path()).config(config.clone()).start()
    };
    let package = operator.large_package("pushed", "1.0.0", LARGE_BYTES as usize);
    let number = operator.push("", &[package]);
    let serving = Serving::start(&operator, &broker.url(), &[]);
    let daemon = start();
    let comes_to = |daemon: &Daemon, mib: u64| {
        looking(daemon, &format!("{mib} MiB are there"), || (have(home.path()) >= mib << 20).then_some(()));
    };
    let stands_still_at = |what: &str, since: u64| {
        let have = have(home.path());
        assert!((since..LARGE_BYTES).contains(&have), "{what}: {have} bytes are there, and there were {since}");
    };

    // The operator's program, when it has answered what it was asked, so that the device need not wait for an answer that never comes.
    comes_to(&daemon, 3);
    daemon.signal("STOP");
    eventually("every request is answered", || {
        let log = broker.log();
        let times =
            |from: &str, topic: &str| log.lines().filter(|line| line.contains(from) && line.contains(topic)).count();
        let asked = times("Received PUBLISH from linnet-kitchen-fleet", "'linnet/fleet/home/fetch'");
        (asked == times("Sending PUBLISH to linnet-kitchen-fleet", "/fetched/")).then_some(())
    });
    let before = have(home.path());
    drop(serving);
    daemon.signal("CONT");
    daemon.wait_for_log("nobody listens to linnet/fleet/home/fetch");
    stands_still_at("nobody serves", before);
    let _serving = Serving::start(&operator, &broker.url(), &[]);

    // The broker, in the middle of a piece.
    comes_to(&daemon, 10);
    let before = have(home.path());
    broker.kill();
    daemon.wait_for_log("is verified: linnet/fleet/home: files/");
    eventually("it is told", || {
        daemon.log().lines().any(|line| line.contains("is verified: ") && line.contains("the broker: ")).then_some(())
    });
    stands_still_at("no broker", before);
    broker.restart();

    // The device, in the middle of a piece.
    comes_to(&daemon, 17);
    let before = have(home.path());
    daemon.kill();
    stands_still_at("no device", before);
    let daemon = start();
    wait_for(&daemon, number);
    assert_eq!(served_version(&daemon, "pushed").as_deref(), Some("1.0.0"));

    let handed = handed(&broker);
    assert!(handed >= LARGE_BYTES, "{handed} bytes cannot be all");
    assert!(handed <= LARGE_BYTES + SLACK_BYTES, "{handed} bytes were fetched for {LARGE_BYTES}");
}
