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
    /// What it translates, as `source-target` (`en-de`); any of `languages` to any other when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<String>,
    /// SPDX expression.
    pub license: String,
    /// One line for people.
    pub description: String,
    /// `model_type` of `config.json`: `linnet-ctc`, `marian`, `llama`, …; `raw` for graphs of no known family.
    pub family: String,
    /// Memory that it needs once loaded, MiB, workers' state not counted.
    pub memory_mib: u64,
    /// Size and digest of every other file of the package, by relative path with `/`.
    pub files: BTreeMap<String, FileEntry>,
    /// The weights' type among those that the directory holds (`f32`, `f16`, `int8`, `uint8`, `q4`, `q4f16`), for packages in other
    /// people's layouts; the first that fits when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// The canned request that proves the model on this machine; absent only where a directory has no manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Canary {
    /// A clip and what is heard in it.
    Speech(SpeechCanary),
    /// A prompt of token ids and the ids that a greedy search writes.
    Tokens(TokensCanary),
    /// Inputs that are made from a rule, and what the outputs come to.
    Outputs(OutputsCanary),
}

impl Canary {
    /// How the answer came to be known.
    pub fn status(&self) -> CanaryStatus {
        match self {
            Self::Speech(canary) => canary.status,
            Self::Tokens(canary) => canary.status,
            Self::Outputs(canary) => canary.status,
        }
    }
}

/// A clip and what is heard in it.
///
/// The text must be equal, and the fingerprint (mean over frames of the best unit's log-probability) within
/// `logprob_tolerance`: text alone would not notice small damage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpeechCanary {
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

/// A prompt and what a greedy search writes after it.
///
/// The ids must be equal up to the first one whose margin is below the tolerance, and the fingerprint (mean log-probability
/// of the ids that were written) within `logprob_tolerance`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokensCanary {
    /// How the answer came to be known.
    pub status: CanaryStatus,
    /// The prompt (a sequence-to-sequence model's input); for speech the seed of a made sound, alone.
    pub prompt: Vec<u32>,
    /// What is written.
    pub tokens: Vec<u32>,
    /// Mean log-probability of `tokens`.
    pub logprob: f64,
    /// Largest difference of `logprob` that is accepted.
    pub logprob_tolerance: f64,
}

/// Made inputs and what the outputs come to: the root mean square of each output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputsCanary {
    /// How the answer came to be known.
    pub status: CanaryStatus,
    /// Ids of the input, for encoders; empty for graphs whose inputs are made from their shapes.
    #[serde(default)]
    pub input: Vec<u32>,
    /// Root mean square of each output, by name.
    pub rms: BTreeMap<String, f64>,
    /// Largest relative difference that is accepted.
    pub tolerance: f64,
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
