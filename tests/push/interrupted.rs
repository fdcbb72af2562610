//! Updates that are cut off: by damage on the disk, by a generation that never comes up, by hand.

use serde_json::json;

use crate::harness::{Daemon, eventually};
use crate::operator::{Operator, answers, half_written, look, look_twice, looking, status, wait_for};

/// A device whose trials last longer than any test.
struct Device<'a> {
    operator: &'a Operator,
    home: tempfile::TempDir,
}

impl<'a> Device<'a> {
    fn of(operator: &'a Operator) -> Self {
        Self { operator, home: tempfile::tempdir().expect("a directory") }
    }

    fn spawn(&self) -> Daemon {
        let config = self.operator.device_config(&self.operator.repository().display().to_string());
        let config = config.replace("trial_secs = 1", "trial_secs = 600");
        Daemon::builder().models_of_the_configuration().in_home(self.home.path()).config(config).spawn()
    }

    fn start(&self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.wait_until_ready();
        daemon
    }

    /// Takes the first generation, confirmed by a trial that ends.
    fn begin(&self) -> u64 {
        let daemon = self.operator.device().in_home(self.home.path()).start();
        let good = self.operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
        wait_for(&daemon, good);
        good
    }

    /// Pushes another, and has it on trial.
    fn on_trial(&self, config: &str) -> (Daemon, u64) {
        let daemon = self.start();
        let number = self.operator.push(config, &[]);
        looking(&daemon, "it is on trial", || (status(&daemon)["generation"]["generation"] == number).then_some(()));
        (daemon, number)
    }

    /// How often the generation on trial has been opened, as it is counted on the disk before each opening.
    fn openings(&self) -> u64 {
        let update = std::fs::read(self.home.path().join("state/fleet/update.json")).expect("an update");
        serde_json::from_slice::<serde_json::Value>(&update).expect("JSON")["boots"].as_u64().expect("a number")
    }

    /// Starts it until it opens the generation on trial for the `nth` time.
    fn opens(&self, nth: u64) -> Daemon {
        let daemon = self.spawn();
        eventually("its opening is counted", || (self.openings() == nth).then_some(()));
        daemon
    }
}

#[test]
fn a_generation_that_does_not_come_up_or_does_not_stay_up_is_taken_back_after_three_starts() {
    let operator = Operator::new();
    type Down = fn(Daemon);
    let ways: [(&str, Down); 3] = [
        ("crashes while it starts", |daemon| assert!(!daemon.crash().status.success())),
        ("hangs while it starts, until systemd ends it", |daemon| {
            daemon.signal("STOP");
            assert!(!daemon.kill().status.success());
        }),
        ("crashes after a while on trial", |mut daemon| {
            daemon.wait_until_ready();
            answers(&daemon);
            look_twice(&daemon);
            assert!(!daemon.crash().status.success());
        }),
    ];
    for (what, down) in ways {
        let device = Device::of(&operator);
        let good = device.begin();
        let (daemon, bad) = device.on_trial("[limits]\nmax_upload_mib = 8\n");
        assert!(!daemon.crash().status.success());
        for opening in 2..=3 {
            let daemon = device.opens(opening);
            down(daemon);
        }
        let daemon = device.start();
        let serving = status(&daemon);
        assert_eq!(serving["generation"], json!({ "generation": good, "confirmed": true }), "it {what}");
        assert_eq!(serving["limits"]["max_upload_bytes"], 7 << 20, "it {what}");
        answers(&daemon);
        daemon
            .wait_for_log(&format!("generation {bad} is rolled_back: it was started 3 times without being confirmed"));
        eventually("nothing of it is left", || half_written(&daemon).is_empty().then_some(()));
        // It is not tried again, after a restart neither.
        look_twice(&daemon);
        drop(daemon);
        let daemon = device.start();
        look_twice(&daemon);
        assert_eq!(status(&daemon)["generation"]["generation"], good, "it {what}");
    }
}

#[test]
fn a_rollback_to_what_has_become_garbage_ends_at_what_was_shipped_and_is_told() {
    let operator = Operator::new();
    let device = Device::of(&operator);
    let good = device.begin();
    let (daemon, _) = device.on_trial("[limits]\nmax_upload_mib = 8\n");
    let document = device.home.path().join(format!("state/fleet/generations/{good}/generation.json"));
    std::fs::remove_file(&document).expect("removed");
    std::fs::write(&document, b"{garbage").expect("written");
    daemon.kill();
    for opening in 2..=3 {
        device.opens(opening).kill();
    }
    let daemon = device.start();
    assert_eq!(status(&daemon)["generation"]["generation"], 0);
    answers(&daemon);
    let told = |line: &str| line.contains("ERROR") && line.contains(&format!("generation {good}"));
    assert!(daemon.log().lines().any(told), "{}", daemon.log());
    drop(daemon);
    // The next one heals it.
    let daemon = operator.device().in_home(device.home.path()).start();
    let next = operator.push("[limits]\nmax_upload_mib = 9\n", &[]);
    wait_for(&daemon, next);
}

