//! The metadata on the disk, read and verified by the rules that devices have. Only expiry is not judged: what has expired must be
//! readable, or it could never be signed again.

use std::path::{Path, PathBuf};

use linnet_proto::fleet::{RELEASES, ROLLOUTS};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tough::schema::{Delegations, Metafile, Root, Signed, Snapshot, Targets, Timestamp};

use super::{RepositoryError, Role, disk};

/// Largest metadata file that is read, bytes.
const MAX_METADATA_BYTES: u64 = 4 << 20;
/// Most root versions that are followed.
const MAX_ROOTS: u64 = 1024;

/// Metadata with the bytes that their digest is taken over.
#[derive(Debug, Clone)]
pub(super) struct Held<T> {
    pub(super) signed: Signed<T>,
    pub(super) bytes: Vec<u8>,
}

/// One consistent set.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    pub(super) root: Held<Root>,
    pub(super) timestamp: Held<Timestamp>,
    pub(super) snapshot: Held<Snapshot>,
    pub(super) targets: Held<Targets>,
    pub(super) releases: Held<Targets>,
    pub(super) rollouts: Held<Targets>,
}

/// Name of a metadata file.
pub(super) fn file_name(role: Role, version: u64) -> String {
    match role {
        Role::Timestamp => "timestamp.json".into(),
        role => format!("{version}.{role}.json"),
    }
}

/// The role and version that a file's name tells; `timestamp.json` has version 0.
pub(super) fn parse_name(name: &str) -> Option<(Role, u64)> {
    if name == "timestamp.json" {
        return Some((Role::Timestamp, 0));
    }
    let (version, role) = name.strip_suffix(".json")?.split_once('.')?;
    let role = role.parse().ok().filter(|role| *role != Role::Timestamp)?;
    Some((role, version.parse().ok().filter(|n: &u64| n.to_string() == version)?))
}

fn fault(path: &Path, reason: impl ToString) -> RepositoryError {
    RepositoryError::Metadata { path: path.to_owned(), reason: reason.to_string() }
}

pub(super) fn hold<T: DeserializeOwned>(path: &Path, bytes: Vec<u8>) -> Result<Held<T>, RepositoryError> {
    let signed = serde_json::from_slice(&bytes).map_err(|e| fault(path, format!("no metadata: {e}")))?;
    Ok(Held { signed, bytes })
}

impl Metadata {
    pub(super) fn load(dir: &Path) -> Result<Self, RepositoryError> {
        let dir = dir.join("metadata");
        let roots = Self::roots(&dir)?;
        let (newest, before) = match roots.as_slice() {
            [.., before, newest] => (newest, Some(before)),
            [newest] => (newest, None),
            [] => return Err(RepositoryError::NotARepository { dir: dir.parent().unwrap_or(&dir).to_owned() }),
        };
        let path = dir.join("timestamp.json");
        let timestamp: Held<Timestamp> = hold(&path, disk::read(&path, MAX_METADATA_BYTES)?)?;
        // A rotation whose old keys were lost is cut off between the new root and what it signs for: what the root before signed for
        // is read then, and the next change signs it by the new keys.
        let root = std::iter::once(newest)
            .chain(before)
            .find(|root| root.signed.signed.verify_role(&timestamp.signed).is_ok())
            .ok_or_else(|| fault(&path, "its signatures are not those of the root's keys"))?;

        let (path, bytes) = listed(&dir, Role::Snapshot, timestamp.signed.signed.meta.get("snapshot.json"), &path)?;
        let snapshot: Held<Snapshot> = hold(&path, bytes)?;
        root.signed.signed.verify_role(&snapshot.signed).map_err(|e| fault(&path, e))?;

        let at = |role: Role| listed(&dir, role, snapshot.signed.signed.meta.get(&format!("{role}.json")), &path);
        let (targets_path, bytes) = at(Role::Targets)?;
        let targets: Held<Targets> = hold(&targets_path, bytes)?;
        root.signed.signed.verify_role(&targets.signed).map_err(|e| fault(&targets_path, e))?;
        let delegations =
            targets.signed.signed.delegations.as_ref().ok_or_else(|| fault(&targets_path, "it delegates to nobody"))?;
        let delegated = |role: Role, name: &str| -> Result<Held<Targets>, RepositoryError> {
            let (path, bytes) = at(role)?;
            let held: Held<Targets> = hold(&path, bytes)?;
            delegations.verify_role(&held.signed, name).map_err(|e| fault(&path, e))?;
            Ok(held)
        };
        let (releases, rollouts) = (delegated(Role::Releases, RELEASES)?, delegated(Role::Rollouts, ROLLOUTS)?);
        Ok(Self { root: newest.clone(), timestamp, snapshot, targets, releases, rollouts })
    }

