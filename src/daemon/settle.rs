//! What a program that was killed left among the models.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::write::{Settled, settle_abandoned};
use crate::sys::reloads::Reloads;

/// When it is looked again at what somebody is at work on: an import goes on for a moment where its daemon was killed, and holds what it leaves.
const LOOK_AGAIN: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(32),
];

/// Settles it now, before models are looked for: what somebody hid and did not remove is still one. What is held is settled later, by a task.
pub(super) fn settle(dirs: &[PathBuf], reloads: &Reloads) {
    let held: Vec<PathBuf> = dirs.iter().filter(|dir| settle_one(dir).held > 0).cloned().collect();
    if held.is_empty() {
        return;
    }
    let reloads = reloads.clone();
    tokio::spawn(async move {
        for pause in LOOK_AGAIN {
            tokio::time::sleep(pause).await;
            let dirs = held.clone();
            let settled = tokio::task::spawn_blocking(move || dirs.iter().map(|dir| settle_one(dir)).collect());
            let settled: Vec<Settled> = settled.await.unwrap_or_default();
            if settled.iter().any(|settled| settled.put_back > 0) {
                reloads.reload().await;
            }
            if settled.iter().all(|settled| settled.held == 0) {
                return;
            }
        }
    });
}

fn settle_one(dir: &Path) -> Settled {
    let settled = settle_abandoned(dir);
    let Settled { removed, put_back, .. } = settled;
    if removed + put_back > 0 {
        log::info!(
            "{}: {removed} models that were half added or removed are gone, {put_back} whose removal was cut off are back",
            dir.display()
        );
    }
    settled
}
