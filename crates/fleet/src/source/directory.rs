//! A repository in a directory: a stick, a mount.

use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tough::async_trait;

use super::{Source, SourceFault, open_regular, repository_path, require_plain};

/// Bytes of a piece: few calls, little memory.
const PIECE_BYTES: u64 = 1 << 20;

/// What is said of a directory that is not there, or that this user may not see.
pub const NO_DIRECTORY: &str = "the directory is not there, or cannot be read";

/// Reads `<dir>/metadata/<name>` and `<dir>/<path>`.
#[derive(Debug, Clone)]
pub struct Directory {
    dir: PathBuf,
}

impl Directory {
    /// The repository in `dir`, which need not be there yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Reads in a thread of the blocking pool: a stick can hang.
    async fn read(&self, path: String, offset: u64, bytes: u64) -> Result<Bytes, SourceFault> {
        require_plain(&path)?;
        let dir = self.dir.clone();
        let read = tokio::task::spawn_blocking(move || read(&dir, &path, offset, bytes));
        read.await.unwrap_or_else(|e| Err(SourceFault::Unreachable(format!("the read did not end: {e}"))))
    }
}

#[async_trait]
impl Source for Directory {
    fn name(&self) -> String {
        self.dir.display().to_string()
    }

    async fn metadata(&self, name: &str, cap: u64) -> Result<Bytes, SourceFault> {
        // One byte more shows that there is more.
        let found = self.read(format!("metadata/{name}"), 0, cap.saturating_add(1)).await?;
        if found.len() as u64 > cap { Err(SourceFault::TooLarge { cap }) } else { Ok(found) }
    }

    async fn piece(&self, path: &str, offset: u64, bytes: u64) -> Result<Bytes, SourceFault> {
        let found = self.read(repository_path(path), offset, bytes).await?;
        if found.is_empty() && bytes > 0 {
            return Err(SourceFault::Lied(format!("it ends before byte {offset}")));
        }
        Ok(found)
    }

    fn piece_bytes(&self) -> u64 {
        PIECE_BYTES
    }
}

fn read(dir: &Path, path: &str, offset: u64, bytes: u64) -> Result<Bytes, SourceFault> {
    let file = dir.join(path);
    let unreachable = |e: std::io::Error| SourceFault::Unreachable(e.to_string());
    // A stick that was pulled out says nothing of what the repository holds.
    if !dir.is_dir() {
        return Err(SourceFault::Unreachable(NO_DIRECTORY.into()));
    }
    let mut open = match open_regular(&file) {
        Ok(Some(open)) => open,
        Ok(None) => return Err(SourceFault::Unreachable("it is no regular file".into())),
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(SourceFault::NotThere),
        Err(e) => return Err(unreachable(e)),
    };
    open.seek(SeekFrom::Start(offset)).map_err(unreachable)?;
    let mut found = Vec::new();
    open.take(bytes).read_to_end(&mut found).map_err(unreachable)?;
    Ok(found.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_gives_metadata_and_pieces() {
        let dir = tempfile::tempdir().expect("a directory");
        for sub in ["metadata", "targets/generations", "files"] {
            std::fs::create_dir_all(dir.path().join(sub)).expect("made");
        }
        std::fs::write(dir.path().join("metadata/timestamp.json"), b"12345").expect("written");
        std::fs::write(dir.path().join("targets/generations/ab.7.json"), b"0123456789").expect("written");
        let source = Directory::new(dir.path());
        assert_eq!(source.metadata("timestamp.json", 5).await.expect("found"), "12345");
        assert_eq!(source.metadata("timestamp.json", 4).await, Err(SourceFault::TooLarge { cap: 4 }));
        assert_eq!(source.metadata("2.root.json", 9).await, Err(SourceFault::NotThere));
        assert_eq!(source.piece("generations/ab.7.json", 4, 3).await.expect("found"), "456");
        assert_eq!(source.piece("generations/ab.7.json", 8, 99).await.expect("found"), "89");
        assert!(matches!(source.piece("generations/ab.7.json", 10, 9).await, Err(SourceFault::Lied(_))));
        assert_eq!(source.piece("files/none", 0, 9).await, Err(SourceFault::NotThere));
        assert!(matches!(source.piece("files/../metadata/timestamp.json", 0, 9).await, Err(SourceFault::Lied(_))));
        assert!(matches!(source.piece("files", 0, 9).await, Err(SourceFault::Unreachable(_))), "no regular file");
    }

    #[tokio::test]
    async fn a_stick_that_is_not_there_is_unreachable_and_not_empty() {
        let source = Directory::new("/nonexistent/stick");
        assert!(matches!(source.metadata("2.root.json", 9).await, Err(SourceFault::Unreachable(_))));
    }
}
