//! A new repository.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::path::Path;

use linnet_proto::fleet::{RELEASES, RELEASES_PATHS, ROLLOUTS, ROLLOUTS_PATHS};
use tough::schema::{
    DelegatedRole, Delegations, PathPattern, PathSet, RoleKeys, RoleType, Root, Snapshot, Targets, Timestamp,
};

use super::disk::Disk;
use super::edit::{SPEC_VERSION, tough_time};
use super::lock::Lock;
use super::metadata::{Metadata, file_name, list_file};
use super::settings::Settings;
use super::sign::{KeyId, open, sign};
use super::{Editor, KEEP_GENERATIONS, Repository, RepositoryError, Role};
use crate::keys::{Keys, Locator};

/// How a fleet begins.
#[derive(Debug, Clone)]
pub struct Founding {
    /// The fleet's name: one level of MQTT topics.
    pub fleet: String,
    /// Keys and threshold of each role; every role has at least one key.
    pub roles: BTreeMap<Role, RoleFounding>,
    /// Days that a role's metadata are good for, where they are not [`Role::default_days`].
    pub days: BTreeMap<Role, u32>,
    /// Generations that stay in the repository.
    pub keep_generations: usize,
}

/// Keys of one role.
#[derive(Debug, Clone)]
pub struct RoleFounding {
    /// Where they are.
    pub keys: Vec<Locator>,
    /// How many of them must sign.
    pub threshold: u32,
}

impl Founding {
    /// One key for each role, whose file is `<keys>/<role>.pem`.
    pub fn simple(fleet: &str, keys: &Path) -> Self {
        let one = |role: Role| {
            let keys = vec![Locator::File(keys.join(format!("{role}.pem")))];
            (role, RoleFounding { keys, threshold: 1 })
        };
        Self {
            fleet: fleet.to_owned(),
            roles: Role::ALL.into_iter().map(one).collect(),
            days: BTreeMap::new(),
            keep_generations: KEEP_GENERATIONS,
        }
    }
}

/// The public keys of a role by their ids, and what metadata say of them.
pub(super) struct PublicKeys {
    pub(super) keys: HashMap<KeyId, tough::schema::key::Key>,
    pub(super) role: RoleKeys,
}

/// Opens every key of a role: all must be at hand when they are named for the first time.
pub(super) fn public_keys(
    role: Role,
    founding: &RoleFounding,
    keys: &mut Keys<'_>,
) -> Result<PublicKeys, RepositoryError> {
    let mut public = HashMap::new();
    let mut ids: Vec<KeyId> = Vec::new();
    for locator in &founding.keys {
        let key = keys.get(locator)?.public().clone();
        let id = key.key_id().map_err(|e| RepositoryError::Sign { role, reason: e.to_string() })?;
        if public.insert(id.clone(), key).is_some() {
            return Err(RepositoryError::Setting(format!(
                "{role}: two of its keys are the same, the second is {locator}"
            )));
        }
        ids.push(id);
    }
    let threshold = NonZeroU64::new(u64::from(founding.threshold)).filter(|n| n.get() <= ids.len() as u64);
    let threshold = threshold.ok_or_else(|| {
        RepositoryError::Setting(format!(
            "{role}: {} of {} keys must sign; from 1 to {} can be asked for",
            founding.threshold,
            ids.len(),
            ids.len()
        ))
    })?;
    Ok(PublicKeys { keys: public, role: RoleKeys { keyids: ids, threshold, _extra: HashMap::new() } })
}

