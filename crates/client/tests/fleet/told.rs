//! What an operator is told while a push runs, and after a change by hand.

use std::collections::BTreeSet;

use linnet_fleet::repository::{Repository, Role};
use linnet_proto::fleet::{PushState, Report};

use crate::bench::Bench;
use crate::broker::Mosquitto;
use crate::devices::{DEVICES, eventually, opened, report, shipped};

#[test]
fn a_push_without_a_terminal_tells_that_a_wave_is_open_how_long_it_waits_and_numbers_that_change() {
    let Some(broker) = Mosquitto::start("a_push_without_a_terminal_tells") else { return };
    let bench = Bench::with_a_generation();
    shipped(&broker);
    let said = bench.dir.path().join("said");
    let said_to = std::fs::File::create(&said).expect("made");
    let push = ["push", "--mqtt", &broker.url(), "--to", "all", "--waves", "50%,100%", "--wait", "10m"];
    let push = bench.command(&push).stderr(said_to).spawn().expect("it starts");
    let said = || std::fs::read_to_string(&said).expect("readable");
    eventually("the wave", || said().contains("reports are waited for, 10 min at most").then_some(()));
    let wave: BTreeSet<_> = opened(&bench.rollout(1).expect("signed"));
    let [first, second] = wave.iter().copied().collect::<Vec<_>>()[..] else { panic!("two of four: {wave:?}") };
    broker.report(&report(first, 1, PushState::Staged));
    eventually("the first change", || {
        said().contains("0 of 2 have ended (0 confirmed, 0 failed), 1 at work, 1 silent").then_some(())
    });
    // Changes that follow at once are not told one by one; that the wave is over is.
    broker.report(&report(first, 1, PushState::Confirmed));
    std::thread::sleep(std::time::Duration::from_secs(3));
    broker.report(&report(second, 1, PushState::Confirmed));
    eventually("the next wave", || said().contains("wave 2 of 2 is open").then_some(()));
    assert!(said().contains("wave 1 of 2: 2 confirmed, 0 failed, 0 have not ended; the next one opens"), "{}", said());
    assert_eq!(said().matches("wave 1 of 2: ").count(), 2, "{}", said());
    for device in DEVICES {
        broker.report(&report(device, 1, PushState::Confirmed));
    }
    assert!(push.wait_with_output().expect("it ended").status.success(), "{}", said());
}

#[test]
fn what_is_promoted_by_hand_says_who_carries_it_on() {
    let Some(broker) = Mosquitto::start("what_is_promoted_by_hand") else { return };
    let bench = Bench::with_a_generation();
    shipped(&broker);
    let url = broker.url();
    let push = ["push", "--mqtt", &url, "--to", "all", "--waves", "25%,50%,75%,100%", "--wait", "1s"];
    let (code, e) = bench.fail(&push);
    assert!(code == 75, "nobody reports: {e}");
    let said = bench.succeed(&["promote"]);
    assert!(said.starts_with("wave 1 of 4 of generation 1 is open again: "), "{said}");
    assert!(said.contains("no device hears of it yet") && said.contains("linnet fleet serve --mqtt URL"), "{said}");
    let said = bench.succeed(&["promote", "--mqtt", &url]);
    assert!(said.starts_with("wave 2 of 4 of generation 1 is open: ") && said.contains("1 device was told"), "{said}");
    assert!(
        said.contains("only while a push or `serve` runs") && said.contains("linnet fleet push --resume"),
        "{said}"
    );

    // Beside a push that runs, without a broker: that one tells the devices.
    bench.config("log = \"debug\"\n");
    bench.succeed(&["publish", "--config", &bench.config_text(), "--yes"]);
    let push = ["push", "--mqtt", &url, "--to", "all", "--waves", "25%,100%", "--wait", "10m"];
    let mut push = bench.command(&push).spawn().expect("it starts");
    let hinted = || {
        let of_second = |device: &&&str| {
            let hint = broker.retained(&format!("linnet/{device}/config/desired")).unwrap_or_default();
            String::from_utf8_lossy(&hint).contains("\"generation\":2")
        };
        DEVICES.iter().filter(of_second).count()
    };
    eventually("the first wave", || (hinted() == 1).then_some(()));
    let said = eventually("the promotion", || {
        let promoted = bench.run(&["promote"]);
        promoted.status.success().then(|| String::from_utf8_lossy(&promoted.stdout).into_owned())
    });
    assert!(said.contains("the push that runs tells the devices") && !said.contains("next, where"), "{said}");
    eventually("they are told by the push", || (hinted() == 4).then_some(()));
    push.kill().expect("ours");
    push.wait().expect("ended");
}

