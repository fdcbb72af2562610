//! The state directory: answers that wait, generations and added models live there.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Trouble};
use super::people::{Caller, Names};

const CHECK: &str = "state";
/// Free storage below which writing is about to fail, bytes.
const LEAST_BYTES: u64 = 32 << 20;
/// Free storage below which a model or a generation will hardly fit, bytes.
const LITTLE_BYTES: u64 = 256 << 20;
/// The same for files that may still be made.
const LEAST_INODES: u64 = 100;
const LITTLE_INODES: u64 = 1_000;

/// The directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) uid: u32,
    pub(super) mode: u32,
    /// Whether this user may write into it; the kernel's answer.
    pub(super) writable: bool,
    pub(super) read_only: bool,
    pub(super) free_bytes: u64,
    /// Files that may still be made; `None` where the file system does not count them.
    pub(super) free_inodes: Option<u64>,
}

/// What was seen at its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Missing,
    /// This user may not look.
    Closed,
    NoDirectory,
    Failed(String),
    Found(Directory),
}

/// What is known besides.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Around<'a> {
    /// The user of the running daemon.
    pub(super) daemon_uid: Option<u32>,
    /// What the daemon says of it: why answers do not outlive a restart.
    pub(super) told: Option<&'a str>,
    /// Whether MQTT or a fleet needs it.
    pub(super) needed: bool,
}

pub(super) fn look(path: &Path) -> Place {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Place::Missing,
        Err(e) if e.kind() == ErrorKind::PermissionDenied => Place::Closed,
        Err(e) => Place::Failed(e.to_string()),
        Ok(found) if !found.is_dir() => Place::NoDirectory,
        Ok(found) => match rustix::fs::statvfs(path) {
            Err(e) => Place::Failed(e.to_string()),
            Ok(space) => Place::Found(Directory {
                uid: found.uid(),
                mode: found.mode() & 0o7777,
                writable: rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok(),
                read_only: space.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
                free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
                free_inodes: (space.f_files > 0).then_some(space.f_favail),
            }),
        },
    }
}

pub(super) fn judge(
    at: Option<(&PathBuf, &Place)>,
    around: Around<'_>,
    caller: &Caller,
    names: &Names,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let broken = |sentence: String, way_out: &str| Finding::wrong(CHECK, Trouble::Unavailable, sentence, way_out);
    if let Some(told) = around.told {
        findings.push(broken(
            format!("answers over MQTT do not outlive a restart: {told}"),
            "make the state directory writable for linnetd's user, or name another with --state or `state`",
        ));
    }
    let Some((path, place)) = at else {
        if findings.is_empty() {
            findings.push(Finding::skipped(
                CHECK,
                "where linnetd keeps its state is not known here",
                "name its configuration with --config, or run `sudo linnet doctor`",
            ));
        }
        return findings;
    };
    let shown = path.display();
    let found = match place {
        Place::Missing if around.daemon_uid.is_some() && around.needed => broken(
            format!("{shown} is not there, and linnetd needs it"),
            "make it, owned by linnetd's user with mode 0700, then restart linnetd",
        ),
        Place::Missing => {
            findings.push(Finding::skipped(CHECK, format!("{shown} is not there yet; linnetd makes it"), ""));
            return findings;
        }
        Place::Closed => {
            findings.push(Finding::skipped(
                CHECK,
                format!("{shown}: this user may not look into it"),
                "run `sudo linnet doctor`",
            ));
            return findings;
        }
        Place::NoDirectory => {
            broken(format!("{shown} is no directory"), "remove it, or name another with --state or `state`")
        }
        Place::Failed(why) => {
            broken(format!("{shown}: {why}"), "look after the file system (`dmesg`), or name another")
        }
        Place::Found(directory) => {
            findings.extend(faults(&shown.to_string(), directory, around, caller, names));
            if findings.is_empty() {
                let inodes = directory.free_inodes.map(|n| format!(" and {n} files")).unwrap_or_default();
                let free = format!("{shown} has {} MiB{inodes} to spare", directory.free_bytes >> 20);
                findings.push(Finding::ok(CHECK, free));
            }
            return findings;
        }
    };
    findings.push(found);
    findings
}

