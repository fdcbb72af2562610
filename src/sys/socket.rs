//! Ownership of the local socket's path: one daemon at a time, and a dead one's socket is taken over.
//!
//! A lock file beside the socket decides who owns the path, since a socket file itself outlives its daemon and between
//! "nobody answers" and "bind" another daemon may come. The socket is made under a name beside its own, gets its mode and
//! group, and is renamed into place: nobody can connect to it before both are right.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::groups;
use crate::limits::SOCKET_BACKLOG;

/// Why the path cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon serves there.
    #[error("{path}: another linnetd serves on this socket; end it first, or give this one another path with --socket", path = path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is not a socket lies there.
    #[error("{path}: there is a file that is not a socket; remove it, or give another path with --socket", path = path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The configured group is not known.
    #[error("http.socket_group: {0}")]
    Group(String),
    /// The configured group cannot be given to the socket.
    #[error("{path}: http.socket_group cannot be set: {source}; {way_out}", path = path.display(), way_out = group_way_out(source))]
    NotOurs {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A step failed.
    #[error("{path}: {step}: {source}{hint}", path = path.display(), hint = hint(source))]
    Failed {
        /// What it was done to.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// The cause.
        source: io::Error,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; give a path that this user may write with --socket, or set XDG_RUNTIME_DIR"
        }
        _ => "",
    }
}

/// In a user namespace (`PrivateUsers=`) a group that is not mapped does not exist.
fn group_way_out(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::InvalidInput => {
            "the service's user namespace does not know the group: leave the key out and set Group= in the unit (drop-ins/group.conf)"
        }
        _ => "name a group that linnetd is a member of, or leave the key out",
    }
}

/// The path, owned. Dropping it removes the socket when it is still this one, then the lock.
#[derive(Debug)]
pub struct OwnedSocket {
    path: PathBuf,
    /// Device and inode of our socket's file.
    identity: (u64, u64),
    /// Given up after the socket's file is gone.
    _lock: Lock,
}

impl OwnedSocket {
    /// Takes `path` with `mode` and `group`, making its directory when it is missing, and listens.
    pub fn claim(path: &Path, mode: u32, group: Option<&str>) -> Result<(Self, UnixListener), SocketError> {
        let group = group.map(groups::group_id).transpose().map_err(SocketError::Group)?;
        if let Some(directory) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory);
            made.map_err(failed(directory, "the socket's directory cannot be made"))?;
        }
        let lock = take_lock(beside(path, ".lock"), path)?;
        clear(path)?;
        let listener = listen(path, mode, group)?;
        let made = std::fs::symlink_metadata(path).map_err(failed(path, "the socket cannot be looked at"))?;
        let owned = Self { path: path.to_owned(), identity: (made.dev(), made.ino()), _lock: lock };
        Ok((owned, listener))
    }
}

impl Drop for OwnedSocket {
    fn drop(&mut self) {
        let ours = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity);
        if ours(&self.path) {
            // Left behind it would only be taken over at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The held lock file; dropping it removes the file.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    /// Held for the lock's sake; closed after the file is removed.
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked here, so whoever opens the file now finds in `take_lock` that it is gone.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn failed<'a>(path: &'a Path, step: &'static str) -> impl FnOnce(io::Error) -> SocketError + 'a {
    move |source| SocketError::Failed { path: path.to_owned(), step, source }
}

fn not_ours(path: &Path) -> impl FnOnce(io::Error) -> SocketError + '_ {
    move |source| SocketError::NotOurs { path: path.to_owned(), source }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Locks the file beside the socket, or says that another daemon holds it.
fn take_lock(path: PathBuf, socket: &Path) -> Result<Lock, SocketError> {
    let lock_path = &path;
    loop {
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(lock_path)
            .map_err(failed(lock_path, "the socket's lock cannot be opened"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(SocketError::Taken { path: socket.to_owned() }),
            Err(e) => return Err(failed(lock_path, "the socket's lock cannot be taken")(e.into())),
        }
        // The one before may have removed the file between our opening and our locking it: then it locks nothing.
        let held = lock.metadata().map_err(failed(lock_path, "the socket's lock cannot be looked at"))?;
        if std::fs::metadata(lock_path).is_ok_and(|m| (m.dev(), m.ino()) == (held.dev(), held.ino())) {
            return Ok(Lock { path, _file: lock });
        }
    }
}

/// Removes a dead daemon's socket; refuses a live one's, and anything that is not a socket.
fn clear(path: &Path) -> Result<(), SocketError> {
    let there = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(path, "the socket's path cannot be looked at")(e)),
    };
    if !there.file_type().is_socket() {
        return Err(SocketError::NotASocket { path: path.to_owned() });
    }
    // Whoever answers without holding our lock is no linnetd of this path, but alive.
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            log::info!("{}: taking over the socket of a daemon that is gone", path.display());
            std::fs::remove_file(path).map_err(failed(path, "a dead daemon's socket cannot be removed"))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(failed(path, "the socket that lies there")(e)),
        Ok(_) | Err(_) => Err(SocketError::Taken { path: path.to_owned() }),
    }
}

