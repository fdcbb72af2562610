//! What an operator does with a repository alone.

use std::path::Path;

use linnet_fleet::repository::{Editor, Repository};

use crate::bench::Bench;

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
    let nobody = bench.dir.path().join("reports.jsonl");
    std::fs::write(&nobody, "").expect("written");
    let status = ["status", "--reports", &nobody.display().to_string()];
    assert!(bench.succeed(&status).contains("\nnotes     louder\n"), "what was published is said why");
    let back = bench.succeed(&["rollback", "--yes"]);
    assert!(back.contains("generation 2 -> 3, which is what 1 was"), "{back}");
    assert!(!bench.succeed(&status).contains("notes"), "nobody said why");
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
