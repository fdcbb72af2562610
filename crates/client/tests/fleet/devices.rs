//! Devices that only report, and what is waited for.

use std::collections::BTreeSet;
use std::process::Child;
use std::time::{Duration, Instant};

use linnet_fleet::bucket;
use linnet_proto::fleet::{PushState, Report, Rollout, Running};
use serde_json::Value;

use crate::bench::Bench;
use crate::broker::Mosquitto;

/// Longest wait for something that must come.
const SOON: Duration = Duration::from_secs(60);

pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < SOON, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn report(device: &str, generation: u64, state: PushState) -> Report {
    let serves = matches!(state, PushState::Confirmed);
    Report {
        wire: 1,
        device: device.into(),
        fleet: "home".into(),
        running: Running { generation: if serves { generation } else { 0 }, confirmed: true },
        generation,
        attempt: 1,
        state,
        reason: state.is_failure().then(|| "its canary heard something else".to_owned()),
        code: None,
        since_secs: 1,
        clock_trusted: true,
        took: Vec::new(),
        linnetd: "0.1.0".into(),
        groups: BTreeSet::new(),
        labels: Default::default(),
        free_mib: 100,
        local_packages: Vec::new(),
        metadata: [1, 1, 1],
        instance: format!("{device}-instance"),
        contested: false,
    }
}

pub const DEVICES: [&str; 4] = ["attic", "hall", "kitchen", "porch"];

/// Devices that run what they were shipped with.
pub fn shipped(broker: &Mosquitto) {
    for device in DEVICES {
        broker.report(&report(device, 0, PushState::Confirmed));
    }
}

/// What the operator is told of how things stand.
pub fn standing(bench: &Bench, broker: &Mosquitto) -> String {
    bench.succeed(&["status", "--mqtt", &broker.url(), "--listen", "2s"])
}

pub fn opened(rollout: &Rollout) -> BTreeSet<&'static str> {
    DEVICES.into_iter().filter(|device| rollout.opens(bucket(&rollout.salt, device))).collect()
}

/// Has every device that may begin report `state` as long as the push runs; gives its exit code, and its last line.
pub fn devices_end(
    bench: &Bench,
    broker: &Mosquitto,
    push: Child,
    number: u64,
    state: PushState,
) -> (i32, Value, String) {
    let mut push = push;
    let mut reported = BTreeSet::new();
    let mut waves = Vec::new();
    eventually("the end of the push", || {
        if let Some(rollout) = bench.rollout(number) {
            if waves.last() != Some(&rollout.wave) {
                waves.push(rollout.wave);
            }
            for device in opened(&rollout) {
                // A device begins when it is told to look; who has ended before that is not told.
                let told = || broker.retained(&format!("linnet/{device}/config/desired")).is_some();
                if !reported.contains(device) && told() {
                    reported.insert(device);
                    broker.report(&report(device, number, state));
                }
            }
        }
        push.try_wait().expect("it is ours")
    });
    let output = push.wait_with_output().expect("it ended");
    let text = String::from_utf8(output.stdout).expect("text");
    let last = text.lines().last().map(|line| serde_json::from_str(line).expect("JSON")).unwrap_or_default();
    (output.status.code().expect("no signal"), last, String::from_utf8(output.stderr).expect("text"))
}
