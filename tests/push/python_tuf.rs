//! A fleet whose operator uses the reference implementation of The Update Framework: `python-tuf` writes the repository, signs it and rotates its keys
//! (`tests/python/fleet_repository.py`), and the real daemon follows it.

use std::process::Command;

use crate::harness::{root, skip};
use crate::operator::{FLEET, Operator, answers, copy_dir, half_written, looking, served_version, status, wait_for};

#[test]
fn a_fleet_of_python_tuf_is_followed_through_generations_and_rotations_of_its_keys() {
    let test = "a_fleet_of_python_tuf_is_followed_through_generations_and_rotations_of_its_keys";
    let Some(python) = std::env::var_os("LINNET_TEST_PYTHON") else {
        return skip(test, "LINNET_TEST_PYTHON names no Python with tuf (tests/python/venv makes one and prints it)");
    };
    // Its keys and its repository are nobody's here: only the packages are.
    let operator = Operator::new();
    let life = operator.path("life");
    let made = Command::new(python)
        .arg(root().join("tests/python/fleet_repository.py"))
        .args([life.as_os_str(), FLEET.as_ref()])
        .args([operator.package("pushed", "1.0.0"), operator.package("pushed", "2.0.0")])
        .output()
        .expect("python runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let shipped = operator.path("shipped-root.json");
    std::fs::copy(life.join("first/metadata/1.root.json"), &shipped).expect("the root");

    let mirror = operator.path("mirror");
    let shows = |state: &str| {
        // A moment without any is one of a stick that is out.
        let _ = std::fs::remove_dir_all(&mirror);
        copy_dir(&life.join(state), &mirror);
    };
    shows("first");
    let daemon = operator.device_of(&mirror.display().to_string()).start();
    let serves = |number: u64, upload_mib: u64, version: Option<&str>| {
        wait_for(&daemon, number);
        assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], upload_mib << 20, "generation {number}");
        assert_eq!(served_version(&daemon, "pushed").as_deref(), version, "generation {number}");
        assert_eq!(half_written(&daemon), Vec::<std::path::PathBuf>::new(), "generation {number}");
    };
    serves(1, 7, Some("1.0.0"));
    shows("second");
    serves(2, 8, Some("2.0.0"));
    shows("third");
    serves(3, 9, None);

    // What it must not follow: one signature of two, and what was before.
    let refuses = |state: &str, codes: &[&str]| {
        let said = daemon.log().len();
        shows(state);
        looking(&daemon, &format!("{state} is refused"), || {
            let told = |code: &&str| daemon.log()[said..].contains(&format!("no newer metadata can be had ({code}: "));
            codes.iter().any(told).then_some(())
        });
        answers(&daemon);
        serves(3, 9, None);
        shows("third");
    };
    refuses("unsigned", &["below_threshold"]);
    refuses("first", &["rollback", "wrong_keys"]);
    refuses("second", &["rollback", "wrong_keys"]);
    let trusted = std::fs::read(daemon.home().join("state/fleet/trust.json")).expect("it trusts something");
    let trusted: serde_json::Value = serde_json::from_slice(&trusted).expect("JSON");
    let third = std::fs::read_to_string(life.join("third/metadata/3.root.json")).expect("readable");
    assert_eq!(trusted["root"].as_str(), Some(third.as_str()));
}
