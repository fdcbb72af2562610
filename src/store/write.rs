//! Writes that a power cut cannot leave half done.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::PackageError;

/// Replaces or creates `path` so that after a crash it holds either the old or the new content, whole: a temporary
/// file beside it, `fsync`, rename, `fsync` of the directory. The file is readable by all, writable by its owner.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), PackageError> {
    replace(path, content, 0o644)
}

/// The same for what may hold somebody's words: nobody but the owner reads it, wherever the directory lies.
pub fn write_private_file(path: &Path, content: &[u8]) -> Result<(), PackageError> {
    replace(path, content, 0o600)
}

fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), PackageError> {
    let error = |source| PackageError::Write { path: path.to_owned(), source };
    let parent = parent_of(path);
    let mut temporary = tempfile::Builder::new().prefix(".writing-").tempfile_in(&parent).map_err(error)?;
    temporary.write_all(content).map_err(error)?;
    temporary.as_file().set_permissions(Permissions::from_mode(mode)).map_err(error)?;
    temporary.as_file().sync_all().map_err(error)?;
    temporary.persist(path).map_err(|e| error(e.error))?;
    sync_directory(&parent).map_err(error)
}

/// A directory that is filled beside its target and then takes the target's place in one step.
///
/// Dropped before [`StagedDirectory::install`], it is removed.
#[derive(Debug)]
pub struct StagedDirectory {
    staged: tempfile::TempDir,
    target: PathBuf,
    /// Says to [`remove_abandoned`] that somebody is at work on it; the kernel takes it back from who is killed.
    _held: File,
}

impl StagedDirectory {
    /// An empty directory on the same file system as `target`, hidden from [`super::scan`].
    pub fn beside(target: &Path) -> Result<Self, PackageError> {
        let error = |source| PackageError::Write { path: target.to_owned(), source };
        let parent = parent_of(target);
        std::fs::create_dir_all(&parent).map_err(error)?;
        let staged = tempfile::Builder::new().prefix(STAGED).tempdir_in(&parent).map_err(error)?;
        let held = hold(staged.path()).map_err(error)?.ok_or_else(|| error(io::ErrorKind::ResourceBusy.into()))?;
        std::fs::set_permissions(staged.path(), Permissions::from_mode(0o755)).map_err(error)?;
        Ok(Self { staged, target: target.to_owned(), _held: held })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        self.staged.path()
    }

    /// Makes everything in it durable, then puts it in the target's place. An old target is exchanged with it in one
    /// step and removed afterwards, so that at each moment the target is whole.
    pub fn install(self) -> Result<(), PackageError> {
        let error = |source| PackageError::Write { path: self.target.clone(), source };
        sync_tree(self.staged.path()).map_err(error)?;
        let parent = parent_of(&self.target);
        if self.target.symlink_metadata().is_ok() {
            exchange(self.staged.path(), &self.target).map_err(error)?;
            sync_directory(&parent).map_err(error)?;
            // The staged path now names the old content.
            return self.staged.close().map_err(|source| PackageError::Write { path: self.target, source });
        }
        std::fs::rename(self.staged.path(), &self.target).map_err(error)?;
        // The temporary name no longer exists: nothing is left to remove.
        let _gone = self.staged.keep();
        sync_directory(&parent).map_err(|source| PackageError::Write { path: self.target, source })
    }
}

/// Before the name of a directory that is being filled.
const STAGED: &str = ".staged-";
/// Before the name of a directory that is being removed.
const REMOVED: &str = ".removed-";

/// A directory that is out of sight: to be removed, or put back. Dropped, it waits for [`remove_abandoned`].
#[derive(Debug)]
pub struct HiddenDirectory {
    hidden: PathBuf,
    place: PathBuf,
    _held: Option<File>,
}

impl HiddenDirectory {
    /// Takes `place` out of sight of [`super::scan`] in one step, so that nobody loads half of it.
    pub fn of(place: &Path) -> Result<Self, PackageError> {
        let error = |source| PackageError::Write { path: place.to_owned(), source };
        let name = place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let hidden = parent_of(place).join(format!("{REMOVED}{name}-{:08x}", rand::random::<u32>()));
        let held = hold(place).map_err(error)?;
        std::fs::rename(place, &hidden).map_err(error)?;
        Ok(Self { hidden, place: place.to_owned(), _held: held })
    }

