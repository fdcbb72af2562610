//! Marks of files that were verified: as long as they are the same, a file is not read again to be told that it did not change.
//!
//! What they cannot see is a medium that loses bits, or somebody who sets a file's time back. So they only spare a second look at what is in
//! memory: a model that is loaded is verified in full, and so is everything by `linnetd verify`.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// A file as it was when it was verified. Another name of the same file bears the same mark: a generation's packages are hard links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

/// The marks of a package's files, by their paths in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamps(BTreeMap<String, Stamp>);

impl Stamps {
    /// Adds one file.
    pub(super) fn add(&mut self, path: &str, metadata: &Metadata) {
        let stamp = Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        };
        self.0.insert(path.to_owned(), stamp);
    }
}
