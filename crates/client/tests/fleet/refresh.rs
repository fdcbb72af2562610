//! The command line of `systemd/linnet-fleet-refresh.service`, with nothing but what its environment file says. `.ci/systemd-boot` has systemd
//! itself start it.

use std::path::Path;
use std::process::{Command, Output};

use linnet_fleet::repository::{Repository, Role};

use crate::bench::Bench;
use crate::broker::Mosquitto;

/// The words after the program's name.
fn command_line() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd/linnet-fleet-refresh.service");
    let unit = std::fs::read_to_string(&path).expect("the unit");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/linnet ")).expect("it runs linnet");
    line.split(' ').map(str::to_owned).collect()
}

/// Runs the service over the broker at `url`.
fn serve(bench: &Bench, url: &str) -> Output {
    let mut command = Command::new(bench.dir.path().join("linnet"));
    command.env_clear().env("LINNET_FLEET_DIR", bench.fleet()).env("LINNET_MQTT_URL", url).args(command_line());
    command.output().expect("linnet runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Versions and ends of what the online keys sign.
fn signed(bench: &Bench) -> Vec<(u64, u64)> {
    let repository = Repository::load(&bench.fleet()).expect("loads");
    Role::ONLINE.into_iter().map(|role| (repository.version(role), repository.expires_secs(role))).collect()
}

#[test]
fn the_refresh_service_signs_anew_without_offline_keys_and_the_broker_gets_it_even_when_it_was_away_the_day_before() {
    let test = "the_refresh_service_signs_anew_without_offline_keys";
    let Some(broker) = Mosquitto::start(test) else { return };
    let bench = Bench::new();
    let mut init = vec!["init".to_owned(), bench.fleet_text(), "--name".to_owned(), "home".to_owned()];
    for role in Role::ONLINE {
        init.extend(["--days".to_owned(), format!("{role}=20")]);
    }
    bench.succeed(&init.iter().map(String::as_str).collect::<Vec<_>>());
    for role in ["root", "targets", "releases"] {
        std::fs::remove_file(bench.dir.path().join(format!("home.keys/{role}.pem"))).expect("taken off this machine");
    }
    let before = signed(&bench);

    // Signatures have whole seconds.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    // Nobody listens there.
    let away = serve(&bench, "mqtt://127.0.0.1:1");
    assert!(!away.status.success() && said(&away).contains("the MQTT broker at 127.0.0.1:1"), "{}", said(&away));
    let after = signed(&bench);
    for ((old, old_end), (new, end)) in before.iter().zip(&after) {
        assert!(*new == old + 1 && end > old_end, "{before:?} -> {after:?}");
    }

    // Where nothing is due any more the broker gets what it lacks all the same.
    let timestamp = || std::fs::read(bench.fleet().join("metadata/timestamp.json")).expect("signed");
    let held = timestamp();
    let again = bench.succeed(&["refresh", "--within", "1d", "--mqtt", &broker.url()]);
    assert!(again.contains("nothing expires") && timestamp() == held, "{again}");
    assert_eq!(broker.retained("linnet/fleet/home/metadata/timestamp.json"), Some(held));

    let served = serve(&bench, &broker.url());
    assert!(served.status.success() && said(&served).contains("good for 20 days"), "{}", said(&served));
    assert_eq!(broker.retained("linnet/fleet/home/metadata/timestamp.json"), Some(timestamp()));
}
