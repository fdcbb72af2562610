//! Updates that are cut off: by SIGKILL at any moment, by damage on the disk, by a generation that never comes up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::{Daemon, eventually, request};
use crate::operator::{Operator, look, status, wait_for};

/// SIGKILLs of the test; a night's run sets `LINNET_KILLS=500`.
fn kills() -> u32 {
    std::env::var("LINNET_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(25)
}

/// A pseudo-random number below `n`: the test says which moments it takes.
fn next(seed: &mut u64, n: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % n
}

#[test]
fn a_daemon_that_is_killed_at_any_moment_of_any_update_serves_one_whole_generation() {
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let start = || operator.device().in_home(home.path());
    let packages = [operator.package("pushed", "1.0.0"), operator.package("pushed", "2.0.0")];
    let (stop, answered, refused) =
        (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let socket = home.path().join("linnet.sock");
    // Twenty a second; each is answered, refused, or finds nobody: never a broken answer.
    let load = {
        let (stop, answered, refused) = (Arc::clone(&stop), Arc::clone(&answered), Arc::clone(&refused));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let body = br#"{"q":"Guten Morgen, wie geht es Ihnen heute?"}"#;
                let asked = request(&socket, "POST", "/detect", &[("content-type", "application/json")], body);
                match asked {
                    Ok(answer) if answer.status == 200 => {
                        assert_eq!(answer.json()[0]["language"], "de", "{}", answer.text());
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(answer) => {
                        assert!(matches!(answer.status, 429 | 503 | 504), "{} {}", answer.status, answer.text());
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                    // Nobody is there between a kill and the next start.
                    Err(_) => {}
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        })
    };
    let mut seed = 7;
    let mut last = 0;
    let mut daemon = start().start();
    for n in 0..kills() {
        last =
            operator.push(&format!("[limits]\nmax_upload_mib = {}\n", 7 + n % 50), &[packages[n as usize % 2].clone()]);
        look(&daemon);
        std::thread::sleep(Duration::from_millis(next(&mut seed, 4000)));
        daemon.kill();
        daemon = start().start();
        let serving = status(&daemon)["generation"]["generation"].as_u64().expect("a number");
        assert!(serving <= last, "generation {serving} of {last}");
    }
    wait_for(&daemon, last);
    stop.store(true, Ordering::Relaxed);
    load.join().expect("every answer was whole");
    assert!(answered.load(Ordering::Relaxed) > 0);
    println!(
        "{} kills: {} answered, {} refused",
        kills(),
        answered.load(Ordering::Relaxed),
        refused.load(Ordering::Relaxed)
    );
    // Nothing of all those generations is left but the one that serves.
    let fleet = daemon.home().join("state/fleet");
    let count = |dir: &str| std::fs::read_dir(fleet.join(dir)).expect("readable").count();
    eventually("what nobody needs has gone", || (count("generations") == 1 && count("partial") == 0).then_some(()));
    assert!(count("files") <= 8, "{} files", count("files"));
}

#[test]
fn a_generation_that_never_comes_up_is_taken_back_after_three_starts() {
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let daemon = operator.device().in_home(home.path()).start();
    let good = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, good);
    // A trial that lasts longer than the daemon lives.
    drop(daemon);
    let long = |text: &str| text.replace("trial_secs = 2", "trial_secs = 600");
    let device = || {
        let source = operator.repository();
        let config = format!("models = [{:?}]\n{}", operator.bundled(), operator.fleet(&source.display().to_string()));
        Daemon::builder().models_of_the_configuration().in_home(home.path()).config(long(&config))
    };
    let daemon = device().start();
    let bad = operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    eventually("it is on trial", || {
        look(&daemon);
        (status(&daemon)["generation"]["generation"] == bad).then_some(())
    });
    daemon.kill();
    for _ in 0..2 {
        let daemon = device().start();
        assert_eq!(status(&daemon)["generation"]["generation"], bad);
        daemon.kill();
    }
    let daemon = device().start();
    let serving = status(&daemon);
    assert_eq!(serving["generation"]["generation"], good);
    assert_eq!(serving["limits"]["max_upload_bytes"], 7 << 20);
    daemon.wait_for_log("started 3 times without being confirmed");
}

#[test]
fn garbage_in_what_is_kept_leads_back_to_the_last_good_generation_and_is_told() {
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let device = || operator.device().in_home(home.path());
    let daemon = device().start();
    let good = operator.push("[limits]\nmax_upload_mib = 7\n", &[operator.package("pushed", "1.0.0")]);
    wait_for(&daemon, good);
    drop(daemon);
    let fleet = home.path().join("state/fleet");
    for file in ["update.json", "trust.json", "refused.json"] {
        std::fs::write(fleet.join(file), b"{garbage").expect("written");
        let daemon = device().start();
        assert_eq!(status(&daemon)["generation"]["generation"], good, "{file}");
        eventually("it is told", || {
            daemon.log().lines().any(|line| line.contains("ERROR") && line.contains("update")).then_some(())
        });
        drop(daemon);
    }
    std::fs::remove_file(fleet.join("pointers")).expect("removed");
    let daemon = device().start();
    assert_eq!(status(&daemon)["generation"]["generation"], good, "found by its own mark");
    let next = operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    wait_for(&daemon, next);
}

#[test]
fn a_device_goes_back_to_what_was_shipped_by_hand_and_takes_what_is_newer() {
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let device = || operator.device().in_home(home.path());
    let daemon = device().start();
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, one);
    let recover = || {
        let mut command = crate::harness::daemon::linnetd();
        command.args(["recover", "--factory", "--config"]).arg(home.path().join("linnet.toml"));
        let output = command.arg("--state").arg(home.path().join("state")).output().expect("it runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (done, said) = recover();
    assert!(!done && said.contains("another linnetd"), "{said}");
    assert!(daemon.stop().status.success());
    let (done, said) = recover();
    assert!(done && said.contains("generation 1 is left"), "{said}");
    let daemon = device().start();
    crate::operator::look_twice(&daemon);
    assert_eq!(status(&daemon)["generation"]["generation"], 0, "it is not taken again by itself");
    let two = operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    wait_for(&daemon, two);
}
