//! Changing a repository.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::path::Path;

use linnet_proto::fleet::{RELEASES, ROLLOUTS};
use tough::schema::{RoleKeys, RoleType, Root, Snapshot, Targets, Timestamp};

use super::disk::{Disk, Hook};
use super::lock::Lock;
use super::metadata::{Held, Metadata, file_name, list_file};
use super::sign::{KeyId, open, sign};
use super::{Repository, RepositoryError, Role, SETTINGS};
use crate::keys::{Keys, Locator};
use crate::waves::PushRecord;

/// Version of the TUF specification that metadata name.
pub(super) const SPEC_VERSION: &str = "1.0.0";
/// No honest repository comes to this many versions of a role: one that stands above it was pushed there by a thief, and begins
/// anew when the key changes.
const FAST_FORWARD: u64 = 1 << 32;

/// The lock of whoever pushes.
const PUSH_LOCK: &str = ".push.lock";

/// Holds the repository's lock, and changes it. Dropping it lets the next one in.
#[derive(Debug)]
pub struct Editor {
    pub(super) repository: Repository,
    pub(super) disk: Disk,
    _lock: Lock,
}

impl Deref for Editor {
    type Target = Repository;

    fn deref(&self) -> &Repository {
        &self.repository
    }
}

/// What a change replaces; the rest stays, but for snapshot and timestamp, which every change signs anew.
#[derive(Default)]
pub(super) struct Change {
    pub(super) root: Option<Root>,
    pub(super) targets: Option<Targets>,
    pub(super) releases: Option<Targets>,
    pub(super) rollouts: Option<Targets>,
    /// Roles whose keys change with it.
    pub(super) rotated: BTreeSet<Role>,
}

impl Editor {
    /// Takes the lock for `operation` (a word for the next one to be told), and reads the repository.
    pub fn begin(dir: &Path, operation: &str) -> Result<Self, RepositoryError> {
        if !dir.join(SETTINGS).exists() {
            return Err(RepositoryError::NotARepository { dir: dir.to_owned() });
        }
        let lock = Lock::take(dir, ".lock", operation)?;
        // Read under the lock: whoever held it before may just have changed it.
        Ok(Self { repository: Repository::load(dir)?, disk: Disk::default(), _lock: lock })
    }

    pub(super) fn new(repository: Repository, disk: Disk, lock: Lock) -> Self {
        Self { repository, disk, _lock: lock }
    }

    /// Keeps a second push out while one runs; the repository itself stays open for pauses and refreshes.
    pub fn hold_push(dir: &Path) -> Result<Lock, RepositoryError> {
        Lock::take(dir, PUSH_LOCK, "push")
    }

    /// Whether a push runs. It may begin, or end, right after.
    pub fn is_pushing(dir: &Path) -> bool {
        Lock::is_held(dir, PUSH_LOCK)
    }

    /// Calls `hook` before each step of writing; an error from it stops there, as a power cut would.
    pub fn hook(&mut self, hook: Hook) {
        self.disk.hook(hook);
    }

    /// What it has read and changed.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Remembers how far a push has come.
    pub fn record_push(&mut self, push: Option<PushRecord>) -> Result<(), RepositoryError> {
        self.repository.settings.push = push;
        self.write_settings()
    }

    pub(super) fn write_settings(&mut self) -> Result<(), RepositoryError> {
        let settings = serde_json::to_vec_pretty(&self.repository.settings)
            .map_err(|e| RepositoryError::Setting(format!("{SETTINGS}: {e}")))?;
        self.disk.put(&self.repository.dir.join(SETTINGS), &settings)
    }

    pub(super) fn locators(&self, role: Role) -> Vec<Locator> {
        self.repository.settings.keys.get(&role).cloned().unwrap_or_default()
    }

    /// The version after the current one of `role`.
    pub(super) fn next_version(&self, role: Role, rotated: &BTreeSet<Role>) -> Result<NonZeroU64, RepositoryError> {
        let version = self.version(role);
        // A device forgets the versions of snapshot and timestamp, and with them those of delegated roles, when the root's keys
        // for these change.
        let forgotten = rotated.contains(&Role::Snapshot) && rotated.contains(&Role::Timestamp);
        if version >= FAST_FORWARD {
            return match forgotten {
                true => Ok(NonZeroU64::MIN),
                false => Err(RepositoryError::Exhausted { role, version }),
            };
        }
        Ok(NonZeroU64::MIN.saturating_add(version))
    }

