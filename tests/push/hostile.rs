//! Sources that lie, against the real daemon: what serves goes on, and the log says why nothing else does.

use std::path::Path;

use linnet_fleet::keys::Keys;
use linnet_fleet::repository::{Editor, Role};
use linnet_proto::fleet::Rollout;

use crate::operator::{Operator, copy_dir, look_twice, looking, now, status, wait_for, wait_for_log};

/// A copy of the repository that is put in its place again later.
fn saved(operator: &Operator, name: &str) -> std::path::PathBuf {
    let to = operator.path(name);
    copy_dir(&operator.repository(), &to);
    to
}

fn put_back(operator: &Operator, saved: &Path) {
    std::fs::remove_dir_all(operator.repository()).expect("removed");
    copy_dir(saved, &operator.repository());
}

#[test]
fn metadata_of_yesterday_bring_no_device_back() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, one);
    let yesterday = saved(&operator, "yesterday");
    let two = operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    wait_for(&daemon, two);
    put_back(&operator, &yesterday);
    wait_for_log(&daemon, "rollback");
    assert_eq!(status(&daemon)["generation"]["generation"], two);
}

#[test]
fn metadata_of_another_operator_are_refused() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, one);
    let thief = Operator::new();
    let theirs = thief.push("[limits]\nmax_upload_mib = 1\n", &[]);
    thief.push("[limits]\nmax_upload_mib = 2\n", &[]);
    assert!(theirs >= 1);
    put_back(&operator, &thief.repository());
    wait_for_log(&daemon, "no newer metadata can be had");
    look_twice(&daemon);
    assert_eq!(status(&daemon)["generation"]["generation"], one);
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], 7 << 20);
}

#[test]
fn metadata_that_have_expired_are_not_followed_until_they_are_signed_again() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, one);
    let two = operator.publish("[limits]\nmax_upload_mib = 8\n", &[]);
    {
        let mut editor = Editor::begin(&operator.repository(), "a test").expect("the lock");
        let mut rollout = editor.new_rollout(two, Default::default(), "salt").expect("a rollout");
        rollout.opened = Rollout::BUCKETS;
        // Signed two months ago, as it seems: good for thirty days.
        editor.roll_out(&rollout, &mut Keys::default(), now() - 60 * 86_400).expect("signed");
    }
    wait_for_log(&daemon, "expired");
    assert_eq!(status(&daemon)["generation"]["generation"], one);
    operator.open(two);
    wait_for(&daemon, two);
}

#[test]
fn files_with_other_bytes_than_their_digests_are_given_up() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let number = operator.publish("", &[operator.package("pushed", "1.0.0")]);
    let files = operator.repository().join("files");
    for entry in std::fs::read_dir(&files).expect("readable").flatten() {
        let mut bytes = std::fs::read(entry.path()).expect("readable");
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        std::fs::write(entry.path(), bytes).expect("written");
    }
    operator.open(number);
    wait_for_log(&daemon, &format!("generation {number} is rejected"));
    assert_eq!(status(&daemon)["generation"]["generation"], 0);
    let partial = daemon.home().join("state/fleet/partial");
    crate::harness::eventually("what was fetched has gone", || {
        std::fs::read_dir(&partial).expect("readable").next().is_none().then_some(())
    });
}

#[test]
fn truncated_and_oversize_metadata_are_refused_by_name() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    wait_for(&daemon, one);
    let whole = saved(&operator, "whole");
    let timestamp = operator.repository().join("metadata/timestamp.json");
    let text = std::fs::read(&timestamp).expect("readable");
    for wrong in [text[..text.len() / 2].to_vec(), vec![b' '; 4 << 20], b"{}".to_vec()] {
        std::fs::write(&timestamp, wrong).expect("written");
        let before = daemon.log().len();
        looking(&daemon, "it is told", || {
            daemon.log()[before..].contains("no newer metadata can be had").then_some(())
        });
        put_back(&operator, &whole);
        crate::operator::look_twice(&daemon);
    }
    let two = operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    wait_for(&daemon, two);
}

#[test]
fn a_fleet_follows_its_operator_through_a_rotation_of_every_key() {
    let operator = Operator::new();
    let daemon = operator.device().start();
    let mut upload = 7;
    for role in Role::ALL {
        operator.rotate(&[role]);
        let number = operator.push(&format!("[limits]\nmax_upload_mib = {upload}\n"), &[]);
        wait_for(&daemon, number);
        upload += 1;
    }
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], (upload - 1) << 20);
}
