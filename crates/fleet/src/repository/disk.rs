//! Writing so that a reader, or a crash, never sees a half: a new file is written beside its name, forced to the disk, moved to its
//! name, and the name is forced to the disk.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::RepositoryError;

/// What is about to be done, for who wants to stop there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A new file is written under a name of its own.
    Write(&'a Path),
    /// Its content is forced to the disk.
    Sync(&'a Path),
    /// It takes its name.
    Rename(&'a Path),
    /// A directory's names are forced to the disk.
    SyncDirectory(&'a Path),
    /// An old file goes.
    Remove(&'a Path),
}

/// Called before each step; an error stops there, as a power cut would.
pub type Hook = Box<dyn FnMut(Step<'_>) -> std::io::Result<()> + Send>;

/// Does the writing.
#[derive(Default)]
pub(super) struct Disk {
    hook: Option<Hook>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("hooked", &self.hook.is_some()).finish()
    }
}

/// Ends the names of files that are still being written.
pub(super) const UNFINISHED: &str = ".unfinished";

fn unfinished(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(UNFINISHED);
    path.with_file_name(name)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Disk {
    pub(super) fn hook(&mut self, hook: Hook) {
        self.hook = Some(hook);
    }

    fn step(&mut self, step: Step<'_>) -> std::io::Result<()> {
        self.hook.as_mut().map_or(Ok(()), |hook| hook(step))
    }

    /// Makes a directory and those above it.
    pub(super) fn directory(&mut self, path: &Path) -> Result<(), RepositoryError> {
        if path.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(path)
            .map_err(|source| RepositoryError::MakeDirectory { path: path.to_owned(), source })?;
        self.sync_directory(parent(path))
    }

    /// Gives `path` the content `bytes`, at once.
    pub(super) fn put(&mut self, path: &Path, bytes: &[u8]) -> Result<(), RepositoryError> {
        self.put_from(path, &mut &bytes[..]).map(drop)
    }

    /// Gives `path` what `from` holds, at once; gives its digest.
    pub(super) fn put_from(&mut self, path: &Path, from: &mut dyn Read) -> Result<String, RepositoryError> {
        let (new, digest) = self.write_beside(path, from)?;
        self.place(&new, path)?;
        Ok(digest)
    }

    /// Puts a copy of `from` at `path`, if it has the digest that it should have.
    pub(super) fn put_if(&mut self, path: &Path, from: &Path, sha256: &str) -> Result<(), RepositoryError> {
        let unread = |source| RepositoryError::Read { path: from.to_owned(), source };
        let mut file = File::open(from).map_err(unread)?;
        let (new, digest) = self.write_beside(path, &mut file)?;
        if digest != sha256 {
            self.remove(&new)?;
            return Err(unread(std::io::Error::new(
                ErrorKind::InvalidData,
                "its content has changed while it was read; publish again when nobody writes to it",
            )));
        }
        self.place(&new, path)
    }

    fn write_beside(&mut self, path: &Path, from: &mut dyn Read) -> Result<(PathBuf, String), RepositoryError> {
        let new = unfinished(path);
        let failed = |source| RepositoryError::Write { path: path.to_owned(), source };
        self.step(Step::Write(path)).map_err(failed)?;
        let mut file = File::create(&new).map_err(failed)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let n = from.read(&mut buffer).map_err(failed)?;
            if n == 0 {
                break;
            }
            hash.update(&buffer[..n]);
            file.write_all(&buffer[..n]).map_err(failed)?;
        }
        let unsynced = |source| RepositoryError::Sync { path: path.to_owned(), source };
        self.step(Step::Sync(path)).map_err(unsynced)?;
        file.sync_all().map_err(unsynced)?;
        Ok((new, hex::encode(hash.finalize())))
    }

    fn place(&mut self, new: &Path, path: &Path) -> Result<(), RepositoryError> {
        let failed = |source| RepositoryError::Rename { path: path.to_owned(), source };
        self.step(Step::Rename(path)).map_err(failed)?;
        std::fs::rename(new, path).map_err(failed)?;
        self.sync_directory(parent(path))
    }

    fn sync_directory(&mut self, path: &Path) -> Result<(), RepositoryError> {
        let failed = |source| RepositoryError::Sync { path: path.to_owned(), source };
        self.step(Step::SyncDirectory(path)).map_err(failed)?;
        File::open(path).and_then(|dir| dir.sync_all()).map_err(failed)
    }

    /// Removes a file; one that is not there is removed.
    pub(super) fn remove(&mut self, path: &Path) -> Result<(), RepositoryError> {
        let failed = |source| RepositoryError::Remove { path: path.to_owned(), source };
        self.step(Step::Remove(path)).map_err(failed)?;
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(failed(e)),
            _ => Ok(()),
        }
    }
}

/// Reads a whole file of at most `max` bytes.
pub(super) fn read(path: &Path, max: u64) -> Result<Vec<u8>, RepositoryError> {
    let failed = |source| RepositoryError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(failed(std::io::Error::new(ErrorKind::FileTooLarge, format!("more than {max} bytes"))));
    }
    Ok(bytes)
}

/// Names of the files in a directory, in order; none where there is no directory.
pub(super) fn list(dir: &Path) -> Result<Vec<String>, RepositoryError> {
    let failed = |source| RepositoryError::List { path: dir.to_owned(), source };
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}
