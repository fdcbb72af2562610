//! The whole way: `linnet fleet` on the operator's side, three devices of his fleet, and a real broker between them for everything, or for
//! reports alone while updates come from a web server or a directory.

use std::process::Command;

use linnet_fleet::repository::{Editor, Repository};
use serde_json::Value;

use crate::client::{Ended, Running, Said, linnet, said};
use crate::harness::{Daemon, Mosquitto, Reply, Web, eventually};
use crate::operator::{FLEET, Operator, answers, copy_dir, half_written, served_version, status};

/// Large enough that the broker can be killed while pieces of it are under way, bytes.
const LARGE_BYTES: usize = 32 << 20;
/// The devices.
const NAMES: [&str; 3] = ["attic", "bath", "cellar"];

/// Where the devices look for updates.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Broker,
    WebServer,
    Directory,
}

/// The operator's directory and his broker.
struct Site {
    operator: Operator,
    broker: Mosquitto,
    repository: std::path::PathBuf,
    web: Option<Web>,
}

impl Site {
    /// Founded by `linnet fleet init`, with three devices.
    fn new(test: &str, way: Way) -> Option<(Self, Vec<Daemon>)> {
        let broker = Mosquitto::start(test)?;
        let operator = Operator::new();
        let repository = operator.path("by-command");
        let mut site = Self { operator, broker, repository, web: None };
        let said = site.fleet(&["init", &site.repository.display().to_string(), "--name", FLEET]);
        assert!(said.ok, "{}", said.text);
        let source = match way {
            Way::Broker => "mqtt".to_owned(),
            Way::WebServer => site.web.insert(Web::start(&site.repository)).url(),
            Way::Directory => site.repository.display().to_string(),
        };
        let devices = NAMES.map(|name| site.device(name, &source).start());
        Some((site, devices.into()))
    }

    fn device(&self, name: &str, source: &str) -> crate::harness::DaemonBuilder {
        Daemon::builder().models_of_the_configuration().config(format!(
            "device = {name:?}\nmodels = [{:?}]\n[mqtt]\nurl = {:?}\n[fleet]\nname = {FLEET:?}\nroot = {:?}\nsources = [{source:?}]\nrefresh_secs = 10\ntrial_secs = 1\nclock = \"always\"\n",
            self.operator.bundled(),
            self.broker.url(),
            self.repository.join("metadata/1.root.json"),
        ))
    }

    fn fleet(&self, arguments: &[&str]) -> Said {
        let mut command = linnet();
        command.arg("fleet").args(arguments);
        said(command)
    }

    fn publish(&self, arguments: &[&str]) -> Said {
        let dir = self.repository.display().to_string();
        let mut all = vec!["publish", "--dir", &dir, "--yes"];
        all.extend(arguments);
        self.fleet(&all)
    }

    fn push(&self, arguments: &[&str]) -> Said {
        said(self.pushing(arguments))
    }

    fn pushing(&self, arguments: &[&str]) -> Command {
        let mut command = linnet();
        command.args(["fleet", "push", "--to", "all", "--wait", "2m", "--json", "--mqtt", &self.broker.url()]);
        command.arg("--dir").arg(&self.repository).args(arguments);
        command
    }

    /// Waits until every device has reported: a push is for those that are known.
    fn wait_for_reports(&self) {
        let (dir, url) = (self.repository.display().to_string(), self.broker.url());
        eventually("every device has reported", || {
            let said = self.fleet(&["devices", "--mqtt", &url, "--dir", &dir]);
            NAMES.iter().all(|name| said.text.contains(name)).then_some(())
        });
    }

