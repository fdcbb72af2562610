//! What this machine gives for keys without a fixed default: the host's name, directories, the packages beside the program.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::{Surroundings, device_of_host};

/// Name of the local socket in its directory.
pub const SOCKET_NAME: &str = "linnet.sock";

/// Looks at this machine and this process.
pub fn look() -> Surroundings {
    let variable = |name: &str| std::env::var_os(name);
    let is_root = rustix::process::geteuid().is_root();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Surroundings {
        device: device_of_host(&host),
        socket: socket(variable),
        state: state(variable, is_root),
        models: std::env::current_exe().ok().and_then(|program| bundled_models(&program, build_tree())),
        processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    }
}

/// systemd's `RUNTIME_DIRECTORY`, the user's `XDG_RUNTIME_DIR`, or `/run`.
pub fn socket(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    match (first_of_list(variable("RUNTIME_DIRECTORY")), absolute(variable("XDG_RUNTIME_DIR"))) {
        (Some(own), _) => own.join(SOCKET_NAME),
        (None, Some(user)) => user.join("linnet").join(SOCKET_NAME),
        (None, None) => Path::new("/run/linnet").join(SOCKET_NAME),
    }
}

/// systemd's `STATE_DIRECTORY`, `XDG_STATE_HOME`, `~/.local/state`, or `/var/lib`; root's is `/var/lib` before its home.
pub fn state(variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> PathBuf {
    if let Some(own) = first_of_list(variable("STATE_DIRECTORY")) {
        return own;
    }
    if let Some(user) = absolute(variable("XDG_STATE_HOME")) {
        return user.join("linnet");
    }
    match absolute(variable("HOME")) {
        Some(home) if !is_root => home.join(".local/state/linnet"),
        _ => PathBuf::from("/var/lib/linnet"),
    }
}

/// The packages that belong to `program`: `../share/linnet/models` of an installed one, else `models` of the source tree that
/// holds it, else of the tree that it was built in.
pub fn bundled_models(program: &Path, build_tree: Option<&Path>) -> Option<PathBuf> {
    let directory = program.parent()?;
    let installed = directory.parent().map(|prefix| prefix.join("share/linnet/models"));
    let trees = directory.ancestors().chain(build_tree).filter(|dir| dir.join("Cargo.toml").is_file());
    installed.into_iter().chain(trees.map(|tree| tree.join("models"))).find(|models| models.is_dir())
}

/// The tree that this program was built in. Packages are built without the demo and must not look there: on another
/// machine the path may be anybody's.
fn build_tree() -> Option<&'static Path> {
    if cfg!(feature = "demo") { Some(Path::new(env!("CARGO_MANIFEST_DIR"))) } else { None }
}

/// systemd separates several directories by colons; the first is the unit's own.
fn first_of_list(value: Option<OsString>) -> Option<PathBuf> {
    let text = value?.into_string().ok()?;
    absolute(text.split(':').next().map(OsString::from))
}

/// The XDG rule: a relative path counts as none.
fn absolute(value: Option<OsString>) -> Option<PathBuf> {
    value.map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn the_socket_goes_to_systemds_directory_then_the_users_then_run() {
        let user = ("XDG_RUNTIME_DIR", "/run/user/7");
        assert_eq!(socket(variables(&[])), Path::new("/run/linnet/linnet.sock"));
        assert_eq!(socket(variables(&[user])), Path::new("/run/user/7/linnet/linnet.sock"));
        assert_eq!(socket(variables(&[("XDG_RUNTIME_DIR", "run")])), Path::new("/run/linnet/linnet.sock"));
        let own = ("RUNTIME_DIRECTORY", "/run/a:/run/b");
        assert_eq!(socket(variables(&[own, user])), Path::new("/run/a/linnet.sock"));
    }

    #[test]
    fn state_goes_to_systemds_directory_then_the_users_then_var_lib() {
        let home = ("HOME", "/home/ann");
        assert_eq!(state(variables(&[]), false), Path::new("/var/lib/linnet"));
        assert_eq!(state(variables(&[home]), false), Path::new("/home/ann/.local/state/linnet"));
        assert_eq!(state(variables(&[home]), true), Path::new("/var/lib/linnet"));
        assert_eq!(state(variables(&[home, ("XDG_STATE_HOME", "/s")]), true), Path::new("/s/linnet"));
        assert_eq!(state(variables(&[home, ("STATE_DIRECTORY", "/var/lib/x")]), true), Path::new("/var/lib/x"));
    }

    #[test]
    fn packages_beside_the_program_come_before_those_of_a_tree() {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = dir.path();
        std::fs::create_dir_all(tree.join("target/release")).expect("a directory");
        let program = tree.join("target/release/linnetd");
        assert_eq!(bundled_models(&program, None), None, "no tree without Cargo.toml");
        std::fs::create_dir(tree.join("models")).expect("a directory");
        std::fs::write(tree.join("Cargo.toml"), "").expect("a file");
        assert_eq!(bundled_models(&program, None), Some(tree.join("models")));
        let elsewhere = Path::new("/opt/nowhere/bin/linnetd");
        assert_eq!(bundled_models(elsewhere, Some(tree)), Some(tree.join("models")));
        std::fs::create_dir_all(tree.join("target/share/linnet/models")).expect("a directory");
        assert_eq!(bundled_models(&program, Some(tree)), Some(tree.join("target/share/linnet/models")));
    }
}
