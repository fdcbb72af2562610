//! Why a repository cannot be read or changed.

use std::path::PathBuf;

use linnet_proto::fleet::GenerationFault;

use super::Role;
use crate::keys::KeyError;

/// One variant for each operation, with path and cause. Whatever failed, what readers see is whole: the old repository or the new one.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A directory cannot be listed.
    #[error("{path} cannot be listed: {source}")]
    List {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A directory cannot be made.
    #[error("the directory {path} cannot be made: {source}; name one that this user may make")]
    MakeDirectory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// What was written cannot be forced to the disk.
    #[error("{path} cannot be forced to the disk: {source}")]
    Sync {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A new file cannot be moved to its name.
    #[error("{path} cannot be put in its place: {source}")]
    Rename {
        /// The name.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// An old file cannot be removed.
    #[error("{path} cannot be removed: {source}")]
    Remove {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Somebody else changes the repository.
    #[error(
        "{dir} is being changed by {holder}; this one, {wanted}, has changed nothing: wait until the other has ended"
    )]
    Locked {
        /// The repository.
        dir: PathBuf,
        /// Who holds it.
        holder: String,
        /// Who wanted it.
        wanted: String,
    },
    /// The lock file cannot be used.
    #[error("the lock {path}: {source}")]
    Lock {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// There is no repository.
    #[error("{dir} holds no repository; `linnet fleet init {dir}` makes one")]
    NotARepository {
        /// The directory.
        dir: PathBuf,
    },
    /// There is something already.
    #[error("{dir} is not empty; a repository is made in a new or empty directory")]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// A metadata file does not read or does not fit the others.
    #[error("{path}: {reason}")]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Metadata cannot be signed as the rules ask.
    #[error("{role} cannot be signed: {reason}")]
    Sign {
        /// The role.
        role: Role,
        /// Which keys lack, and why.
        reason: String,
    },
    /// A key that is needed cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A version number has no successor.
    #[error(
        "{role} has version {version}, after which little is left: a thief has signed it; `linnet fleet rotate-key online` heals it"
    )]
    Exhausted {
        /// The role.
        role: Role,
        /// Its version.
        version: u64,
    },
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// A package cannot be published.
    #[error("the package {dir}: {reason}")]
    Package {
        /// Its directory.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A generation breaks a rule.
    #[error(transparent)]
    Generation(#[from] GenerationFault),
    /// A generation is not there.
    #[error("there is no generation {number} in this repository; {there}")]
    NoGeneration {
        /// Its number.
        number: u64,
        /// Which there are.
        there: String,
    },
    /// A rollout breaks a rule.
    #[error("{0}")]
    Rollout(String),
}