fn faults(path: &str, seen: &Directory, around: Around<'_>, caller: &Caller, names: &Names) -> Vec<Finding> {
    let mut findings = Vec::new();
    let broken = |sentence: String, way_out: &str| Finding::wrong(CHECK, Trouble::Unavailable, sentence, way_out);
    if seen.read_only {
        findings.push(broken(
            format!("{path} lies on a file system that is mounted read-only"),
            "mount it for writing (after `dmesg` says why it is not), or name another with --state or `state`",
        ));
    }
    match around.daemon_uid {
        Some(daemon) if daemon != seen.uid && daemon != 0 => {
            let (owner, daemon) = (names.user(seen.uid), names.user(daemon));
            findings.push(Finding::wrong(
                CHECK,
                Trouble::NotAllowed,
                format!("{path} belongs to {owner}, and linnetd runs as {daemon}"),
                format!("`sudo chown -R {daemon} {path}`, or give linnetd a directory of its own with --state"),
            ));
        }
        // Root may write anywhere but on what is read-only, so its answer means nothing of others.
        Some(daemon) if daemon == caller.uid && !caller.is_root() && !seen.writable && !seen.read_only => {
            findings.push(Finding::wrong(
                CHECK,
                Trouble::NotAllowed,
                format!("{path} (mode {:04o}) cannot be written by its own user", seen.mode),
                format!("`chmod 700 {path}`"),
            ));
        }
        _ => {}
    }
    if seen.mode & 0o007 != 0 {
        findings.push(Finding::warning(
            CHECK,
            format!("{path} has mode {:04o}: every user may look at what linnetd keeps", seen.mode),
            format!("`chmod 700 {path}`"),
        ));
    }
    let mib = seen.free_bytes >> 20;
    let room =
        "make room (`journalctl --vacuum-size=50M`, `linnet models remove NAME`), or name another disk with `state`";
    if seen.free_bytes < LEAST_BYTES {
        findings.push(broken(format!("{path} has {mib} MiB to spare: writing is about to fail"), room));
    } else if seen.free_bytes < LITTLE_BYTES {
        findings.push(Finding::warning(CHECK, format!("{path} has only {mib} MiB to spare"), room));
    }
    let files = "remove files that nobody needs (`df -i`, `du --inodes`)";
    match seen.free_inodes {
        Some(free) if free < LEAST_INODES => {
            findings.push(broken(format!("{path}: only {free} files more can be made on its file system"), files));
        }
        Some(free) if free < LITTLE_INODES => {
            let sentence = format!("{path}: only {free} files more can be made on its file system");
            findings.push(Finding::warning(CHECK, sentence, files));
        }
        _ => {}
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict::{self, Ok, Skipped, Warning, Wrong};
    use super::*;

    fn directory() -> Directory {
        Directory {
            uid: 990,
            mode: 0o700,
            writable: true,
            read_only: false,
            free_bytes: 1 << 30,
            free_inodes: Some(1 << 20),
        }
    }

    fn of_daemon() -> Around<'static> {
        Around { daemon_uid: Some(990), told: None, needed: true }
    }

    fn found(change: impl FnOnce(&mut Directory)) -> Place {
        let mut directory = directory();
        change(&mut directory);
        Place::Found(directory)
    }

    #[test]
    fn each_state_of_the_directory_has_its_verdict_and_its_words() {
        let path = PathBuf::from("/var/lib/linnet");
        let stopped = Around { daemon_uid: None, ..of_daemon() };
        let told = Around { told: Some("read-only file system"), ..of_daemon() };
        let table: [(Place, Around<'_>, Verdict, Option<u8>, &str); 16] = [
            (found(|_| ()), of_daemon(), Ok, None, "1024 MiB and 1048576 files"),
            (found(|d| d.free_inodes = None), of_daemon(), Ok, None, "1024 MiB to spare"),
            (found(|d| d.free_bytes = 200 << 20), of_daemon(), Warning, None, "only 200 MiB"),
            (found(|d| d.free_bytes = 31 << 20), of_daemon(), Wrong, Some(69), "31 MiB to spare"),
            (found(|d| d.free_inodes = Some(999)), of_daemon(), Warning, None, "only 999 files"),
            (found(|d| d.free_inodes = Some(0)), of_daemon(), Wrong, Some(69), "only 0 files"),
            (found(|d| d.read_only = true), of_daemon(), Wrong, Some(69), "read-only"),
            (found(|d| d.uid = 1000), of_daemon(), Wrong, Some(77), "belongs to ann, and linnetd runs as linnet"),
            (found(|d| d.uid = 1000), stopped, Ok, None, "to spare"),
            (found(|d| d.mode = 0o755), of_daemon(), Warning, None, "0755"),
            (found(|d| (d.writable, d.mode) = (false, 0o500)), of_daemon(), Wrong, Some(77), "0500"),
            (Place::Missing, of_daemon(), Wrong, Some(69), "is not there"),
            (Place::Missing, stopped, Skipped, None, "linnetd makes it"),
            (Place::Closed, of_daemon(), Skipped, None, "may not look"),
            (Place::NoDirectory, of_daemon(), Wrong, Some(69), "no directory"),
            (found(|_| ()), told, Wrong, Some(69), "do not outlive a restart"),
        ];
        let names = Names::of("ann:x:1000:1000::/:\nlinnet:x:990:990::/:\n", "");
        let caller = Caller { uid: 990, groups: [990].into() };
        for (place, around, verdict, code, words) in table {
            let findings = judge(Some((&path, &place)), around, &caller, &names);
            let [finding] = &findings[..] else { panic!("{place:?}: {findings:?}") };
            assert_eq!((finding.verdict, finding.code), (verdict, code), "{finding:?}");
            assert!(finding.sentence.contains(words), "{words}: {finding:?}");
        }
        assert_eq!(judge(None, stopped, &caller, &names)[0].verdict, Skipped);
    }

    #[test]
    fn a_real_directory_has_an_owner_and_space() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).expect("ours");
        let Place::Found(found) = look(dir.path()) else { panic!("it is there") };
        assert_eq!((found.uid, found.mode, found.writable), (Caller::look().uid, 0o700, true));
        assert!(found.free_bytes > 0 && !found.read_only);
        assert_eq!(look(&dir.path().join("missing")), Place::Missing);
        std::fs::write(dir.path().join("file"), "").expect("a file");
        assert_eq!(look(&dir.path().join("file")), Place::NoDirectory);
    }
}
