//! A new generation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use linnet_proto::fleet::{CUSTOM, Generation, PackageFile, PackageList, Release, Selector, rollout_target};
use linnet_proto::manifest::Manifest;
use sha2::{Digest, Sha256};
use tough::schema::Target;

use super::edit::Change;
use super::generations::{named, target_name, target_path};
use super::metadata::list_file;
use super::{Editor, Repository, RepositoryError, disk};
use crate::keys::Keys;

/// Largest manifest that is read, bytes.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// What an operator wants published.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// Configuration in the form of `linnet.toml`.
    pub config: String,
    /// Version of the configuration's form.
    pub config_version: u32,
    /// Directories of model packages, each with its `manifest.toml`.
    pub packages: Vec<PathBuf>,
    /// Takes the newest generation's packages along, but for those whose names are given anew or stand in `without`.
    pub keep_packages: bool,
    /// Names of packages that are not taken along.
    pub without: Vec<String>,
    /// Oldest `linnetd` that can run it.
    pub min_linnetd: Option<String>,
    /// Newest `linnetd` that can run it.
    pub max_linnetd: Option<String>,
    /// Which devices it may ever be rolled out to.
    pub audience: Selector,
    /// After so many seconds no device begins with it.
    pub lifetime_secs: u64,
    /// What changed, for people.
    pub notes: String,
}

/// A generation that is ready to be signed; nothing was written yet.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// As devices will read it.
    pub generation: Generation,
    /// Where its files are, by digest.
    sources: BTreeMap<String, PathBuf>,
}

impl Repository {
    /// Reads the packages, verifies them by their manifests, and puts the next generation together.
    pub fn prepare(&self, draft: &Draft, now_secs: u64) -> Result<Prepared, RepositoryError> {
        let mut sources = BTreeMap::new();
        let mut packages = Vec::new();
        for dir in &draft.packages {
            packages.push(package(dir, &mut sources)?);
        }
        let newest = self.newest();
        if draft.keep_packages && newest > 0 {
            let old = self.generation(newest)?.packages;
            if let Some(name) = draft.without.iter().find(|name| old.iter().all(|package| package.name != **name)) {
                return Err(RepositoryError::Setting(format!(
                    "generation {newest} has no package `{name}` to leave out"
                )));
            }
            let anew: BTreeSet<String> = packages.iter().map(|package| package.name.clone()).collect();
            packages
                .extend(old.into_iter().filter(|old| !anew.contains(&old.name) && !draft.without.contains(&old.name)));
        }
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        self.prepared(draft, packages, sources, None, now_secs)
    }

    /// The content of generation `number` under the next number, for who goes back to it. Its lifetime begins anew.
    pub fn prepare_rollback(&self, number: u64, notes: &str, now_secs: u64) -> Result<Prepared, RepositoryError> {
        let old = self.generation(number)?;
        let draft = Draft {
            config: old.config,
            config_version: old.config_version,
            packages: Vec::new(),
            keep_packages: false,
            without: Vec::new(),
            min_linnetd: old.min_linnetd,
            max_linnetd: old.max_linnetd,
            audience: old.audience,
            lifetime_secs: old.expires_secs.saturating_sub(old.created_secs),
            notes: notes.to_owned(),
        };
        let content_of = old.content_of.unwrap_or(number);
        self.prepared(&draft, old.packages, BTreeMap::new(), Some(content_of), now_secs)
    }

    fn prepared(
        &self,
        draft: &Draft,
        packages: Vec<PackageList>,
        sources: BTreeMap<String, PathBuf>,
        content_of: Option<u64>,
        now_secs: u64,
    ) -> Result<Prepared, RepositoryError> {
        check_versions(draft.min_linnetd.as_deref(), draft.max_linnetd.as_deref())?;
        let number = self.newest().checked_add(1).ok_or_else(|| {
            RepositoryError::Setting("no number is left for a generation; a new fleet must begin".to_owned())
        })?;
        let generation = Generation {
            wire: draft.audience.wire(),
            fleet: self.fleet().to_owned(),
            number,
            content_of,
            created_secs: now_secs,
            expires_secs: now_secs.saturating_add(draft.lifetime_secs),
            min_linnetd: draft.min_linnetd.clone(),
            max_linnetd: draft.max_linnetd.clone(),
            config_version: draft.config_version,
            config: draft.config.clone(),
            packages,
            audience: draft.audience.clone(),
            notes: draft.notes.clone(),
        };
        generation.check()?;
        Ok(Prepared { generation, sources })
    }
}

