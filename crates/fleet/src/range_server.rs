//! Answers requests for pieces of a repository's files (`linnet_proto::fleet::RangeRequest`). Who carries request and reply is no
//! matter of this: bytes in, bytes out.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use linnet_proto::fleet::{MAX_RANGE_BYTES, RangeHead, RangeRequest, RangeStatus};

/// Largest request that is read, bytes.
const MAX_REQUEST_BYTES: usize = 1024;

/// Serves the files of one repository: `files/<sha256>` and `generations/…`, and nothing else.
#[derive(Debug, Clone)]
pub struct RangeServer {
    dir: PathBuf,
}

impl RangeServer {
    /// Serves `dir`, a repository or an export of one.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The reply to a request.
    pub fn answer(&self, request: &[u8]) -> Vec<u8> {
        let only = |status| RangeHead { status, offset: 0, total: 0, retry_after_ms: None }.with(&[]);
        if request.len() > MAX_REQUEST_BYTES {
            return only(RangeStatus::Refused);
        }
        let Ok(request) = serde_json::from_slice::<RangeRequest>(request) else { return only(RangeStatus::Refused) };
        if request.bytes > MAX_RANGE_BYTES {
            return only(RangeStatus::Refused);
        }
        let Some(path) = self.path(&request.path) else { return only(RangeStatus::Refused) };
        // What is no plain file (a link that somebody put there) is not there.
        let Some(file) = path.symlink_metadata().ok().filter(|it| it.is_file()).and_then(|_| File::open(&path).ok())
        else {
            return only(RangeStatus::NotFound);
        };
        let Ok(total) = file.metadata().map(|metadata| metadata.len()) else { return only(RangeStatus::NotFound) };
        if request.offset > total {
            return RangeHead { status: RangeStatus::Refused, offset: 0, total, retry_after_ms: None }.with(&[]);
        }
        let bytes = request.bytes.min(total - request.offset);
        let mut piece = vec![0; usize::try_from(bytes).unwrap_or_default()];
        if file.read_exact_at(&mut piece, request.offset).is_err() {
            return only(RangeStatus::NotFound);
        }
        RangeHead { status: RangeStatus::Ok, offset: request.offset, total, retry_after_ms: None }.with(&piece)
    }

    /// That too many ask at once.
    pub fn busy(retry_after_ms: u64) -> Vec<u8> {
        RangeHead { status: RangeStatus::Busy, offset: 0, total: 0, retry_after_ms: Some(retry_after_ms) }.with(&[])
    }

    /// Where a path of a request lies: built anew from what was understood, so that it can lie nowhere else.
    fn path(&self, asked: &str) -> Option<PathBuf> {
        let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let is_number = |text: &str| text.parse::<u64>().is_ok_and(|number| number.to_string() == text);
        if let Some(sha256) = asked.strip_prefix("files/") {
            return is_digest(sha256).then(|| self.dir.join("files").join(sha256));
        }
        let name = asked.strip_prefix("generations/")?;
        let generations = self.dir.join("targets/generations");
        let stem = name.strip_suffix(".json")?;
        match stem.split_once('.') {
            Some((sha256, number)) => (is_digest(sha256) && is_number(number)).then(|| generations.join(name)),
            // As metadata name it, without the digest.
            None if is_number(stem) => {
                let ending = format!(".{name}");
                let found = std::fs::read_dir(&generations).ok()?.flatten().find(|entry| {
                    entry.file_name().to_str().and_then(|file| file.strip_suffix(&ending)).is_some_and(is_digest)
                });
                Some(found.map_or_else(|| generations.join(name), |entry| entry.path()))
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> (tempfile::TempDir, RangeServer, String) {
        let dir = tempfile::tempdir().expect("a directory");
        let sha256 = "ab".repeat(32);
        for part in ["files", "targets/generations", "metadata"] {
            std::fs::create_dir_all(dir.path().join(part)).expect("made");
        }
        std::fs::write(dir.path().join("files").join(&sha256), b"0123456789").expect("written");
        std::fs::write(dir.path().join(format!("targets/generations/{sha256}.7.json")), b"{}").expect("written");
        std::fs::write(dir.path().join("fleet.json"), b"the operator's own").expect("written");
        let server = RangeServer::new(dir.path());
        (dir, server, sha256)
    }

    fn ask(server: &RangeServer, path: &str, offset: u64, bytes: u64) -> (RangeHead, Vec<u8>) {
        let request = RangeRequest { path: path.into(), offset, bytes };
        let reply = server.answer(&serde_json::to_vec(&request).expect("JSON"));
        let (head, bytes) = RangeHead::parse(&reply).expect("a reply");
        (head, bytes.to_vec())
    }

    #[test]
    fn a_piece_is_what_was_asked_for_and_ends_with_the_file() {
        let (_dir, server, sha256) = server();
        let file = format!("files/{sha256}");
        for (offset, bytes, wanted) in [(0, 4, "0123"), (8, 100, "89"), (10, 5, ""), (3, 0, "")] {
            let (head, piece) = ask(&server, &file, offset, bytes);
            assert_eq!((head.status, head.offset, head.total), (RangeStatus::Ok, offset, 10));
            assert_eq!(piece, wanted.as_bytes());
        }
        assert_eq!(ask(&server, &file, 11, 1).0.status, RangeStatus::Refused, "outside of the file");
        assert_eq!(ask(&server, &file, u64::MAX, u64::MAX).0.status, RangeStatus::Refused);
        assert_eq!(ask(&server, &file, 0, MAX_RANGE_BYTES + 1).0.status, RangeStatus::Refused, "too much at once");
        assert_eq!(ask(&server, &format!("generations/{sha256}.7.json"), 0, 10).1, b"{}");
        assert_eq!(ask(&server, "generations/7.json", 0, 10).1, b"{}", "by the name that metadata have");
        assert_eq!(ask(&server, "generations/8.json", 0, 10).0.status, RangeStatus::NotFound);
        assert_eq!(ask(&server, &format!("files/{}", "cd".repeat(32)), 0, 10).0.status, RangeStatus::NotFound);
    }

    #[test]
    fn nothing_outside_of_files_and_generations_is_served() {
        let (dir, server, sha256) = server();
        for path in [
            "fleet.json",
            "../fleet.json",
            "files/../fleet.json",
            "generations/../../fleet.json",
            "generations/../fleet.json",
            "metadata/timestamp.json",
            "/etc/passwd",
            "files/",
            "",
            "generations/07.json",
            &format!("files/{}", sha256.to_uppercase()),
            &format!("files/{sha256}/x"),
        ] {
            let (head, bytes) = ask(&server, path, 0, 100);
            assert_eq!((head.status, bytes.len()), (RangeStatus::Refused, 0), "{path}");
        }
        let link = "cd".repeat(32);
        std::os::unix::fs::symlink(dir.path().join("fleet.json"), dir.path().join("files").join(&link))
            .expect("linked");
        assert_eq!(ask(&server, &format!("files/{link}"), 0, 100).0.status, RangeStatus::NotFound, "a link");
        let refused = RangeHead::parse(&server.answer(b"no JSON")).expect("a reply").0.status;
        assert_eq!(refused, RangeStatus::Refused);
        let refused = RangeHead::parse(&server.answer(&[b' '; 2000])).expect("a reply").0.status;
        assert_eq!(refused, RangeStatus::Refused);
    }
}
