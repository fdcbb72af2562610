//! A small file system of its own, that can be full or read-only without harm to anybody else's.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::skip;

/// A mounted tmpfs; unmounted when dropped.
pub struct Tmpfs {
    dir: TempDir,
}

impl Tmpfs {
    /// Mounts one of `kib` KiB. `None`, said loudly, where this user may not mount.
    pub fn mount(test: &str, kib: usize) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        match mount(&["-t", "tmpfs", "-o", &format!("size={kib}k,mode=0755"), "tmpfs"], dir.path()) {
            Ok(()) => Some(Self { dir }),
            Err(why) => {
                skip(test, &format!("the right to mount a tmpfs (root has it): {why}"));
                None
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Fills it to the last byte; gives the file that does.
    pub fn fill(&self) -> PathBuf {
        use std::io::Write;
        let path = self.path().join("filler");
        let mut file = std::fs::File::create(&path).expect("a file");
        loop {
            match file.write(&[0; 4096]) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::StorageFull => return path,
                Err(e) => panic!("{}: {e}", path.display()),
            }
        }
    }

    /// Lets nobody write to it, or all who may.
    pub fn read_only(&self, read_only: bool) {
        let options = if read_only { "remount,ro" } else { "remount,rw" };
        mount(&["-o", options], self.path()).expect("who has mounted it may remount it");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a daemon may hold a file of it for a moment.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn mount(arguments: &[&str], path: &Path) -> Result<(), String> {
    let output = Command::new("mount").args(arguments).arg(path).output().map_err(|e| format!("mount: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}
