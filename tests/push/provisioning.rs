//! Devices that have nothing but a claim, a real broker, and a real `linnet fleet serve` that gives them their names.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::client::linnet;
use crate::harness::{Daemon, DaemonBuilder, Mosquitto, eventually, mosquitto, request, root, skip};
use crate::operator::{Operator, status, wait_for, wait_for_log};
use crate::serving::Serving;

/// An operator with a broker.
struct Site {
    operator: Operator,
    broker: Mosquitto,
}

/// Where the operator has his repository and his keys.
fn places(operator: &Operator) -> [String; 4] {
    let path = |path: PathBuf| path.display().to_string();
    ["--dir".into(), path(operator.repository()), "--keys".into(), path(operator.path("keys"))]
}

/// Runs `linnet fleet claim …` and gives what it printed.
pub fn claim(operator: &Operator, arguments: &[&str]) -> String {
    let output =
        linnet().args(["fleet", "claim"]).args(arguments).args(places(operator)).output().expect("linnet runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

impl Site {
    fn new(broker: Mosquitto) -> Self {
        Self { operator: Operator::new(), broker }
    }

    fn places(&self) -> [String; 4] {
        places(&self.operator)
    }

    /// Runs `linnet fleet claim …` and gives what it printed.
    fn claim(&self, arguments: &[&str]) -> String {
        claim(&self.operator, arguments)
    }

    /// Makes a claim and gives its file.
    fn create(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let file = self.operator.path(name);
        let url = self.broker.url();
        let path = file.display().to_string();
        self.claim(&[&["create", "-o", &path, "--mqtt", &url], arguments].concat());
        file
    }

    /// What `claim list --json` says.
    fn list(&self) -> Value {
        serde_json::from_str(&self.claim(&["list", "--json"])).expect("JSON")
    }

    fn serve(&self, arguments: &[&str]) -> Serving {
        self.serve_at(&self.broker.url(), arguments)
    }

    fn serve_at(&self, url: &str, arguments: &[&str]) -> Serving {
        Serving::start(&self.operator, url, arguments)
    }

    /// A device with the claim and what `more` says, and with nothing else of the fleet or the broker.
    fn device(&self, claim: &Path, more: &str) -> DaemonBuilder {
        Daemon::builder().models_of_the_configuration().config(format!(
            "models = [{:?}]\n{more}\n[fleet]\nclaim = {claim:?}\nrefresh_secs = 10\ntrial_secs = 2\nclock = \"always\"\n",
            self.operator.bundled()
        ))
    }
}

/// `/v1/status` of a daemon that may be about to begin anew.
fn seen(daemon: &Daemon) -> Option<Value> {
    let answer = request(&daemon.socket(), "GET", "/v1/status", &[], b"").ok()?;
    (answer.status == 200).then(|| answer.json())
}

/// Waits until the device is on the broker under this name.
pub fn wait_for_name(daemon: &Daemon, name: &str) {
    eventually(&format!("the device is {name}"), || {
        let status = seen(daemon)?;
        (status["device"] == name && status["mqtt"] == "up").then_some(())
    });
}

/// Waits until the device says that it has no name, and why.
fn wait_for_refusal(daemon: &Daemon, state: &str, reason: &str) {
    eventually(&format!("the device is told: {reason}"), || {
        let provisioning = &seen(daemon)?["provisioning"];
        (provisioning["state"] == state && provisioning["reason"].as_str()?.contains(reason)).then_some(())
    });
}

#[test]
fn a_device_with_nothing_but_a_claim_becomes_one_of_the_fleet_and_a_second_one_does_not() {
    let test = "a_device_with_nothing_but_a_claim_becomes_one_of_the_fleet_and_a_second_one_does_not";
    let Some(broker) = Mosquitto::start(test) else { return };
    let site = Site::new(broker);
    let claim = site.create("claim.toml", &["--pattern", "speaker-{n:04}", "--group", "beta", "--label", "room=any"]);

    // Nobody answers yet: the device serves what it was shipped with, and is off the air.
    let device = site.device(&claim, "").start();
    wait_for_refusal(&device, "unanswered", "nobody answers there");
    assert_eq!(status(&device)["mqtt"], "off");

    let serving = site.serve(&[]);
    wait_for_name(&device, "speaker-0001");
    eventually("the operator is told", || serving.log().contains("speaker-0001 is granted").then_some(()));
    let number = site.operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&device, number);
    let reported = eventually("it has reported", || {
        let output = linnet()
            .args(["fleet", "devices", "--json", "--mqtt", &site.broker.url(), "--dir"])
            .arg(site.operator.repository())
            .output()
            .expect("linnet runs");
        let said: Value = serde_json::from_slice(&output.stdout).ok()?;
        let device = said["devices"].as_array()?.first()?.clone();
        (device["generation"] == number).then_some(device)
    });
    assert_eq!((&reported["device"], &reported["groups"][0]), (&"speaker-0001".into(), &"beta".into()));
    assert_eq!(reported["labels"]["room"], "any");

    // Another with the same claim, which was for one.
    let second = site.device(&claim, "").start();
    wait_for_refusal(&second, "refused", "used up");
    assert_eq!(status(&second)["mqtt"], "off");
    assert!(second.log().contains("the claim is for one device and is used up"), "{}", second.log());
    let config = second.home().join("linnet.toml");
    let doctor = linnet()
        .args([
            "--socket".as_ref(),
            second.socket().as_os_str(),
            "doctor".as_ref(),
            "--config".as_ref(),
            config.as_os_str(),
        ])
        .output()
        .expect("linnet runs");
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains("no name in the fleet yet") && said.contains("used up"), "{said}");

    // The first keeps its name through a restart without a claim, and through the loss of what it was granted.
    let home = tempfile::tempdir().expect("a directory");
    let kept = home.path().join("claim.toml");
    std::fs::rename(&claim, &kept).expect("moved");
    let (state, ended) = (device.home().join("state"), home.path().join("state"));
    crate::operator::copy_dir(&state, &ended);
    device.stop();
    let device = site.device(&claim, "").state(&ended).start();
    wait_for_name(&device, "speaker-0001");
    device.stop();
    std::fs::write(ended.join("identity/granted.toml"), "device = \"spea").expect("damaged");
    let device = site.device(&kept, "").state(&ended).start();
    wait_for_log(&device, "does not count");
    wait_for_name(&device, "speaker-0001");
    let list = site.list();
    assert_eq!((&list["claims"][0]["used"], list["devices"].as_array().map(Vec::len)), (&1.into(), Some(1)));
}

