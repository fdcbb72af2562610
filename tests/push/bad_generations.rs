//! Generations that are well signed and bad: each is refused by one sentence that names what is wrong, and nothing of it is left.

use linnet_proto::fleet::{FLEET_WIRE, Generation, PackageFile, PackageList, Selector};
use serde_json::{Value, json};

use crate::forge::{Forge, rollout, sha256};
use crate::harness::{Daemon, eventually};
use crate::operator::{
    FLEET, Operator, answers, change_manifest, half_written, look_twice, now, served_version, status, wait_for,
    wait_for_log,
};

/// A generation of configuration alone.
fn generation(number: u64) -> Generation {
    Generation {
        wire: FLEET_WIRE,
        fleet: FLEET.into(),
        number,
        content_of: None,
        created_secs: now(),
        expires_secs: now() + 86_400,
        min_linnetd: None,
        max_linnetd: None,
        config_version: 1,
        config: "[limits]\nmax_upload_mib = 9\n".into(),
        packages: Vec::new(),
        audience: Selector::default(),
        notes: String::new(),
    }
}

/// A package that lists files of these paths.
fn package(paths: &[&str]) -> Value {
    let file = |path: &&str| PackageFile { path: (*path).into(), bytes: 3, sha256: sha256(b"abc") };
    let list = PackageList { name: "pushed".into(), version: "1.0.0".into(), files: paths.iter().map(file).collect() };
    json!([list])
}

/// Serves the first generation, and nothing of another is there.
fn is_unharmed(daemon: &Daemon, what: &str) {
    answers(daemon);
    let said = status(daemon);
    assert_eq!(said["generation"], json!({ "generation": 1, "confirmed": true }), "{what}");
    assert_eq!(said["limits"]["max_upload_bytes"], 7 << 20, "{what}");
    eventually(&format!("{what}: nothing is left"), || half_written(daemon).is_empty().then_some(()));
}

#[test]
fn a_document_that_breaks_a_rule_is_refused_before_anything_is_fetched() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, one);
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 12] = [
        ("form 9", |g| g["wire"] = 9.into()),
        ("`command`", |g| g["command"] = "rm".into()),
        ("it is for fleet `office`", |g| g["fleet"] = "office".into()),
        ("holds generation 99", |g| g["number"] = 99.into()),
        ("a generation's number begins at 1", |g| g["number"] = 0.into()),
        ("it expired", |g| g["expires_secs"] = 1.into()),
        ("it was released for other devices", |g| g["audience"] = json!({ "groups": ["lab"] })),
        ("`../x` is no path inside a package", |g| g["packages"] = package(&["manifest.toml", "../x"])),
        ("`/etc/passwd` is no path inside a package", |g| g["packages"] = package(&["manifest.toml", "/etc/passwd"])),
        ("it lists no manifest.toml", |g| g["packages"] = package(&["weights.bin"])),
        ("package `../pushed`", |g| {
            g["packages"] = package(&["manifest.toml"]);
            g["packages"][0]["name"] = "../pushed".into();
        }),
        ("no SHA-256", |g| {
            g["packages"] = package(&["manifest.toml"]);
            g["packages"][0]["files"][0]["sha256"] = "../../../pointers".into();
        }),
    ];
    for (number, (says, change)) in (2..).zip(cases) {
        let mut document = serde_json::to_value(generation(number)).expect("JSON");
        change(&mut document);
        let mut forge = Forge::of(&operator.repository(), &operator.keys());
        forge.generation(number, document.to_string().as_bytes()).write();
        wait_for_log(&daemon, &format!("generation {number} is rejected"));
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains(&format!("generation {number} is rejected"))).expect("said");
        assert!(line.contains(says), "{says}: {line}");
        is_unharmed(&daemon, says);
    }
    // No JSON at all, and a part of some.
    let whole = serde_json::to_vec(&generation(90)).expect("JSON");
    for (number, document) in [(90, &whole[..whole.len() / 2]), (91, b"\0garbage")] {
        Forge::of(&operator.repository(), &operator.keys()).generation(number, document).write();
        wait_for_log(&daemon, &format!("generation {number} is rejected: the generation cannot be read"));
        is_unharmed(&daemon, "garbage");
    }
    Forge::of(&operator.repository(), &operator.keys())
        .generation(92, &serde_json::to_vec(&generation(92)).expect("JSON"))
        .write();
    wait_for(&daemon, 92);
}

