//! The one value that a device keeps.

use std::fmt;

use linnet_proto::fleet::{RELEASES, ROLLOUTS};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tough::schema::{Delegations, Role, Root, Signed, Snapshot, Targets, Timestamp};

use super::File;
use super::contents::Contents;
use super::error::TrustError;
use super::fetcher::{SNAPSHOT, TARGETS, TIMESTAMP};
use super::shape;
use crate::clock::{Clock, KnownTime};

/// Largest persisted value that is read, bytes: every metadata file at its bound, escaped as JSON text.
const MAX_PERSISTED_BYTES: usize = 8 << 20;

/// Trusted metadata and the latest known time.
///
/// A value of this type has been verified: whoever reads one back (by [`Trusted::parse`] or serde) has every signature checked
/// again under its own root, so that what a disk has damaged is an error and never a lost protection. Clones share the bytes.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Persisted", into = "Persisted")]
pub struct Trusted {
    root: File,
    metadata: Option<Metadata>,
    known: KnownTime,
    root_terms: Terms,
}

/// What one load has accepted: a root and what it vouches for.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    pub(super) root: File,
    pub(super) root_terms: Terms,
    pub(super) metadata: Metadata,
}

/// The five files that were accepted together.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    pub(super) timestamp: File,
    pub(super) snapshot: File,
    pub(super) targets: File,
    pub(super) releases: File,
    pub(super) rollouts: File,
    /// Version and expiry of each, in this order.
    pub(super) terms: [Terms; 5],
}

/// What is asked of a role again and again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) version: u64,
    pub(super) expires_secs: u64,
}

impl Metadata {
    fn files(&self) -> [&File; 5] {
        [&self.timestamp, &self.snapshot, &self.targets, &self.releases, &self.rollouts]
    }
}

impl Terms {
    pub(super) fn of(role: &impl Role) -> Self {
        let expires_secs = u64::try_from(role.expires().as_second()).unwrap_or_default();
        Self { version: role.version().get(), expires_secs }
    }
}

/// Versions of the trusted metadata; 0 for what was never fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Versions {
    /// Of `root`.
    pub root: u64,
    /// Of `timestamp`.
    pub timestamp: u64,
    /// Of `snapshot`.
    pub snapshot: u64,
    /// Of `targets`.
    pub targets: u64,
    /// Of `releases`.
    pub releases: u64,
    /// Of `rollouts`.
    pub rollouts: u64,
}

impl std::fmt::Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { root, timestamp, snapshot, targets, releases, rollouts } = self;
        write!(
            f,
            "root: {root}, timestamp: {timestamp}, snapshot: {snapshot}, targets: {targets}, releases: {releases}, rollouts: {rollouts}"
        )
    }
}

impl Versions {
    /// As a report has them: root, timestamp, snapshot.
    pub fn reported(&self) -> [u64; 3] {
        [self.root, self.timestamp, self.snapshot]
    }
}

/// The form on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Persisted {
    root: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<PersistedMetadata>,
    known_time: KnownTime,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PersistedMetadata {
    timestamp: String,
    snapshot: String,
    targets: String,
    releases: String,
    rollouts: String,
}

impl Trusted {
    /// The beginning: a root that came with the device, and no known time.
    pub fn begin(root: &[u8]) -> Result<Self, TrustError> {
        let signed: Signed<Root> = serde_json::from_slice(root).map_err(|e| TrustError::garbage("root.json", e))?;
        shape::require_root(&signed.signed)?;
        signed.signed.verify_role(&signed).map_err(|e| TrustError::garbage("root.json", e))?;
        let root_terms = Terms::of(&signed.signed);
        let known = KnownTime { secs: 0, root_version: root_terms.version };
        Ok(Self { root: File::copy_from_slice(root), metadata: None, known, root_terms })
    }

    /// Reads the persisted form and verifies all of it.
    pub fn parse(persisted: &[u8]) -> Result<Self, TrustError> {
        if persisted.len() > MAX_PERSISTED_BYTES {
            return Err(TrustError::OwnState(format!(
                "{} bytes; at most {MAX_PERSISTED_BYTES} are read",
                persisted.len()
            )));
        }
        let persisted: Persisted =
            serde_json::from_slice(persisted).map_err(|e| TrustError::OwnState(e.to_string()))?;
        Self::try_from(persisted)
    }

