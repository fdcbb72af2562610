//! What a program that was killed left among the models.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::write::{Settled, remove_abandoned, settle_abandoned};

/// When it is looked again at what somebody was at work on: an import goes on for a moment where its daemon was killed, and holds what it leaves.
const LOOK_AGAIN: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(32),
];

/// Settles it now, before models are looked for: what somebody hid and did not remove is still one. What is held is removed later, by a task, if it
/// is left then.
pub(super) fn settle(dirs: &[PathBuf]) {
    let mut held: Vec<PathBuf> = dirs.iter().flat_map(|dir| settle_one(dir)).collect();
    if held.is_empty() {
        return;
    }
    tokio::spawn(async move {
        for pause in LOOK_AGAIN {
            tokio::time::sleep(pause).await;
            let left = tokio::task::spawn_blocking(move || {
                held.retain(|dir| !is_over(dir));
                held
            });
            match left.await {
                Ok(left) if !left.is_empty() => held = left,
                _ => return,
            }
        }
    });
}

/// What is held in `dir`.
fn settle_one(dir: &Path) -> Vec<PathBuf> {
    let Settled { removed, put_back, held } = settle_abandoned(dir);
    if removed + put_back > 0 {
        log::info!(
            "{}: {removed} models that were half added or removed are gone, {put_back} whose removal was cut off are back",
            dir.display()
        );
    }
    held
}

/// Whether there is nothing to look at any more.
fn is_over(dir: &Path) -> bool {
    match remove_abandoned(dir) {
        Ok(is_gone) => is_gone,
        Err(e) => {
            log::warn!("{}: what was half added stays: {e}", dir.display());
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Instant;

    use rustix::fs::{FlockOperation, flock};

    use super::*;

    #[tokio::test]
    async fn what_a_killed_import_still_holds_at_a_start_goes_when_it_has_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let staged = dir.path().join(".staged-abcdef");
        std::fs::create_dir(&staged).expect("creates");
        std::fs::write(staged.join("model.onnx"), "half").expect("writes");
        let held = File::open(&staged).expect("opens");
        flock(&held, FlockOperation::NonBlockingLockExclusive).expect("nobody holds it");
        settle(&[dir.path().to_owned()]);
        assert!(staged.is_dir(), "somebody is at work on it");
        drop(held);
        let until = Instant::now() + Duration::from_secs(60);
        while staged.exists() {
            assert!(Instant::now() < until, "it is still there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
