//! New keys for old ones.

use std::collections::{BTreeMap, BTreeSet};

use tough::schema::{RoleType, Root};

use super::edit::{Change, tough_time};
use super::init::{RoleFounding, delegate_anew, public_keys};
use super::{Editor, RepositoryError, Role};
use crate::keys::Keys;

impl Editor {
    /// Gives roles new keys and thresholds, all in one change. Needs the root's keys where root, targets, snapshot or timestamp change, and
    /// the targets' where targets, releases or rollouts do.
    ///
    /// Old keys that are at hand sign beside the new ones, so that every reader at every moment finds a repository that is whole. Rotating
    /// [`Role::ONLINE`] together heals a thief's gigantic versions, too: devices forget the versions that the old keys signed, and a
    /// version that cannot be honest begins anew at 1.
    pub fn rotate(
        &mut self,
        new: &BTreeMap<Role, RoleFounding>,
        keys: &mut Keys<'_>,
        now_secs: u64,
    ) -> Result<(), RepositoryError> {
        if new.is_empty() {
            return Err(RepositoryError::Setting("no role was named whose key shall change".into()));
        }
        let mut root: Option<Root> = None;
        let mut delegations = None;
        for (role, founding) in new {
            let public = public_keys(*role, founding, keys)?;
            if role.is_delegated() {
                delegate_anew(delegations.get_or_insert_with(|| self.repository.metadata.delegations()), *role, public);
            } else {
                let root = root.get_or_insert_with(|| self.repository.metadata.root.signed.signed.clone());
                root.keys.extend(public.keys);
                let kind = match role {
                    Role::Root => RoleType::Root,
                    Role::Snapshot => RoleType::Snapshot,
                    Role::Timestamp => RoleType::Timestamp,
                    _ => RoleType::Targets,
                };
                root.roles.insert(kind, public.role);
            }
        }
        if let Some(root) = &mut root {
            let used: BTreeSet<Vec<u8>> =
                root.roles.values().flat_map(|keys| keys.keyids.iter().map(|id| id.to_vec())).collect();
            root.keys.retain(|id, _| used.contains(&id.to_vec()));
            root.version = root.version.saturating_add(1);
            root.expires = tough_time::at(self.settings().expires(Role::Root, now_secs));
        }
        let rotated: BTreeSet<Role> = new.keys().copied().collect();
        let held = &self.repository.metadata;
        // What a delegated role signed must be signed by its new keys in the same change.
        let again = |role: Role, of: &super::metadata::Held<tough::schema::Targets>| {
            rotated.contains(&role).then(|| of.signed.signed.clone())
        };
        let targets = (delegations.is_some() || rotated.contains(&Role::Targets)).then(|| {
            let mut targets = held.targets.signed.signed.clone();
            if let Some(delegations) = delegations {
                targets.delegations = Some(delegations);
            }
            targets
        });
        let change = Change {
            root,
            targets,
            releases: again(Role::Releases, &held.releases),
            rollouts: again(Role::Rollouts, &held.rollouts),
            rotated,
        };

        // Both are remembered until the change is done: cut off anywhere, the next one finds the keys that it needs.
        let before = self.repository.settings.keys.clone();
        for (role, founding) in new {
            let known = self.repository.settings.keys.entry(*role).or_default();
            known.retain(|locator| !founding.keys.contains(locator));
            known.extend(founding.keys.iter().cloned());
        }
        self.write_settings()?;
        let done = self.commit(change, keys, now_secs);
        if matches!(
            done,
            Err(RepositoryError::Sign { .. } | RepositoryError::Key(_) | RepositoryError::Exhausted { .. })
        ) {
            // Nothing was written.
            self.repository.settings.keys = before;
        } else if done.is_ok() {
            for (role, founding) in new {
                self.repository.settings.keys.insert(*role, founding.keys.clone());
            }
        }
        self.write_settings()?;
        done
    }
}