    /// Signs and writes a change. Files with a version in their names come first, all of them forced to the disk; then the timestamp
    /// takes its name, which is the moment from which readers see the change.
    pub(super) fn commit(&mut self, change: Change, keys: &mut Keys<'_>, now_secs: u64) -> Result<(), RepositoryError> {
        let old = self.repository.metadata.clone();
        let rotated = &change.rotated;
        let mut new: Vec<(Role, u64, Vec<u8>)> = Vec::new();

        let old_root = &old.root.signed.signed;
        let root = match change.root {
            None => old.root.clone(),
            Some(root) => {
                let hand = open(keys, &self.locators(Role::Root));
                let (before, now) = (root_keys(old_root, Role::Root), root_keys(&root, Role::Root));
                let own = root.clone();
                let held = sign(Role::Root, root, &hand, &[&before.keyids, &now.keyids], |signed| {
                    old_root.verify_role(signed).map_err(|e| format!("by the keys until now: {e}"))?;
                    own.verify_role(signed).map_err(|e| e.to_string())
                })?;
                new.push((Role::Root, held.signed.signed.version.get(), held.bytes.clone()));
                held
            }
        };
        let new_root = &root.signed.signed;
        // Where the old keys of a role sign beside the new ones, its file is good under both roots, and no reader is ever between.
        let mut good_before = true;

        let resigned = new_root.verify_role(&old.targets.signed).is_err();
        let targets = match change.targets.or_else(|| resigned.then(|| old.targets.signed.signed.clone())) {
            None => old.targets.clone(),
            Some(mut targets) => {
                targets.version = self.next_version(Role::Targets, rotated)?;
                targets.expires = self.expires(Role::Targets, now_secs);
                let hand = open(keys, &self.locators(Role::Targets));
                let (before, now) = (root_keys(old_root, Role::Targets), root_keys(new_root, Role::Targets));
                let held = sign(Role::Targets, targets, &hand, &[&before.keyids, &now.keyids], |signed| {
                    new_root.verify_role(signed).map_err(|e| e.to_string())
                })?;
                good_before &= old_root.verify_role(&held.signed).is_ok();
                new.push((Role::Targets, held.signed.signed.version.get(), held.bytes.clone()));
                held
            }
        };
        let delegations = targets.signed.signed.delegations.clone().unwrap_or_default();
        let mut delegated = |role: Role, name: &str, changed: Option<Targets>, held: &Held<Targets>| {
            let Some(mut signed) = changed else { return Ok(held.clone()) };
            signed.version = self.next_version(role, rotated)?;
            signed.expires = self.expires(role, now_secs);
            let hand = open(keys, &self.locators(role));
            let ids: Vec<KeyId> = delegations
                .roles
                .iter()
                .filter(|role| role.name == name)
                .flat_map(|role| role.keyids.clone())
                .collect();
            let held = sign(role, signed, &hand, &[&ids], |signed| {
                delegations.verify_role(signed, name).map_err(|e| e.to_string())
            })?;
            new.push((role, held.signed.signed.version.get(), held.bytes.clone()));
            Ok::<_, RepositoryError>(held)
        };
        let releases = delegated(Role::Releases, RELEASES, change.releases, &old.releases)?;
        let rollouts = delegated(Role::Rollouts, ROLLOUTS, change.rollouts, &old.rollouts)?;

        let version = self.next_version(Role::Snapshot, rotated)?;
        let mut snapshot = Snapshot::new(SPEC_VERSION.into(), version, self.expires(Role::Snapshot, now_secs));
        for (name, held) in [("targets.json", &targets), ("releases.json", &releases), ("rollouts.json", &rollouts)] {
            snapshot.meta.insert(name.into(), list_file(held.signed.signed.version, &held.bytes));
        }
        let (before, now) = (root_keys(old_root, Role::Snapshot), root_keys(new_root, Role::Snapshot));
        let hand = open(keys, &self.locators(Role::Snapshot));
        let snapshot = sign(Role::Snapshot, snapshot, &hand, &[&before.keyids, &now.keyids], |signed| {
            new_root.verify_role(signed).map_err(|e| e.to_string())
        })?;
        good_before &= old_root.verify_role(&snapshot.signed).is_ok();
        new.push((Role::Snapshot, version.get(), snapshot.bytes.clone()));

        let version = self.next_version(Role::Timestamp, rotated)?;
        let mut timestamp = Timestamp::new(SPEC_VERSION.into(), version, self.expires(Role::Timestamp, now_secs));
        timestamp.meta.insert("snapshot.json".into(), list_file(snapshot.signed.signed.version, &snapshot.bytes));
        let (before, now) = (root_keys(old_root, Role::Timestamp), root_keys(new_root, Role::Timestamp));
        let hand = open(keys, &self.locators(Role::Timestamp));
        let timestamp = sign(Role::Timestamp, timestamp, &hand, &[&before.keyids, &now.keyids], |signed| {
            new_root.verify_role(signed).map_err(|e| e.to_string())
        })?;
        good_before &= old_root.verify_role(&timestamp.signed).is_ok();
        new.push((Role::Timestamp, version.get(), timestamp.bytes.clone()));

        // A new root counts from the moment it has its name. Good under both roots, the rest goes before it; else after it.
        new.sort_by_key(|(role, ..)| match role {
            Role::Root => {
                if good_before {
                    2
                } else {
                    0
                }
            }
            Role::Timestamp => 1,
            _ => {
                if good_before {
                    0
                } else {
                    -1
                }
            }
        });
        let dir = self.repository.dir.join("metadata");
        for (role, version, bytes) in &new {
            self.disk.put(&dir.join(file_name(*role, *version)), bytes)?;
        }
        self.repository.metadata = Metadata { root, timestamp, snapshot, targets, releases, rollouts };
        self.prune(&old)
    }

    pub(super) fn expires(&self, role: Role, now_secs: u64) -> tough_time::Time {
        tough_time::at(self.repository.settings.expires(role, now_secs))
    }
}

/// The keys that a root names for a top-level role.
pub(super) fn root_keys(root: &Root, role: Role) -> RoleKeys {
    let kind = match role {
        Role::Root => RoleType::Root,
        Role::Snapshot => RoleType::Snapshot,
        Role::Timestamp => RoleType::Timestamp,
        Role::Targets | Role::Releases | Role::Rollouts => RoleType::Targets,
    };
    root.roles.get(&kind).cloned().unwrap_or(RoleKeys {
        keyids: Vec::new(),
        threshold: NonZeroU64::MIN,
        _extra: Default::default(),
    })
}

/// The form that TUF's times have.
pub(super) mod tough_time {
    pub(in super::super) type Time = jiff::Timestamp;

    /// Seconds since 1970-01-01 UTC; the far future where they are too many.
    pub(in super::super) fn at(secs: u64) -> Time {
        i64::try_from(secs).ok().and_then(|secs| Time::from_second(secs).ok()).unwrap_or(Time::MAX)
    }
}
