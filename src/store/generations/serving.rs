//! What serves and what is on its way, read without opening the store: for who looks while a daemon may run. Nothing is written, and
//! nothing is healed.

use std::io;
use std::path::{Path, PathBuf};

use linnet_proto::fleet::Generation;

use super::bounds::{MAX_GENERATION_BYTES, MAX_STATE_BYTES};
use super::fs::Disk;
use super::{
    DOCUMENT, FILES, GENERATIONS, PACKAGES, POINTERS, Pointers, RealDisk, StoreError, UPDATE, digest, is_digest,
};

/// How often the pointers are read again because what they named was gone: an update ended in between.
const TRIES: usize = 3;

/// A generation that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// Its document.
    pub generation: Generation,
    /// The directory of its packages.
    pub packages: PathBuf,
}

/// The generation that the pointers in `root` call live; `None` where it is what was shipped.
pub fn serving(root: &Path) -> Result<Option<Serving>, StoreError> {
    let disk = RealDisk::that_is_at(root);
    let mut last = None;
    for _ in 0..TRIES {
        let Some(bytes) = small(&disk, POINTERS)? else { return Ok(None) };
        let damaged = |reason| damaged(&disk, POINTERS, reason);
        let live = Pointers::parse(&bytes).map_err(|e| damaged(format!("the file {e}")))?.live;
        let number = live.generation;
        if number == 0 {
            return Ok(None);
        }
        let path = format!("{GENERATIONS}/{number}/{DOCUMENT}");
        let not_whole = |reason: String| StoreError::NotWhole { generation: number, reason };
        match disk.read(&path, MAX_GENERATION_BYTES) {
            Ok(bytes) if digest(&bytes) == live.sha256 => {
                let generation = Generation::parse(&bytes).map_err(|e| not_whole(e.to_string()))?;
                let packages = root.join(format!("{GENERATIONS}/{number}/{PACKAGES}"));
                return Ok(Some(Serving { generation, packages }));
            }
            Ok(_) => last = Some(not_whole(format!("its {DOCUMENT} is not what was signed"))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => last = Some(not_whole(format!("it has no {DOCUMENT}"))),
            Err(source) => return Err(StoreError::Read { path: root.join(path), source }),
        }
    }
    last.map_or(Ok(None), Err)
}

/// The document of the update that `update.json` tells of, where it is kept: whether that update has ended is the push room's to say.
pub fn update_document(root: &Path, sha256: &str) -> Option<Generation> {
    let disk = RealDisk::that_is_at(root);
    let bytes = disk.read(&format!("{FILES}/{sha256}"), MAX_GENERATION_BYTES).ok()?;
    (is_digest(sha256) && digest(&bytes) == sha256).then_some(())?;
    Generation::parse(&bytes).ok()
}

/// `update.json` as it lies there.
pub fn update(root: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    small(&RealDisk::that_is_at(root), UPDATE)
}

fn small(disk: &RealDisk, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    match disk.read(name, MAX_STATE_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Read { path: disk.root().join(name), source }),
    }
}

fn damaged(disk: &RealDisk, name: &str, reason: String) -> StoreError {
    StoreError::Read { path: disk.root().join(name), source: io::Error::new(io::ErrorKind::InvalidData, reason) }
}

#[cfg(test)]
mod tests {
    use super::super::{GenerationStore, Options};
    use super::*;

    fn generation(number: u64) -> Generation {
        Generation { config: "log = \"warn\"\n".into(), ..Generation::empty("home", number) }
    }

    fn tree(dir: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
        let mut tree = Vec::new();
        for entry in std::fs::read_dir(dir).expect("reads").map(|entry| entry.expect("an entry")) {
            let metadata = entry.metadata().expect("metadata");
            tree.push((entry.path(), metadata.modified().expect("a time")));
            if metadata.is_dir() {
                tree.extend(self::tree(&entry.path()));
            }
        }
        tree.sort();
        tree
    }

    #[test]
    fn what_serves_is_read_beside_an_open_store_and_nothing_is_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("fleet");
        assert_eq!(serving(&root).expect("no store is no fault"), None);
        let disk = RealDisk::at(&root).expect("a directory");
        let mut store = GenerationStore::open(Box::new(disk), Options::default()).expect("opens").store;
        assert_eq!(serving(&root).expect("reads"), None, "what was shipped");
        let document = serde_json::to_vec(&generation(7)).expect("JSON");
        let sha256 = store.keep_document(&document).expect("keeps");
        assert_eq!(update_document(&root, &sha256), Some(generation(7)), "it is on its way");
        assert_eq!(serving(&root).expect("reads"), None, "and serves nobody yet");
        store.install(&document, &generation(7)).expect("installs");
        store.set_live(7).expect("it is whole");
        let before = tree(&root);
        let found = serving(&root).expect("reads").expect("it serves");
        assert_eq!((found.generation, found.packages), (generation(7), store.packages_dir(7)));
        assert_eq!(tree(&root), before, "nobody was there");
        std::fs::write(root.join("generations/7/generation.json"), "{}").expect("writes");
        let e = serving(&root).expect_err("it is damaged").to_string();
        assert!(e.contains("generation 7 is not whole"), "{e}");
        std::fs::write(root.join(POINTERS), "{").expect("writes");
        let e = serving(&root).expect_err("they are damaged").to_string();
        assert!(e.contains("pointers: the file cannot be read"), "{e}");
    }
}