    /// Puts it back.
    pub fn put_back(self) -> Result<(), PackageError> {
        let put = std::fs::rename(&self.hidden, &self.place);
        put.map_err(|source| PackageError::Write { path: self.place.clone(), source })
    }

    /// Removes it; an error leaves the rest of it to [`remove_abandoned`].
    pub fn remove(self) -> Result<(), PackageError> {
        std::fs::remove_dir_all(&self.hidden)
            .map_err(|source| PackageError::Write { path: self.hidden.clone(), source })
    }
}

/// Removes what was being filled or removed in `parent` by a program that was killed on the way, and says how many directories it were.
pub fn remove_abandoned(parent: &Path) -> usize {
    let mut removed = 0;
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let begins = |prefix: &str| name.as_encoded_bytes().starts_with(prefix.as_bytes());
        if !(begins(STAGED) || begins(REMOVED)) || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        // Whoever is at work on it holds it.
        if let Ok(Some(_held)) = hold(&entry.path())
            && std::fs::remove_dir_all(entry.path()).is_ok()
        {
            removed += 1;
        }
    }
    removed
}

/// Locks a directory for this process; `None` where another holds it.
fn hold(dir: &Path) -> io::Result<Option<File>> {
    use rustix::fs::{FlockOperation, flock};
    let file = File::open(dir)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_directory(dir)
}

fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .expect("readable")
            .map(|e| e.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_written_file_replaces_the_old_one_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("state.json");
        write_file(&path, b"one").expect("writes");
        write_file(&path, b"two").expect("writes");
        assert_eq!(std::fs::read(&path).expect("readable"), b"two");
        assert_eq!(names(dir.path()), ["state.json"]);
    }

    #[test]
    fn a_private_file_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mode = |path: &Path| std::fs::metadata(path).expect("the file").permissions().mode() & 0o777;
        let path = dir.path().join("answer.json");
        write_file(&path, b"one").expect("writes");
        assert_eq!(mode(&path), 0o644);
        write_private_file(&path, b"two").expect("writes");
        assert_eq!(mode(&path), 0o600, "also in the place of one that all could read");
        assert_eq!(std::fs::read(&path).expect("readable"), b"two");
    }

    #[test]
    fn a_directory_takes_the_place_of_another_whole() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let target = dir.path().join("package");
        for content in ["one", "two"] {
            let staged = StagedDirectory::beside(&target).expect("stages");
            std::fs::write(staged.path().join(content), content).expect("writes");
            staged.install().expect("installs");
            assert_eq!(names(&target), [content]);
            assert_eq!(names(dir.path()), ["package"]);
        }
    }

    #[test]
    fn a_directory_that_is_not_installed_leaves_the_old_one() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let target = dir.path().join("package");
        std::fs::create_dir(&target).expect("creates");
        drop(StagedDirectory::beside(&target).expect("stages"));
        assert_eq!(names(dir.path()), ["package"]);
    }

    #[test]
    fn what_a_killed_program_left_goes_and_what_somebody_is_at_work_on_stays() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let staged = StagedDirectory::beside(&dir.path().join("package")).expect("stages");
        for abandoned in [".staged-abcdef", ".removed-model-1"] {
            std::fs::create_dir(dir.path().join(abandoned)).expect("creates");
            std::fs::write(dir.path().join(abandoned).join("file"), "half").expect("writes");
        }
        std::fs::create_dir(dir.path().join("model")).expect("creates");
        assert_eq!(remove_abandoned(dir.path()), 2);
        let left = names(dir.path());
        assert!(left.len() == 2 && left.contains(&"model".to_owned()), "{left:?}");
        assert!(staged.path().is_dir());
        drop(staged);
        assert_eq!(names(dir.path()), ["model"]);
        let hidden = HiddenDirectory::of(&dir.path().join("model")).expect("hides");
        assert!(!dir.path().join("model").exists() && remove_abandoned(dir.path()) == 0);
        hidden.put_back().expect("puts back");
        assert_eq!(names(dir.path()), ["model"]);
        HiddenDirectory::of(&dir.path().join("model")).and_then(HiddenDirectory::remove).expect("removes");
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn writing_into_a_missing_directory_names_the_file() {
        let error = write_file(Path::new("/nonexistent/state.json"), b"").unwrap_err().to_string();
        assert!(error.starts_with("cannot write /nonexistent/state.json: "), "{error}");
    }
}
