//! A wall clock that jumps, in both directions: what serves goes on, what has expired is told, and a trial is as long as it was meant to be.

use std::path::PathBuf;

use crate::harness::{Daemon, skip};
use crate::operator::{Operator, answers, look, look_twice, looking, status, wait_for, wait_for_log};

/// The library that moves a program's wall clock, where it is installed.
fn faketime() -> Option<PathBuf> {
    let libraries = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    libraries.map(|dir| dir.join("faketime/libfaketimeMT.so.1")).find(|library| library.is_file())
}

#[test]
fn a_clock_that_jumps_forth_and_back_stops_updates_for_as_long_as_it_is_wrong_and_nothing_else() {
    let test = "a_clock_that_jumps_forth_and_back_stops_updates_for_as_long_as_it_is_wrong_and_nothing_else";
    let Some(library) = faketime() else {
        return skip(test, "the library libfaketime (Debian: apt-get install faketime)");
    };
    let operator = Operator::new();
    let file = operator.path("offset");
    let jump = |offset: &str| {
        // As a whole, since it is read again and again.
        let new = operator.path("offset.new");
        std::fs::write(&new, offset).expect("written");
        std::fs::rename(new, &file).expect("renamed");
    };
    jump("+0");
    let config = operator.device_config(&operator.repository().display().to_string());
    let daemon = Daemon::builder()
        .models_of_the_configuration()
        .config(config.replace("trial_secs = 1", "trial_secs = 6"))
        .variable("LD_PRELOAD", library)
        .variable("FAKETIME_TIMESTAMP_FILE", &file)
        .variable("FAKETIME_NO_CACHE", "1")
        .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .variable("NO_FAKE_STAT", "1")
        .start();
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, one);

    jump("+400d");
    let two = operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    wait_for_log(&daemon, "(expired: ");
    look_twice(&daemon);
    answers(&daemon);
    assert_eq!(status(&daemon)["generation"]["generation"], one, "nothing begins by a clock of next year");
    jump("+0");
    wait_for(&daemon, two);

    // Before anything was signed, and before the last time that this device knew.
    jump("-20000d");
    let three = operator.push("[limits]\nmax_upload_mib = 9\n", &[]);
    wait_for(&daemon, three);
    answers(&daemon);
    jump("+0");

    // Forth and back within a trial: it is measured by the other clock.
    let four = operator.push("[limits]\nmax_upload_mib = 10\n", &[]);
    looking(&daemon, "it is on trial", || (status(&daemon)["generation"]["generation"] == four).then_some(()));
    jump("+400d");
    look(&daemon);
    assert_eq!(status(&daemon)["generation"]["confirmed"], false, "a day is no trial");
    jump("-20000d");
    wait_for(&daemon, four);
    jump("+0");
    answers(&daemon);
    assert!(!daemon.log().contains("rolled_back"), "{}", daemon.log());
}
