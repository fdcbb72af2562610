//! Reading generations and rollouts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use linnet_proto::fleet::{CUSTOM, Generation, Rollout, generation_target};
use sha2::{Digest, Sha256};
use tough::schema::Targets;

use super::{Repository, RepositoryError, disk};

/// Largest generation that is read, bytes: its configuration, and some hundred bytes for each of its files.
const MAX_GENERATION_BYTES: u64 = 8 << 20;

/// The number that a target's name tells.
fn number_of(target: &str, prefix: &str) -> Option<u64> {
    let number = target.strip_prefix(prefix)?.strip_suffix(".json")?;
    number.parse().ok().filter(|n: &u64| n.to_string() == number)
}

/// The generations that `releases` signs for, with the digest of each.
pub(super) fn numbers(releases: &Targets) -> BTreeMap<u64, String> {
    let entry = |(name, target): (&tough::TargetName, &tough::schema::Target)| {
        Some((number_of(name.resolved(), "generations/")?, hex::encode(&target.hashes.sha256[..])))
    };
    releases.targets.iter().filter_map(entry).collect()
}

/// Where a generation lies.
pub(super) fn target_path(dir: &Path, number: u64, sha256: &str) -> PathBuf {
    dir.join("targets/generations").join(format!("{sha256}.{number}.json"))
}

/// Digests of the files that the generation at `path` lists.
pub(super) fn files_of(path: &Path) -> Result<BTreeSet<String>, RepositoryError> {
    let generation = Generation::parse(&disk::read(path, MAX_GENERATION_BYTES)?)?;
    Ok(generation.files().into_iter().map(|file| file.sha256.clone()).collect())
}

impl Repository {
    /// Numbers of the generations that are there, in order, with the digest of each one's file.
    pub fn generations(&self) -> BTreeMap<u64, String> {
        numbers(&self.metadata.releases.signed.signed)
    }

    /// The newest generation's number; 0 where there is none.
    pub fn newest(&self) -> u64 {
        self.generations().keys().next_back().copied().unwrap_or_default()
    }

    /// SHA-256 of a generation's file.
    pub fn generation_sha256(&self, number: u64) -> Result<String, RepositoryError> {
        let there = self.generations();
        there.get(&number).cloned().ok_or_else(|| {
            let numbers: Vec<_> = there.keys().map(u64::to_string).collect();
            let there = match numbers.as_slice() {
                [] => "there is none yet: `linnet fleet publish` makes one".to_owned(),
                numbers => format!("there are {}", numbers.join(", ")),
            };
            RepositoryError::NoGeneration { number, there }
        })
    }

    /// Reads a generation.
    pub fn generation(&self, number: u64) -> Result<Generation, RepositoryError> {
        let sha256 = self.generation_sha256(number)?;
        let path = target_path(&self.dir, number, &sha256);
        let bytes = disk::read(&path, MAX_GENERATION_BYTES)?;
        if hex::encode(Sha256::digest(&bytes)) != sha256 {
            return Err(RepositoryError::Metadata { path, reason: "its content is not what was signed".into() });
        }
        Ok(Generation::parse(&bytes)?)
    }

    /// The rollouts that are signed, by generation.
    pub fn rollouts(&self) -> Result<BTreeMap<u64, Rollout>, RepositoryError> {
        let mut rollouts = BTreeMap::new();
        for (name, target) in &self.metadata.rollouts.signed.signed.targets {
            let Some(number) = number_of(name.resolved(), "rollouts/") else { continue };
            let Some(custom) = target.custom.get(CUSTOM) else { continue };
            let rollout = serde_json::from_value(custom.clone())
                .map_err(|e| RepositoryError::Rollout(format!("{}: {e}", name.resolved())))?;
            rollouts.insert(number, rollout);
        }
        Ok(rollouts)
    }

    /// The rollout of a generation, where one was signed.
    pub fn rollout(&self, number: u64) -> Result<Option<Rollout>, RepositoryError> {
        Ok(self.rollouts()?.remove(&number))
    }

    /// Where a package's file lies.
    pub fn file(&self, sha256: &str) -> PathBuf {
        self.dir.join("files").join(sha256)
    }
}

/// The name of a generation's target, as metadata have it.
pub(super) fn target_name(number: u64) -> Result<tough::TargetName, RepositoryError> {
    named(generation_target(number))
}

pub(super) fn named(name: String) -> Result<tough::TargetName, RepositoryError> {
    tough::TargetName::new(name).map_err(|e| RepositoryError::Rollout(e.to_string()))
}
