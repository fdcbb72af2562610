//! The outbox on disk: one JSON file for each answer that lies, named by its number.

use std::collections::{BTreeSet, VecDeque};
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

/// How much may be read at once.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Answers.
    pub entries: usize,
    /// Bytes of their files.
    pub bytes: u64,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// In order.
    pub entries: Vec<(u64, Entry)>,
    /// The numbers behind them, in order: these lie on disk for later.
    pub unread: VecDeque<u64>,
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

    /// The numbers of the answers that lie there from before, in order; of more than [`MOST_KEPT`] the oldest are dropped. On an
    /// error, which is told to the storage, nobody knows what lies there.
    pub fn list(&self) -> io::Result<VecDeque<u64>> {
        self.list_all().inspect_err(|e| self.storage.failed(e))
    }

    fn list_all(&self) -> io::Result<VecDeque<u64>> {
        let dir = self.storage.dir().join(ANSWERS);
        let mut found = BTreeSet::new();
        let mut untidy = fs::create_dir_all(&dir);
        for file in fs::read_dir(&dir)? {
            let path = file?.path();
            match path.file_name().and_then(|n| n.to_str()).and_then(number_of) {
                Some(number) => drop(found.insert(number)),
                // A temporary file that a crash left behind.
                None => untidy = untidy.and(fs::remove_file(&path)),
            }
            if found.len() > MOST_KEPT
                && let Some(number) = found.pop_first()
            {
                log::error!("mqtt: more than {MOST_KEPT} kept answers; an old one, {number}, is dropped");
                self.remove(number);
            }
        }
        if let Err(e) = untidy {
            // What can be read is sent all the same.
            self.storage.failed(&e);
        }
        Ok(found.into_iter().collect())
    }

    /// Reads the first of `numbers`, as many as `room` takes, but at least one. One whose content is no answer, or whose topic
    /// is no longer allowed, is removed and named in the log; one that the disk does not give is told to the storage and
    /// stays there.
    pub fn read(&self, mut numbers: VecDeque<u64>, room: Room, allowed: &ResponseTopics) -> Found {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some(number) = numbers.front().copied() {
            let path = self.path(number);
            let length = fs::symlink_metadata(&path).map_or(0, |file| file.len());
            let fits = entries.len() < room.entries && bytes + length <= room.bytes;
            if !fits && !entries.is_empty() {
                break;
            }
            numbers.pop_front();
            match read(&path, allowed) {
                Ok(entry) => {
                    entries.push((number, entry));
                    bytes += length;
                }
                // It was delivered after the directory was listed.
                Err(Unread::Disk(e)) if e.kind() == io::ErrorKind::NotFound => {}
                Err(Unread::Disk(e)) => {
                    log::error!("{}: this kept answer cannot be read: {e}", path.display());
                    self.storage.failed(&e);
                }
                Err(Unread::Unusable(reason)) => {
                    log::error!("{}: this kept answer is dropped: {reason}", path.display());
                    if let Err(e) = fs::remove_file(&path) {
                        self.storage.failed(&e);
                    }
                }
            }
        }
        Found { entries, unread: numbers }
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

/// Why a file gives no answer.
#[derive(Debug, thiserror::Error)]
enum Unread {
    /// The disk does not give it, today.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// It will never be one.
    #[error("{0}")]
    Unusable(String),
}

fn read(path: &Path, allowed: &ResponseTopics) -> Result<Entry, Unread> {
    let unusable = |reason: &dyn ToString| Unread::Unusable(reason.to_string());
    // To open a pipe would be to wait for its other end.
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(unusable(&"it is not a file"));
    }
    let mut text = Vec::new();
    fs::File::open(path)?.take(MAX_OUTBOX_FILE_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_OUTBOX_FILE_BYTES {
        return Err(unusable(&format!("it is larger than {MAX_OUTBOX_FILE_BYTES} bytes")));
    }
    let stored: Stored = serde_json::from_slice(&text).map_err(|e| unusable(&e))?;
    let correlation = stored.correlation.map(|c| STANDARD.decode(c)).transpose().map_err(|e| unusable(&e))?;
    let request = match stored.request {
        Some(text) => Some(Fingerprint::parse(&text).ok_or_else(|| unusable(&"its fingerprint is none"))?),
        None => None,
    };
    Ok(Entry {
        request,
        target: Target {
            topic: allowed.check(&stored.topic).map_err(|e| unusable(&e))?,
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

    const ROOM: Room = Room { entries: 100, bytes: 1 << 20 };

    fn open(dir: &Path) -> (Spill, Vec<(u64, Entry)>) {
        let spill = Spill::new(Storage::new(dir.to_owned(), BrokerLink::default()));
        let found = spill.read(spill.list().expect("lists"), ROOM, &allowed());
        assert!(found.unread.is_empty());
        (spill, found.entries)
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
        fs::create_dir(outbox.join(format!("{:016x}.json", 4))).expect("a directory");
        let numbers = spill.list().expect("lists");
        assert_eq!(numbers, [1, 2, 3, 4]);
        let found = spill.read(numbers, ROOM, &ResponseTopics::new::<&str>(&[]).expect("filters"));
        assert_eq!(found.entries.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2]);
        // A directory is no answer either, and no file that could be removed: that is told.
        assert!(spill.storage().is_failing());
        fs::remove_dir(outbox.join(format!("{:016x}.json", 4))).expect("removes");
        assert_eq!(fs::read_dir(outbox).expect("readable").count(), 1);
    }

    #[test]
    fn a_lot_is_bounded_in_number_and_bytes_and_the_rest_stays_for_later() {
        let dir = tempfile::tempdir().expect("a directory");
        let (spill, _) = open(dir.path());
        for number in 1..=5 {
            spill.write(number, &entry("site/a")).expect("writes");
        }
        let size = fs::metadata(spill.path(1)).expect("a file").len();
        let read = |numbers, entries, bytes| {
            let found = spill.read(numbers, Room { entries, bytes }, &allowed());
            (found.entries.iter().map(|(n, _)| *n).collect::<Vec<_>>(), found.unread)
        };
        let all = spill.list().expect("lists");
        assert_eq!(read(all.clone(), 2, 1 << 20), (vec![1, 2], [3, 4, 5].into()));
        assert_eq!(read(all.clone(), 100, size * 3), (vec![1, 2, 3], [4, 5].into()));
        assert_eq!(
            read(all.clone(), 100, 1),
            (vec![1], [2, 3, 4, 5].into()),
            "one is always taken, or it would stay for ever"
        );
        // What was delivered after the directory was listed is passed over.
        spill.remove(2);
        assert_eq!(read(all, 2, 1 << 20), (vec![1, 3], [4, 5].into()));
        assert!(!spill.storage().is_failing());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error_and_no_panic() {
        let dir = tempfile::tempdir().expect("a directory");
        let blocked = dir.path().join("file");
        fs::write(&blocked, b"").expect("writes");
        let spill = Spill::new(Storage::new(blocked, BrokerLink::default()));
        assert!(spill.list().is_err() && spill.storage().is_failing());
        assert!(spill.write(1, &entry("site/a")).is_err());
    }
}
