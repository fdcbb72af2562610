//! That a golden notices: one tensor of weights scaled by 1.05, and one layer without its mask, are too far from the reference.

use std::path::Path;

use serde_json::Value;

use super::runs::run;
use super::{families, json};
use crate::engine::tract::edit::{drop_mask, scale_weights};

/// Copies a directory with all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("creates");
    for entry in std::fs::read_dir(from).expect("reads").filter_map(Result::ok) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copies");
        }
    }
}

/// Whether the golden's f32 run fails once the file of `role` is changed; `None` where `change` finds nothing to change.
fn is_noticed(dir: &Path, golden: &Value, role: &str, change: impl Fn(&Path) -> bool) -> Option<bool> {
    let own = golden["runs"].as_array()?.iter().find(|run| run["dtype"] == "f32")?;
    let wrong = tempfile::tempdir().expect("temporary directory");
    copy(dir, wrong.path());
    if !change(&wrong.path().join(own["files"][role].as_str()?)) {
        return None;
    }
    let outcome = run(wrong.path(), golden, own, &json(&dir.join("config.json")))?;
    Some(outcome.and_then(|outcome| outcome.within("f32")).is_err())
}

#[test]
fn a_golden_notices_changed_weights_and_a_dropped_mask() {
    for (family, role) in [("llama", "decoder"), ("gpt2", "decoder"), ("marian", "encoder"), ("bert", "model")] {
        let dir = families().join(family);
        let golden = json(&dir.join("golden.json"));
        assert_eq!(is_noticed(&dir, &golden, role, |_| true), Some(false), "{family}: unchanged");
        let noticed: Vec<bool> =
            (0..).map_while(|number| is_noticed(&dir, &golden, role, |onnx| scale_weights(onnx, number))).collect();
        // One may be a table of whose rows the golden reads few.
        let missed = noticed.iter().filter(|noticed| !**noticed).count();
        assert!(
            noticed.len() >= 8 && missed <= 1,
            "{family}: {missed} of {} changed weights were missed",
            noticed.len()
        );
        let mask = is_noticed(&dir, &golden, role, drop_mask);
        // Where every position counts, an encoder's mask adds nothing.
        assert!(mask == Some(true) || role != "decoder", "{family}: a dropped mask was missed");
    }
}