impl Editor {
    /// Makes a repository without generations in `dir`, which must be absent or empty. Every key must be at hand.
    pub fn init(dir: &Path, founding: &Founding, keys: &mut Keys<'_>, now_secs: u64) -> Result<Self, RepositoryError> {
        let mut settings = Settings::new(&founding.fleet, founding.days.clone(), founding.keep_generations)?;
        let mut disk = Disk::default();
        disk.directory(dir)?;
        let lock = Lock::take(dir, ".lock", "init")?;
        let entries =
            std::fs::read_dir(dir).map_err(|source| RepositoryError::List { path: dir.to_owned(), source })?;
        if entries.flatten().any(|entry| entry.file_name() != ".lock") {
            return Err(RepositoryError::NotEmpty { dir: dir.to_owned() });
        }

        let mut all = BTreeMap::new();
        for role in Role::ALL {
            let named =
                founding.roles.get(&role).ok_or_else(|| RepositoryError::Setting(format!("{role} has no key")))?;
            all.insert(role, public_keys(role, named, keys)?);
            settings.keys.insert(role, named.keys.clone());
        }
        let role_keys = |role: Role| all[&role].role.clone();
        let version = NonZeroU64::MIN;
        let expires = |role: Role| tough_time::at(settings.expires(role, now_secs));

        let top = [
            (Role::Root, RoleType::Root),
            (Role::Targets, RoleType::Targets),
            (Role::Snapshot, RoleType::Snapshot),
            (Role::Timestamp, RoleType::Timestamp),
        ];
        let root = Root {
            spec_version: SPEC_VERSION.into(),
            consistent_snapshot: true,
            version,
            expires: expires(Role::Root),
            keys: top.iter().flat_map(|(role, _)| all[role].keys.clone()).collect(),
            roles: top.iter().map(|(role, kind)| (*kind, role_keys(*role))).collect(),
            _extra: HashMap::new(),
        };
        let hand = |role: Role, keys: &mut Keys<'_>| open(keys, &founding.roles[&role].keys);
        let own = root.clone();
        let root = sign(Role::Root, root, &hand(Role::Root, keys), &[&all[&Role::Root].role.keyids], |signed| {
            own.verify_role(signed).map_err(|e| e.to_string())
        })?;

        let mut targets = Targets::new(SPEC_VERSION.into(), version, expires(Role::Targets));
        let delegations = Delegations {
            keys: [Role::Releases, Role::Rollouts].iter().flat_map(|role| all[role].keys.clone()).collect(),
            roles: vec![
                delegate(RELEASES, RELEASES_PATHS, role_keys(Role::Releases))?,
                delegate(ROLLOUTS, ROLLOUTS_PATHS, role_keys(Role::Rollouts))?,
            ],
        };
        targets.delegations = Some(delegations.clone());
        let by_root = &root.signed.signed;
        let targets =
            sign(Role::Targets, targets, &hand(Role::Targets, keys), &[&all[&Role::Targets].role.keyids], |s| {
                by_root.verify_role(s).map_err(|e| e.to_string())
            })?;
        let mut delegated = |role: Role, name: &str| {
            let mut empty = Targets::new(SPEC_VERSION.into(), version, expires(role));
            empty.delegations = None;
            sign(role, empty, &hand(role, keys), &[&all[&role].role.keyids], |signed| {
                delegations.verify_role(signed, name).map_err(|e| e.to_string())
            })
        };
        let (releases, rollouts) = (delegated(Role::Releases, RELEASES)?, delegated(Role::Rollouts, ROLLOUTS)?);

        let mut snapshot = Snapshot::new(SPEC_VERSION.into(), version, expires(Role::Snapshot));
        for (name, held) in [("targets.json", &targets), ("releases.json", &releases), ("rollouts.json", &rollouts)] {
            snapshot.meta.insert(name.into(), list_file(version, &held.bytes));
        }
        let ids = &all[&Role::Snapshot].role.keyids;
        let snapshot = sign(Role::Snapshot, snapshot, &hand(Role::Snapshot, keys), &[ids], |s| {
            by_root.verify_role(s).map_err(|e| e.to_string())
        })?;
        let mut timestamp = Timestamp::new(SPEC_VERSION.into(), version, expires(Role::Timestamp));
        timestamp.meta.insert("snapshot.json".into(), list_file(version, &snapshot.bytes));
        let ids = &all[&Role::Timestamp].role.keyids;
        let timestamp = sign(Role::Timestamp, timestamp, &hand(Role::Timestamp, keys), &[ids], |s| {
            by_root.verify_role(s).map_err(|e| e.to_string())
        })?;

        let metadata = dir.join("metadata");
        for made in [&metadata, &dir.join("targets/generations"), &dir.join("targets/rollouts"), &dir.join("files")] {
            disk.directory(made)?;
        }
        for (role, bytes) in [
            (Role::Targets, &targets.bytes),
            (Role::Releases, &releases.bytes),
            (Role::Rollouts, &rollouts.bytes),
            (Role::Snapshot, &snapshot.bytes),
            (Role::Root, &root.bytes),
            (Role::Timestamp, &timestamp.bytes),
        ] {
            disk.put(&metadata.join(file_name(role, 1)), bytes)?;
        }
        let metadata = Metadata { root, timestamp, snapshot, targets, releases, rollouts };
        let mut editor = Editor::new(Repository { dir: dir.to_owned(), settings, metadata }, disk, lock);
        editor.write_settings()?;
        Ok(editor)
    }
}

fn delegate(name: &str, paths: &str, keys: RoleKeys) -> Result<DelegatedRole, RepositoryError> {
    let pattern = PathPattern::new(paths).map_err(|e| RepositoryError::Setting(e.to_string()))?;
    Ok(DelegatedRole {
        name: name.to_owned(),
        keyids: keys.keyids,
        threshold: keys.threshold,
        paths: PathSet::Paths(vec![pattern]),
        // Nobody else signs for these paths.
        terminating: true,
        targets: None,
    })
}

/// Names the keys of `role` in the delegations anew, and drops keys that nobody uses any more.
pub(super) fn delegate_anew(delegations: &mut Delegations, role: Role, public: PublicKeys) {
    delegations.keys.extend(public.keys);
    for delegated in &mut delegations.roles {
        if delegated.name == role.as_str() {
            delegated.keyids = public.role.keyids.clone();
            delegated.threshold = public.role.threshold;
        }
    }
    let used: BTreeSet<Vec<u8>> =
        delegations.roles.iter().flat_map(|role| role.keyids.iter().map(|id| id.to_vec())).collect();
    delegations.keys.retain(|id, _| used.contains(&id.to_vec()));
}
