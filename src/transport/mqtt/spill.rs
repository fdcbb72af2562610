//! The outbox on disk: one JSON file for each answer that lies, named by its number.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use linnet_proto::ErrorCode;
use linnet_proto::topic::ResponseTopics;
use serde::{Deserialize, Serialize};

use super::answer::Body;
use super::bounds::{MAX_OUTBOX_FILE_BYTES, MOST_KEPT};
use super::envelope::Target;
use super::fingerprint::Fingerprint;
use super::outbox::Entry;
use super::storage::{ANSWERS, Storage};
use crate::store::PackageError;
use crate::store::write::write_private_file;

/// An [`Entry`] as its file holds it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    request: Option<String>,
    topic: String,
    /// Base64.
    correlation: Option<String>,
    content_type: String,
    error: Option<ErrorCode>,
    payload: String,
}

/// The outbox's directory. Cheap to clone; every method may block on the disk.
#[derive(Debug, Clone)]
pub struct Spill {
    storage: Storage,
}

impl Spill {
    /// The outbox in `storage`.
    pub fn new(storage: Storage) -> Self {
        Self { storage }
    }

    /// Whether what was written lately could be written.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// What lies there from before, in order. A file that cannot be read, or whose topic is no longer allowed, is removed
    /// and named in the log. On an error, which is told to the storage, nobody knows what else lies there.
    pub fn load(&self, allowed: &ResponseTopics) -> io::Result<Vec<(u64, Entry)>> {
        self.read_all(allowed).inspect_err(|e| self.storage.failed(e))
    }

    fn read_all(&self, allowed: &ResponseTopics) -> io::Result<Vec<(u64, Entry)>> {
        let dir = self.storage.dir().join(ANSWERS);
        let mut found = Vec::new();
        let mut untidy = fs::create_dir_all(&dir);
        for file in fs::read_dir(&dir)? {
            let path = file?.path();
            let number = path.file_name().and_then(|n| n.to_str()).and_then(number_of);
            match number.map(|n| read(&path, allowed).map(|entry| (n, entry))) {
                Some(Ok(entry)) => found.push(entry),
                Some(Err(reason)) => {
                    log::error!("{}: this kept answer is dropped: {reason}", path.display());
                    untidy = untidy.and(fs::remove_file(&path));
                }
                // A temporary file that a crash left behind.
                None => untidy = untidy.and(fs::remove_file(&path)),
            }
        }
        if let Err(e) = untidy {
            // What can be read is sent all the same.
            self.storage.failed(&e);
        }
        found.sort_by_key(|(number, _)| *number);
        for (number, _) in found.drain(..found.len().saturating_sub(MOST_KEPT)) {
            log::error!("mqtt: more than {MOST_KEPT} kept answers; the oldest, {number}, is dropped");
            self.remove(number);
        }
        Ok(found)
    }

    /// Writes an answer so that a power cut leaves all of it or nothing.
    pub fn write(&self, number: u64, entry: &Entry) -> io::Result<()> {
        let stored = Stored {
            request: entry.request.map(|r| r.to_string()),
            topic: entry.target.topic.to_string(),
            correlation: entry.target.correlation.as_ref().map(|c| STANDARD.encode(c)),
            content_type: entry.body.content_type.clone(),
            error: entry.body.error,
            payload: String::from_utf8_lossy(&entry.body.payload).into_owned(),
        };
        write_private_file(&self.path(number), &serde_json::to_vec(&stored)?).map_err(PackageError::into_io)
    }

    /// Removes an answer's file.
    pub fn remove(&self, number: u64) {
        let path = self.path(number);
        if let Err(e) = fs::remove_file(&path)
            && e.kind() != io::ErrorKind::NotFound
        {
            log::warn!("{}: a delivered answer cannot be removed and will be sent once more: {e}", path.display());
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.storage.dir().join(ANSWERS).join(format!("{number:016x}.json"))
    }
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json").filter(|d| d.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().filter(|n| *n < u64::MAX)
}

fn read(path: &Path, allowed: &ResponseTopics) -> Result<Entry, String> {
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(|e| e.to_string())?;
    file.take(MAX_OUTBOX_FILE_BYTES + 1).read_to_end(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > MAX_OUTBOX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_OUTBOX_FILE_BYTES} bytes"));
    }
    let stored: Stored = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    let correlation = stored.correlation.map(|c| STANDARD.decode(c)).transpose().map_err(|e| e.to_string())?;
    let request = match stored.request {
        Some(text) => Some(Fingerprint::parse(&text).ok_or("its fingerprint is none")?),
        None => None,
    };
    Ok(Entry {
        request,
        target: Target {
            topic: allowed.check(&stored.topic).map_err(|e| e.to_string())?,
            correlation: correlation.map(Bytes::from),
        },
        body: Body { payload: stored.payload.into(), content_type: stored.content_type, error: stored.error },
    })
}

#[cfg(test)]
mod tests {
    use linnet_proto::WireError;

    use super::super::fingerprint::Key;
    use super::*;
    use crate::status::BrokerLink;

    fn allowed() -> ResponseTopics {
        ResponseTopics::new(&["site/#"]).expect("filters")
    }

    fn entry(topic: &str) -> Entry {
        Entry {
            request: Some(Fingerprint::of(&Key::Id("1".into()), "transcribe", None, &[], b"")),
            target: Target {
                topic: allowed().check(topic).expect("allowed"),
                correlation: Some(Bytes::from_static(b"\x00\xff")),
            },
            body: Body::of_error(WireError::new(ErrorCode::InvalidAudio, "ä \"quoted\" line\n")),
        }
    }

    fn open(dir: &Path) -> (Spill, Vec<(u64, Entry)>) {
        let spill = Spill::new(Storage::new(dir.to_owned(), BrokerLink::default()));
        let loaded = spill.load(&allowed());
        (spill, loaded.expect("loads"))
    }

    #[test]
    fn an_answer_comes_back_from_disk_as_it_was_and_in_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let (spill, empty) = open(dir.path());
        assert_eq!(empty, []);
        let bare =
            Entry { request: None, target: Target { correlation: None, ..entry("site/b").target }, ..entry("site/b") };
        spill.write(300, &bare).expect("writes");
        spill.write(2, &entry("site/a")).expect("writes");
        assert_eq!(open(dir.path()).1, [(2, entry("site/a")), (300, bare)]);
        spill.remove(2);
        spill.remove(2);
        assert_eq!(open(dir.path()).1.len(), 1);
    }

    #[test]
    fn what_cannot_be_sent_any_more_is_dropped_and_the_rest_goes_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let (spill, _) = open(dir.path());
        spill.write(1, &entry("site/a")).expect("writes");
        spill.write(2, &entry("linnet/k/response/1")).expect("writes");
        let outbox = dir.path().join("outbox");
        fs::write(outbox.join(format!("{:016x}.json", 3)), b"{\"request\": nul").expect("writes");
        fs::write(outbox.join(".writing-xyz"), b"x").expect("writes");
        let loaded = spill.load(&ResponseTopics::new::<&str>(&[]).expect("filters"));
        assert_eq!(loaded.expect("loads").iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2]);
        assert_eq!(fs::read_dir(outbox).expect("readable").count(), 1);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error_and_no_panic() {
        let dir = tempfile::tempdir().expect("a directory");
        let blocked = dir.path().join("file");
        fs::write(&blocked, b"").expect("writes");
        let spill = Spill::new(Storage::new(blocked, BrokerLink::default()));
        assert!(spill.load(&allowed()).is_err() && spill.storage().is_failing());
        assert!(spill.write(1, &entry("site/a")).is_err());
    }
}
