//! The whole way over a real broker: `linnet fleet` on the operator's side, three devices of his fleet, and Mosquitto between them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{Daemon, Mosquitto, eventually};
use crate::operator::{FLEET, Operator, copy_dir, status};

/// The client, which lies beside the daemon.
pub fn linnet() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_linnetd")).with_file_name("linnet");
    assert!(program.is_file(), "{} is missing: cargo build --release --workspace makes it", program.display());
    let mut command = Command::new(program);
    for name in ["LINNET_FLEET_DIR", "LINNET_MQTT_URL", "LINNET_MQTT_PASSWORD", "LINNET_SOCKET"] {
        command.env_remove(name);
    }
    command
}

/// What an operator's command said.
struct Said {
    ok: bool,
    text: String,
    /// The object on the last line, where there is one.
    last: Value,
}

/// The operator's directory and his broker.
struct Site {
    operator: Operator,
    broker: Mosquitto,
    repository: PathBuf,
}

impl Site {
    /// Founded by `linnet fleet init`, with three devices that look for updates on the broker.
    fn new(test: &str) -> Option<(Self, Vec<Daemon>)> {
        let broker = Mosquitto::start(test)?;
        let operator = Operator::new();
        let repository = operator.path("by-command");
        let site = Self { operator, broker, repository };
        let said = site.fleet(&["init", &site.repository.display().to_string(), "--name", FLEET]);
        assert!(said.ok, "{}", said.text);
        let devices = ["attic", "bath", "cellar"].map(|name| site.device(name).start());
        Some((site, devices.into()))
    }

    fn device(&self, name: &str) -> crate::harness::DaemonBuilder {
        Daemon::builder().models_of_the_configuration().config(format!(
            "device = {name:?}\nmodels = [{:?}]\n[mqtt]\nurl = {:?}\n[fleet]\nname = {FLEET:?}\nroot = {:?}\nsources = [\"mqtt\"]\nrefresh_secs = 10\ntrial_secs = 2\nclock = \"always\"\n",
            self.operator.bundled(),
            self.broker.url(),
            self.repository.join("metadata/1.root.json"),
        ))
    }

    fn fleet(&self, arguments: &[&str]) -> Said {
        let output: Output = linnet().arg("fleet").args(arguments).output().expect("linnet runs");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = out.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null);
        Said { ok: output.status.success(), text, last }
    }

    fn publish(&self, arguments: &[&str]) -> Said {
        let dir = self.repository.display().to_string();
        let mut all = vec!["publish", "--dir", &dir, "--yes"];
        all.extend(arguments);
        self.fleet(&all)
    }

    fn push(&self, arguments: &[&str]) -> Said {
        let (dir, url) = (self.repository.display().to_string(), self.broker.url());
        let mut all = vec!["push", "--dir", &dir, "--mqtt", &url, "--to", "all", "--wait", "2m", "--json"];
        all.extend(arguments);
        self.fleet(&all)
    }

    fn config(&self, text: &str) -> String {
        let path = self.operator.path("fleet.toml");
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }
}

fn serving(devices: &[Daemon]) -> Vec<(u64, bool)> {
    let of = |daemon: &Daemon| {
        let serving = &status(daemon)["generation"];
        (serving["generation"].as_u64().unwrap_or(0), serving["confirmed"] == true)
    };
    devices.iter().map(of).collect()
}

#[test]
fn a_fleet_takes_a_configuration_and_a_model_and_a_broken_model_stops_after_one_device() {
    let test = "a_fleet_takes_a_configuration_and_a_model_and_a_broken_model_stops_after_one_device";
    let Some((site, devices)) = Site::new(test) else { return };

    // A slip is found before anything is signed.
    let said = site.publish(&["--config", &site.config("lgo = \"info\"\n")]);
    assert!(!said.ok && said.text.contains("lgo"), "{}", said.text);

    let said =
        site.publish(&["--config", &site.config("[limits]\nmax_upload_mib = 7\n"), "--notes", "smaller uploads"]);
    assert!(said.ok, "{}", said.text);
    let said = site.push(&["--waves", "1%,100%"]);
    assert!(said.ok, "{}", said.text);
    eventually("every device has the configuration", || (serving(&devices) == [(1, true); 3]).then_some(()));
    for device in &devices {
        assert_eq!(status(device)["limits"]["max_upload_bytes"], 7 << 20);
    }

    let package = site.operator.package("pushed", "1.0.0");
    let said = site.publish(&["--package", &package.display().to_string()]);
    assert!(said.ok, "{}", said.text);
    let said = site.push(&["--waves", "1%,100%"]);
    assert!(said.ok, "{}", said.text);
    eventually("every device has the model", || (serving(&devices) == [(2, true); 3]).then_some(()));
    for device in &devices {
        let status = status(device);
        let names: Vec<_> = status["models"].as_array().expect("models").iter().map(|m| m["name"].clone()).collect();
        assert!(names.contains(&"pushed".into()), "{names:?}");
    }

    // The same model, but what it answers its canary is not what it should.
    let broken = site.operator.path("broken").join("pushed");
    copy_dir(&site.operator.package("pushed", "2.0.0"), &broken);
    crate::updates::spoil_canary(&broken);
    let said = site.publish(&["--package", &broken.display().to_string()]);
    assert!(said.ok, "{}", said.text);
    let said = site.push(&["--waves", "1%,100%"]);
    assert!(!said.ok, "a halted push is no success: {}", said.text);
    assert_eq!(serving(&devices), [(2, true); 3], "nobody noticed");
    let refused = devices.iter().filter(|device| device.log().contains("generation 3 is rejected")).count();
    assert_eq!(refused, 1, "one device has tried it: {}", said.text);
    assert_ne!(said.last, Value::Null, "{}", said.text);

    let (dir, url) = (site.repository.display().to_string(), site.broker.url());
    let said = site.fleet(&["status", "--dir", &dir, "--mqtt", &url, "--json"]);
    assert!(said.ok && said.text.contains("rejected") && said.text.contains("canary"), "{}", said.text);
    let said = site.fleet(&["devices", "--mqtt", &url, "--dir", &dir]);
    assert!(["attic", "bath", "cellar"].iter().all(|name| said.text.contains(name)), "{}", said.text);
}