    /// The persisted form, JSON.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and numbers only.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Versions of everything that is trusted.
    pub fn versions(&self) -> Versions {
        let metadata = self.metadata.as_ref().map(|metadata| metadata.terms.map(|terms| terms.version));
        let [timestamp, snapshot, targets, releases, rollouts] = metadata.unwrap_or_default();
        Versions { root: self.root_terms.version, timestamp, snapshot, targets, releases, rollouts }
    }

    /// When the first of the trusted metadata expires, seconds since 1970-01-01 UTC.
    pub fn expires_secs(&self) -> u64 {
        self.each_term().map(|(_, terms)| terms.expires_secs).min().unwrap_or_default()
    }

    /// The latest known time.
    pub fn known_time(&self) -> KnownTime {
        self.known
    }

    /// Raises the latest known time by a synchronised clock, for a device that has refreshed nothing for long; how often that is
    /// worth a write is the caller's.
    pub fn note_time(&mut self, clock: &dyn Clock) {
        self.known = self.known.noted(clock);
    }

    /// What the trusted metadata say, whether or not they have expired: empty before the first refresh.
    pub fn contents(&self) -> Result<Contents, TrustError> {
        let Some(metadata) = &self.metadata else { return Ok(Contents::default()) };
        let releases: Signed<Targets> = read(&metadata.releases, RELEASES)?;
        let rollouts: Signed<Targets> = read(&metadata.rollouts, ROLLOUTS)?;
        Contents::read(&releases.signed, &rollouts.signed)
    }

    /// What a load over this value has accepted, with this value's time mark.
    pub(super) fn accepting(&self, Accepted { root, root_terms, metadata }: Accepted) -> Self {
        Self { root, metadata: Some(metadata), known: self.known.under_root(root_terms.version), root_terms }
    }

    /// This value with the time noted, unless any role has expired.
    pub(super) fn judged(&self, clock: &dyn Clock) -> Result<Self, TrustError> {
        let judged_secs = self.known.judge(clock);
        for (role, Terms { expires_secs, .. }) in self.each_term() {
            if expires_secs <= judged_secs {
                return Err(TrustError::Expired { role, expires_secs, judged_secs });
            }
        }
        Ok(Self { known: self.known.noted(clock), ..self.clone() })
    }

    fn each_term(&self) -> impl Iterator<Item = (&'static str, Terms)> {
        let roles = ["timestamp", "snapshot", "targets", RELEASES, ROLLOUTS];
        let metadata = self.metadata.iter().flat_map(move |metadata| roles.into_iter().zip(metadata.terms));
        std::iter::once(("root", self.root_terms)).chain(metadata)
    }

    pub(super) fn root(&self) -> &File {
        &self.root
    }

    pub(super) fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    pub(super) fn next_root_name(&self) -> String {
        format!("{}.root.json", self.root_terms.version + 1)
    }

    /// Whether both trust the same bytes, whatever time they know.
    pub(super) fn has_files_of(&self, other: &Self) -> bool {
        self.root == other.root
            && self.metadata.as_ref().map(Metadata::files) == other.metadata.as_ref().map(Metadata::files)
    }

    pub(super) fn has_timestamp(&self, timestamp: &File) -> bool {
        self.metadata.as_ref().is_some_and(|metadata| metadata.timestamp == timestamp)
    }
}

impl PartialEq for Trusted {
    fn eq(&self, other: &Self) -> bool {
        self.known == other.known && self.has_files_of(other)
    }
}

impl Eq for Trusted {}

impl fmt::Debug for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trusted").field("versions", &self.versions()).field("known", &self.known).finish()
    }
}

impl From<Trusted> for Persisted {
    fn from(trusted: Trusted) -> Self {
        // What JSON was read from is UTF-8.
        let text = |file: &File| String::from_utf8_lossy(file).into_owned();
        Self {
            root: text(&trusted.root),
            metadata: trusted.metadata.map(|metadata| PersistedMetadata {
                timestamp: text(&metadata.timestamp),
                snapshot: text(&metadata.snapshot),
                targets: text(&metadata.targets),
                releases: text(&metadata.releases),
                rollouts: text(&metadata.rollouts),
            }),
            known_time: trusted.known,
        }
    }
}

