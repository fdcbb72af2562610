//! Bounds of what is fetched and of how long that may take.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::memo::Memo;
use crate::source::Pace;

/// Bounds of a refresh. The defaults leave room for hundreds of generations and for rollouts that name thousands of devices.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest `root.json`, bytes.
    pub root_bytes: u64,
    /// Largest `timestamp.json`, bytes.
    pub timestamp_bytes: u64,
    /// Largest `snapshot.json`, bytes.
    pub snapshot_bytes: u64,
    /// Largest `targets.json`, bytes.
    pub targets_bytes: u64,
    /// Largest `releases.json` or `rollouts.json`, bytes.
    pub delegated_bytes: u64,
    /// Largest generation, bytes.
    pub generation_bytes: u64,
    /// Most new roots that one refresh walks through.
    pub root_updates: u64,
    /// How slow an answer may be.
    pub pace: Pace,
    /// Time for a whole refresh.
    pub refresh: Duration,
    /// Directory for `tough`'s datastore while it works, some kilobytes: in memory where there is such a place, so that no flash is
    /// worn.
    pub scratch: PathBuf,
    /// What was verified before, where one process plays many devices; none on a device.
    pub memo: Option<Arc<Memo>>,
}

impl Default for Limits {
    fn default() -> Self {
        let memory = Path::new("/dev/shm");
        Self {
            root_bytes: 128 << 10,
            timestamp_bytes: 16 << 10,
            snapshot_bytes: 64 << 10,
            targets_bytes: 128 << 10,
            delegated_bytes: 1 << 20,
            generation_bytes: 8 << 20,
            root_updates: 1024,
            pace: Pace::default(),
            refresh: Duration::from_secs(15 * 60),
            scratch: if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() },
            memo: None,
        }
    }
}
