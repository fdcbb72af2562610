//! Fetches a file of known length and digest, piece by piece, from where it stopped.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tough::async_trait;

use super::{LeastRate, Pace, Source, SourceFault};

/// A file that trusted metadata, or a trusted generation, name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Path as [`Source::piece`] takes it.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, lower-case hexadecimal digits.
    pub sha256: String,
}

/// Where the bytes go.
#[async_trait]
pub trait Sink: Send {
    /// Appends all of `bytes`; a fault is one sentence.
    async fn write(&mut self, bytes: &Bytes) -> Result<(), String>;
}

#[async_trait]
impl Sink for Vec<u8> {
    async fn write(&mut self, bytes: &Bytes) -> Result<(), String> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// A tokio writer as a sink.
#[derive(Debug)]
pub struct Writer<W>(pub W);

#[async_trait]
impl<W: AsyncWrite + Unpin + Send> Sink for Writer<W> {
    async fn write(&mut self, bytes: &Bytes) -> Result<(), String> {
        self.0.write_all(bytes).await.map_err(|e| format!("the bytes cannot be written: {e}"))
    }
}

/// How much of a file is there, and its digest so far.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    hasher: Sha256,
    offset: u64,
}

impl Progress {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what is there from an earlier try, from the first byte on and in order.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.offset = self.offset.saturating_add(bytes.len() as u64);
    }

    /// Bytes that are there.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// Why a file was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownloadError {
    /// The source; what is there is kept, and another try goes on from it.
    #[error("{path} stopped at byte {offset}: {fault}")]
    Source {
        /// What was fetched.
        path: String,
        /// Bytes that are there.
        offset: u64,
        /// Why it stopped.
        fault: SourceFault,
    },
    /// Where the bytes go; how many of the last piece have arrived is not known.
    #[error("{path}: {reason}")]
    Sink {
        /// What was fetched.
        path: String,
        /// The sink's own sentence.
        reason: String,
    },
    /// The bytes are not the file that is meant: throw them away and try another source.
    #[error("{path} is not what was signed for: its SHA-256 is {found}")]
    Digest {
        /// What was fetched.
        path: String,
        /// The digest of what came.
        found: String,
    },
    /// More is there than the file has: throw it away.
    #[error("{path} has {bytes} bytes, and {offset} are already there")]
    Ahead {
        /// What was fetched.
        path: String,
        /// Its length.
        bytes: u64,
        /// Bytes that are there.
        offset: u64,
    },
}

impl DownloadError {
    /// A stable word for reports.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Source { fault: SourceFault::NotThere, .. } => "missing",
            Self::Source { fault: SourceFault::Unreachable(_), .. } => "unreachable",
            Self::Source { fault: SourceFault::TooLarge { .. }, .. } => "too_large",
            Self::Source { fault: SourceFault::TooSlow(_), .. } => "too_slow",
            Self::Source { fault: SourceFault::Lied(_), .. } => "garbage",
            Self::Sink { .. } => "disk",
            Self::Digest { .. } | Self::Ahead { .. } => "wrong_digest",
        }
    }
}