#[test]
fn new_keys_say_which_devices_learn_them_when() {
    let Some(broker) = Mosquitto::start("new_keys_say_which_devices") else { return };
    let bench = Bench::with_a_generation();
    let said = bench.succeed(&["rotate-key", "timestamp"]);
    assert!(said.contains("no device knows them yet: `linnet fleet serve --mqtt URL`"), "{said}");
    assert!(said.contains("`linnet fleet export DIR`") && said.contains("from theirs to 2 must be there"), "{said}");
    let said = bench.succeed(&["rotate-key", "snapshot", "--mqtt", &broker.url()]);
    assert!(said.contains("the broker has them: devices that read MQTT learn them at their next look"), "{said}");
}

#[test]
fn a_broker_that_is_none_is_told_before_keys_are_made_and_one_that_is_away_after_they_are_listed() {
    let bench = Bench::with_a_generation();
    let root = || Repository::load(&bench.fleet()).expect("loads").version(Role::Root);
    for url in ["localhost", "http://localhost", "mqtt://"] {
        for verb in [&["rotate-key", "timestamp"][..], &["refresh"], &["rollback", "--yes"], &["pause"], &["promote"]] {
            let (code, e) = bench.fail(&[verb, &["--mqtt", url]].concat());
            assert!(code == 64 && e.contains("write mqtt://host"), "{verb:?}: {code}: {e}");
        }
    }
    assert_eq!(root(), 1);
    let away = bench.run(&["rotate-key", "timestamp", "--mqtt", "mqtt://127.0.0.1:1"]);
    let (said, e) = (String::from_utf8_lossy(&away.stdout), String::from_utf8_lossy(&away.stderr));
    assert_eq!((away.status.code(), root()), (Some(69), 2), "{e}");
    assert!(said.contains("the new keys:") && said.contains("destroy them"), "{said}");
    assert!(e.contains("the broker does not have it yet: `linnet fleet refresh --within 1d"), "{e}");
    // A variable that is empty is not set.
    let published = bench.command(&["refresh"]).env("LINNET_MQTT_URL", "").output().expect("it runs");
    assert!(published.status.success(), "{published:?}");
}

#[test]
fn copies_of_a_card_are_named_at_their_rows_and_below_with_the_way_out() {
    let bench = Bench::with_a_generation();
    let file = bench.dir.path().join("reports.jsonl");
    let twin = Report { instance: "another".into(), ..report("hall", 0, PushState::Confirmed) };
    let copied = Report { contested: true, ..report("porch", 0, PushState::Confirmed) };
    let reports = [report("attic", 0, PushState::Confirmed), report("hall", 0, PushState::Confirmed), twin, copied];
    let lines: Vec<String> = reports.iter().map(|report| serde_json::to_string(report).expect("JSON")).collect();
    std::fs::write(&file, lines.join("\n")).expect("written");
    let table = bench.succeed(&["devices", "--reports", &file.display().to_string()]);
    let rows: Vec<&str> = table.lines().filter(|line| line.contains(" MiB")).collect();
    assert!(rows.len() == 4 && !rows[0].contains('('), "{table}");
    assert!(rows[1].contains("(one of 2 devices of this name: instance another)"), "{table}");
    assert!(rows[2].contains("(one of 2 devices of this name: instance hall-instance)"), "{table}");
    assert!(rows[3].contains("(another client takes its session: a copy of its card?)"), "{table}");
    assert!(table.contains("\nporch says that another client") && table.contains("remove identity"), "{table}");
    let status = bench.succeed(&["status", "--reports", &file.display().to_string()]);
    assert!(status.contains("1 device says that another client takes its session"), "{status}");
}
