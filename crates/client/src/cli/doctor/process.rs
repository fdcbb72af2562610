//! The daemon's process, found by whoever listens on the socket: with which flags it was started, and in what environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Largest command line or environment that is looked at, bytes.
const MAX_BYTES: usize = 256 << 10;

/// A running daemon, as far as this user may see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// The user that it runs as.
    pub(super) uid: u32,
    /// Its command line without the program.
    pub(super) arguments: Vec<String>,
    /// Its environment; `None` where this user may not see it.
    pub(super) environment: Option<BTreeMap<String, OsString>>,
    /// Its working directory, which relative paths of its flags begin at.
    pub(super) directory: Option<PathBuf>,
}

impl Process {
    /// Looks at process `pid`. What is no `linnetd` has no flags and no environment that would mean anything.
    pub(super) fn look(pid: Option<i32>, uid: u32) -> Self {
        let mut process = Self { uid, ..Self::default() };
        let Some(proc) = pid.filter(|pid| *pid > 0).map(|pid| PathBuf::from(format!("/proc/{pid}"))) else {
            return process;
        };
        let words = |name: &str| read(&proc.join(name)).map(|bytes| split(&bytes));
        let Some(mut line) = words("cmdline").filter(|line| !line.is_empty()) else { return process };
        let program = PathBuf::from(line.remove(0));
        if program.file_name().is_none_or(|name| name != "linnetd") {
            return process;
        }
        process.arguments = line.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
        process.environment = words("environ").map(pairs);
        process.directory = std::fs::read_link(proc.join("cwd")).ok();
        process
    }

    /// Every value of a flag: `--name value` and `--name=value`.
    pub(super) fn flags(&self, name: &str) -> Vec<String> {
        let with_equals = format!("{name}=");
        let mut words = self.arguments.iter();
        let mut found = Vec::new();
        while let Some(word) = words.next() {
            match word.strip_prefix(&with_equals) {
                Some(value) => found.push(value.to_owned()),
                None if word == name => found.extend(words.next().cloned()),
                None => {}
            }
        }
        found
    }

    /// The last value of a flag that is a path.
    pub(super) fn path_flag(&self, name: &str) -> Option<PathBuf> {
        self.flags(name).pop().map(|path| self.absolute(Path::new(&path)))
    }

    /// A variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&OsString> {
        self.environment.as_ref()?.get(name).filter(|value| !value.is_empty())
    }

    /// A path as the process means it.
    pub(super) fn absolute(&self, path: &Path) -> PathBuf {
        match &self.directory {
            Some(directory) => directory.join(path),
            None => path.to_owned(),
        }
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    std::fs::read(path).ok().filter(|bytes| bytes.len() <= MAX_BYTES)
}

/// The kernel parts words by zero bytes.
fn split(bytes: &[u8]) -> Vec<OsString> {
    let words = bytes.strip_suffix(&[0]).unwrap_or(bytes).split(|byte| *byte == 0);
    words.map(|word| OsString::from_vec(word.to_vec())).collect()
}

fn pairs(words: Vec<OsString>) -> BTreeMap<String, OsString> {
    let pair = |word: OsString| {
        let bytes = word.into_vec();
        let at = bytes.iter().position(|byte| *byte == b'=')?;
        let name = String::from_utf8(bytes[..at].to_vec()).ok()?;
        Some((name, OsString::from_vec(bytes[at + 1..].to_vec())))
    };
    words.into_iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(line: &[&str]) -> Process {
        Process { arguments: line.iter().map(|word| (*word).to_owned()).collect(), ..Process::default() }
    }

    #[test]
    fn flags_are_found_in_both_ways_to_write_them() {
        let process = process(&["--config", "/etc/a.toml", "--models=/m", "--models", "/n", "--state"]);
        assert_eq!(process.path_flag("--config"), Some(PathBuf::from("/etc/a.toml")));
        assert_eq!(process.flags("--models"), ["/m", "/n"]);
        assert_eq!(process.path_flag("--state"), None, "a flag without a value");
        assert_eq!(process.path_flag("--socket"), None);
    }

    #[test]
    fn relative_paths_begin_where_the_daemon_runs() {
        let process = Process { directory: Some("/srv".into()), ..process(&["--config", "a.toml"]) };
        assert_eq!(process.path_flag("--config"), Some(PathBuf::from("/srv/a.toml")));
    }

    #[test]
    fn an_environment_is_read_as_the_kernel_writes_it() {
        let read = pairs(split(b"A=1\0B=x=y\0C=\0no pair\0"));
        let process = Process { environment: Some(read), ..Process::default() };
        assert_eq!(process.variable("A"), Some(&OsString::from("1")));
        assert_eq!(process.variable("B"), Some(&OsString::from("x=y")));
        assert_eq!(process.variable("C"), None, "an empty variable counts as none");
    }

    #[test]
    fn another_program_on_the_socket_tells_nothing() {
        let own = Process::look(Some(i32::try_from(std::process::id()).expect("small")), 7);
        assert_eq!(own, Process { uid: 7, ..Process::default() });
    }
}