#[test]
fn claims_that_do_not_count_are_told_to_the_device() {
    let test = "claims_that_do_not_count_are_told_to_the_device";
    let Some(broker) = Mosquitto::start(test) else { return };
    let site = Site::new(broker);
    let revoked = site.create("revoked.toml", &["--name", "attic"]);
    let id = site.list()["claims"][0]["claim"].as_str().expect("an id").to_owned();
    site.claim(&["revoke", &id]);
    let batch = site.create("batch.toml", &["--uses", "9", "--pattern", "speaker-{n}"]);
    // The same id, another secret.
    let forged = site.operator.path("forged.toml");
    let text = std::fs::read_to_string(&batch).expect("readable");
    let line = text.lines().find(|line| line.starts_with("token = ")).expect("a secret");
    std::fs::write(&forged, text.replace(line, &format!("token = \"{}\"", "07".repeat(32)))).expect("written");
    let broken = site.operator.path("broken.toml");
    std::fs::write(&broken, &text[..text.len() / 2]).expect("written");
    let serving = site.serve(&[]);
    for (claim, more, state, reason) in [
        (&revoked, "", "refused", "revoked"),
        (&forged, "", "refused", "not the claim's"),
        (&batch, "device = \"attic\"", "refused", "its own configuration calls it attic"),
        (&broken, "", "failed", "broken.toml"),
        (&site.operator.path("absent.toml"), "", "failed", "absent.toml"),
    ] {
        let device = site.device(claim, more).start();
        let reason = if more.is_empty() { reason } else { "own configuration calls it attic" };
        wait_for_refusal(&device, state, reason);
        assert!(!device.log().contains(&"07".repeat(32)), "no secret in a log");
    }
    assert_eq!(site.list()["devices"].as_array().map(Vec::len), Some(0), "{}", serving.log());
    // A name that no device may bear is refused before anything is signed.
    let output = linnet()
        .args(["fleet", "claim", "create", "--name", "pool", "--mqtt", &site.broker.url(), "-o", "-"])
        .args(site.places())
        .output()
        .expect("linnet runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("`pool`"), "{said}");
}

/// Runs `openssl` in `dir`.
fn openssl(dir: &Path, arguments: &str) {
    let program = mosquitto::find("openssl").expect("it was found before");
    let output = Command::new(program).current_dir(dir).args(arguments.split(' ')).output().expect("openssl runs");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An example of the site's part, and the rules of the broker that go with it.
fn example(name: &str) -> String {
    root().join("config/examples/mosquitto").join(name).display().to_string()
}

#[test]
fn each_device_gets_an_account_of_its_own_at_a_broker_that_lets_nobody_else_in() {
    let test = "each_device_gets_an_account_of_its_own_at_a_broker_that_lets_nobody_else_in";
    let Some(passwd) = mosquitto::find("mosquitto_passwd") else {
        return skip(test, "the program `mosquitto_passwd` (Debian: apt-get install mosquitto)");
    };
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("passwords"), "").expect("written");
    for (user, password) in [("linnet-claim", "for all"), ("operator", "mine")] {
        let made = Command::new(&passwd).args(["-b", &path("passwords"), user, password]).status();
        assert!(made.expect("it runs").success());
    }
    let rules = format!(
        "allow_anonymous false\npassword_file {}\nacl_file {}\npid_file {}",
        path("passwords"),
        example("linnet.acl"),
        path("pid")
    );
    let Some(broker) = Mosquitto::start_with(test, &rules) else { return };
    let site = Site::new(broker);
    std::fs::write(path("claims-password"), "for all\n").expect("written");
    let login = ["--mqtt-user", "linnet-claim", "--mqtt-password-file", &path("claims-password")];
    let claim = site.create("claim.toml", &[&login[..], &["--uses", "2"]].concat());
    let command =
        ["sh", &example("grant-password.sh"), &path("passwords"), &example("linnet.acl"), &path("pid")].join(" ");
    let url = site.broker.url().replace("mqtt://", "mqtt://operator:mine@");
    let serving = site.serve_at(&url, &["--grant-command", &command]);

    let device = site.device(&claim, "").start();
    wait_for_name(&device, "home-0001");
    let password = device.home().join("state/identity/password");
    let mode = std::os::unix::fs::MetadataExt::mode(&password.metadata().expect("its own"));
    assert_eq!(mode & 0o7777, 0o600);
    let number = site.operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&device, number);

    // One that calls itself as the operator's own account is called.
    let thief = site.device(&claim, "device = \"operator\"").start();
    wait_for_refusal(&thief, "refused", "cannot grant a name now");
    eventually("the operator is told why", || serving.log().contains("grant-password.sh").then_some(()));
    let still = Command::new(mosquitto::find("mosquitto_sub").unwrap_or_default())
        .args([
            "-p",
            &site.broker.port().to_string(),
            "-u",
            "operator",
            "-P",
            "mine",
            "-t",
            "linnet/#",
            "-C",
            "1",
            "-W",
            "20",
        ])
        .output();
    assert!(still.is_ok_and(|output| output.status.success()), "the operator's password is what it was");
}

