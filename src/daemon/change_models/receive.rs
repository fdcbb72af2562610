//! A model's files that come with the request, as a tar: unpacked beside the models, where they only have to be linked into their place.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use linnet_proto::{ErrorCode, WireError};
use tar::{Archive as Tar, EntryType};

use crate::limits::MAX_PACKAGE_FILES;
use crate::limits::generations::FREE_MARGIN_BYTES;
use crate::status::Archive;
use crate::store::write::StagedDirectory;

/// Longest name of a directory that is kept, bytes.
const MAX_NAME_BYTES: usize = 128;

/// The files of a model; removed when this is dropped.
pub(super) struct Received {
    staged: StagedDirectory,
    name: String,
}

impl Received {
    /// The model's directory.
    pub(super) fn model(&self) -> PathBuf {
        self.staged.path().join(&self.name)
    }
}

/// Unpacks `archive` into a hidden directory in `into`, as a directory that is called what it was called where it came from.
pub(super) fn unpack(into: &Path, directory: Option<&str>, archive: Archive) -> Result<Received, WireError> {
    let cannot_write = |e: &dyn std::fmt::Display| {
        let message = format!("linnetd cannot write {}, where models are added: {e}", into.display());
        WireError::new(ErrorCode::Internal, message)
    };
    let is_plain =
        |name: &&str| !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains('/') && !name.starts_with('.');
    let name = directory.filter(is_plain).unwrap_or("model").to_owned();
    let staged = StagedDirectory::beside(&into.join(&name)).map_err(|e| cannot_write(&e))?;
    let received = Received { staged, name };
    let root = received.model();
    std::fs::create_dir(&root).map_err(|e| cannot_write(&e))?;
    let broken = |e: io::Error| refuse(format!("the archive cannot be read: {e}"));
    let mut tar = Tar::new(Pieces { archive, piece: Bytes::new() });
    let (mut entries, mut files) = (0, 0);
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        entries += 1;
        if entries > MAX_PACKAGE_FILES {
            return Err(refuse(format!("the archive has more than {MAX_PACKAGE_FILES} entries")));
        }
        let named = entry.path().map_err(broken)?.into_owned();
        // `tar -c .` writes `./` before each path, and the directories.
        let path: PathBuf = named.components().filter(|part| *part != Component::CurDir).collect();
        let kind = entry.header().entry_type();
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        if inside && kind == EntryType::Directory {
            continue;
        }
        if kind != EntryType::Regular || !inside || path.as_os_str().is_empty() {
            return Err(refuse(format!(
                "{:?} is no plain file inside of a model's directory",
                path.display().to_string()
            )));
        }
        files += 1;
        let bytes = entry.size();
        let free = free_bytes(into).map_err(|e| cannot_write(&e))?;
        if bytes.saturating_add(FREE_MARGIN_BYTES) > free {
            let message =
                format!("{} has {bytes} bytes, and only {free} are free in {}", path.display(), into.display());
            return Err(WireError::new(ErrorCode::TooLarge, message));
        }
        let target = root.join(&path);
        let written = (|| {
            std::fs::create_dir_all(target.parent().unwrap_or(&root))?;
            let mut file = File::create_new(&target)?;
            let written = io::copy(&mut entry, &mut file)?;
            file.flush()?;
            Ok::<_, io::Error>(written)
        })();
        match written {
            Ok(written) if written == bytes => {}
            Ok(written) => return Err(refuse(format!("{} ends after {written} of {bytes} bytes", path.display()))),
            Err(e) if matches!(e.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
                return Err(refuse(format!("{} collides with an earlier file of the archive", path.display())));
            }
            Err(e) => return Err(cannot_write(&e)),
        }
    }
    if files == 0 {
        return Err(refuse("the archive holds no file"));
    }
    Ok(received)
}

fn refuse(message: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::InvalidRequest, message)
}

fn free_bytes(dir: &Path) -> io::Result<u64> {
    let told = rustix::fs::statvfs(dir)?;
    Ok(told.f_bavail.saturating_mul(told.f_frsize))
}

/// What comes, to be read on a thread that may block.
struct Pieces {
    archive: Archive,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.archive.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let bytes = self.piece.len().min(into.len());
        into[..bytes].copy_from_slice(&self.piece.split_to(bytes));
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// A tar of these entries: path, kind, content.
    fn tar_of(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            // As an attacker writes it: `set_path` would refuse.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o4777);
            header.set_cksum();
            builder.append(&header, *content).expect("to memory");
        }
        builder.into_inner().expect("to memory")
    }

    fn unpacked(into: &Path, tar: &[u8]) -> Result<Received, WireError> {
        let (sender, archive) = mpsc::channel(64);
        for piece in tar.chunks(1000) {
            sender.try_send(Ok(Bytes::copy_from_slice(piece))).expect("there is room");
        }
        drop(sender);
        unpack(into, Some("en-de"), archive)
    }

    fn names(dir: &Path) -> usize {
        std::fs::read_dir(dir).expect("reads").count()
    }

    #[test]
    fn files_come_whole_and_go_with_who_holds_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let tar = tar_of(&[
            ("./", EntryType::Directory, b""),
            ("./config.json", EntryType::Regular, b"{}"),
            ("onnx/model.onnx", EntryType::Regular, &[7; 3000]),
        ]);
        let received = unpacked(dir.path(), &tar).expect("it is right");
        let model = received.model();
        assert!(model.ends_with("en-de") && model.starts_with(dir.path()));
        assert_eq!(std::fs::read(model.join("onnx/model.onnx")).expect("reads"), [7; 3000]);
        drop(received);
        assert_eq!(names(dir.path()), 0);
    }

    #[test]
    fn what_is_no_plain_file_inside_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let whole = tar_of(&[("model.onnx", EntryType::Regular, &[7; 3000])]);
        for (tar, says) in [
            (tar_of(&[("../out", EntryType::Regular, b"x")]), "no plain file inside"),
            (tar_of(&[("/etc/out", EntryType::Regular, b"x")]), "no plain file inside"),
            (tar_of(&[("link", EntryType::Symlink, b"")]), "no plain file inside"),
            (tar_of(&[("pipe", EntryType::Fifo, b"")]), "no plain file inside"),
            (tar_of(&[("twice", EntryType::Regular, b"x"), ("twice", EntryType::Regular, b"y")]), "earlier file"),
            (tar_of(&[("a", EntryType::Regular, b"x"), ("a/b", EntryType::Regular, b"y")]), "earlier file"),
            (whole[..1500].to_vec(), "after"),
            (b"no archive at all, but long enough to be taken for one".repeat(20), "archive"),
            (Vec::new(), "no file"),
        ] {
            let refused = unpacked(dir.path(), &tar).err().expect("a refusal");
            assert!(refused.message.contains(says), "{says}: {refused}");
            assert_eq!(names(dir.path()), 0, "{says}");
        }
    }
}