/// Binds beside the path, sets mode and group, renames into place.
fn listen(path: &Path, mode: u32, group: Option<u32>) -> Result<UnixListener, SocketError> {
    let new = beside(path, ".new");
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(failed(&new, "what a start left behind cannot be removed")(e));
        }
        _ => {}
    }
    let bind = || -> io::Result<UnixListener> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&new)?)?;
        std::fs::set_permissions(&new, Permissions::from_mode(mode))?;
        rustix::net::listen(&socket, SOCKET_BACKLOG)?;
        Ok(UnixListener::from(socket))
    };
    let made = bind().map_err(failed(path, "the socket cannot be made")).and_then(|listener| {
        if group.is_some() {
            std::os::unix::fs::chown(&new, None, group).map_err(not_ours(path))?;
        }
        std::fs::rename(&new, path).map_err(failed(path, "the socket cannot be put into place"))?;
        Ok(listener)
    });
    if made.is_err() {
        // Whatever failed is told; this only tidies up.
        let _ = std::fs::remove_file(&new);
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    #[test]
    fn a_path_is_claimed_once_and_is_free_again_afterwards() {
        let dir = directory();
        let path = dir.path().join("run/linnet.sock");
        let (owned, listener) = OwnedSocket::claim(&path, 0o600, None).expect("a free path");
        assert_eq!(std::fs::metadata(&path).expect("the socket").mode() & 0o777, 0o600);
        assert!(UnixStream::connect(&path).is_ok());
        let refused = OwnedSocket::claim(&path, 0o600, None).expect_err("it is taken");
        assert!(matches!(refused, SocketError::Taken { .. }), "{refused}");
        assert!(UnixStream::connect(&path).is_ok(), "the refused one has broken nothing");
        drop((owned, listener));
        let left: Vec<_> = std::fs::read_dir(path.parent().expect("a parent")).expect("a directory").collect();
        assert!(left.is_empty(), "{left:?}");
        OwnedSocket::claim(&path, 0o660, None).expect("a free path");
    }

    #[test]
    fn a_dead_daemons_socket_is_taken_over() {
        let dir = directory();
        let path = dir.path().join("linnet.sock");
        drop(UnixListener::bind(&path).expect("a socket"));
        assert!(path.exists(), "nobody removed it");
        let (_owned, _listener) = OwnedSocket::claim(&path, 0o660, None).expect("a dead one's path");
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_live_stranger_that_knows_no_lock_is_not_robbed() {
        let dir = directory();
        let path = dir.path().join("linnet.sock");
        let _stranger = UnixListener::bind(&path).expect("a socket");
        assert!(matches!(OwnedSocket::claim(&path, 0o660, None), Err(SocketError::Taken { .. })));
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_regular_file_a_directory_and_a_link_are_left_alone() {
        let dir = directory();
        let file = dir.path().join("file");
        std::fs::write(&file, "precious").expect("a file");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        for path in [&file, &link, &dir.path().to_owned()] {
            let refused = OwnedSocket::claim(path, 0o660, None).expect_err("not a socket");
            assert!(matches!(refused, SocketError::NotASocket { .. }), "{refused}");
        }
        assert_eq!(std::fs::read_to_string(&file).expect("the file"), "precious");
    }

    #[test]
    fn a_socket_that_another_has_put_there_is_not_removed_at_the_end() {
        let dir = directory();
        let path = dir.path().join("linnet.sock");
        let (owned, _listener) = OwnedSocket::claim(&path, 0o660, None).expect("a free path");
        std::fs::remove_file(&path).expect("removed by hand");
        let _other = UnixListener::bind(&path).expect("another's socket");
        drop(owned);
        assert!(path.exists());
    }

    #[test]
    fn of_many_that_start_at_once_one_wins() {
        let dir = directory();
        let path = dir.path().join("linnet.sock");
        drop(UnixListener::bind(&path).expect("a dead one's socket"));
        let won: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| OwnedSocket::claim(&path, 0o660, None))).collect();
            starts.into_iter().filter_map(|s| s.join().expect("no panic").ok()).collect()
        });
        assert_eq!(won.len(), 1);
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_group_that_cannot_be_given_is_refused_by_its_key_with_a_way_out() {
        for (errno, way_out) in [(rustix::io::Errno::INVAL, "Group="), (rustix::io::Errno::PERM, "is a member of")] {
            let refused = not_ours(Path::new("/run/linnet/linnet.sock"))(errno.into()).to_string();
            assert!(refused.starts_with("/run/linnet/linnet.sock: http.socket_group cannot be set: "), "{refused}");
            assert!(refused.contains(way_out), "{refused}");
        }
    }

    #[test]
    fn an_unknown_group_is_refused_by_its_key() {
        let dir = directory();
        let refused =
            OwnedSocket::claim(&dir.path().join("s"), 0o660, Some("no-such-group-here")).expect_err("a refusal");
        assert!(refused.to_string().starts_with("http.socket_group: "), "{refused}");
    }
}