/// Fetches what is missing of `wanted` from `source` into `sink`, and checks the digest of the whole. `progress` moves with what the
/// sink has taken, so that another call, with this source or another, goes on from there; how often is the caller's.
pub async fn download(
    source: &dyn Source,
    wanted: &Wanted,
    progress: &mut Progress,
    sink: &mut dyn Sink,
    pace: &Pace,
) -> Result<(), DownloadError> {
    let path = || wanted.path.clone();
    if progress.offset > wanted.bytes {
        return Err(DownloadError::Ahead { path: path(), bytes: wanted.bytes, offset: progress.offset });
    }
    let mut rate = LeastRate::new(*pace);
    while progress.offset < wanted.bytes {
        let offset = progress.offset;
        let ask = source.piece_bytes().max(1).min(wanted.bytes - offset);
        let stopped = |fault| DownloadError::Source { path: path(), offset, fault };
        let piece = rate.piece(source, &wanted.path, offset, ask).await.map_err(stopped)?;
        if piece.is_empty() || piece.len() as u64 > ask {
            let came = piece.len();
            return Err(stopped(SourceFault::Lied(format!("asked for {ask} bytes, the source gave {came}"))));
        }
        sink.write(&piece).await.map_err(|reason| DownloadError::Sink { path: path(), reason })?;
        progress.feed(&piece);
    }
    let found = hex::encode(progress.hasher.clone().finalize());
    if found != wanted.sha256 { Err(DownloadError::Digest { path: path(), found }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::source::Memory;

    fn file() -> (Memory, Wanted, Vec<u8>) {
        let content: Vec<u8> = (0..300_000u32).map(|n| (n * 7 % 251) as u8).collect();
        let sha256 = hex::encode(Sha256::digest(&content));
        let memory = Memory::new();
        let wanted = Wanted { path: format!("files/{sha256}"), bytes: content.len() as u64, sha256 };
        memory.put_file(&wanted.path, content.clone());
        (memory, wanted, content)
    }

    /// Breaks after a number of pieces, once.
    struct Breaking<'a> {
        memory: &'a Memory,
        left: AtomicU64,
    }

    #[async_trait]
    impl Source for Breaking<'_> {
        fn name(&self) -> String {
            "breaking".into()
        }

        async fn metadata(&self, name: &str, cap: u64) -> Result<Bytes, SourceFault> {
            self.memory.metadata(name, cap).await
        }

        async fn piece(&self, path: &str, offset: u64, bytes: u64) -> Result<Bytes, SourceFault> {
            if self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
                return Err(SourceFault::Unreachable("the link broke".into()));
            }
            // Short answers are allowed.
            self.memory.piece(path, offset, bytes.min(10_000)).await
        }
    }

    #[tokio::test]
    async fn a_broken_link_goes_on_where_it_stopped() {
        let (memory, wanted, content) = file();
        let source = Breaking { memory: &memory, left: AtomicU64::new(5) };
        let (mut progress, mut sink) = (Progress::new(), Vec::new());
        let pace = Pace::default();
        let e = download(&source, &wanted, &mut progress, &mut sink, &pace).await.expect_err("broken");
        assert_eq!((e.code(), progress.offset()), ("unreachable", 50_000));
        download(&source, &wanted, &mut progress, &mut sink, &pace).await.expect("goes on");
        assert_eq!(sink, content);
        assert_eq!(memory.traffic().bytes, content.len() as u64, "no byte is fetched twice");
    }

    #[tokio::test]
    async fn what_is_there_from_before_a_restart_is_not_fetched_again() {
        let (memory, wanted, content) = file();
        let mut progress = Progress::new();
        progress.feed(&content[..299_000]);
        let mut sink = Vec::new();
        download(&memory, &wanted, &mut progress, &mut sink, &Pace::default()).await.expect("fetched");
        assert_eq!(sink, content[299_000..]);
        assert_eq!(memory.traffic().bytes, 1000);
    }

    #[tokio::test]
    async fn other_bytes_are_refused_by_their_digest() {
        let (memory, wanted, mut content) = file();
        content[123_456] ^= 1;
        memory.put_file(&wanted.path, content);
        let mut sink = Vec::new();
        let result = download(&memory, &wanted, &mut Progress::new(), &mut sink, &Pace::default()).await;
        assert_eq!(result.expect_err("refused").code(), "wrong_digest");
        let mut ahead = Progress::new();
        ahead.feed(&vec![0; 300_001]);
        let result = download(&memory, &wanted, &mut ahead, &mut sink, &Pace::default()).await;
        assert_eq!(result.expect_err("refused").code(), "wrong_digest");
    }

    #[tokio::test]
    async fn a_file_that_ends_early_or_is_not_there_is_an_error() {
        let (memory, wanted, content) = file();
        memory.put_file(&wanted.path, content[..1000].to_vec());
        let mut progress = Progress::new();
        let result = download(&memory, &wanted, &mut progress, &mut Vec::new(), &Pace::default()).await;
        assert_eq!((result.expect_err("refused").code(), progress.offset()), ("garbage", 1000));
        let none = Wanted { path: "files/none".into(), ..wanted };
        let result = download(&memory, &none, &mut Progress::new(), &mut Vec::new(), &Pace::default()).await;
        assert_eq!(result.expect_err("refused").code(), "missing");
    }

    #[tokio::test]
    async fn an_empty_file_is_whole_without_a_question() {
        let wanted = Wanted { path: "files/empty".into(), bytes: 0, sha256: hex::encode(Sha256::digest([])) };
        let memory = Memory::new();
        download(&memory, &wanted, &mut Progress::new(), &mut Vec::new(), &Pace::default()).await.expect("whole");
        assert_eq!(memory.traffic().messages, 0);
    }

    /// One byte at a time, each after a minute.
    struct Dripping<'a>(&'a Memory);

    #[async_trait]
    impl Source for Dripping<'_> {
        fn name(&self) -> String {
            "dripping".into()
        }

        async fn metadata(&self, name: &str, cap: u64) -> Result<Bytes, SourceFault> {
            self.0.metadata(name, cap).await
        }

        async fn piece(&self, path: &str, offset: u64, _: u64) -> Result<Bytes, SourceFault> {
            tokio::time::sleep(Duration::from_secs(60)).await;
            self.0.piece(path, offset, 1).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_below_the_least_rate_is_left() {
        let (memory, wanted, _) = file();
        let pace = Pace { answer: Duration::from_secs(90), least_bytes_per_sec: 1024 };
        let result = download(&Dripping(&memory), &wanted, &mut Progress::new(), &mut Vec::new(), &pace).await;
        assert_eq!(result.expect_err("too slow").code(), "too_slow");
    }
}