#[test]
fn what_cannot_be_understood_of_a_release_or_a_rollout_opens_nothing() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, one);
    let document = serde_json::to_vec(&generation(2)).expect("JSON");
    let opened = |number, change: fn(&mut Value)| {
        let mut rollout = serde_json::to_value(rollout(number, &sha256(&document))).expect("JSON");
        change(&mut rollout);
        rollout
    };
    let forge = || Forge::of(&operator.repository(), &operator.keys());
    let is_not_begun = |what: &str| {
        wait_for_log(&daemon, &format!("timestamp: {},", forge().version("timestamp")));
        look_twice(&daemon);
        is_unharmed(&daemon, what);
        assert!(!daemon.log().contains("generation 2 is"), "{what}: {}", daemon.log());
    };
    for (what, custom) in [
        ("a release of a newer form", json!({ "wire": 9 })),
        ("a release with an unknown field", json!({ "wire": FLEET_WIRE, "only_on_fridays": true })),
    ] {
        forge().generation(2, &document).release(2, &document, custom).write();
        is_not_begun(what);
    }
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 5] = [
        ("a rollout of a newer form", |r| r["wire"] = 9.into()),
        ("a rollout with an unknown field", |r| r["only_on_fridays"] = true.into()),
        ("a rollout of another fleet", |r| r["fleet"] = "office".into()),
        ("a rollout of another generation", |r| r["number"] = 3.into()),
        ("a rollout of more buckets than there are", |r| r["opened"] = u32::MAX.into()),
    ];
    for (what, change) in changes {
        forge().generation(2, &document).rollout(2, opened(2, change)).write();
        is_not_begun(what);
    }
    // The number that serves with other content, and one below it: numbers rise.
    forge().generation(one, &document).write();
    is_not_begun("the same number again");
    forge().generation(2, &document).write();
    wait_for(&daemon, 2);
    forge().generation(one, &document).write();
    look_twice(&daemon);
    assert_eq!(status(&daemon)["generation"]["generation"], 2, "an older one");
}

#[test]
fn a_package_that_is_not_whole_never_serves() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[operator.package("pushed", "1.0.0")]);
    wait_for(&daemon, one);
    let is_still_whole = |what: &str| {
        is_unharmed(&daemon, what);
        assert_eq!(served_version(&daemon, "pushed").as_deref(), Some("1.0.0"), "{what}");
    };
    let mut number = one;
    let mut forge = |change: &dyn Fn(&mut Generation)| {
        number += 1;
        let list = |path: &str, content: &[u8]| {
            std::fs::write(operator.repository().join("files").join(sha256(content)), content).expect("written");
            PackageFile { path: path.into(), bytes: content.len() as u64, sha256: sha256(content) }
        };
        let package = operator.package("pushed", "2.0.0");
        let files = ["manifest.toml", "README.md", "config.json", "weights.bin"];
        let files = files.map(|path| list(path, &std::fs::read(package.join(path)).expect("readable")));
        let mut generation = generation(number);
        generation.packages = vec![PackageList { name: "pushed".into(), version: "2.0.0".into(), files: files.into() }];
        change(&mut generation);
        let document = serde_json::to_vec(&generation).expect("JSON");
        Forge::of(&operator.repository(), &operator.keys()).generation(number, &document).write();
        number
    };
    // The manifest names a file that the generation does not bring, and one of another length than it has.
    for (what, says, change) in [
        (
            "a missing file",
            "weights.bin",
            &(|g: &mut Generation| drop(g.packages[0].files.pop())) as &dyn Fn(&mut Generation),
        ),
        ("a file under another's name", "config.json", &|g: &mut Generation| {
            let (readme, config) = (g.packages[0].files[1].clone(), &mut g.packages[0].files[2]);
            *config = PackageFile { path: config.path.clone(), ..readme };
        }),
    ] {
        let number = forge(change);
        wait_for_log(&daemon, &format!("generation {number} is rejected"));
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains(&format!("generation {number} is rejected"))).expect("said");
        assert!(line.contains(says), "{what}: {line}");
        is_still_whole(what);
    }
    // One that no source has is waited for: it may be on its way. Something newer takes its place.
    let waits = forge(&|g| {
        g.packages[0].files.push(PackageFile { path: "extra".into(), bytes: 3, sha256: sha256(b"nobody has it") });
    });
    wait_for_log(&daemon, &format!("generation {waits} is verified: "));
    assert!(daemon.log().contains("there is no such file"), "{}", daemon.log());
    answers(&daemon);
    let next = forge(&|_| {});
    wait_for(&daemon, next);
    assert_eq!(served_version(&daemon, "pushed").as_deref(), Some("2.0.0"));
}

#[test]
fn what_this_hardware_cannot_serve_is_refused_with_both_numbers() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, one);
    let huge = operator.package("pushed", "1.0.0");
    change_manifest(&huge, |text| text.replace("memory_mib = 1\n", "memory_mib = 90000000\n"));
    for config in ["", "preload = [\"all\"]\n"] {
        let number = operator.push(config, std::slice::from_ref(&huge));
        wait_for_log(&daemon, &format!("generation {number} is rejected"));
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains(&format!("generation {number} is rejected"))).expect("said");
        assert!(line.contains("MiB") && line.contains("it needs 9"), "{line}");
        is_unharmed(&daemon, config);
    }
}
