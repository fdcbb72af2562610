//! Claims, and other files that commands are told to write.

use crate::bench::Bench;

const MQTT: [&str; 2] = ["--mqtt", "mqtt://broker.example"];

fn claim(output: &str) -> Vec<&str> {
    [&["claim", "create"], &MQTT[..], &["-o", output]].concat()
}

#[test]
fn a_claim_whose_file_cannot_be_made_is_none() {
    let bench = Bench::with_a_generation();
    let path = |name: &str| bench.dir.path().join(name).display().to_string();
    let (code, e) = bench.fail(&claim(&path("no such/claim.toml")));
    assert!(code == 73 && e.contains("there is no directory") && e.contains("mkdir -p '"), "{code}: {e}");
    assert!(!bench.dir.path().join("no such").exists());
    // A file where a directory should be, and a directory where a file should be.
    let (code, e) = bench.fail(&claim(&path("linnetd/claim.toml")));
    assert!(code == 73 && e.contains("there is no directory"), "{code}: {e}");
    let (code, e) = bench.fail(&claim(&path("home")));
    assert!(code == 64 && e.contains("is a directory"), "{code}: {e}");
    // Nothing was remembered of them: there is no ledger, and no key.
    assert!(!bench.dir.path().join("home.keys/claims.jsonl").exists());

    let file = path("claim.toml");
    bench.succeed(&claim(&file));
    let (code, e) = bench.fail(&claim(&file));
    assert!(code == 64 && e.contains("is there already"), "{code}: {e}");
    let listed = bench.succeed(&["claim", "list"]);
    assert!(listed.lines().count() == 2 && listed.contains("open"), "{listed}");
    let mut left =
        std::fs::read_dir(bench.dir.path()).expect("a directory").map(|entry| entry.expect("one").file_name());
    assert!(left.all(|name| !name.to_string_lossy().starts_with(".linnet-claim")));
}

#[test]
fn where_a_directory_cannot_be_made_it_is_named_and_nothing_is_left() {
    let bench = Bench::with_a_generation();
    let in_a_file = bench.dir.path().join("linnetd/home").display().to_string();
    let (code, e) = bench.fail(&["export", &in_a_file]);
    assert!(code == 74 && e.contains(&format!("the directory {in_a_file}/")) && e.contains("name one"), "{code}: {e}");
    // No key of a fleet that is none.
    let keys = bench.dir.path().join("other.keys");
    let (code, e) = bench.fail(&["init", &in_a_file, "--name", "other", "--keys", &keys.display().to_string()]);
    assert!(code == 74 && e.contains(&format!("the directory {in_a_file} cannot be made")), "{code}: {e}");
    assert!(!keys.exists());
}
