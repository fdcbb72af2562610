//! What the child says.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Code, ProvedModel};

/// One line of the child's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// The configuration is right.
    Config,
    /// A model is about to be loaded.
    Begins {
        /// Its package.
        dir: PathBuf,
    },
    /// It answered its canary.
    Proved {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// How long that took, milliseconds.
        ms: u64,
        /// The most memory that the process had taken by then, MiB.
        peak_mib: u64,
    },
    /// Something did not prove itself; nothing comes after it.
    Failed {
        /// What kind of fault.
        code: Code,
        /// One sentence; lines of a configuration's faults.
        reason: String,
    },
    /// All is said.
    Done {
        /// Models that proved themselves.
        models: usize,
    },
}

impl Line {
    pub(super) fn proved(&self) -> Option<ProvedModel> {
        match self {
            Self::Proved { name, version, ms, peak_mib } => {
                Some(ProvedModel { name: name.clone(), version: version.clone(), ms: *ms, peak_mib: *peak_mib })
            }
            _ => None,
        }
    }
}

/// The lines that can be understood, up to the first that cannot, and its number from 1.
pub(super) fn read(output: &[u8]) -> (Vec<Line>, Option<usize>) {
    let mut lines = Vec::new();
    for (number, text) in output.split(|byte| *byte == b'\n').enumerate().filter(|(_, text)| !text.is_empty()) {
        match serde_json::from_slice(text) {
            Ok(line) => lines.push(line),
            Err(_) => return (lines, Some(number + 1)),
        }
    }
    (lines, None)
}
