//! An HTTP/1.1 connection that is kept open from request to request.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// An answer.
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
}

/// Opens itself anew when the daemon has closed it.
pub struct Connection {
    socket: PathBuf,
    stream: Option<UnixStream>,
    buffer: Vec<u8>,
}

impl Connection {
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), stream: None, buffer: Vec::new() }
    }

    /// Transcribes `audio`.
    pub async fn transcribe(&mut self, audio: &[u8]) -> Result<Answer, String> {
        let head = format!(
            "POST /v1/audio/transcriptions?response_format=linnet_json HTTP/1.1\r\nhost: localhost\r\n\
             content-type: audio/wav\r\ncontent-length: {}\r\n\r\n",
            audio.len()
        );
        timeout(PATIENCE, self.exchange(head.as_bytes(), audio)).await.map_err(|_| "no answer in time".to_owned())?
    }

    async fn exchange(&mut self, head: &[u8], body: &[u8]) -> Result<Answer, String> {
        // A connection that was idle may have been closed meanwhile, as HTTP allows: then a new one is opened.
        let mut kept = self.stream.take();
        if let Some(stream) = &mut kept
            && stream.write_all(head).await.is_err()
        {
            kept = None;
        }
        let mut stream = match kept {
            Some(stream) => stream,
            None => {
                let mut stream = UnixStream::connect(&self.socket).await.map_err(|e| format!("connect: {e}"))?;
                stream.write_all(head).await.map_err(|e| format!("head: {e}"))?;
                stream
            }
        };
        // A refusal may come while the body is still being sent; then the answer is what counts.
        let sent = stream.write_all(body).await;
        let (answer, keeps) = match self.read(&mut stream).await {
            Ok(read) => read,
            Err(e) => return Err(sent.err().map_or(e, |e| format!("body: {e}"))),
        };
        if keeps && sent.is_ok() {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    async fn read(&mut self, stream: &mut UnixStream) -> Result<(Answer, bool), String> {
        self.buffer.clear();
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            self.more(stream).await?;
        };
        let head = std::str::from_utf8(&self.buffer[..end]).map_err(|e| e.to_string())?.to_ascii_lowercase();
        let header =
            |name: &str| head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or("the answer has no status")?;
        let length: usize = header("content-length").and_then(|v| v.parse().ok()).ok_or("the answer has no length")?;
        let retry_after = header("retry-after").and_then(|v| v.parse().ok()).map(Duration::from_secs);
        let keeps = header("connection") != Some("close");
        while self.buffer.len() < end + 4 + length {
            self.more(stream).await?;
        }
        let body = self.buffer[end + 4..end + 4 + length].to_vec();
        Ok((Answer { status, retry_after, body }, keeps))
    }

    async fn more(&mut self, stream: &mut UnixStream) -> Result<(), String> {
        match stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err("the connection ended without an answer".into()),
            Ok(_) => Ok(()),
            Err(e) => Err(format!("answer: {e}")),
        }
    }
}