    /// A push under way.
    fn start_push(&self, arguments: &[&str]) -> Running {
        Running::start(self.pushing(arguments), self.operator.path("words"))
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
    converges("a_fleet_takes_a_configuration_and_a_model_and_a_broken_model_stops_after_one_device", Way::Broker);
}

#[test]
fn the_same_through_a_web_server_with_reports_alone_over_the_broker() {
    converges("the_same_through_a_web_server_with_reports_alone_over_the_broker", Way::WebServer);
}

#[test]
fn the_same_through_a_directory_with_reports_alone_over_the_broker() {
    converges("the_same_through_a_directory_with_reports_alone_over_the_broker", Way::Directory);
}

fn converges(test: &str, way: Way) {
    let Some((site, devices)) = Site::new(test, way) else { return };

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
        assert_eq!(served_version(device, "pushed").as_deref(), Some("1.0.0"));
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
    for device in &devices {
        answers(device);
        assert_eq!(served_version(device, "pushed").as_deref(), Some("1.0.0"));
    }
    let refused = devices.iter().filter(|device| device.log().contains("generation 3 is rejected")).count();
    assert_eq!(refused, 1, "one device has tried it: {}", said.text);
    assert_ne!(said.last, Value::Null, "{}", said.text);

    let (dir, url) = (site.repository.display().to_string(), site.broker.url());
    let said = site.fleet(&["status", "--dir", &dir, "--mqtt", &url, "--json"]);
    assert!(said.ok && said.text.contains("rejected") && said.text.contains("canary"), "{}", said.text);
    let said = site.fleet(&["devices", "--mqtt", &url, "--dir", &dir]);
    assert!(NAMES.iter().all(|name| said.text.contains(name)), "{}", said.text);

    if let Some(web) = &site.web {
        let asked = web.asked();
        for under in ["metadata/", "targets/generations/", "files/"] {
            assert!(asked.iter().any(|asked| asked.path.starts_with(under)), "{under} came from the web server");
        }
        // One that withholds is told in the reports, and the operator reads it.
        web.answers(|asked, _| asked.path.ends_with("timestamp.json").then(|| Reply::new("404 Not Found", "", b"")));
        eventually("it is reported", || {
            devices.iter().for_each(crate::operator::look);
            let said = site.fleet(&["status", "--dir", &dir, "--mqtt", &url, "--json"]);
            said.text.contains("the source has no timestamp.json").then_some(())
        });
        assert_eq!(serving(&devices), [(2, true); 3], "what serves goes on");
    }
}

#[test]
fn a_push_outlives_a_broker_that_is_killed_while_it_serves_pieces() {
    let test = "a_push_outlives_a_broker_that_is_killed_while_it_serves_pieces";
    let Some((mut site, devices)) = Site::new(test, Way::Broker) else { return };
    let (config, package) =
        (site.config("[limits]\nmax_upload_mib = 7\n"), site.operator.large_package("pushed", "1.0.0", LARGE_BYTES));
    let said = site.publish(&["--config", &config, "--package", &package.display().to_string()]);
    assert!(said.ok, "{}", said.text);

    site.wait_for_reports();
    let mut push = site.start_push(&["--waves", "1%,100%"]);
    push.says("wave 1 of ");
    eventually("pieces are under way", || devices.iter().any(|device| !half_written(device).is_empty()).then_some(()));
    site.broker.kill();
    push.says("the broker is away");
    // It comes back with what it had on its disk.
    site.broker.restart();

    let Ended { ok, last, said } = push.end();
    assert!(ok && last["done"] == true && last["failed"] == 0, "{last} {said}");
    eventually("every device has it", || (serving(&devices) == [(1, true); 3]).then_some(()));
    for device in &devices {
        assert_eq!(served_version(device, "pushed").as_deref(), Some("1.0.0"));
    }
}

#[test]
fn a_halt_waits_for_who_holds_the_repository_and_is_signed() {
    let Some((site, devices)) = Site::new("a_halt_waits_for_who_holds_the_repository_and_is_signed", Way::Broker)
    else {
        return;
    };
    let broken = site.operator.path("broken").join("pushed");
    copy_dir(&site.operator.package("pushed", "2.0.0"), &broken);
    crate::updates::spoil_canary(&broken);
    let config = site.config("[limits]\nmax_upload_mib = 7\n");
    let said = site.publish(&["--config", &config, "--package", &broken.display().to_string()]);
    assert!(said.ok, "{}", said.text);

    site.wait_for_reports();
    // None goes on before the lock is held.
    devices.iter().for_each(|device| device.signal("STOP"));
    let mut push = site.start_push(&["--waves", "1%,100%"]);
    push.says("wave 1 of ");
    let editor = Editor::begin(&site.repository, "publish").expect("the lock");
    devices.iter().for_each(|device| device.signal("CONT"));
    push.says("the repository is in use by `publish`");
    assert!(devices.iter().any(|device| device.log().contains("generation 1 is rejected")), "that is why");
    drop(editor);

    let Ended { ok, last, said } = push.end();
    assert!(!ok && last["halted"] == true, "{last} {said}");
    let rollout = Repository::load(&site.repository).expect("whole").rollout(1).expect("readable").expect("signed");
    assert!(rollout.paused, "{rollout:?}");
}
