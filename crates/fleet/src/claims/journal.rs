//! The file of a ledger: text that is only added to, so that a test can stand between it and the disk.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where the file lies.
pub(super) trait Place: Debug + Send {
    /// Opens it, made with mode 0600 where there is none and `make` says so, and waits until nobody else has it.
    fn open(&self, make: bool) -> io::Result<Box<dyn Journal>>;
}

/// The file, which is nobody else's until it is dropped.
///
/// What is added is durable only when it was synced, and the file itself only when its name was.
pub(super) trait Journal {
    /// Its length, bytes.
    fn bytes(&self) -> io::Result<u64>;
    /// Permissions, as `chmod` takes them.
    fn mode(&self) -> io::Result<u32>;
    /// What stands from `offset` on.
    fn read_from(&mut self, offset: u64) -> io::Result<Vec<u8>>;
    /// Adds to its end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Drops what stands from `bytes` on.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
    /// Makes its content durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Makes its name durable.
    fn sync_name(&mut self) -> io::Result<()>;
}

/// A path of this machine.
#[derive(Debug)]
pub(super) struct RealPlace(pub(super) PathBuf);

struct RealJournal {
    file: File,
    dir: PathBuf,
}

impl Place for RealPlace {
    fn open(&self, make: bool) -> io::Result<Box<dyn Journal>> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(0o600);
        let file = options.create(make).open(&self.0)?;
        file.lock()?;
        let dir = self.0.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Box::new(RealJournal { file, dir: dir.to_owned() }))
    }
}

impl Journal for RealJournal {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn mode(&self) -> io::Result<u32> {
        Ok(self.file.metadata()?.mode() & 0o7777)
    }

    fn read_from(&mut self, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn sync_name(&mut self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}
