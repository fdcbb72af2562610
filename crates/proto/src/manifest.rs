//! `manifest.toml` of a model package.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of the manifest format that this build reads and writes.
pub const MANIFEST_VERSION: u32 = 1;

/// What a model package says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub manifest_version: u32,
    /// Name that requests use; `[a-z0-9][a-z0-9._-]{0,63}`.
    pub name: String,
    /// The package's own version, semantic.
    pub version: String,
    /// Other names it answers to (`whisper-1`).
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What it does: `transcribe`, later `translate`, `generate`, …
    pub tasks: Vec<String>,
    /// BCP-47 primary tags.
    pub languages: Vec<String>,
    /// SPDX expression.
    pub license: String,
    /// One line for people.
    pub description: String,
    /// `model_type` of `config.json`: `linnet-ctc`, …
    pub family: String,
    /// Memory that it needs once loaded, MiB, workers' state not counted.
    pub memory_mib: u64,
    /// Size and digest of every other file of the package, by relative path with `/`.
    pub files: BTreeMap<String, FileEntry>,
    /// The canned request that proves the model on this machine.
    pub canary: Canary,
}

/// Size and digest of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// A canned request with the answer that proves that the model works here.
///
/// The text must be equal, and the fingerprint (mean over frames of the best unit's log-probability) within
/// `logprob_tolerance`: text alone would not notice small damage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// How the answer came to be known.
    pub status: CanaryStatus,
    /// Audio file of the package (listed in `files`).
    pub audio: String,
    /// The text that is heard.
    pub text: String,
    /// By which search it is heard.
    #[serde(default)]
    pub search: CanarySearch,
    /// Mean over frames of the best unit's log-probability.
    pub logprob: f64,
    /// Largest difference of `logprob` that is accepted.
    pub logprob_tolerance: f64,
}

/// How a canary's text is searched in what the graph says.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanarySearch {
    /// The likeliest unit of each frame.
    #[default]
    Greedy,
    /// As requests that ask for nothing else are answered: the package's own defaults, language model included.
    Package,
}

/// Where a canary's answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryStatus {
    /// Checked against an independent engine.
    Verified,
    /// Recorded by the engine that it judges: proves only that nothing changed since.
    Recorded,
}
