//! The state directory of MQTT: whether it can be written, told once for each cause, and found out when it can again.
//!
//! Nobody's answer waits for it. While it cannot be written, answers that wait live in memory only and running requests
//! leave no mark: that is said in the log, in the status, and taken back as soon as a try succeeds.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::bounds::PROBE_BYTES;
use crate::status::BrokerLink;

/// The directory. Clones are one.
#[derive(Debug, Clone)]
pub struct Storage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    link: BrokerLink,
    /// Why it cannot be written.
    trouble: Mutex<Option<ErrorKind>>,
}

impl Storage {
    /// The directory `dir`, whose trouble `link` tells.
    pub fn new(dir: PathBuf, link: BrokerLink) -> Self {
        Self(Arc::new(Inner { dir, link, trouble: Mutex::default() }))
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Something could not be read or written.
    pub fn failed(&self, error: &io::Error) {
        let mut trouble = self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if *trouble == Some(error.kind()) {
            return log::debug!("mqtt: {}: {error}", self.dir().display());
        }
        *trouble = Some(error.kind());
        let reason = format!("{}: {}", self.dir().display(), error.kind());
        log::error!(
            "mqtt: {reason} ({error}); MQTT works without it: answers that wait are lost when linnetd ends, and a request \
             that takes it down is not recognised; make room or make it writable, and linnetd goes on with it"
        );
        self.0.link.set_storage(Some(reason));
    }

    /// Whether it cannot be written, as far as is known.
    pub fn is_failing(&self) -> bool {
        self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Tries whether it can be written, and takes note. It blocks on the disk.
    pub fn probe(&self) {
        match self.try_to_write() {
            Ok(()) => {
                // Both under one lock, as where trouble is told: else a failure in between would stay untold.
                let mut trouble = self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner);
                let gone = trouble.take();
                self.0.link.set_storage(None);
                drop(trouble);
                if gone.is_some() {
                    log::warn!("mqtt: {} can be written again: answers that wait are kept", self.dir().display());
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    fn try_to_write(&self) -> io::Result<()> {
        for dir in [ANSWERS, MARKS] {
            fs::create_dir_all(self.dir().join(dir))?;
        }
        // It has no name, so that nothing is left of it whatever happens.
        let mut file = tempfile::tempfile_in(self.dir())?;
        file.write_all(&[0; PROBE_BYTES])?;
        file.sync_all()
    }
}

/// Answers that wait, in the directory.
pub const ANSWERS: &str = "outbox";
/// Marks of running requests, in the directory.
pub const MARKS: &str = "running";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_until_a_try_succeeds() {
        let home = tempfile::tempdir().expect("a directory");
        let blocked = home.path().join("file");
        fs::write(&blocked, b"").expect("writes");
        let link = BrokerLink::default();
        let storage = Storage::new(blocked.join("mqtt"), link.clone());
        assert!(!storage.is_failing() && link.storage().is_none());
        storage.probe();
        assert!(storage.is_failing());
        let reason = link.storage().expect("a reason");
        assert!(reason.contains("file/mqtt: ") && !reason.contains("os error"), "{reason}");
        storage.failed(&io::Error::from(ErrorKind::StorageFull));
        assert!(link.storage().is_some_and(|reason| reason.contains(&ErrorKind::StorageFull.to_string())));
        fs::remove_file(&blocked).expect("removes");
        storage.probe();
        assert!(!storage.is_failing() && link.storage().is_none());
        assert!(storage.dir().join(ANSWERS).is_dir() && storage.dir().join(MARKS).is_dir());
        assert_eq!(fs::read_dir(storage.dir()).expect("readable").count(), 2, "the try leaves nothing behind");
    }
}
