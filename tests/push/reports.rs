//! Devices that do nothing but report.

use std::process::Command;

use serde_json::json;

use crate::harness::{Mosquitto, mosquitto};
use crate::operator::FLEET;

/// The report of a device that runs what it was shipped with.
pub fn shipped(name: &str) -> String {
    of(name, 0, "confirmed")
}

/// The report of a device that has come so far with a generation.
pub fn of(name: &str, generation: u64, state: &str) -> String {
    let serves = if state == "confirmed" { generation } else { 0 };
    json!({
        "wire": 1, "device": name, "fleet": FLEET, "running": { "generation": serves, "confirmed": true }, "generation": generation,
        "attempt": 1, "state": state, "since_secs": 1, "clock_trusted": true, "took": [], "linnetd": "0.1.0", "groups": [], "labels": {},
        "free_mib": 100, "local_packages": [], "metadata": [1, 1, 1], "instance": name, "contested": false,
    })
    .to_string()
}

/// Has the broker retain a report.
pub fn retain(broker: &Mosquitto, name: &str, report: &str) {
    let program =
        mosquitto::find("mosquitto_pub").expect("mosquitto's clients (Debian: apt-get install mosquitto-clients)");
    let topic = format!("linnet/{name}/config/reported");
    let port = broker.port().to_string();
    let output = Command::new(program).args(["-p", &port, "-q", "1", "-r", "-t", &topic, "-m", report]).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{output:?}");
}