impl Editor {
    /// Writes the files that are not there yet, signs the generation by `releases`, and drops generations that are too old to be kept.
    /// Which devices begin with it is another matter: [`Editor::roll_out`].
    pub fn publish(&mut self, prepared: &Prepared, keys: &mut Keys<'_>, now_secs: u64) -> Result<(), RepositoryError> {
        let generation = &prepared.generation;
        let number = generation.number;
        if number <= self.newest() {
            return Err(RepositoryError::Setting(format!(
                "generation {number} was published by somebody else meanwhile; prepare it again"
            )));
        }
        for file in generation.files() {
            let path = self.repository.file(&file.sha256);
            // By its name it is complete: it got it after its content was on the disk.
            if path.metadata().is_ok_and(|there| there.len() == file.bytes) {
                continue;
            }
            let from = prepared.sources.get(&file.sha256).ok_or_else(|| RepositoryError::Metadata {
                path: path.clone(),
                reason: "it is gone, though a generation lists it; publish that generation's packages again".into(),
            })?;
            self.disk.put_if(&path, from, &file.sha256)?;
        }
        let bytes = serde_json::to_vec(generation).map_err(|e| RepositoryError::Setting(e.to_string()))?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        self.disk.put(&target_path(&self.repository.dir, number, &sha256), &bytes)?;

        let mut releases = self.repository.metadata.releases.signed.signed.clone();
        let mut listed = target(&bytes);
        // Whom it can be meant for is said in metadata, too, so that nobody else fetches it to find out.
        let release = Release { wire: generation.wire, audience: generation.audience.clone() };
        let release = serde_json::to_value(release).map_err(|e| RepositoryError::Setting(e.to_string()))?;
        listed.custom.insert(CUSTOM.to_owned(), release);
        releases.targets.insert(target_name(number)?, listed);
        let mut rollouts = self.repository.metadata.rollouts.signed.signed.clone();
        let before = rollouts.targets.len();
        let numbers: BTreeSet<u64> = super::generations::numbers(&releases).into_keys().collect();
        let keep = self.repository.settings.keep_generations.max(2);
        for old in numbers.iter().rev().skip(keep) {
            releases.targets.remove(&target_name(*old)?);
            rollouts.targets.remove(&named(rollout_target(*old))?);
        }
        let rollouts = (rollouts.targets.len() != before).then_some(rollouts);
        self.commit(Change { releases: Some(releases), rollouts, ..Change::default() }, keys, now_secs)
    }
}

/// Both are versions, and some version lies between them.
fn check_versions(least: Option<&str>, most: Option<&str>) -> Result<(), RepositoryError> {
    let read = |key: &str, text: Option<&str>| {
        let version = text.map(semver::Version::parse).transpose();
        version.map_err(|e| {
            let text = text.unwrap_or_default().escape_debug();
            RepositoryError::Setting(format!("{key} `{text}` is no version ({e}); write three numbers, such as 0.2.0"))
        })
    };
    match (read("min_linnetd", least)?, read("max_linnetd", most)?) {
        (Some(least), Some(most)) if least > most => Err(RepositoryError::Setting(format!(
            "min_linnetd {least} is above max_linnetd {most}: no linnetd could run the generation"
        ))),
        _ => Ok(()),
    }
}

/// A target as metadata list it.
pub(super) fn target(bytes: &[u8]) -> Target {
    let listed = list_file(std::num::NonZeroU64::MIN, bytes);
    Target {
        length: bytes.len() as u64,
        hashes: listed
            .hashes
            .unwrap_or_else(|| tough::schema::Hashes { sha256: Vec::new().into(), _extra: Default::default() }),
        custom: Default::default(),
        _extra: Default::default(),
    }
}

/// Reads one package, by its manifest: what the manifest does not name is no part of it.
fn package(dir: &Path, sources: &mut BTreeMap<String, PathBuf>) -> Result<PackageList, RepositoryError> {
    let refuse = |reason: String| RepositoryError::Package { dir: dir.to_owned(), reason };
    let path = dir.join("manifest.toml");
    if !path.is_file() {
        return Err(refuse("it has no manifest.toml; `linnet models add` makes a package of an export".into()));
    }
    let text = String::from_utf8(disk::read(&path, MAX_MANIFEST_BYTES)?)
        .map_err(|_| refuse("its manifest.toml is no text".into()))?;
    let manifest: Manifest =
        toml::from_str(&text).map_err(|e| refuse(format!("its manifest.toml: {}", e.message())))?;
    let (bytes, sha256) = digest(&path)?;
    sources.insert(sha256.clone(), path);
    let mut files = vec![PackageFile { path: "manifest.toml".into(), bytes, sha256 }];
    for (name, listed) in &manifest.files {
        let inside = name.split('/').all(|part| !matches!(part, "" | "." | "..")) && !name.contains('\\');
        if !inside {
            return Err(refuse(format!("its manifest names {}, which is no path inside it", name.escape_debug())));
        }
        let path = dir.join(name);
        let (bytes, sha256) = digest(&path)?;
        if bytes != listed.bytes || sha256 != listed.sha256 {
            return Err(refuse(format!(
                "{name} is not the file that its manifest describes; `linnet models verify` says more"
            )));
        }
        sources.insert(sha256.clone(), path);
        files.push(PackageFile { path: name.clone(), bytes, sha256 });
    }
    Ok(PackageList { name: manifest.name, version: manifest.version, files })
}

/// Bytes and SHA-256 of a file.
fn digest(path: &Path) -> Result<(u64, String), RepositoryError> {
    let failed = |source| RepositoryError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            return Ok((bytes, hex::encode(hash.finalize())));
        }
        hash.update(&buffer[..n]);
        bytes += n as u64;
    }
}
