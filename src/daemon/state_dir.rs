//! The state directory: made at the start, written by MQTT alone, and by one daemon at a time. A second one that keeps nothing in it is
//! let in, and says whose the directory is.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::config::Config;

/// The file in the directory whose lock says whose it is to write. It stays when the daemon ends; the lock does not.
const LOCK: &str = "linnetd.lock";
/// The same, of whoever came first, whether it writes there or not.
const FIRST: &str = "linnetd.first.lock";

/// Another daemon uses the directory.
#[derive(Debug, thiserror::Error)]
#[error("{path}: another linnetd{holder} keeps its state here; end it first, or give this one a directory of its own with --state DIR", path = path.display())]
pub struct StateTaken {
    /// The directory.
    path: PathBuf,
    /// ` (process 17)`, where it is known.
    holder: String,
}

/// The directory, held against other daemons as long as this lives.
#[derive(Debug)]
pub struct HeldState {
    #[cfg_attr(not(test), expect(dead_code, reason = "held for the lock's sake"))]
    lock: File,
}

/// Makes the state directory and tries whether it can be written. The daemon serves without one: what that costs is told
/// here, and by MQTT's part of the status for as long as it lasts.
pub fn prepare(config: &Config) {
    let path = &config.state_dir;
    let Err(source) = make_writable(path) else { return };
    let then = if config.mqtt.is_some() {
        "MQTT serves without it: answers that wait are lost when linnetd ends, and a request that takes it down is not \
         recognised; make it writable, or name another with --state DIR"
    } else {
        "nothing needs it while MQTT is off"
    };
    log::warn!("{}: the state directory cannot be written: {source}; {then}", path.display());
}

/// Holds the directory where something uses it. Two daemons in one would take each other's answers for their own, and count
/// each other's running requests as crashes. `None` where nothing is kept in it: MQTT is off and the device belongs to no fleet and wants into none, or it cannot be written.
pub fn claim(config: &Config) -> Result<Option<HeldState>, StateTaken> {
    if config.mqtt.is_none() && config.fleet.is_none() && config.provision.is_none() {
        return Ok(None);
    }
    hold(&config.state_dir, LOCK)
}

/// Holds the directory for who changes it while no daemon runs. The error is one sentence.
pub fn hold_state(config: &Config) -> Result<Option<HeldState>, String> {
    hold(&config.state_dir, LOCK).map_err(|taken| taken.to_string())
}

/// Says so where another daemon has the directory, too; the first one there holds a lock for that. No reason to refuse anything: what two
/// of them may not do both, [`claim`] keeps apart.
pub fn warn_of_another(config: &Config) -> Option<HeldState> {
    match hold(&config.state_dir, FIRST) {
        Ok(held) => held,
        Err(StateTaken { path, holder }) => {
            log::warn!(
                "{}: another linnetd{holder} has this state directory, too: one of them alone can have MQTT on, and of a model that is \
                 added to it only one is told; give this one a directory of its own with --state DIR",
                path.display()
            );
            None
        }
    }
}

fn hold(dir: &Path, file: &str) -> Result<Option<HeldState>, StateTaken> {
    let path = dir.join(file);
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    // Made, and then held by a descriptor that only reads: one that writes would keep the file system from being remounted
    // read-only. Where it cannot be made it may be there from before, and be locked by who could.
    let made = options.clone().write(true).create(true).truncate(false).open(&path);
    let Ok(mut lock) = options.read(true).open(&path) else {
        // `prepare` has said what is done without.
        return Ok(None);
    };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(StateTaken { path: dir.to_owned(), holder: holder(&mut lock) });
        }
        Err(e) => {
            log::warn!(
                "{}: the state directory cannot be locked ({e}); see to it that no other linnetd uses it",
                dir.display()
            );
            return Ok(None);
        }
    }
    // Only a hint for people; whose it is, the lock says.
    let told = made.and_then(|mut file| {
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())
    });
    if let Err(e) = told {
        log::debug!("{}: {e}", path.display());
    }
    Ok(Some(HeldState { lock }))
}

/// The process that holds the lock, by its own word.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.take(20).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(process) if read.is_ok() => format!(" (process {process})"),
        _ => String::new(),
    }
}

fn make_writable(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // The kernel's answer, and not the mode bits: a read-only mount or a full quota shows only when it is tried.
    tempfile::tempfile_in(path).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_daemon_at_a_time_holds_the_directory_and_the_next_is_told_which() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = hold(dir.path(), LOCK).expect("nobody else").expect("it can be locked");
        let flags = rustix::fs::fcntl_getfl(&held.lock).expect("flags");
        assert!(!flags.intersects(rustix::fs::OFlags::RDWR | rustix::fs::OFlags::WRONLY), "it would hold up a remount");
        let refused = hold(dir.path(), LOCK).expect_err("it is held").to_string();
        let process = format!("another linnetd (process {})", std::process::id());
        assert!(refused.contains(&process) && refused.contains("--state DIR"), "{refused}");
        drop(held);
        // The file is there still; what was written to it by another is no more than a hint.
        std::fs::write(dir.path().join(LOCK), "not a number").expect("writes");
        let _held = hold(dir.path(), LOCK).expect("nobody else").expect("it can be locked");
    }

    #[test]
    fn who_writes_there_and_who_came_first_are_two_things() {
        let dir = tempfile::tempdir().expect("a directory");
        let _first = hold(dir.path(), FIRST).expect("nobody else").expect("it can be locked");
        let _writer = hold(dir.path(), LOCK).expect("nobody writes there").expect("it can be locked");
        hold(dir.path(), FIRST).expect_err("it is held");
    }

    #[test]
    fn a_directory_that_is_not_there_is_done_without() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(hold(&dir.path().join("missing"), LOCK).expect("nobody holds it").is_none());
    }
}
