//! Writes that a power cut cannot leave half done.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
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
    /// Says to [`settle_abandoned`] that somebody is at work on it; the kernel takes it back from who is killed.
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
            // It gets the name of what is half filled: held, so that nobody removes it beside this.
            let _held = hold(&self.target).ok().flatten();
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
/// Before the name of a directory that is out of sight until it is known whether it goes.
const HIDDEN: &str = ".hidden-";
/// Before the name of a directory that is being removed.
const REMOVED: &str = ".removed-";
/// After the name of either, beside a dash: hexadecimal digits that keep it apart from others.
const MARK_DIGITS: usize = 8;

/// A directory that is out of sight: to be removed, or put back. Dropped, and by whoever is killed, it is left to [`settle_abandoned`], which puts
/// it back: only [`HiddenDirectory::remove`] decides that it goes.
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
        let mut name = OsString::from(HIDDEN);
        name.push(place.file_name().unwrap_or_default());
        name.push(format!("-{:0MARK_DIGITS$x}", rand::random::<u32>()));
        let hidden = parent_of(place).join(name);
        let held = hold(place).map_err(error)?;
        std::fs::rename(place, &hidden).map_err(error)?;
        Ok(Self { hidden, place: place.to_owned(), _held: held })
    }

    /// Puts it back.
    pub fn put_back(self) -> Result<(), PackageError> {
        let put = std::fs::rename(&self.hidden, &self.place);
        put.map_err(|source| PackageError::Write { path: self.place.clone(), source })
    }

    /// Decides that it goes, on the disk: from then on nobody puts it back. An error leaves it hidden.
    pub fn give_up(&mut self) -> Result<(), PackageError> {
        let error = |source| PackageError::Write { path: self.place.clone(), source };
        let name = self.hidden.file_name().unwrap_or_default().as_encoded_bytes();
        let mut given_up = OsString::from(REMOVED);
        given_up.push(OsStr::from_bytes(name.strip_prefix(HIDDEN.as_bytes()).unwrap_or(name)));
        let given_up = self.hidden.with_file_name(given_up);
        std::fs::rename(&self.hidden, &given_up).map_err(error)?;
        self.hidden = given_up;
        sync_directory(&parent_of(&self.place)).map_err(error)
    }

    /// Removes what was given up; an error leaves the rest of it to [`settle_abandoned`].
    pub fn remove(self) -> Result<(), PackageError> {
        std::fs::remove_dir_all(&self.hidden)
            .map_err(|source| PackageError::Write { path: self.hidden.clone(), source })
    }
}

/// What [`settle_abandoned`] did, in directories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Removed: half filled, or given up.
    pub removed: usize,
    /// Put back in their place: hidden, and nobody had decided that they go.
    pub put_back: usize,
    /// Half filled, or given up, and left as they are: somebody is at work on them. [`remove_abandoned`] may remove them later.
    pub held: Vec<PathBuf>,
}

/// Settles what a program that was killed left in `parent`: what was being filled or removed goes, and what was hidden without a decision is put back.
pub fn settle_abandoned(parent: &Path) -> Settled {
    let mut settled = Settled::default();
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let begins = |prefix: &str| name.as_encoded_bytes().starts_with(prefix.as_bytes());
        if !(begins(STAGED) || begins(HIDDEN) || begins(REMOVED)) || !entry.file_type().is_ok_and(|kind| kind.is_dir())
        {
            continue;
        }
        // Whoever is at work on it holds it.
        let _held = match hold(&entry.path()) {
            Ok(Some(held)) => held,
            // What is hidden is put back, or given up, by whoever has hidden it.
            Ok(None) if !begins(HIDDEN) => {
                settled.held.push(entry.path());
                continue;
            }
            _ => continue,
        };
        if begins(HIDDEN)
            && let Some(place) = place_of(&name)
        {
            match std::fs::rename(entry.path(), parent.join(place)) {
                Ok(()) => {
                    settled.put_back += 1;
                    continue;
                }
                // Another has taken its place since: it is out of date.
                Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty || e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(_) => continue,
            }
        }
        if std::fs::remove_dir_all(entry.path()).is_ok() {
            settled.removed += 1;
        }
    }
    settled
}

/// Removes what [`settle_abandoned`] found somebody at work on, if nobody is any more; whether it is gone.
pub fn remove_abandoned(dir: &Path) -> io::Result<bool> {
    let removed = match hold(dir) {
        Ok(Some(_held)) => std::fs::remove_dir_all(dir),
        Ok(None) => return Ok(false),
        Err(e) => Err(e),
    };
    match removed {
        // Its holder has put it in its place, or removed it.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        removed => removed.map(|()| true),
    }
}

/// What a hidden directory was called.
fn place_of(hidden: &OsStr) -> Option<&OsStr> {
    let name = hidden.as_bytes().strip_prefix(HIDDEN.as_bytes())?;
    let end = name.len().checked_sub(MARK_DIGITS + 1).filter(|end| *end > 0)?;
    (name[end] == b'-').then(|| OsStr::from_bytes(&name[..end]))
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
        assert_eq!(
            settle_abandoned(dir.path()),
            Settled { removed: 2, put_back: 0, held: vec![staged.path().to_owned()] }
        );
        let left = names(dir.path());
        assert!(left.len() == 2 && left.contains(&"model".to_owned()), "{left:?}");
        let at_work = staged.path().to_owned();
        assert!(!remove_abandoned(&at_work).expect("looks") && at_work.is_dir());
        drop(staged);
        assert!(remove_abandoned(&at_work).expect("it is gone"));
        std::fs::create_dir(&at_work).expect("creates");
        assert!(remove_abandoned(&at_work).expect("removes"));
        assert_eq!(names(dir.path()), ["model"]);
        let hidden = HiddenDirectory::of(&dir.path().join("model")).expect("hides");
        assert!(!dir.path().join("model").exists() && settle_abandoned(dir.path()) == Settled::default());
        hidden.put_back().expect("puts back");
        assert_eq!(names(dir.path()), ["model"]);
        let mut hidden = HiddenDirectory::of(&dir.path().join("model")).expect("hides");
        hidden.give_up().expect("decides");
        hidden.remove().expect("removes");
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn what_was_hidden_is_put_back_until_it_is_given_up() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let model = dir.path().join("stt-en");
        let make = |content: &str| {
            std::fs::create_dir(&model).expect("creates");
            std::fs::write(model.join("file"), content).expect("writes");
        };
        make("first");
        drop(HiddenDirectory::of(&model).expect("hides"));
        assert!(!model.exists());
        assert_eq!(settle_abandoned(dir.path()), Settled { removed: 0, put_back: 1, held: Vec::new() });
        assert_eq!(std::fs::read_to_string(model.join("file")).expect("it is back"), "first");
        // Another came into its place meanwhile.
        drop(HiddenDirectory::of(&model).expect("hides"));
        make("second");
        assert_eq!(settle_abandoned(dir.path()), Settled { removed: 1, put_back: 0, held: Vec::new() });
        assert_eq!(std::fs::read_to_string(model.join("file")).expect("it stays"), "second");
        let mut hidden = HiddenDirectory::of(&model).expect("hides");
        hidden.give_up().expect("decides");
        drop(hidden);
        assert_eq!(settle_abandoned(dir.path()), Settled { removed: 1, put_back: 0, held: Vec::new() });
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn writing_into_a_missing_directory_names_the_file() {
        let error = write_file(Path::new("/nonexistent/state.json"), b"").unwrap_err().to_string();
        assert!(error.starts_with("cannot write /nonexistent/state.json: "), "{error}");
    }
}
