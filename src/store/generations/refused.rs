//! The memory of generations that were rejected or rolled back.

use linnet_proto::fleet::Attempt;
use serde::{Deserialize, Serialize};

use super::bounds::MAX_REFUSED;
use super::is_digest;

/// Content of `refused.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refused {
    /// Oldest first.
    refused: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    sha256: String,
    attempt: Attempt,
}

impl Refused {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut read: Self = serde_json::from_slice(bytes).map_err(|e| format!("cannot be read: {e}"))?;
        read.refused.retain(|entry| is_digest(&entry.sha256));
        let too_many = read.refused.len().saturating_sub(MAX_REFUSED);
        read.refused.drain(..too_many);
        Ok(read)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether this attempt, or a later one, was refused.
    pub(super) fn holds(&self, sha256: &str, attempt: Attempt) -> bool {
        self.refused.iter().any(|entry| entry.sha256 == sha256 && entry.attempt >= attempt)
    }

    /// The memory with one more.
    pub(super) fn with(&self, sha256: &str, attempt: Attempt) -> Self {
        let mut more = self.clone();
        more.refused.retain(|entry| entry.sha256 != sha256);
        more.refused.push(Entry { sha256: sha256.to_owned(), attempt });
        let too_many = more.refused.len().saturating_sub(MAX_REFUSED);
        more.refused.drain(..too_many);
        more
    }
}
