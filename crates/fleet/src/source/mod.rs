//! Where metadata and files come from: a directory (a stick), a web server, a broker, or memory (tests and simulations).
//!
//! Nothing that a source says is believed: it can delay a device and can do nothing else.

mod authorities;
mod directory;
mod download;
mod http;
mod memory;
mod mqtt;
mod rate;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

pub use authorities::fault_of_authorities;
use bytes::Bytes;
pub use directory::{Directory, NO_DIRECTORY};
pub use download::{DownloadError, Progress, Sink, Wanted, Writer, download};
pub use http::{Http, HttpSetupError, fault_of_url};
use linnet_proto::fleet::MAX_RANGE_BYTES;
pub use memory::{Memory, Traffic};
pub use mqtt::{Exchange, Mqtt};
pub use rate::LeastRate;
pub use tough::async_trait;

/// Longest path of a repository that is asked for, bytes.
const MAX_PATH_BYTES: usize = 255;

/// A repository as a device reaches it. Every wait that it makes may be cut off by dropping the future.
#[async_trait]
pub trait Source: Send + Sync {
    /// What it is, for people: a path, a URL, a fleet's topics. Without any secret.
    fn name(&self) -> String;

    /// The whole of a metadata file, such as `3.root.json`; of at most `cap` bytes.
    async fn metadata(&self, name: &str, cap: u64) -> Result<Bytes, SourceFault>;

    /// The bytes of a file from `offset` on: at least one, at most `bytes`. `path` is `generations/<sha256>.<number>.json` or
    /// `files/<sha256>`.
    async fn piece(&self, path: &str, offset: u64, bytes: u64) -> Result<Bytes, SourceFault>;

    /// The size of piece that this source serves best, bytes.
    fn piece_bytes(&self) -> u64 {
        MAX_RANGE_BYTES
    }
}

/// Why a source did not give what was asked for. Its sentence names neither the source nor the file: who reports it knows both, and names each
/// once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceFault {
    /// The source was reached and says that there is no such file.
    #[error("there is no such file")]
    NotThere,
    /// The source could not be reached, or would not answer; whether the file exists is not known.
    #[error("{0}")]
    Unreachable(String),
    /// The file is larger than what is taken.
    #[error("it is larger than the {cap} bytes that are taken")]
    TooLarge {
        /// Most bytes.
        cap: u64,
    },
    /// Bytes come more slowly than the least rate.
    #[error("{0}")]
    TooSlow(String),
    /// The answer contradicts the question or itself.
    #[error("{0}")]
    Lied(String),
}

/// How slow a source may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time until an answer begins.
    pub answer: Duration,
    /// From then on, bytes per second.
    pub least_bytes_per_sec: u64,
}

impl Default for Pace {
    fn default() -> Self {
        // GPRS at its worst still passes.
        Self { answer: Duration::from_secs(30), least_bytes_per_sec: 1024 }
    }
}

impl Pace {
    /// The time in which `bytes` must have come.
    pub fn deadline(&self, bytes: u64) -> Duration {
        self.answer.saturating_add(Duration::from_secs(bytes / self.least_bytes_per_sec.max(1)))
    }

    /// Runs `answer`, which brings at most `bytes`, and cuts it off when it is too slow.
    pub(crate) async fn hold<T>(
        &self,
        bytes: u64,
        answer: impl Future<Output = Result<T, SourceFault>>,
    ) -> Result<T, SourceFault> {
        let deadline = self.deadline(bytes);
        tokio::time::timeout(deadline, answer)
            .await
            .unwrap_or_else(|_| Err(SourceFault::TooSlow(format!("it has not come within {} s", deadline.as_secs()))))
    }
}

/// Where a file of a path as sources are asked for it lies in a repository's directory.
pub(crate) fn repository_path(path: &str) -> String {
    if path.starts_with("generations/") { format!("targets/{path}") } else { path.to_owned() }
}

/// Opens a regular file for reading; none is given for anything else. It never waits: to open a pipe would, for ever, and what lies at a path can become
/// one between a look at it and its opening.
pub fn open_regular(path: &Path) -> std::io::Result<Option<File>> {
    let at_once = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(at_once).open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Refuses a path that is not made of plain parts, so that none leads out of a repository or changes a URL.
fn require_plain(path: &str) -> Result<(), SourceFault> {
    let part = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
    };
    if path.len() > MAX_PATH_BYTES || !path.split('/').all(part) {
        return Err(SourceFault::Lied(format!("`{}` is no path in a repository", path.escape_debug())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_are_asked_for() {
        for path in ["timestamp.json", "files/abc", "generations/ab.7.json"] {
            require_plain(path).expect(path);
        }
        for path in ["", "/etc/passwd", "a//b", "../a", "a/..", "a?b", "a%2fb", "a b", "a\0", "ä", &"a".repeat(256)] {
            require_plain(path).expect_err(path);
        }
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_is_no_regular_file_and_nobody_waits_for_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipe = dir.path().join("pipe");
        let made = rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0);
        made.expect("a pipe");
        let (said, heard) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || said.send(open_regular(&pipe).map(|found| found.is_some())));
        let opened = heard.recv_timeout(Duration::from_secs(20)).expect("it does not wait");
        assert!(!opened.expect("it can be opened"));
        assert!(open_regular(dir.path()).expect("it can be opened").is_none());
        let file = dir.path().join("file");
        std::fs::write(&file, "x").expect("written");
        assert!(open_regular(&file).expect("it can be opened").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_slower_than_the_pace_is_cut_off() {
        let pace = Pace { answer: Duration::from_secs(5), least_bytes_per_sec: 100 };
        let after = |secs| async move {
            tokio::time::sleep(Duration::from_secs(secs)).await;
            Ok(secs)
        };
        assert_eq!(pace.hold(1000, after(14)).await, Ok(14));
        let cut = pace.hold(1000, after(16)).await.expect_err("cut off");
        assert_eq!(cut, SourceFault::TooSlow("it has not come within 15 s".into()));
    }
}
