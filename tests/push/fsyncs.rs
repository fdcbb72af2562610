//! The real disk under the real daemon: what is to outlive a power cut is synced by the kernel, and in the right order. (What is lost where it is not is
//! tried out by the tests beside the code, over a disk that forgets.)

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::client::linnet_under;
use crate::harness::strace::{Call, Did, Names, each_write_is_synced, judge};
use crate::harness::{Daemon, Mosquitto, Strace};
use crate::operator::{Operator, served_version, wait_for};
use crate::provisioning::wait_for_name;
use crate::serving::Serving;

#[test]
fn whatever_gets_its_place_in_the_store_was_synced_before_and_its_name_is_synced_after() {
    let test = "whatever_gets_its_place_in_the_store_was_synced_before_and_its_name_is_synced_after";
    let Some(strace) = Strace::find(test) else { return };
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let daemon = operator.device().in_home(home.path()).under(strace.words()).start();
    let pid = daemon.pid();
    // More than one step of a download, which is made durable within it.
    let one = operator.push("", &[operator.large_package("pushed", "1.0.0", 3 << 20)]);
    wait_for(&daemon, one);
    let two = operator.push("[limits]\nmax_upload_mib = 7\n", &[operator.package("pushed", "2.0.0")]);
    wait_for(&daemon, two);
    assert_eq!(served_version(&daemon, "pushed").as_deref(), Some("2.0.0"));
    assert!(daemon.stop().status.success());

    let calls = strace.calls(pid);
    let fleet = home.path().join("state/fleet");
    let judged = judge(&calls, &fleet, Names::AtOnce);
    assert_eq!(judged.faults, Vec::<String>::new());
    // It has seen what it is about: each kind of file, at its place.
    for place in ["pointers", "update.json", "trust.json", "instance", "generations/1", "generations/2"] {
        assert!(judged.placed.contains(Path::new(place)), "{place} in {:?}", judged.placed);
    }
    let files = judged.placed.iter().filter(|place| place.starts_with("files")).count();
    assert!(files >= 8, "documents, and files of two packages: {:?}", judged.placed);
    let synced = |path: &Path| calls.iter().any(|call| call.what == Did::Sync(path.to_owned()));
    assert!(synced(&fleet) && synced(&fleet.join("files")) && synced(&fleet.join("partial")));
    assert!(synced(&home.path().join("state")), "the store's own name");
}

#[test]
fn a_name_and_the_ledger_that_gives_it_are_synced_before_anybody_relies_on_them() {
    let test = "a_name_and_the_ledger_that_gives_it_are_synced_before_anybody_relies_on_them";
    let (Some(creating), Some(serving), Some(asking)) = (Strace::find(test), Strace::find(test), Strace::find(test))
    else {
        return;
    };
    let Some(broker) = Mosquitto::start(test) else { return };
    let operator = Operator::new();
    let (claim, keys) = (operator.path("claim.toml"), operator.keys());
    let mut create = linnet_under(&creating.words());
    create.args(["fleet", "claim", "create", "--mqtt", &broker.url(), "-o"]).arg(&claim);
    create.arg("--dir").arg(operator.repository()).arg("--keys").arg(&keys).stdout(Stdio::null());
    let mut create = create.spawn().expect("linnet runs");
    assert!(create.wait().expect("it ends").success());
    let serve = Serving::start_under(&serving.words(), &operator, &broker.url(), &[]);
    let config = format!("models = [{:?}]\n[fleet]\nclaim = {claim:?}\nclock = \"always\"\n", operator.bundled());
    let home = tempfile::tempdir().expect("a directory");
    let device = Daemon::builder().models_of_the_configuration().in_home(home.path()).config(config);
    let device = device.under(asking.words()).start();
    wait_for_name(&device, "home-0001");
    let (serve_pid, device_pid) = (serve.pid(), device.pid());
    drop(serve);
    assert!(device.stop().status.success());

    let calls = creating.calls(create.id());
    let judged = judge(&calls, &keys, Names::AtOnce);
    assert_eq!(judged.faults, Vec::<String>::new());
    assert!(judged.placed.contains(Path::new("claims.pem")), "{:?}", judged.placed);
    // The ledger's own line and the claim's, each with its line feed apart.
    let ledger = keys.join("claims.jsonl");
    assert_eq!(each_write_is_synced(&calls, &ledger), (4, Vec::new()));
    // One for the key's name, and one for the ledger's, before there is a line in it.
    let first = calls.iter().position(|call| call.what == Did::Write(ledger.clone())).expect("it is written");
    let names = calls[..first].iter().filter(|call| call.what == Did::Sync(keys.clone())).count();
    assert_eq!(names, 2, "{calls:?}");
    assert_eq!(each_write_is_synced(&serving.calls(serve_pid), &ledger), (2, Vec::new()), "one grant");

    let identity = home.path().join("state/identity");
    let judged = judge(&asking.calls(device_pid), &identity, Names::AtOnce);
    assert_eq!(judged.faults, Vec::<String>::new());
    for file in ["key.pem", "root.json", "granted.toml"] {
        assert!(judged.placed.contains(Path::new(file)), "{file} in {:?}", judged.placed);
    }
}

/// A log as a careful program makes it.
fn careful() -> Vec<Call> {
    let path = |name: &str| PathBuf::from("/state").join(name);
    [
        Did::MakeDir(path("fleet")),
        Did::Sync(path("")),
        Did::Write(path("fleet/.new-pointers")),
        Did::Sync(path("fleet/.new-pointers")),
        Did::Rename(path("fleet/.new-pointers"), path("fleet/pointers")),
        Did::Sync(path("fleet")),
        Did::MakeDir(path("fleet/.new-1")),
        Did::MakeDir(path("fleet/.new-1/packages")),
        Did::Link(path("fleet/pointers"), path("fleet/.new-1/packages/a")),
        Did::Sync(path("fleet/.new-1/packages")),
        Did::Sync(path("fleet/.new-1")),
        Did::Rename(path("fleet/.new-1"), path("fleet/1")),
        Did::Sync(path("fleet")),
    ]
    .map(|what| Call { thread: 1, what })
    .into()
}

#[test]
fn each_sync_that_is_left_out_breaks_a_rule() {
    let below = Path::new("/state/fleet");
    assert_eq!(judge(&careful(), below, Names::AtOnce).faults, Vec::<String>::new());
    let syncs: Vec<_> = (0..careful().len()).filter(|n| matches!(careful()[*n].what, Did::Sync(_))).collect();
    assert_eq!(syncs.len(), 6);
    for left_out in syncs {
        let mut calls = careful();
        let call = calls.remove(left_out);
        assert_ne!(judge(&calls, below, Names::AtOnce).faults, Vec::<String>::new(), "{call:?} is left out");
    }
}
