//! Why the store refuses.

use std::io;
use std::path::PathBuf;

/// Why something cannot be kept: one sentence that names the thing, and what to do where there is something to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It cannot be written, removed or made durable.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// There is not enough room for an update.
    #[error(
        "the update needs {needed} bytes ({missing} to fetch, the rest stays free) in {dir}, but only {free} are free; make room or \
         send fewer models",
        dir = dir.display()
    )]
    NoSpace {
        /// The store's directory.
        dir: PathBuf,
        /// Bytes that must be free.
        needed: u64,
        /// Those of them that the update's files take.
        missing: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// What was fetched is not what was signed.
    #[error("the file fetched for {sha256} is another ({found}); it was thrown away and will be fetched anew")]
    Digest {
        /// Digest that was asked for.
        sha256: String,
        /// SHA-256 of what came, or how many bytes it has where that is wrong already.
        found: String,
    },
    /// A piece does not continue where the file ends.
    #[error("a piece of {sha256} begins at byte {offset}, but {have} bytes are there")]
    Offset {
        /// The file.
        sha256: String,
        /// Where the piece begins.
        offset: u64,
        /// Where it must begin.
        have: u64,
    },
    /// A generation cannot be installed while files of it are missing.
    #[error("generation {generation} lacks {} of its files ({} is the first); fetch them before it is installed", files.len(), files[0])]
    Missing {
        /// Its number.
        generation: u64,
        /// Digests; at least one.
        files: Vec<String>,
    },
    /// A generation that is not whole on the disk cannot serve.
    #[error("generation {generation} is not whole on this disk: {reason}; fetch it again")]
    NotWhole {
        /// Its number.
        generation: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The number is in use for other content.
    #[error("generation {generation} is in use with other content; publish under a higher number")]
    NumberTaken {
        /// The number.
        generation: u64,
    },
    /// Something that is not a SHA-256 in lower-case hexadecimal digits.
    #[error("`{}` is no SHA-256 in lower-case hexadecimal digits", .0.escape_debug())]
    NoDigest(String),
}

impl StoreError {
    /// The stable word for reports.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSpace { .. } => "no_space",
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => "no_space",
            Self::Read { .. } | Self::Write { .. } => "disk",
            Self::Digest { .. } | Self::NoDigest(_) => "digest",
            Self::Offset { .. } => "offset",
            Self::Missing { .. } | Self::NotWhole { .. } => "not_whole",
            Self::NumberTaken { .. } => "number_taken",
        }
    }
}
