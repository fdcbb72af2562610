//! Where `linnetd` listens when nobody says otherwise.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The socket of a daemon that systemd started.
pub const SYSTEM_PATH: &str = "/run/linnet/linnet.sock";

/// The socket in `$XDG_RUNTIME_DIR` where there is one, else the system's. `linnetd` chooses by the same rule.
pub fn default_path() -> PathBuf {
    choose(std::env::var_os("XDG_RUNTIME_DIR"), |path| path.exists())
}

fn choose(runtime_dir: Option<OsString>, exists: impl Fn(&Path) -> bool) -> PathBuf {
    let own = runtime_dir.filter(|dir| !dir.is_empty()).map(|dir| PathBuf::from(dir).join("linnet/linnet.sock"));
    match own {
        // A daemon of one's own goes first; a message about a missing daemon names the place where it would be.
        Some(own) if exists(&own) || !exists(Path::new(SYSTEM_PATH)) => own,
        _ => PathBuf::from(SYSTEM_PATH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_daemon_goes_before_the_systems() {
        let own = PathBuf::from("/run/user/1000/linnet/linnet.sock");
        let dir = || Some(OsString::from("/run/user/1000"));
        assert_eq!(choose(dir(), |_| true), own);
        assert_eq!(choose(dir(), |_| false), own);
        assert_eq!(choose(dir(), |p| p == Path::new(SYSTEM_PATH)), Path::new(SYSTEM_PATH));
        assert_eq!(choose(None, |_| true), Path::new(SYSTEM_PATH));
        assert_eq!(choose(Some(OsString::new()), |_| false), Path::new(SYSTEM_PATH));
    }
}