    /// The chain of roots, each signed by the one before and by itself.
    fn roots(dir: &Path) -> Result<Vec<Held<Root>>, RepositoryError> {
        let mut roots: Vec<Held<Root>> = Vec::new();
        for version in 1..=MAX_ROOTS {
            let path = dir.join(file_name(Role::Root, version));
            if !path.exists() {
                break;
            }
            let root: Held<Root> = hold(&path, disk::read(&path, MAX_METADATA_BYTES)?)?;
            let by = roots.last().unwrap_or(&root);
            by.signed.signed.verify_role(&root.signed).map_err(|e| fault(&path, e))?;
            root.signed.signed.verify_role(&root.signed).map_err(|e| fault(&path, e))?;
            if root.signed.signed.version.get() != version {
                return Err(fault(&path, format!("it says that it has version {}", root.signed.signed.version)));
            }
            roots.push(root);
        }
        Ok(roots)
    }

    pub(super) fn version(&self, role: Role) -> u64 {
        let version = match role {
            Role::Root => self.root.signed.signed.version,
            Role::Targets => self.targets.signed.signed.version,
            Role::Releases => self.releases.signed.signed.version,
            Role::Rollouts => self.rollouts.signed.signed.version,
            Role::Snapshot => self.snapshot.signed.signed.version,
            Role::Timestamp => self.timestamp.signed.signed.version,
        };
        version.get()
    }

    /// Seconds since 1970-01-01 UTC.
    pub(super) fn expires_secs(&self, role: Role) -> u64 {
        let expires = match role {
            Role::Root => self.root.signed.signed.expires,
            Role::Targets => self.targets.signed.signed.expires,
            Role::Releases => self.releases.signed.signed.expires,
            Role::Rollouts => self.rollouts.signed.signed.expires,
            Role::Snapshot => self.snapshot.signed.signed.expires,
            Role::Timestamp => self.timestamp.signed.signed.expires,
        };
        u64::try_from(expires.as_second()).unwrap_or_default()
    }

    pub(super) fn delegations(&self) -> Delegations {
        self.targets.signed.signed.delegations.clone().unwrap_or_default()
    }
}

/// A metadata file as another one lists it: version, length and digest must agree.
fn listed(dir: &Path, role: Role, meta: Option<&Metafile>, by: &Path) -> Result<(PathBuf, Vec<u8>), RepositoryError> {
    let meta = meta.ok_or_else(|| fault(by, format!("it does not list {role}.json")))?;
    let path = dir.join(file_name(role, meta.version.get()));
    let bytes = disk::read(&path, MAX_METADATA_BYTES)?;
    let length = meta.length.is_none_or(|length| length == bytes.len() as u64);
    let digest = meta.hashes.as_ref().is_none_or(|hashes| *hashes.sha256 == *Sha256::digest(&bytes).as_slice());
    if !length || !digest {
        return Err(fault(&path, format!("it is not the file that {} lists", by.display())));
    }
    Ok((path, bytes))
}

/// What lists `bytes` of `version`.
pub(super) fn list_file(version: std::num::NonZeroU64, bytes: &[u8]) -> Metafile {
    Metafile {
        length: Some(bytes.len() as u64),
        hashes: Some(tough::schema::Hashes {
            sha256: Sha256::digest(bytes).to_vec().into(),
            _extra: Default::default(),
        }),
        version,
        _extra: Default::default(),
    }
}

/// As it is written: without spaces, since every device fetches it.
pub(super) fn to_bytes<T: Serialize>(role: Role, signed: &Signed<T>) -> Result<Vec<u8>, RepositoryError> {
    serde_json::to_vec(signed).map_err(|e| RepositoryError::Sign { role, reason: e.to_string() })
}
