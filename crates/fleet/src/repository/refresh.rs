//! Signing anew before what is signed expires.

use std::collections::BTreeSet;

use super::edit::{Change, tough_time};
use super::{Editor, Repository, RepositoryError, Role};
use crate::keys::Keys;

impl Repository {
    /// Roles whose metadata expire within `secs` from now, or have.
    pub fn expiring(&self, secs: u64, now_secs: u64) -> BTreeSet<Role> {
        Role::ALL.into_iter().filter(|role| self.expires_secs(*role) <= now_secs.saturating_add(secs)).collect()
    }
}

impl Editor {
    /// Signs `roles` anew as they are; snapshot and timestamp go with every change.
    pub fn refresh(
        &mut self,
        roles: &BTreeSet<Role>,
        keys: &mut Keys<'_>,
        now_secs: u64,
    ) -> Result<(), RepositoryError> {
        let held = &self.repository.metadata;
        let again = |role: Role, of: &super::metadata::Held<tough::schema::Targets>| {
            roles.contains(&role).then(|| of.signed.signed.clone())
        };
        let root = match roles.contains(&Role::Root) {
            false => None,
            true => {
                let mut root = held.root.signed.signed.clone();
                root.version = root.version.saturating_add(1);
                root.expires = tough_time::at(self.settings().expires(Role::Root, now_secs));
                Some(root)
            }
        };
        let change = Change {
            root,
            targets: again(Role::Targets, &held.targets),
            releases: again(Role::Releases, &held.releases),
            rollouts: again(Role::Rollouts, &held.rollouts),
            rotated: BTreeSet::new(),
        };
        self.commit(change, keys, now_secs)
    }
}