impl TryFrom<Persisted> for Trusted {
    type Error = TrustError;

    fn try_from(persisted: Persisted) -> Result<Self, TrustError> {
        let own = |e: TrustError| TrustError::OwnState(e.to_string());
        let mut trusted = Self::begin(persisted.root.as_bytes()).map_err(own)?;
        if persisted.known_time.root_version > trusted.root_terms.version {
            return Err(TrustError::OwnState("the known time was noted under a root that is not there".into()));
        }
        trusted.known = persisted.known_time;
        if let Some(metadata) = persisted.metadata {
            trusted.metadata = Some(verify(&trusted.root, metadata).map_err(own)?);
        }
        Ok(trusted)
    }
}

/// Verifies what was kept: every signature, and that the files belong together.
fn verify(root: &File, kept: PersistedMetadata) -> Result<Metadata, TrustError> {
    fn signed<T: Role + DeserializeOwned>(root: &Root, name: &str, text: &str) -> Result<Signed<T>, TrustError> {
        let role: Signed<T> = serde_json::from_str(text).map_err(|e| TrustError::garbage(name, e))?;
        root.verify_role(&role).map_err(|e| TrustError::garbage(name, e))?;
        Ok(role)
    }
    let named = |name: &str, said: Option<u64>, found: u64| match said {
        Some(said) if said == found => Ok(()),
        _ => Err(TrustError::garbage(name, format!("version {found} is not the one that was accepted"))),
    };
    let root: Signed<Root> = read(root, "root.json")?;
    let root = &root.signed;
    let timestamp: Signed<Timestamp> = signed(root, TIMESTAMP, &kept.timestamp)?;
    let snapshot: Signed<Snapshot> = signed(root, SNAPSHOT, &kept.snapshot)?;
    let targets: Signed<Targets> = signed(root, TARGETS, &kept.targets)?;
    let said = timestamp.signed.meta.get(SNAPSHOT).map(|meta| meta.version.get());
    named(SNAPSHOT, said, snapshot.signed.version.get())?;
    let said = |file: &str| snapshot.signed.meta.get(file).map(|meta| meta.version.get());
    named(TARGETS, said(TARGETS), targets.signed.version.get())?;
    let delegations = shape::require_delegations(&targets.signed)?;
    let leaf = |name: &str, text: &str| -> Result<Signed<Targets>, TrustError> {
        let role = leaf(delegations, name, text)?;
        named(name, said(&format!("{name}.json")), role.signed.version.get())?;
        Ok(role)
    };
    let releases = leaf(RELEASES, &kept.releases)?;
    let rollouts = leaf(ROLLOUTS, &kept.rollouts)?;
    Contents::read(&releases.signed, &rollouts.signed)?;
    let terms = [
        Terms::of(&timestamp.signed),
        Terms::of(&snapshot.signed),
        Terms::of(&targets.signed),
        Terms::of(&releases.signed),
        Terms::of(&rollouts.signed),
    ];
    Ok(Metadata {
        timestamp: kept.timestamp.into(),
        snapshot: kept.snapshot.into(),
        targets: kept.targets.into(),
        releases: kept.releases.into(),
        rollouts: kept.rollouts.into(),
        terms,
    })
}

fn leaf(delegations: &Delegations, name: &str, text: &str) -> Result<Signed<Targets>, TrustError> {
    let role: Signed<Targets> = serde_json::from_str(text).map_err(|e| TrustError::garbage(name, e))?;
    delegations.verify_role(&role, name).map_err(|e| TrustError::garbage(name, e))?;
    shape::require_leaf(name, &role.signed)?;
    Ok(role)
}

/// Reads metadata that were read before.
pub(super) fn read<T: DeserializeOwned>(file: &File, name: &str) -> Result<T, TrustError> {
    serde_json::from_slice(file).map_err(|e| TrustError::garbage(name, e))
}
