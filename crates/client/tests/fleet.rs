//! `linnet fleet` from the outside: the real program, a real Mosquitto, and devices that only report.

#[path = "fleet/bench.rs"]
mod bench;
#[path = "fleet/broker.rs"]
mod broker;
#[path = "fleet/login.rs"]
mod login;
#[path = "fleet/refresh.rs"]
mod refresh;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bench::Bench;
use broker::Mosquitto;

use linnet_fleet::bucket;
use linnet_fleet::repository::{Editor, Repository};
use linnet_proto::fleet::{DeviceFacts, Index, PushState, RangeHead, Report, Rollout, Running, Selector};
use serde_json::Value;

/// Longest wait for something that must come.
const SOON: Duration = Duration::from_secs(60);

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < SOON, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn report(device: &str, generation: u64, state: PushState) -> Report {
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

const DEVICES: [&str; 4] = ["attic", "hall", "kitchen", "porch"];

/// Devices that run what they were shipped with.
fn shipped(broker: &Mosquitto) {
    for device in DEVICES {
        broker.report(&report(device, 0, PushState::Confirmed));
    }
}

/// What the operator is told of how things stand.
fn standing(bench: &Bench, broker: &Mosquitto) -> String {
    bench.succeed(&["status", "--mqtt", &broker.url(), "--listen", "2s"])
}

fn opened(rollout: &Rollout) -> BTreeSet<&'static str> {
    DEVICES.into_iter().filter(|device| rollout.opens(bucket(&rollout.salt, device))).collect()
}