#[test]
fn the_examples_give_no_account_that_opens_the_topics_of_a_device_that_was_set_up_by_hand() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("passwords"), "linnet-attic:$7$101$hash\n").expect("written");
    let password = [example("grant-password.sh"), path("passwords"), example("linnet.acl"), path("pid")];
    let certificate = [example("grant-certificate.sh"), path("ca.crt"), path("ca.key"), example("linnet.acl")];
    // The rules know linnet-kitchen, the passwords linnet-attic as well.
    for (command, name) in [(&password, "kitchen"), (&password, "attic"), (&certificate, "kitchen")] {
        let output = Command::new("sh").args(command).args(["grant", name]).output().expect("a shell");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(&format!("{name} is the account")), "{command:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_device_gets_a_certificate_for_the_key_that_it_made() {
    let test = "a_device_gets_a_certificate_for_the_key_that_it_made";
    if mosquitto::find("openssl").is_none() {
        return skip(test, "the program `openssl` (Debian: apt-get install openssl)");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(dir.path(), &format!("req -x509 -days 2 -subj /CN=site -keyout ca.key -out ca.crt {new_key}"));
    std::fs::write(path("ext"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").expect("written");
    for name in ["server", "linnet-claim", "operator"] {
        openssl(dir.path(), &format!("req -subj /CN={name} -keyout {name}.key -out {name}.csr {new_key}"));
        openssl(
            dir.path(),
            &format!(
                "x509 -req -days 2 -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile ext -out {name}.crt"
            ),
        );
    }
    // The operator comes over the plain port, the devices over TLS, where only a certificate counts.
    let tls = crate::harness::free_port();
    let rules = format!(
        "listener {tls} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\nuse_identity_as_username true",
        path("ca.crt"),
        path("server.crt"),
        path("server.key")
    );
    let Some(broker) = Mosquitto::start_with(test, &rules) else { return };
    let site = Site::new(broker);
    let claim = site.operator.path("claim.toml");
    let (url, to) = (format!("mqtts://127.0.0.1:{tls}"), claim.display().to_string());
    site.claim(&[
        "create",
        "-o",
        &to,
        "--mqtt",
        &url,
        "--ca-file",
        &path("ca.crt"),
        "--client-cert",
        &path("linnet-claim.crt"),
        "--client-key",
        &path("linnet-claim.key"),
        "--name",
        "pantry",
    ]);
    let command =
        ["sh", &example("grant-certificate.sh"), &path("ca.crt"), &path("ca.key"), &example("linnet.acl")].join(" ");
    let _serving = site.serve(&["--grant-command", &command]);
    let device = site.device(&claim, "").start();
    wait_for_name(&device, "pantry");
    let log = site.broker.log();
    assert!(log.contains("u'pantry'") && log.contains("u'linnet-claim'"), "{log}");
    let number = site.operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&device, number);
}

#[test]
fn two_devices_under_one_name_are_noticed_by_themselves_and_by_the_operator() {
    let test = "two_devices_under_one_name_are_noticed_by_themselves_and_by_the_operator";
    let Some(broker) = Mosquitto::start(test) else { return };
    let site = Site::new(broker);
    let serving = site.serve(&[]);
    let named = || {
        Daemon::builder()
            .models_of_the_configuration()
            .config(format!(
                "device = \"kitchen\"\nmodels = [{:?}]\n[mqtt]\nurl = {:?}\nbackoff_first_ms = 100\n{}",
                site.operator.bundled(),
                site.broker.url(),
                site.operator.fleet("mqtt")
            ))
            .start()
    };
    let devices = [named(), named()];
    let contested = eventually("one of them notices the other", || {
        devices.iter().find_map(|device| Some(seen(device)?["mqtt_contested"].as_str()?.to_owned()))
    });
    assert!(contested.contains("linnet-kitchen") && contested.contains("give each its own"), "{contested}");
    assert!(devices.iter().any(|device| device.log().contains("each takes the session from the other")));
    let instances = devices.each_ref().map(|device| {
        let path = device.home().join("state/fleet/instance");
        std::fs::read_to_string(path).expect("its instance").trim().to_owned()
    });
    eventually("the operator is told of both", || {
        let log = serving.log();
        let told = log.lines().find(|line| line.contains("kitchen is borne by several devices"))?.to_owned();
        instances.iter().all(|instance| told.contains(instance)).then_some(())
    });
}
