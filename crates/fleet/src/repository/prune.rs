//! What nobody needs any more goes: a device may still be reading by the timestamp before, so that what it names stays one change
//! longer.

use std::collections::HashSet;

use super::disk::{UNFINISHED, list};
use super::generations::{files_of, numbers, target_path};
use super::metadata::{Metadata, parse_name};
use super::{Editor, RepositoryError, Role};

impl Editor {
    /// Removes what neither the current metadata nor `old` need. Every root stays.
    pub(super) fn prune(&mut self, old: &Metadata) -> Result<(), RepositoryError> {
        let dir = self.repository.dir.clone();
        let current = self.repository.metadata.clone();
        let metadata = dir.join("metadata");
        for name in list(&metadata)? {
            let kept = match parse_name(&name) {
                Some((Role::Root | Role::Timestamp, _)) => true,
                Some((role, version)) => version == current.version(role) || version == old.version(role),
                // Whatever it is, it is not this program's.
                None => !name.ends_with(UNFINISHED),
            };
            if !kept {
                self.disk.remove(&metadata.join(name))?;
            }
        }

        let mut targets = HashSet::new();
        let mut files = HashSet::new();
        for releases in [&current.releases, &old.releases] {
            for (number, sha256) in numbers(&releases.signed.signed) {
                let path = target_path(&dir, number, &sha256);
                // A generation that cannot be read keeps nothing alive; reading it by its number says what is wrong.
                files.extend(files_of(&path).unwrap_or_default());
                targets.insert(path);
            }
        }
        let generations = dir.join("targets/generations");
        for name in list(&generations)? {
            let path = generations.join(name);
            if !targets.contains(&path) {
                self.disk.remove(&path)?;
            }
        }
        let content = dir.join("files");
        for name in list(&content)? {
            if !files.contains(&name) {
                self.disk.remove(&content.join(name))?;
            }
        }
        Ok(())
    }
}
