//! The few operations on files that the store uses, so that a test can stand between it and the disk.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A directory and what is done below it. Paths are relative to it, with `/`; the empty path is the directory itself.
///
/// What is written is durable only when it was synced: a file's bytes by [`Disk::sync_file`], names in a directory by
/// [`Disk::sync_dir`]. A rename is atomic at once and durable when the directory that it leads to has been synced.
pub trait Disk: Send {
    /// Where the directory lies, for messages and for those who open files by themselves.
    fn root(&self) -> &Path;
    /// Makes a file of these bytes; one that is there is emptied first.
    fn create(&self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Writes `bytes` from `offset` on; makes the file where it is missing.
    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes a file's bytes durable.
    fn sync_file(&self, path: &str) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &str) -> io::Result<()>;
    /// Gives a file or directory another name; a file that bears it already is replaced.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Gives a file a second name.
    fn link(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes a directory in one that is there.
    fn make_dir(&self, path: &str) -> io::Result<()>;
    /// Removes a file's name.
    fn remove_file(&self, path: &str) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &str) -> io::Result<()>;
    /// Reads a whole file of at most `most` bytes.
    fn read(&self, path: &str, most: u64) -> io::Result<Vec<u8>>;
    /// Reads from `offset` on; how many bytes, 0 at the end.
    fn read_at(&self, path: &str, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Bytes of a file; `None` where there is none.
    fn file_bytes(&self, path: &str) -> io::Result<Option<u64>>;
    /// What a directory holds, in no order. Names that are not UTF-8 are left out: the store makes none.
    fn list(&self, path: &str) -> io::Result<Vec<Entry>>;
    /// Bytes that may still be written.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Takes the room for `bytes` of a file, which is made where it is missing; neither its content nor its length changes, and nothing
    /// is written. False where the file system has no such thing.
    fn hold(&self, path: &str, bytes: u64) -> io::Result<bool>;
    /// Bytes of the disk that a file has taken, with what is held for it; `None` where there is none.
    fn held_bytes(&self, path: &str) -> io::Result<Option<u64>>;
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// A directory of this machine.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// The directory at `root`, which is made where it is missing. Nobody but the owner reads it: a configuration may hold secrets.
    pub fn at(root: &Path) -> io::Result<Self> {
        let missing: Vec<_> = root.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.is_dir()).collect();
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        for made in &missing {
            sync_name(made)?;
        }
        if missing.is_empty() {
            // Whoever made it may have been killed before this. A disk that takes nothing is told of by who writes to it.
            let _ = sync_name(root);
        }
        Ok(Self { root: root.to_owned() })
    }

    /// The directory at `root`, whether it is there or not: for who only reads.
    pub fn that_is_at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    fn open(&self, path: &str, options: &mut OpenOptions) -> io::Result<File> {
        // Neither a link that leads elsewhere nor a pipe that nobody writes to.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.mode(0o600).custom_flags(flags.bits().cast_signed()).open(self.path(path))
    }
}

impl Disk for RealDisk {
    fn root(&self) -> &Path {
        &self.root
    }

    fn create(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let file = self.open(path, OpenOptions::new().write(true).create(true).truncate(true))?;
        file.write_all_at(bytes, 0)
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.open(path, OpenOptions::new().write(true).create(true).truncate(false))?;
        file.write_all_at(bytes, offset)
    }

    fn sync_file(&self, path: &str) -> io::Result<()> {
        self.open(path, OpenOptions::new().read(true))?.sync_all()
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        File::open(self.path(path))?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::hard_link(self.path(from), self.path(to))
    }

    fn make_dir(&self, path: &str) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(self.path(path))
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(path))
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        std::fs::remove_dir(self.path(path))
    }

    fn read(&self, path: &str, most: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenOptions::new().read(true))?;
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(too_large(most));
        }
        Ok(bytes)
    }

    fn read_at(&self, path: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.open(path, OpenOptions::new().read(true))?.read_at(into, offset)
    }

    fn file_bytes(&self, path: &str) -> io::Result<Option<u64>> {
        match self.path(path).symlink_metadata() {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn hold(&self, path: &str, bytes: u64) -> io::Result<bool> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        let file = self.open(path, OpenOptions::new().write(true).create(true).truncate(false))?;
        loop {
            match fallocate(&file, FallocateFlags::KEEP_SIZE, 0, bytes) {
                Ok(()) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Ok(false),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn held_bytes(&self, path: &str) -> io::Result<Option<u64>> {
        // `stat` counts blocks of 512 bytes, whatever the file system's own are.
        match self.path(path).symlink_metadata() {
            Ok(metadata) => {
                Ok(metadata.is_file().then(|| metadata.len().max(metadata.blocks().saturating_mul(STAT_BLOCK))))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(self.path(path))? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(Entry { name, is_dir: entry.file_type()?.is_dir() });
            }
        }
        Ok(entries)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let told = rustix::fs::statvfs(&self.root)?;
        Ok(told.f_bavail.saturating_mul(told.f_frsize))
    }
}

/// Makes the name of a file or directory durable.
fn sync_name(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Bytes of a block as `stat` counts them.
const STAT_BLOCK: u64 = 512;

/// The refusal of [`Disk::read`].
pub(super) fn too_large(most: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is larger than the {most} bytes that are read of it"))
}