#[test]
fn a_generation_that_damage_has_taken_is_fetched_again_without_a_new_push() {
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let device = || operator.device().in_home(home.path());
    let daemon = device().start();
    let good = operator.push("[limits]\nmax_upload_mib = 7\n", &[operator.package("pushed", "1.0.0")]);
    wait_for(&daemon, good);
    drop(daemon);
    let document = home.path().join(format!("state/fleet/generations/{good}/generation.json"));
    std::fs::remove_file(&document).expect("removed");
    std::fs::write(&document, b"{garbage").expect("written");
    let daemon = device().start();
    daemon.wait_for_log("what was shipped is the last good one now");
    wait_for(&daemon, good);
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], 7 << 20);
    answers(&daemon);
}

#[test]
fn a_push_during_a_rollback_is_taken_after_it() {
    let operator = Operator::new();
    let device = Device::of(&operator);
    let good = device.begin();
    let (daemon, bad) = device.on_trial("[limits]\nmax_upload_mib = 8\n");
    daemon.kill();
    for opening in 2..=3 {
        device.opens(opening).kill();
    }
    // The next start goes back, and finds this one in the same breath.
    let next = operator.push("[limits]\nmax_upload_mib = 9\n", &[]);
    let daemon = operator.device().in_home(device.home.path()).start();
    wait_for(&daemon, next);
    let log = daemon.log();
    let at = |text: String| log.find(&text).unwrap_or_else(|| panic!("{text}: {log}"));
    let back = at(format!("generation {bad} is rolled_back"));
    assert!(back < at(format!("generation {next} is received")), "{log}");
    assert!(good < bad && status(&daemon)["limits"]["max_upload_bytes"] == 9 << 20);
}

#[test]
fn an_operator_who_goes_back_and_pushes_at_once_ends_at_what_he_pushed_last() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, one);
    let two = operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    looking(&daemon, "it is on trial", || (status(&daemon)["generation"]["generation"] == two).then_some(()));
    let back = operator.publish_again(one);
    operator.open(back);
    look(&daemon);
    let last = operator.push("[limits]\nmax_upload_mib = 9\n", &[]);
    wait_for(&daemon, last);
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], 9 << 20);
    assert_eq!(half_written(&daemon), Vec::<std::path::PathBuf>::new());
}

#[test]
fn garbage_in_what_is_kept_leads_back_to_the_last_good_generation_and_is_told() {
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let device = || operator.device().in_home(home.path());
    let daemon = device().start();
    let good = operator.push("[limits]\nmax_upload_mib = 7\n", &[operator.package("pushed", "1.0.0")]);
    wait_for(&daemon, good);
    drop(daemon);
    let fleet = home.path().join("state/fleet");
    for file in ["update.json", "trust.json", "refused.json"] {
        std::fs::write(fleet.join(file), b"{garbage").expect("written");
        let daemon = device().start();
        assert_eq!(status(&daemon)["generation"]["generation"], good, "{file}");
        eventually("it is told", || {
            daemon.log().lines().any(|line| line.contains("ERROR") && line.contains("update")).then_some(())
        });
        drop(daemon);
    }
    std::fs::remove_file(fleet.join("pointers")).expect("removed");
    let daemon = device().start();
    assert_eq!(status(&daemon)["generation"]["generation"], good, "found by its own mark");
    let next = operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    wait_for(&daemon, next);
}

#[test]
fn a_device_goes_back_to_what_was_shipped_by_hand_and_takes_what_is_newer() {
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let device = || operator.device().in_home(home.path());
    let daemon = device().start();
    // An older one stays open beside it, and it was asked for twice.
    wait_for(&daemon, operator.push("[limits]\nmax_upload_mib = 6\n", &[]));
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    operator.roll_out(one, |rollout| rollout.attempt = 2);
    wait_for(&daemon, one);
    let recover = || {
        let mut command = crate::harness::daemon::linnetd();
        command.args(["recover", "--factory", "--config"]).arg(home.path().join("linnet.toml"));
        let output = command.arg("--state").arg(home.path().join("state")).output().expect("it runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (done, said) = recover();
    assert!(!done && said.contains("another linnetd"), "{said}");
    assert!(daemon.stop().status.success());
    let (done, said) = recover();
    assert!(done && said.contains("generation 2 is left"), "{said}");
    let daemon = device().start();
    look_twice(&daemon);
    assert_eq!(status(&daemon)["generation"]["generation"], 0, "it is not taken again by itself");
    let two = operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    wait_for(&daemon, two);
}
