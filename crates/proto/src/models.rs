//! Models that are added to a daemon and removed from it over its Unix socket: `POST /v1/models`, `DELETE /v1/models/{id}`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which model is to be added, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddModel {
    /// Its directory as the daemon sees it, from the root on; empty where the files come with the request.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What its directory is called where its files come with the request: languages and a name are told from it where nothing else tells
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Its name; that of its directory or manifest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Other names that it answers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Type of weights to take where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// Copy its files instead of linking them.
    #[serde(default)]
    pub copy: bool,
    /// Put it in the place of a model of the same name.
    #[serde(default)]
    pub replace: bool,
}

/// A model that was added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AddedModel {
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub dir: String,
    /// `model_type`.
    pub family: String,
    /// What it does.
    pub tasks: Vec<String>,
    /// Type of its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// Bytes of its files.
    pub bytes: u64,
    /// Memory that it takes once loaded, MiB.
    pub memory_mib: u64,
    /// How long it took to load, milliseconds.
    pub load_ms: u64,
    /// How long its canary takes, milliseconds.
    pub canary_ms: u64,
    /// Tokens a second while the canary writes, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_sec: Option<f64>,
}

impl fmt::Display for AddedModel {
    /// A few lines for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dtype = self.dtype.as_deref().map_or(String::new(), |dtype| format!(", {dtype}"));
        let speed = self.tokens_per_sec.map_or(String::new(), |speed| format!(", {speed:.0} tokens/s"));
        let Self { name, family, memory_mib, load_ms, canary_ms, dir, .. } = self;
        writeln!(f, "{name}: a {family} model{dtype} that does {}", self.tasks.join(", "))?;
        let files = self.bytes >> 20;
        writeln!(
            f,
            "  {files} MiB of files, {memory_mib} MiB of memory, loads in {load_ms} ms, canary in {canary_ms} ms{speed}"
        )?;
        writeln!(f, "  in {dir}")
    }
}

/// A model that was removed, as OpenAI tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedModel {
    /// Its name.
    pub id: String,
    /// `model`.
    pub object: String,
    /// True.
    pub deleted: bool,
    /// Where it lay.
    pub dir: String,
}

/// What is taken of a model's directory where its files have to be sent: `linnetd import --files` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFiles {
    /// Paths in the directory, with `/`.
    pub files: Vec<String>,
}
