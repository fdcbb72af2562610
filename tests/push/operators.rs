//! Two operators at one repository: the second is refused, the first is named, and nothing is overwritten.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use linnet_fleet::repository::{Editor, Repository};

use crate::client::{linnet, said};
use crate::operator::Operator;

/// Every file of the repository with its content, but for the locks.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(content(&path));
        } else if !path.to_string_lossy().ends_with(".lock") {
            let bytes = std::fs::read(&path).expect("readable");
            files.insert(path, bytes);
        }
    }
    files
}

#[test]
fn of_two_operators_who_publish_at_once_the_second_is_refused_and_nothing_is_overwritten() {
    let operator = Operator::new();
    let (dir, config) = (operator.repository(), operator.path("fleet.toml"));
    std::fs::write(&config, "[limits]\nmax_upload_mib = 7\n").expect("written");
    let publish = || {
        let mut command = linnet();
        command.args(["fleet", "publish", "--yes", "--config"]).arg(&config).arg("--dir").arg(&dir);
        command
    };
    // While the first one is at it.
    let first = Editor::begin(&dir, "publish").expect("the lock");
    let before = content(&dir);
    let second = said(publish());
    assert!(!second.ok && second.text.contains("`publish` of ") && second.text.contains("process "), "{}", second.text);
    assert!(content(&dir) == before, "what the first one has is as it was");
    drop(first);

    // And when they begin in the same moment: whoever succeeds has a number of his own.
    let running: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn({
                let command = publish();
                || said(command)
            })
        })
        .collect();
    let ended: Vec<_> = running.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    let published = ended.iter().filter(|said| said.ok).count() as u64;
    assert!(published >= 1);
    for refused in ended.iter().filter(|said| !said.ok) {
        assert!(refused.text.contains("`publish` of "), "{}", refused.text);
    }
    let repository = Repository::load(&dir).expect("whole");
    assert_eq!(repository.newest(), published);
    for number in 1..=published {
        assert_eq!(repository.generation(number).expect("whole").number, number);
    }
}

#[test]
fn of_two_pushes_at_once_the_second_is_refused_before_it_speaks_to_anybody() {
    let operator = Operator::new();
    operator.publish("[limits]\nmax_upload_mib = 7\n", &[]);
    let dir = operator.repository();
    let _first = Editor::hold_push(&dir).expect("the lock");
    let before = content(&dir);
    let mut push = linnet();
    // Nobody listens there: it is not even tried.
    push.args(["fleet", "push", "--to", "all", "--mqtt", "mqtt://127.0.0.1:1", "--dir"]).arg(&dir);
    let second = said(push);
    assert!(!second.ok && second.text.contains("`push` of ") && second.text.contains("process "), "{}", second.text);
    assert!(content(&dir) == before, "what the first one signs is as it was");
}
