//! A disk that is full, and one that nobody may write to: what serves goes on, it is told, and updates go on when there is room again.

use crate::harness::{Daemon, Tmpfs, eventually};
use crate::operator::{Operator, answers, looking, served_version, status, wait_for, wait_for_log};

/// A device whose state lies on `disk`, serving its first generation.
fn device(operator: &Operator, disk: &Tmpfs, home: &std::path::Path) -> Daemon {
    operator.device().in_home(home).state(disk.path().join("state")).start()
}

/// Waits until the log tells of an update's `cause` behind its first `said` bytes.
fn wait_until_told(daemon: &Daemon, said: usize, cause: &str) {
    looking(daemon, &format!("it is told: {cause}"), || {
        daemon.log()[said..].lines().any(|line| line.contains("update: ") && line.contains(cause)).then_some(())
    });
    answers(daemon);
}

#[test]
fn a_generation_that_does_not_fit_is_refused_with_its_numbers_and_leaves_nothing() {
    let test = "a_generation_that_does_not_fit_is_refused_with_its_numbers_and_leaves_nothing";
    let Some(disk) = Tmpfs::mount(test, 24 << 10) else { return };
    let (operator, home) = (Operator::new(), tempfile::tempdir().expect("a directory"));
    let daemon = device(&operator, &disk, home.path());
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, one);
    let large = operator.push("", &[operator.large_package("pushed", "1.0.0", 12 << 20)]);
    wait_for_log(&daemon, &format!("generation {large} is rejected"));
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains(&format!("generation {large} is rejected"))).expect("said");
    assert!(line.contains("bytes are free") || line.contains("are free"), "{line}");
    answers(&daemon);
    assert_eq!(status(&daemon)["generation"]["generation"], one);
    let partial = disk.path().join("state/fleet/partial");
    eventually("nothing is left", || std::fs::read_dir(&partial).expect("readable").next().is_none().then_some(()));
    // What fits is taken.
    let small = operator.push("", &[operator.package("pushed", "1.0.0")]);
    wait_for(&daemon, small);
    assert_eq!(served_version(&daemon, "pushed").as_deref(), Some("1.0.0"));
}

#[test]
fn a_full_disk_and_one_that_is_read_only_stop_updates_and_nothing_else() {
    let test = "a_full_disk_and_one_that_is_read_only_stop_updates_and_nothing_else";
    let Some(disk) = Tmpfs::mount(test, 24 << 10) else { return };
    let (operator, home) = (Operator::new(), tempfile::tempdir().expect("a directory"));
    let daemon = device(&operator, &disk, home.path());
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, one);

    let filler = disk.fill();
    let two = operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    wait_until_told(&daemon, 0, "No space left on device");
    assert_eq!(status(&daemon)["generation"]["generation"], one);
    std::fs::remove_file(filler).expect("the filler");
    wait_for(&daemon, two);

    disk.read_only(true);
    let three = operator.push("[limits]\nmax_upload_mib = 9\n", &[]);
    wait_until_told(&daemon, 0, "Read-only file system");
    assert_eq!(status(&daemon)["generation"]["generation"], two);
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], 8 << 20);
    // It starts on it, too, with what it served.
    let said = daemon.log().len();
    assert!(daemon.stop().status.success());
    let daemon = device(&operator, &disk, home.path());
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], 8 << 20);
    wait_until_told(&daemon, said, "Read-only file system");
    disk.read_only(false);
    drop(daemon);
    let daemon = device(&operator, &disk, home.path());
    wait_for(&daemon, three);
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], 9 << 20);
}