/// Has every device that may begin report `state` as long as the push runs; gives its exit code, and its last line.
fn devices_end(bench: &Bench, broker: &Mosquitto, push: Child, number: u64, state: PushState) -> (i32, Value, String) {
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

#[test]
fn a_fleet_is_made_and_a_slip_is_found_before_anything_is_signed() {
    let bench = Bench::new();
    let dir = bench.fleet_text();
    let said = bench.succeed(&["init", &dir, "--name", "home"]);
    assert!(
        said.contains("off this machine") && said.contains("1.root.json") && said.contains("home.keys/root.pem"),
        "{said}"
    );
    let (code, e) = bench.fail(&["init", &dir, "--name", "home"]);
    assert!(code == 73 && e.contains("not empty"), "{code}: {e}");
    let (code, e) = bench.fail(&["init", &format!("{dir}2"), "--keys", &format!("{dir}2/keys")]);
    assert!(code == 64 && e.contains("which others read"), "{code}: {e}");

    bench.config("nonsense = 1\n");
    let (code, e) = bench.fail(&["publish", "--config", &bench.config_text(), "--yes"]);
    assert!(code == 65 && e.contains("nonsense is no key") && e.contains("nothing was signed"), "{code}: {e}");
    bench.config("log = \"info\"\n");
    let (code, e) = bench.fail(&["publish", "--config", &bench.config_text()]);
    assert!(code == 64 && e.contains("--yes"), "nobody can be asked here: {code}: {e}");
    let shown = bench.succeed(&["publish", "--config", &bench.config_text(), "--dry-run"]);
    assert!(shown.contains("+ log = \"info\"") && shown.contains("nothing was signed"), "{shown}");
    assert_eq!(Repository::load(&bench.fleet()).expect("loads").newest(), 0);
    let config = bench.config_text();
    let versions = |more: &[&'static str]| [&["publish", "--config", &config, "--dry-run"], more].concat();
    let (code, e) = bench.fail(&versions(&["--min-linnetd", "99.0.0"]));
    assert!(code == 65 && e.contains("needs linnetd 99.0.0") && e.contains("--any-linnetd"), "{code}: {e}");
    let shown = bench.succeed(&versions(&["--min-linnetd", "99.0.0", "--any-linnetd"]));
    assert!(shown.contains("min_linnetd"), "{shown}");
    let (code, e) = bench.fail(&versions(&["--min-linnetd", "soon", "--any-linnetd"]));
    assert!(code == 64 && e.contains("no version"), "{code}: {e}");

    bench.succeed(&["publish", "--config", &bench.config_text(), "--yes"]);
    bench.config("log = \"debug\"\n");
    let shown = bench.succeed(&["publish", "--config", &bench.config_text(), "--yes", "--notes", "louder"]);
    assert!(shown.contains("generation 1 -> 2") && shown.contains("- log = \"info\""), "{shown}");
    let back = bench.succeed(&["rollback", "--yes"]);
    assert!(back.contains("generation 2 -> 3, which is what 1 was"), "{back}");
    assert_eq!(Repository::load(&bench.fleet()).expect("loads").generation(3).expect("3").content_of, Some(1));

    let held = Editor::begin(&bench.fleet(), "publish").expect("the first operator");
    let (code, e) = bench.fail(&["rollback", "--yes"]);
    assert!(code == 75 && e.contains("`publish` of") && e.contains("`rollback` of"), "{code}: {e}");
    drop(held);

    let stick = bench.dir.path().join("stick").display().to_string();
    assert!(bench.succeed(&["export", &stick]).contains("up to date"));
    assert!(Path::new(&stick).join("metadata/timestamp.json").is_file());
    assert!(bench.succeed(&["refresh"]).contains("good for 30 days"));
    assert!(bench.succeed(&["refresh", "--within", "14d"]).contains("nothing expires"));
    let rotated = bench.succeed(&["rotate-key", "online"]);
    assert!(rotated.contains("root has version 2") && rotated.contains("destroy them"), "{rotated}");
    bench.succeed(&["refresh"]);
    let asked = bench.succeed(&["simulate", "--devices", "10", "--bad", "5%", "--json"]);
    assert_eq!(asked, "simulate --devices 10 --bad 5% --json\n");
}

#[test]
fn offline_keys_are_kept_under_a_passphrase_and_online_ones_need_none() {
    let bench = Bench::new();
    let file = bench.dir.path().join("passphrase");
    std::fs::write(&file, "correct horse battery staple\n").expect("written");
    let with = |arguments: &[&str]| {
        bench.command(arguments).env("LINNET_FLEET_PASSPHRASE_FILE", &file).output().expect("runs")
    };
    let made = with(&[
        "init",
        &bench.fleet_text(),
        "--name",
        "home",
        "--passphrase",
        "--count",
        "root=2",
        "--threshold",
        "root=2",
    ]);
    assert!(made.status.success(), "{made:?}");
    bench.config("log = \"info\"\n");
    let config = bench.config_text();
    assert!(with(&["publish", "--config", &config, "--yes"]).status.success());
    bench.succeed(&["refresh"]);
    std::fs::write(&file, "another one altogether\n").expect("written");
    let refused = with(&["publish", "--config", &config, "--yes"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(77) && said.contains("releases.pem is under a passphrase"), "{said}");
    std::fs::write(&file, "short\n").expect("written");
    let other = bench.dir.path().join("other").display().to_string();
    let refused = with(&["init", &other, "--passphrase"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("fewer than 12"), "{refused:?}");
}

#[test]
fn a_push_to_a_percentage_is_for_whom_the_devices_say_and_names_those_that_cannot_read_it() {
    let Some(broker) = Mosquitto::start("a_push_to_a_percentage") else { return };
    let bench = Bench::with_a_generation();
    let to = Selector::parse("percent=60,not=porch").expect("a selector");
    let meant =
        |device: &&str| linnet_fleet::means(&to, &DeviceFacts { name: (*device).into(), ..DeviceFacts::default() });
    // Names enough that some are in and some are not; the last one in runs a linnetd that knows no percentage.
    let names: Vec<String> = (0..12).map(|n| format!("device-{n}")).chain(["porch".to_owned()]).collect();
    let (inside, outside): (Vec<&str>, Vec<&str>) = names.iter().map(String::as_str).partition(meant);
    assert!(inside.len() > 3 && outside.len() > 3, "{inside:?} {outside:?}");
    let (old, new) = inside.split_last().expect("some");
    for device in &names {
        let wire = if device == old { 1 } else { 2 };
        broker.report(&Report { wire, ..report(device, 0, PushState::Confirmed) });
    }
    let push = bench
        .command(&["push", "--mqtt", &broker.url(), "--to", "percent=60,not=porch", "--waves", "100%", "--wait", "10m"])
        .spawn()
        .expect("it starts");
    let rollout = eventually("the wave", || bench.rollout(1).filter(|rollout| rollout.opened > 0));
    assert_eq!((rollout.wire, &rollout.to), (2, &to));
    eventually("they are told", || {
        let told = |device: &&str| broker.retained(&format!("linnet/{device}/config/desired")).is_some();
        new.iter().all(told).then_some(())
    });
    assert!(standing(&bench, &broker).contains("generation 1 to not=porch,percent=60, wave 1 of 1"));
    for device in new {
        broker.report(&Report { wire: 2, ..report(device, 1, PushState::Confirmed) });
    }
    let output = push.wait_with_output().expect("it ended");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains(&format!("generation 1 for {} devices (not=porch,percent=60), waves: 1", new.len())),
        "{said}"
    );
    assert!(said.contains(&format!("run a linnetd that knows no percent=: {old}; update linnetd there")), "{said}");
    for device in outside.iter().chain([old]) {
        assert_eq!(broker.retained(&format!("linnet/{device}/config/desired")), None, "{device} is not meant");
    }
    let done = standing(&bench, &broker);
    assert!(done.contains(&format!("done: {} confirmed, 0 failed, 0 have not ended", new.len())), "{done}");
    // To a larger share: those that have it are among them, and an empty one is a slip.
    let (code, e) = bench.fail(&["push", "--mqtt", &broker.url(), "--to", "percent=0"]);
    assert!(code == 64 && e.contains("expected a number above 0 and up to 100"), "{code}: {e}");
}

/// What the page has a person make in the clone is nothing that `git add .` may take, and no password is for all to read.
#[test]
fn the_commands_of_the_page_keep_what_is_secret() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).expect("it is part of the tree");
    let (page, ignored) = (read("docs/fleet.md"), read(".gitignore"));
    assert!(page.contains("linnet fleet init home "), "the name that is ignored");
    for line in ["/home/", "*.keys/"] {
        assert!(ignored.lines().any(|ignored| ignored == line), "{line}");
    }
    assert!(page.contains("install -m 0640 -g mosquitto /dev/null /etc/mosquitto/linnet.passwords"));
    let broker = read("config/examples/mosquitto/mosquitto.conf");
    let named = broker.lines().filter_map(|line| line.split_once(" /etc/mosquitto/certs/"));
    let made: Vec<_> = named.map(|(_, file)| file).collect();
    assert_eq!(made, ["ca.crt", "server.crt", "server.key"]);
    for file in made {
        assert!(page.contains(&format!("out {file}")), "the page makes no {file}");
    }
}

#[test]
fn a_push_that_means_no_known_device_says_so() {
    let Some(broker) = Mosquitto::start("a_push_that_means_no_known_device") else { return };
    let bench = Bench::with_a_generation();
    shipped(&broker);
    let url = broker.url();
    let (code, e) = bench.fail(&["push", "--mqtt", &url, "--to", "group=nobody", "--waves", "50%,100%"]);
    assert!(code == 64 && e.contains("no device that --to means has reported"), "{code}: {e}");
    let push = ["push", "--mqtt", &url, "--to", "group=nobody,percent=0.5", "--waves", "100%"];
    let done = bench.run(&push);
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{err}");
    assert!(out.starts_with("no known device is meant: generation 1 is open for those that report later"), "{out}");
    assert!(
        err.contains("wave 1 of 1 is open (100%): no known device is meant") && !err.contains("0 devices"),
        "{err}"
    );
}

#[test]
fn a_push_opens_wave_after_wave_until_every_device_has_it() {
    let Some(broker) = Mosquitto::start("a_push_opens_wave_after_wave") else { return };
    let bench = Bench::with_a_generation();
    shipped(&broker);
    let push = bench.command(&[
        "push",
        "--mqtt",
        &broker.url(),
        "--to",
        "all",
        "--waves",
        "10%,60%,100%",
        "--wait",
        "10m",
        "--json",
    ]);
    let push = { push }.spawn().expect("it starts");
    let first = eventually("the first wave", || bench.rollout(1));
    assert_eq!(
        (opened(&first).len(), first.wave),
        (1, 1),
        "a wave holds at least one device, and only the first is open"
    );
    let (code, last, said) = devices_end(&bench, &broker, push, 1, PushState::Confirmed);
    assert_eq!(code, 0, "{said}");
    assert_eq!((&last["confirmed"], &last["failed"], &last["wave"]), (&4.into(), &0.into(), &3.into()), "{last}");
    assert!(said.contains("wave 1 of 3 is open") && said.contains("wave 3 of 3 is open"), "{said}");
    let rollout = bench.rollout(1).expect("signed");
    assert_eq!((rollout.opened, rollout.paused), (Rollout::BUCKETS, false));

    // What the broker retains is what the repository holds.
    let index = Index::parse(&broker.retained("linnet/fleet/home/index").expect("an index")).expect("reads");
    let repository = Repository::load(&bench.fleet()).expect("loads");
    let files = repository.metadata_files().expect("read");
    assert_eq!(index.files.len(), files.len());
    for (name, bytes) in &files {
        let topic = match name.strip_suffix(".root.json") {
            Some(version) => format!("linnet/fleet/home/root/{version}"),
            None => format!("linnet/fleet/home/metadata/{name}"),
        };
        let held = broker.retained(&topic).unwrap_or_else(|| panic!("{topic}"));
        assert_eq!(&held, bytes, "{topic}");
    }
    assert!(
        broker.retained("linnet/fleet/home/metadata/1.snapshot.json").is_none(),
        "what no longer exists is cleared"
    );
    assert!(broker.retained("linnet/kitchen/config/desired").is_some(), "devices were told to look");
    let status: Value =
        serde_json::from_str(&bench.succeed(&["status", "--mqtt", &broker.url(), "--json"])).expect("JSON");
    assert_eq!((&status["confirmed"], status["devices"].as_array().expect("a list").len()), (&4.into(), 4), "{status}");
}

#[test]
fn a_failure_in_the_first_wave_halts_the_push_and_nobody_else_begins() {
    let Some(broker) = Mosquitto::start("a_failure_in_the_first_wave_halts") else { return };
    let bench = Bench::with_a_generation();
    shipped(&broker);
    let push = bench.command(&["push", "--mqtt", &broker.url(), "--to", "all", "--json"]).spawn().expect("it starts");
    let (code, last, said) = devices_end(&bench, &broker, push, 1, PushState::Rejected);
    assert_eq!((code, &last["halted"], &last["failed"]), (70, &true.into(), &1.into()), "{last} {said}");
    assert!(said.contains("1 of 1 reports are failures") && said.contains("rollback"), "{said}");
    let rollout = bench.rollout(1).expect("signed");
    assert!(rollout.paused && rollout.wave == 1 && opened(&rollout).is_empty(), "{rollout:?}");
    // The pause reached the broker before the program ended.
    let repository = Repository::load(&bench.fleet()).expect("loads");
    let version = repository.version(linnet_fleet::repository::Role::Rollouts);
    let held = broker.retained(&format!("linnet/fleet/home/metadata/{version}.rollouts.json")).expect("retained");
    assert!(String::from_utf8_lossy(&held).contains("\"paused\":true"));
    let table = bench.succeed(&["status", "--mqtt", &broker.url()]);
    assert!(
        table.contains("rejected") && table.contains("canary heard something else") && table.contains("paused"),
        "{table}"
    );
}

#[test]
fn a_push_that_is_paused_left_or_short_of_reports_is_taken_up_again() {
    let Some(broker) = Mosquitto::start("a_push_that_is_paused_left") else { return };
    let bench = Bench::with_a_generation();
    let url = broker.url();
    let (code, e) = bench.fail(&["push", "--mqtt", &url, "--to", "all"]);
    assert!(code == 64 && e.contains("has reported") && bench.rollout(1).is_none(), "nothing is known yet: {e}");
    shipped(&broker);

    // Too few reports in time: it pauses, and says who is silent.
    let (code, e) = bench.fail(&["push", "--mqtt", &url, "--to", "all", "--waves", "50%,100%", "--wait", "1s"]);
    let rollout = bench.rollout(1).expect("signed");
    assert!(code == 75 && e.contains("only 0 of 2") && rollout.paused, "{code}: {e}");
    let of_the_wave: Vec<_> = DEVICES.into_iter().filter(|d| bucket(&rollout.salt, d) < rollout.opened).collect();
    assert!(of_the_wave.len() == 2 && of_the_wave.iter().all(|device| e.contains(device)), "{e}");

    // Resumed, it is paused by somebody else.
    let mut push = bench.command(&["push", "--mqtt", &url, "--resume"]).spawn().expect("it starts");
    // Its record says that one second is waited for, so it ends by itself or by the pause, whichever comes first: both are pauses.
    eventually("the end", || push.try_wait().expect("ours"));
    assert_eq!(push.wait().expect("ended").code(), Some(75));
    assert_eq!(bench.rollout(1).map(|it| it.salt), Some(rollout.salt.clone()), "a push keeps its salt");

    // Promoted, the wave is open again, and the push goes on when its devices report.
    assert!(bench.succeed(&["promote", "--mqtt", &url]).contains("generation 1 is open"));
    assert!(!bench.rollout(1).expect("signed").paused);
    for device in DEVICES {
        broker.report(&report(device, 1, PushState::Confirmed));
    }
    let resumed = bench.command(&["push", "--mqtt", &url, "--resume", "--json"]).output().expect("it runs");
    assert!(resumed.status.success(), "{resumed:?}");

    // Another generation: a long wait that `pause` ends, then Ctrl-C, then the end.
    bench.config("log = \"debug\"\n");
    bench.succeed(&["publish", "--config", &bench.config_text(), "--yes"]);
    let push =
        bench.command(&["push", "--mqtt", &url, "--to", "all", "--waves", "25%,100%"]).spawn().expect("it starts");
    eventually("the first wave", || bench.rollout(2));
    let (code, e) = bench.fail(&["push", "--mqtt", &url, "--to", "all"]);
    assert!(code == 75 && e.contains("`push` of"), "a second push is refused by name: {e}");
    // The push may just be signing.
    eventually("the pause", || bench.run(&["pause", "--mqtt", &url]).status.success().then_some(()));
    let ended = push.wait_with_output().expect("it ended");
    assert_eq!(ended.status.code(), Some(75), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("somebody paused it"), "{ended:?}");

    let mut push = bench.command(&["push", "--mqtt", &url, "--resume"]).spawn().expect("it starts");
    eventually("it is open again", || bench.rollout(2).filter(|rollout| !rollout.paused));
    // It has written that down, too, once the record says so.
    eventually("its record", || {
        let push = Repository::load(&bench.fleet()).expect("loads").settings().push.clone().expect("a push");
        (push.state == linnet_fleet::waves::PushStanding::Running).then_some(())
    });
    let interrupted = Command::new("kill").args(["-INT", &push.id().to_string()]).status().expect("kill runs");
    assert!(interrupted.success());
    assert_eq!(push.wait().expect("ended").code(), Some(130));
    let push = bench.command(&["push", "--mqtt", &url, "--resume", "--json"]).spawn().expect("it starts");
    let (code, last, said) = devices_end(&bench, &broker, push, 2, PushState::Confirmed);
    assert_eq!((code, &last["confirmed"]), (0, &4.into()), "{last} {said}");
}

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

/// An operator who may do all that he needs, and what is left out.
fn operator_without(left_out: &str) -> String {
    let rights = ["topic read linnet/#", "topic write linnet/fleet/home/#", "topic write linnet/+/config/desired"];
    let rights = rights.iter().filter(|right| **right != left_out).map(|right| format!("{right}\n"));
    format!("user operator\n{}", rights.collect::<String>())
}

#[test]
fn what_a_broker_refuses_midway_is_told_with_its_reason_and_goes_on_once_it_is_allowed() {
    let (all, fleet) = (operator_without(""), operator_without("topic write linnet/fleet/home/#"));
    let Some(broker) = Mosquitto::start_with_acl("what_a_broker_refuses_midway", &fleet) else { return };
    let bench = Bench::with_a_generation();
    shipped(&broker);
    let url = broker.url().replace("//", "//operator@");
    let push = ["push", "--mqtt", &url, "--to", "all", "--waves", "25%,100%", "--json"];
    let no = "not authorised (reason code 0x87); give this user `topic write linnet/fleet/home/#`";
    // At its beginning nothing is signed yet.
    let (code, e) = bench.fail(&push);
    assert!(
        code == 77 && e.contains("does not take what is published on linnet/fleet/home/") && e.contains(no),
        "{code}: {e}"
    );
    assert_eq!(bench.rollout(1), None);

    broker.follow_acl(&all);
    let said = bench.dir.path().join("said");
    let said_to = std::fs::File::create(&said).expect("made");
    let push = bench.command(&push).stderr(said_to).spawn().expect("it starts");
    let said = || std::fs::read_to_string(&said).expect("readable");
    let first = eventually("the first wave", || bench.rollout(1).filter(|rollout| rollout.opened > 0));
    let of_first: Vec<&str> = opened(&first).into_iter().collect();
    let is_told = |device: &str| broker.retained(&format!("linnet/{device}/config/desired")).is_some();
    eventually("they are told", || of_first.iter().all(|device| is_told(device)).then_some(()));
    broker.follow_acl(&fleet);
    for device in &of_first {
        broker.report(&report(device, 1, PushState::Confirmed));
    }
    eventually("the refusal", || said().contains(no).then_some(()));
    let last = DEVICES.iter().find(|device| !of_first.contains(device)).expect("one wave more");
    assert!(!is_told(last), "nobody is told of what the broker does not have");
    assert!(!said().contains("is away") && said().matches(no).count() == 1, "{}", said());

    // Once it is allowed the push goes on; hints that are refused are told, and devices look by themselves.
    broker.follow_acl(&operator_without("topic write linnet/+/config/desired"));
    eventually("the hints", || said().contains("`topic write linnet/+/config/desired`").then_some(()));
    for device in DEVICES {
        broker.report(&report(device, 1, PushState::Confirmed));
    }
    let ended = push.wait_with_output().expect("it ended");
    assert!(ended.status.success(), "{}", said());
    assert!(said().contains("the devices were not told to look: the MQTT broker at "), "{}", said());
}

#[test]
fn a_request_that_the_broker_does_not_take_is_refused_at_once_and_not_waited_for() {
    let Some(broker) = Mosquitto::start_with_acl("a_request_that_the_broker", "user guest\ntopic read linnet/#\n")
    else {
        return;
    };
    let bench = Bench::new();
    assert!(broker.client("mosquitto_pub", &["-r", "-t", "linnet/kitchen/status", "-m", "online"]).status.success());
    let mut linnet = Command::new(bench.dir.path().join("linnet"));
    linnet.args(["translate", "--from", "en", "--to", "de", "Good morning!", "--device", "kitchen"]);
    let asked = linnet.args(["--mqtt", &broker.url().replace("//", "//guest@")]).output().expect("linnet runs");
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(asked.status.code() == Some(77) && said.contains("not authorised (reason code 0x87)"), "{asked:?}");
    assert!(said.contains("`topic write linnet/+/request/#`"), "{said}");
}
