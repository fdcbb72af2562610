//! Why a package is refused.

use std::path::{Path, PathBuf};

use crate::engine::EngineError;

/// Why a package is refused: one sentence that names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file or directory cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The manifest is not TOML, or breaks a rule.
    #[error("{path}: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Line and rule.
        reason: String,
    },
    /// A listed file is absent.
    #[error("{path}: the manifest lists this file, but it is missing; install the package again")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A listed file has another size: truncated, or replaced.
    #[error("{path}: has {bytes} bytes where the manifest lists {listed}; install the package again")]
    Size {
        /// The file.
        path: PathBuf,
        /// Bytes found.
        bytes: u64,
        /// Bytes listed.
        listed: u64,
    },
    /// A listed file has other content.
    #[error("{path}: its SHA-256 is {found} where the manifest lists {listed}; install the package again")]
    Digest {
        /// The file.
        path: PathBuf,
        /// Digest found.
        found: String,
        /// Digest listed.
        listed: String,
    },
    /// A listed path leads out of the package.
    #[error("{path}: leads out of its package (a symbolic link?); a package may only name its own files")]
    Outside {
        /// The path as listed.
        path: PathBuf,
    },
    /// A file's content breaks a rule, or files disagree with each other.
    #[error("{path}: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// One sentence.
        reason: String,
    },
    /// The machine has not enough memory.
    #[error("the model `{name}` needs {needed_mib} MiB of memory, but only {available_mib} MiB are available")]
    Memory {
        /// The package.
        name: String,
        /// What the manifest asks for.
        needed_mib: u64,
        /// What the system has left.
        available_mib: u64,
    },
    /// Two packages go by one name.
    #[error("{dir}: the name `{name}` is already taken by {first}; rename or remove one of them")]
    Duplicate {
        /// The package that is refused.
        dir: PathBuf,
        /// The name or alias.
        name: String,
        /// The package that has it.
        first: PathBuf,
    },
    /// The graph does not load or run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl PackageError {
    /// The system's error, for one who names the file himself.
    pub(crate) fn into_io(self) -> std::io::Error {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => source,
            other => std::io::Error::other(other),
        }
    }

    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn invalid(path: &Path, reason: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_owned(), reason: reason.into() }
    }
}
