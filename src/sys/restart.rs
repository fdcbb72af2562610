//! The same process begins anew: for what cannot change while it runs.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// This very program, also when another one was installed in its place since it began.
const SELF: &str = "/proc/self/exe";

/// Runs this program again, in this process, by the same command line and in the same environment: systemd and whoever else waits for
/// it see one process. Comes back only with an error. Sockets, locks and files are given up before: what is still open is closed by
/// the system.
pub fn replace_self() -> io::Error {
    let mut line = std::env::args_os();
    let name = line.next().unwrap_or_else(|| OsString::from("linnetd"));
    Command::new(program()).arg0(name).args(line).exec()
}

/// The path of this program, by which people know it; a link of the kernel's when something else lies there by now.
fn program() -> PathBuf {
    let identity = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino()));
    match std::env::current_exe() {
        Ok(path) if identity(&path).ok() == identity(Path::new(SELF)).ok() => path,
        _ => PathBuf::from(SELF),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_known_by_its_own_path() {
        assert_eq!(program(), std::env::current_exe().expect("a path"));
    }
}
