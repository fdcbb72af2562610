//! One operator at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::RepositoryError;

/// Held while a repository is changed. The kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Most bytes of what a holder says of itself.
const MAX_HOLDER_BYTES: u64 = 512;

impl Lock {
    /// Takes the lock `name` of the repository for `operation`, or says who has it.
    pub(super) fn take(dir: &Path, name: &str, operation: &str) -> Result<Self, RepositoryError> {
        let path = dir.join(name);
        let failed = |source| RepositoryError::Lock { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let wanted = holder(operation);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.take(MAX_HOLDER_BYTES).read_to_string(&mut holder).map_err(failed)?;
                let holder = if holder.is_empty() { "somebody".to_owned() } else { holder };
                return Err(RepositoryError::Locked { dir: dir.to_owned(), holder, wanted });
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(wanted.as_bytes()))
            .map_err(failed)?;
        Ok(Self { _file: file })
    }

    /// Whether somebody has the lock `name`; nothing is made, and nobody is kept out for longer than the look takes.
    pub(super) fn is_held(dir: &Path, name: &str) -> bool {
        let file = File::open(dir.join(name));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

/// Names a process for people: what it does, who runs it, where.
fn holder(operation: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "somebody".into());
    let mut text = format!("`{operation}` of {user} on {}, process {}", host.trim(), std::process::id());
    text.retain(|c| !c.is_control());
    text.truncate(text.floor_char_boundary(MAX_HOLDER_BYTES as usize));
    text
}
