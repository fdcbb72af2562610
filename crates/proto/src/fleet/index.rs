//! What metadata exists, so that "not there" is an answer over MQTT and not a time-out.

use serde::{Deserialize, Serialize};

/// Retained on `linnet/fleet/<fleet>/index`. Unsigned: a wrong one delays a device and can do nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// [`super::FLEET_WIRE`].
    pub wire: u32,
    /// Metadata files by name (`timestamp.json`, `3.root.json`, `7.snapshot.json`, …).
    pub files: Vec<IndexEntry>,
}

/// One metadata file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// Its name in the repository's `metadata` directory.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
}

impl Index {
    /// Largest payload of an index that is read, bytes.
    pub const MAX_BYTES: usize = 256 << 10;

    /// Reads one; a fault is one sentence.
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        if payload.len() > Self::MAX_BYTES {
            return Err(format!("an index of {} bytes; at most {} are read", payload.len(), Self::MAX_BYTES));
        }
        let index: Self = serde_json::from_slice(payload).map_err(|e| format!("the index cannot be read: {e}"))?;
        if index.wire != super::FLEET_WIRE {
            return Err(format!("the index is written in form {}, form {} is read", index.wire, super::FLEET_WIRE));
        }
        Ok(index)
    }

    /// Whether there is such a file.
    pub fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name == name)
    }
}
