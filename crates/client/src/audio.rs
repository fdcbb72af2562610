//! Audio on its way to the daemon: a file or standard input, never whole in memory.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::ClientError;

/// Bytes read and sent at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Encoded audio that can be read once.
pub struct Audio {
    name: String,
    reader: Pin<Box<dyn AsyncRead + Send + Sync>>,
    /// Bytes, where they are known.
    length: Option<u64>,
    sent: u64,
}

impl std::fmt::Debug for Audio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audio").field("name", &self.name).field("length", &self.length).finish_non_exhaustive()
    }
}

impl Audio {
    /// Opens a file; `-` is standard input.
    pub async fn open(path: &Path) -> Result<Self, ClientError> {
        if path == Path::new("-") {
            return Ok(Self::stdin());
        }
        let name = path.display().to_string();
        let failed = |source| ClientError::Read { path: name.clone(), source };
        let file = tokio::fs::File::open(path).await.map_err(failed)?;
        let metadata = file.metadata().await.map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::Error::new(io::ErrorKind::IsADirectory, "is a directory; name an audio file")));
        }
        // A pipe or device has no length that could be trusted.
        let length = metadata.is_file().then_some(metadata.len());
        Ok(Self { name, reader: Box::pin(file), length, sent: 0 })
    }

    /// Standard input, to its end.
    pub fn stdin() -> Self {
        Self { name: "standard input".into(), reader: Box::pin(tokio::io::stdin()), length: None, sent: 0 }
    }

    /// Audio that lies in memory already.
    pub fn of_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let length = Some(bytes.len() as u64);
        Self { name: "audio".into(), reader: Box::pin(io::Cursor::new(bytes)), length, sent: 0 }
    }

    /// Bytes, where they are known before reading.
    pub fn len(&self) -> Option<u64> {
        self.length
    }

    /// Whether it is known to hold nothing.
    pub fn is_empty(&self) -> bool {
        self.length == Some(0)
    }

    /// Reads all of it, up to `max_bytes`; `None` when there is more.
    pub async fn read_within(mut self, max_bytes: u64) -> Result<Option<Bytes>, ClientError> {
        if self.length.is_some_and(|length| length > max_bytes) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).await;
        read.map_err(|source| ClientError::Read { path: self.name, source })?;
        Ok((bytes.len() as u64 <= max_bytes).then(|| bytes.into()))
    }
}

impl Body for Audio {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut buffer = ReadBuf::new(&mut piece);
        ready!(self.reader.as_mut().poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        if read == 0 {
            return Poll::Ready(None);
        }
        self.sent += read as u64;
        piece.truncate(read);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, |length| SizeHint::with_exact(length.saturating_sub(self.sent)))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_gives_every_byte_once() {
        let bytes: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        let audio = Audio::of_bytes(bytes.clone());
        assert_eq!(audio.size_hint().exact(), Some(200_000));
        assert_eq!(audio.collect().await.expect("reads").to_bytes(), bytes);
    }

    #[tokio::test]
    async fn more_than_the_limit_is_not_read() {
        assert!(Audio::of_bytes(vec![1; 11]).read_within(10).await.expect("reads").is_none());
        assert_eq!(Audio::of_bytes(vec![1; 10]).read_within(10).await.expect("reads").expect("fits").len(), 10);
    }

    #[tokio::test]
    async fn a_missing_file_and_a_directory_are_named() {
        for path in ["no-such-file.wav", "."] {
            let e = Audio::open(Path::new(path)).await.expect_err(path);
            assert!(e.to_string().starts_with(path), "{e}");
            assert_eq!(e.exit_code(), 66);
        }
    }
}
