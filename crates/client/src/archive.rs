//! A model's files on their way to the daemon: a tar, never whole in memory.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

/// Bytes that are sent at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that may wait to be sent.
const PIECES: usize = 4;

/// The files, read once while they are sent.
#[derive(Debug)]
pub struct Archive(mpsc::Receiver<io::Result<Bytes>>);

impl Archive {
    /// Packs `files`, paths in `dir`; a link stands for what it leads to. Must be called on a tokio runtime.
    pub fn of(dir: &Path, files: Vec<String>) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES);
        let dir = dir.to_owned();
        tokio::task::spawn_blocking(move || {
            let mut out = Pieces { sender, piece: Vec::with_capacity(PIECE_BYTES) };
            if let Err(e) = pack(&dir, &files, &mut out) {
                // Without a reader nobody is there to be told.
                let _ = out.sender.blocking_send(Err(e));
            }
        });
        Self(pieces)
    }
}

fn pack(dir: &Path, files: &[String], out: &mut Pieces) -> io::Result<()> {
    let mut tar = tar::Builder::new(&mut *out);
    for name in files {
        let path: PathBuf = dir.join(name);
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        let mut file = std::fs::File::open(&path).map_err(named)?;
        let bytes = file.metadata().map_err(named)?.len();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &mut file).map_err(named)?;
    }
    tar.finish()?;
    drop(tar);
    out.flush()
}

/// Gathers what is packed into pieces.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (PIECE_BYTES - self.piece.len()).min(bytes.len());
        self.piece.extend_from_slice(&bytes[..room]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Body for Archive {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn files_are_packed_whole_and_a_link_stands_for_what_it_leads_to() {
        let dir = tempfile::tempdir().expect("a directory");
        let long = format!("onnx/{}.onnx", "m".repeat(150));
        std::fs::create_dir(dir.path().join("onnx")).expect("a directory");
        std::fs::write(dir.path().join("blob"), vec![7; 700_000]).expect("a file");
        std::os::unix::fs::symlink("../blob", dir.path().join(&long)).expect("a link");
        std::fs::write(dir.path().join("config.json"), "{}").expect("a file");
        let archive = Archive::of(dir.path(), vec!["config.json".into(), long.clone()]);
        let packed = archive.collect().await.expect("reads").to_bytes();
        let mut tar = tar::Archive::new(&packed[..]);
        let entries = tar.entries().expect("a tar").map(|entry| {
            let entry = entry.expect("an entry");
            assert_eq!(entry.header().entry_type(), tar::EntryType::Regular);
            (entry.path().expect("a path").display().to_string(), entry.size())
        });
        assert_eq!(entries.collect::<Vec<_>>(), [("config.json".to_owned(), 2), (long, 700_000)]);
    }

    #[tokio::test]
    async fn a_file_that_is_gone_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let e = Archive::of(dir.path(), vec!["gone.onnx".into()]).collect().await.expect_err("it is gone");
        assert!(e.to_string().contains("gone.onnx"), "{e}");
    }
}
