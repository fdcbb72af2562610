//! The operator's half: a directory that holds everything a fleet's devices fetch, and `fleet.json`, which is the operator's own.
//!
//! ```text
//! metadata/1.root.json 2.root.json …           every root, so that a device of any age follows the chain
//! metadata/timestamp.json                      the one file that changes in place, written last
//! metadata/<V>.{snapshot,targets,releases,rollouts}.json   the version that counts and the one before
//! targets/generations/<sha256>.<N>.json        generations
//! files/<sha256>                               files of their packages, by content
//! fleet.json .lock                             the operator's own: settings, where keys are, the push under way
//! ```
//!
//! [`Repository`] reads; [`Editor`] changes, and only one at a time. Both take the time as a number, so that tests and simulations
//! set it.

mod diff;
mod disk;
mod edit;
mod error;
mod export;
mod generations;
mod init;
mod lock;
mod metadata;
mod prune;
mod publish;
mod refresh;
mod role;
mod roll_out;
mod rotate;
mod settings;
mod sign;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use linnet_proto::fleet::{FLEET_WIRE, Index, IndexEntry};

pub use diff::Diff;
pub use disk::{Hook, Step};
pub use edit::Editor;
pub use error::RepositoryError;
pub use init::{Founding, RoleFounding};
pub use lock::Lock;
pub use publish::{Draft, Prepared};
pub use role::Role;
pub use settings::{KEEP_GENERATIONS, Settings};

use metadata::Metadata;

/// Largest settings file that is read, bytes. A push of many devices remembers no device.
const MAX_SETTINGS_BYTES: u64 = 1 << 20;
/// Name of the settings file.
const SETTINGS: &str = "fleet.json";

/// A repository as it stands, read and verified.
#[derive(Debug, Clone)]
pub struct Repository {
    dir: PathBuf,
    settings: Settings,
    metadata: Metadata,
}

impl Repository {
    /// Reads `dir`; signatures, digests and versions are verified as a device would.
    pub fn load(dir: &Path) -> Result<Self, RepositoryError> {
        let path = dir.join(SETTINGS);
        if !path.exists() {
            return Err(RepositoryError::NotARepository { dir: dir.to_owned() });
        }
        let settings = disk::read(&path, MAX_SETTINGS_BYTES)?;
        let fault = |reason: String| RepositoryError::Metadata { path: path.clone(), reason };
        let settings: Settings = serde_json::from_slice(&settings).map_err(|e| fault(e.to_string()))?;
        settings.check().map_err(fault)?;
        Ok(Self { dir: dir.to_owned(), settings, metadata: Metadata::load(dir)? })
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the operator's side remembers.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The fleet's name.
    pub fn fleet(&self) -> &str {
        &self.settings.fleet
    }

    /// Version of a role's metadata.
    pub fn version(&self, role: Role) -> u64 {
        self.metadata.version(role)
    }

    /// When a role's metadata expire, seconds since 1970-01-01 UTC.
    pub fn expires_secs(&self, role: Role) -> u64 {
        self.metadata.expires_secs(role)
    }

    /// The first root, which devices are provisioned with, and the newest one, which is as good.
    pub fn root_path(&self) -> PathBuf {
        self.dir.join("metadata").join(metadata::file_name(Role::Root, self.version(Role::Root)))
    }

    /// Every metadata file that devices may ask for, by name, the timestamp last.
    pub fn metadata_files(&self) -> Result<Vec<(String, Vec<u8>)>, RepositoryError> {
        let dir = self.dir.join("metadata");
        let mut files = Vec::new();
        for name in disk::list(&dir)? {
            if metadata::parse_name(&name).is_some_and(|(role, _)| role != Role::Timestamp) {
                files.push((name.clone(), disk::read(&dir.join(name), u64::from(u32::MAX))?));
            }
        }
        files.push((metadata::file_name(Role::Timestamp, 0), self.metadata.timestamp.bytes.clone()));
        Ok(files)
    }
}

/// The index over `files`.
pub fn index(files: &[(String, Vec<u8>)]) -> Index {
    let entry = |(name, bytes): &(String, Vec<u8>)| IndexEntry { name: name.clone(), bytes: bytes.len() as u64 };
    Index { wire: FLEET_WIRE, files: files.iter().map(entry).collect() }
}
