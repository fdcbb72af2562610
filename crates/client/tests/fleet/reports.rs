//! What devices fetch and report.

use linnet_fleet::repository::Repository;
use linnet_proto::fleet::{PushState, RangeHead, Report};
use serde_json::Value;

use crate::bench::Bench;
use crate::broker::Mosquitto;
use crate::devices::{eventually, report};

#[test]
fn files_are_served_to_a_devices_own_topic_and_nowhere_else() {
    let Some(broker) = Mosquitto::start("files_are_served") else { return };
    let bench = Bench::with_a_generation();
    let mut serve = bench.command(&["serve", "--mqtt", &broker.url()]).spawn().expect("it starts");
    eventually("the index", || broker.retained("linnet/fleet/home/index"));
    let sha256 = Repository::load(&bench.fleet()).expect("loads").generation_sha256(1).expect("there");
    let ask = |reply_to: &str, path: &str| {
        let request = format!("{{\"path\": \"{path}\", \"offset\": 0, \"bytes\": 4096}}");
        let arguments =
            ["-V", "5", "-t", "linnet/fleet/home/fetch", "-e", reply_to, "-m", &request, "-W", "3", "-N", "-q", "1"];
        Some(broker.client("mosquitto_rr", &arguments).stdout).filter(|reply| !reply.is_empty())
    };
    let reply = ask("linnet/kitchen/fetched/1", &format!("generations/{sha256}.1.json")).expect("a reply");
    let (head, bytes) = RangeHead::parse(&reply).expect("reads");
    let generation = linnet_proto::fleet::Generation::parse(&bytes[..head.total as usize]).expect("a generation");
    assert_eq!((generation.number, generation.config.as_str()), (1, "log = \"info\"\n"));
    assert!(ask("linnet/kitchen/config/reported", &format!("generations/{sha256}.1.json")).is_none(), "not there");

    // A change by another process reaches the broker without being asked for.
    let version = Repository::load(&bench.fleet()).expect("loads").version(linnet_fleet::repository::Role::Snapshot);
    bench.succeed(&["refresh"]);
    let topic = format!("linnet/fleet/home/metadata/{}.snapshot.json", version + 1);
    eventually("the new snapshot", || broker.retained(&topic));
    serve.kill().expect("ours");
    serve.wait().expect("ended");
}

#[test]
fn reports_are_read_from_a_file_too_and_two_devices_of_one_name_are_noticed() {
    let bench = Bench::with_a_generation();
    let file = bench.dir.path().join("reports.jsonl");
    let twin = Report { instance: "another".into(), ..report("hall", 1, PushState::Received) };
    let other = Report { fleet: "other".into(), ..report("porch", 1, PushState::Confirmed) };
    let escaped = Report { reason: Some("\u{1b}[2Jgone".into()), ..report("attic", 1, PushState::RolledBack) };
    let lines: Vec<String> =
        [report("hall", 0, PushState::Confirmed), report("kitchen", 1, PushState::Confirmed), twin, other, escaped]
            .iter()
            .map(|report| serde_json::to_string(report).expect("JSON"))
            .collect();
    std::fs::write(&file, format!("{}\nrubbish\n\n", lines.join("\n"))).expect("written");
    let file = file.display().to_string();

    let status: Value = serde_json::from_str(&bench.succeed(&["status", "--reports", &file, "--json"])).expect("JSON");
    let names: Vec<&str> =
        status["devices"].as_array().expect("a list").iter().map(|it| it["device"].as_str().expect("a name")).collect();
    assert_eq!((names, &status["passed_over"]), (vec!["attic", "hall", "kitchen"], &2.into()), "{status}");
    assert_eq!(status["duplicates"], serde_json::json!(["hall"]));
    let table = bench.succeed(&["status", "--reports", &file]);
    assert!(table.contains("rolled_back") && table.contains("hall is borne by 2 devices"), "{table}");
    assert!(!table.contains('\u{1b}'), "what a device says moves no cursor");
    let devices = bench.succeed(&["devices", "--reports", &file]);
    assert!(devices.contains("hall is borne by several devices (hall-instance, another)"), "{devices}");
    let (code, e) = bench.fail(&["status"]);
    assert!(code == 64 && e.contains("--reports"), "{e}");
}
