//! What no generation needs any more goes.

use std::collections::BTreeSet;
use std::io;

use linnet_proto::fleet::Generation;

use super::{FILES, GENERATIONS, GenerationStore, PARTIAL, StoreError, is_digest};

impl GenerationStore {
    /// Removes every generation but the live and the last good one, and every file and download that neither they nor the update in
    /// progress need. `keep` is the digest of that update's document.
    pub fn collect_garbage(&mut self, keep: Option<&str>) -> Result<(), StoreError> {
        let mut numbers = BTreeSet::from([self.live(), self.good()]);
        let mut files = BTreeSet::from([self.pointers.live.sha256.clone(), self.pointers.good.sha256.clone()]);
        for generation in numbers.iter().filter(|number| **number > 0) {
            // A generation holds its files itself: without its document only what an update could share with it is lost.
            if let Ok(generation) = self.installed(*generation) {
                files.extend(generation.files().into_iter().map(|file| file.sha256.clone()));
            }
        }
        let mut fetching = BTreeSet::new();
        if let Some(sha256) = keep {
            fetching.insert(sha256.to_owned());
            if let Some(generation) = self.document(sha256).and_then(|document| Generation::parse(&document).ok()) {
                numbers.insert(generation.number);
                fetching.extend(generation.files().into_iter().map(|file| file.sha256.clone()));
            }
            files.extend(fetching.iter().cloned());
        }
        for entry in self.list(GENERATIONS)? {
            match generation_number(&entry.name) {
                Some(number) if numbers.contains(&number) => {}
                Some(number) => self.remove_tree(&format!("{GENERATIONS}/{number}"))?,
                None => {}
            }
        }
        let mut there = BTreeSet::new();
        for entry in self.list(FILES)?.into_iter().filter(|entry| is_digest(&entry.name)) {
            if files.contains(&entry.name) {
                there.insert(entry.name);
            } else {
                self.remove_file(&format!("{FILES}/{}", entry.name))?;
            }
        }
        for entry in self.list(PARTIAL)? {
            if !fetching.contains(&entry.name) || there.contains(&entry.name) {
                self.remove_file(&format!("{PARTIAL}/{}", entry.name))?;
                self.named.remove(&entry.name);
                self.partial.remove(&entry.name);
            }
        }
        Ok(())
    }

    /// Removes a directory and what lies in it, or a file; nothing where there is none. Nobody waits for it to be durable: what comes back
    /// after a power cut is whole or is found not to be, and goes again.
    pub(super) fn remove_tree(&self, path: &str) -> Result<(), StoreError> {
        let entries = match self.disk.list(path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => return self.remove_file(path),
            Err(e) => return Err(self.read_error(path, e)),
        };
        for entry in entries {
            let inner = format!("{path}/{}", entry.name);
            if entry.is_dir {
                self.remove_tree(&inner)?;
            } else {
                self.remove_file(&inner)?;
            }
        }
        self.disk.remove_dir(path).map_err(|e| self.write_error(path, e))
    }

    pub(super) fn remove_file(&self, path: &str) -> Result<(), StoreError> {
        self.disk.remove_file(path).map_err(|e| self.write_error(path, e))
    }

    pub(super) fn list(&self, path: &str) -> Result<Vec<super::fs::Entry>, StoreError> {
        let mut entries = self.disk.list(path).map_err(|e| self.read_error(path, e))?;
        entries.sort();
        Ok(entries)
    }
}

/// The number that a directory's name is, in the one way to write it.
pub(super) fn generation_number(name: &str) -> Option<u64> {
    name.parse().ok().filter(|number: &u64| *number > 0 && number.to_string() == name)
}
