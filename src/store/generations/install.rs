//! A generation's directory: made of links, whole or not there.

use std::collections::BTreeSet;

use linnet_proto::fleet::Generation;

use super::files::file_path;
use super::{DOCUMENT, GENERATIONS, GenerationStore, NEW, PACKAGES, StoreError, digest};

impl GenerationStore {
    /// Builds a generation's directory from its document and the files that are here. It serves only when
    /// [`GenerationStore::set_live`] says so. Nothing is done where it stands already.
    pub fn install(&mut self, document: &[u8], generation: &Generation) -> Result<(), StoreError> {
        let number = generation.number;
        let missing: Vec<_> = self.missing_files(generation)?.into_iter().map(|file| file.sha256.clone()).collect();
        if !missing.is_empty() {
            return Err(StoreError::Missing { generation: number, files: missing });
        }
        let sha256 = digest(document);
        if self.check_whole(number, Some(&sha256)).is_ok() {
            return Ok(());
        }
        if number == self.live() || number == self.good() {
            return Err(StoreError::NumberTaken { generation: number });
        }
        self.remove_tree(&format!("{GENERATIONS}/{number}"))?;
        self.keep_document(document)?;
        let new = format!("{GENERATIONS}/{NEW}{number}");
        self.remove_tree(&new)?;
        self.make_dir(&new)?;
        self.link(&file_path(&sha256)?, &format!("{new}/{DOCUMENT}"))?;
        let packages = format!("{new}/{PACKAGES}");
        self.make_dir(&packages)?;
        // A directory sorts before what lies in it: made in this order, made durable in the other.
        let mut directories = BTreeSet::from([new.clone(), packages.clone()]);
        for package in &generation.packages {
            let root = format!("{packages}/{}", package.name);
            self.make_dir(&root)?;
            directories.insert(root.clone());
            for file in &package.files {
                let path = format!("{root}/{}", file.path);
                let inside = path.match_indices('/').map(|(at, _)| &path[..at]).filter(|dir| dir.len() > root.len());
                for directory in inside {
                    if directories.insert(directory.to_owned()) {
                        self.make_dir(directory)?;
                    }
                }
                self.link(&file_path(&file.sha256)?, &path)?;
            }
        }
        for directory in directories.iter().rev() {
            self.sync_dir(directory)?;
        }
        let target = format!("{GENERATIONS}/{number}");
        self.disk.rename(&new, &target).map_err(|e| self.write_error(&target, e))?;
        self.sync_dir(GENERATIONS)
    }

    /// Whether a generation stands whole under its number: its document (of this digest, where one is given), and each file in its length.
    /// The document's digest.
    pub(super) fn check_whole(&self, generation: u64, sha256: Option<&str>) -> Result<String, StoreError> {
        let not_whole = |reason: String| StoreError::NotWhole { generation, reason };
        let document = self.installed_document(generation)?;
        let found = digest(&document);
        if sha256.is_some_and(|wanted| wanted != found) {
            return Err(not_whole(format!("its {DOCUMENT} is not what was signed")));
        }
        let read = Generation::parse(&document).map_err(|e| not_whole(e.to_string()))?;
        if read.number != generation {
            return Err(not_whole(format!("its {DOCUMENT} is that of generation {}", read.number)));
        }
        for package in &read.packages {
            for file in &package.files {
                let path = format!("{GENERATIONS}/{generation}/{PACKAGES}/{}/{}", package.name, file.path);
                match self.file_bytes(&path)? {
                    Some(bytes) if bytes == file.bytes => {}
                    Some(bytes) => {
                        let path = self.path(&path);
                        return Err(not_whole(format!(
                            "{} has {bytes} bytes instead of {}",
                            path.display(),
                            file.bytes
                        )));
                    }
                    None => return Err(not_whole(format!("{} is missing", self.path(&path).display()))),
                }
            }
        }
        Ok(found)
    }

    fn make_dir(&self, path: &str) -> Result<(), StoreError> {
        self.disk.make_dir(path).map_err(|e| self.write_error(path, e))
    }

    fn link(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.disk.link(from, to).map_err(|e| self.write_error(to, e))
    }
}
