//! `linnet fleet promote`: the devices that it opens a wave for are told to look, and do so at once; nobody else is told.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use linnet_fleet::bucket;
use linnet_fleet::repository::Repository;

use crate::client::{Said, linnet, said};
use crate::harness::{Daemon, Mosquitto, eventually, mosquitto, skip};
use crate::operator::{Operator, status};

const NAMES: [&str; 3] = ["attic", "bath", "cellar"];

/// Everything that devices are told from now on.
struct Hints {
    child: Child,
    file: PathBuf,
    marks: usize,
}

impl Drop for Hints {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Hints {
    fn listen(broker: &Mosquitto, file: PathBuf) -> Self {
        let output = std::fs::File::create(&file).expect("a file");
        let mut command = Command::new(mosquitto::find("mosquitto_sub").expect("it was found before"));
        // -R: not what is retained, which somebody was told before.
        command.args(["-p", &broker.port().to_string(), "-q", "1", "-R", "-F", "%t", "-t", "linnet/+/config/desired"]);
        let child = command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null()).spawn().expect("it runs");
        let mut hints = Self { child, file, marks: 0 };
        eventually("it listens", || hints.mark(broker));
        hints
    }

    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(&self.file).expect("a file").lines().map(str::to_owned).collect()
    }

    /// Sends a hint to nobody, behind which all earlier ones have come. What came since the last one; none where it did not come soon.
    fn mark(&mut self, broker: &Mosquitto) -> Option<BTreeSet<String>> {
        let mark = format!("linnet/mark-{}/config/desired", self.marks);
        self.marks += 1;
        let mut command = Command::new(mosquitto::find("mosquitto_pub").expect("it was found before"));
        command.args(["-p", &broker.port().to_string(), "-q", "1", "-t", &mark, "-m", "{}"]);
        assert!(command.status().expect("it runs").success());
        for _ in 0..100 {
            let lines = self.lines();
            if let Some(end) = lines.iter().position(|line| *line == mark) {
                let begin =
                    lines[..end].iter().rposition(|line| line.starts_with("linnet/mark-")).map_or(0, |at| at + 1);
                let names = lines[begin..end].iter().map(|line| line.split('/').nth(1).unwrap_or_default().to_owned());
                return Some(names.collect());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        None
    }

    /// Who was told since the last call.
    fn told(&mut self, broker: &Mosquitto) -> BTreeSet<String> {
        self.mark(broker).expect("it listens")
    }
}

struct Site {
    operator: Operator,
    broker: Mosquitto,
}

impl Site {
    /// A device that looks into the repository's directory when it is told to, or else after longer than this test has patience, and whose
    /// trial ends after it.
    fn device(&self, name: &str) -> Daemon {
        let fleet = self.operator.fleet(&self.operator.repository().display().to_string());
        let fleet =
            fleet.replace("refresh_secs = 10", "refresh_secs = 340").replace("trial_secs = 1", "trial_secs = 600");
        let config = format!(
            "device = {name:?}\nmodels = [{:?}]\n[mqtt]\nurl = {:?}\n{fleet}",
            self.operator.bundled(),
            self.broker.url()
        );
        Daemon::builder().models_of_the_configuration().config(config).start()
    }

    fn fleet(&self, arguments: &[&str]) -> Said {
        let mut command = linnet();
        command.arg("fleet").args(arguments).args(["--mqtt", &self.broker.url(), "--dir"]);
        command.arg(self.operator.repository());
        said(command)
    }

    /// The devices of open waves.
    fn opened(&self) -> BTreeSet<String> {
        let rollout = Repository::load(&self.operator.repository()).expect("whole").rollout(1).expect("readable");
        let rollout = rollout.expect("signed");
        let opened = NAMES.into_iter().filter(|name| bucket(&rollout.salt, name) < rollout.opened);
        opened.map(str::to_owned).collect()
    }
}

#[test]
fn devices_of_a_wave_that_is_opened_by_hand_are_told_and_look_at_once_and_those_before_are_not_told_again() {
    let test = "devices_of_a_wave_that_is_opened_by_hand_are_told_and_look_at_once_and_those_before_are_not_told_again";
    if mosquitto::find("mosquitto_sub").is_none() {
        return skip(test, "the program `mosquitto_sub` (Debian: apt-get install mosquitto-clients)");
    }
    let Some(broker) = Mosquitto::start(test) else { return };
    let site = Site { operator: Operator::new(), broker };
    site.operator.publish("[limits]\nmax_upload_mib = 7\n", &[]);
    let devices = NAMES.map(|name| (name, site.device(name)));
    eventually("every device has reported", || {
        let said = site.fleet(&["devices"]);
        NAMES.iter().all(|name| said.text.contains(name)).then_some(())
    });
    // No trial ends, so the push pauses at its first wave.
    let push = ["push", "--to", "all", "--waves", "1%,60%,100%", "--min-reported", "100%", "--wait", "1s"];
    let paused = site.fleet(&push);
    assert!(!paused.ok && paused.text.contains("only 0 of 1"), "{}", paused.text);

    let mut hints = Hints::listen(&site.broker, site.operator.path("hints"));
    let mut before = BTreeSet::new();
    for wave in 1..=3 {
        let promoted = site.fleet(&["promote"]);
        assert!(promoted.ok, "{}", promoted.text);
        let opened = site.opened();
        assert_eq!(opened.len(), wave, "the first promotion opens the paused wave again, each other one the next");
        let added: BTreeSet<String> = opened.difference(&before).cloned().collect();
        assert_eq!(hints.told(&site.broker), added, "at wave {wave}");
        for (name, device) in devices.iter().filter(|(name, _)| added.contains(*name)) {
            eventually(&format!("{name} looks"), || (status(device)["generation"]["generation"] == 1).then_some(()));
        }
        for (name, device) in devices.iter().filter(|(name, _)| !opened.contains(*name)) {
            assert_eq!(status(device)["generation"]["generation"], 0, "{name} is not open");
        }
        before = opened;
    }
}
