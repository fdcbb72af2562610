//! The ledger of running requests: a mark on disk while a request runs, so that one that takes the daemon down is known
//! when the broker sends it again. At its second crash it is answered `poisoned` instead of being run.
//!
//! One small file for each request that runs or was running at a crash. A first mark is written without `fsync`: it
//! survives the end of the process, which is what it is for, and costs microseconds; a power cut may lose it, which costs
//! one more attempt. From the first crash on every change is made durable.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bounds::{LEDGER_KEPT_FOR, MAX_LEDGER_RECORDS, MAX_MARK_BYTES};
use super::fingerprint::Fingerprint;
use super::storage::{MARKS, Storage};
use crate::store::PackageError;
use crate::store::write::write_private_file;

/// One request's record, on disk as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// Crashes while it was running.
    crashes: u32,
    /// Whether it is running.
    running: bool,
    /// When it was last changed, seconds since 1970.
    changed_secs: u64,
}

/// The ledger. Shared between the link and the workers' threads.
///
/// Two locks: `book`, which is never held while the disk works, so that the link may take it, and `disk`, under which files
/// are written and removed one at a time, each as the book says *then*. So the last change of a file is as the last word
/// about it, in whatever order threads come to it. Who needs both takes `disk` first.
#[derive(Debug)]
pub struct Ledger {
    storage: Storage,
    book: Mutex<Book>,
    disk: Mutex<()>,
}

/// What is known.
#[derive(Debug, Default)]
struct Book {
    records: HashMap<Fingerprint, Record>,
    /// Requests whose files say more than `records`. Each ran before, so there are no more of them than requests in hand.
    ended: Vec<Fingerprint>,
    /// Somebody has taken it on himself to call [`Ledger::tidy`].
    tidying: bool,
    /// The daemon ends: nothing is marked any more.
    closed: bool,
}

impl Ledger {
    /// A ledger in `storage` that knows nothing yet.
    pub fn new(storage: Storage) -> Self {
        Self { storage, book: Mutex::default(), disk: Mutex::default() }
    }

    /// Reads what lies on disk. Whatever is marked as running was running when the daemon died: its crash is counted here.
    /// What cannot be read or written is told to the storage; the ledger then works in memory, so that a read-only disk stops
    /// nobody's answer. It blocks on the disk, and whoever calls [`Ledger::begin`] meanwhile waits for it.
    pub fn load(&self, now: Duration) {
        if let Err(e) = self.read_all(now) {
            self.storage.failed(&e);
        }
    }

    /// Loads what can be read, although not all of it can; gives the first error.
    fn read_all(&self, now: Duration) -> io::Result<()> {
        let _disk = self.disk();
        let dir = self.storage.dir().join(MARKS);
        let mut result = fs::create_dir_all(&dir);
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            match path.file_name().and_then(|n| n.to_str()).and_then(Fingerprint::parse) {
                Some(request) => found.push((request, read(&path))),
                // A temporary file that a crash left behind.
                None => result = result.and(fs::remove_file(&path)),
            }
        }
        found.sort_by_key(|(_, record)| std::cmp::Reverse(record.changed_secs));
        for (place, (request, mut record)) in found.into_iter().enumerate() {
            if record.running {
                record = Record { crashes: record.crashes + 1, running: false, changed_secs: now.as_secs() };
                result = result.and(self.write(request, record));
                log::warn!(CRASHES = record.crashes; "mqtt: a request was running when linnetd died; it is tried again once");
            }
            let age = now.saturating_sub(Duration::from_secs(record.changed_secs));
            let worth = record.crashes > 0 && age < LEDGER_KEPT_FOR && place < MAX_LEDGER_RECORDS;
            if worth {
                // One that has begun meanwhile waits for the disk with its mark, and is to know its crashes.
                let begun = |begun: &mut Record| begun.crashes = record.crashes;
                self.book().records.entry(request).and_modify(begun).or_insert(record);
            } else {
                result = result.and(fs::remove_file(self.path(request)));
            }
        }
        result
    }

    /// At how many crashes `request` was running.
    pub fn crashes(&self, request: Fingerprint) -> u32 {
        self.book().records.get(&request).map_or(0, |r| r.crashes)
    }

    /// Marks `request` as running. Called on a worker's thread right before it runs; it blocks until the mark is on disk.
    pub fn begin(&self, request: Fingerprint, now: Duration) {
        {
            let mut book = self.book();
            if book.closed {
                return;
            }
            let crashes = book.records.get(&request).map_or(0, |r| r.crashes);
            book.records.insert(request, Record { crashes, running: true, changed_secs: now.as_secs() });
        }
        let disk = self.disk();
        self.bring_up_to_date(request, &disk);
    }

    /// `request` has ended, well or not, and did not take the daemon down. One that ended in the queue has no mark, and its
    /// crashes stay counted. It does not wait for the disk: [`Ledger::has_to_tidy`].
    pub fn end(&self, request: Fingerprint) {
        self.book().forgive(request);
    }

    /// What runs now is not to blame for what happens next. It does not wait for the disk: [`Ledger::has_to_tidy`].
    pub fn end_all_running(&self) {
        self.book().forgive_all();
    }

    /// The daemon ends as it was asked to, in its own time or at once: nothing that runs now or begins later is to blame. It
    /// does not wait for the disk: [`Ledger::has_to_tidy`].
    pub fn close(&self) {
        let mut book = self.book();
        book.closed = true;
        book.forgive_all();
    }

    /// Whether files are to be removed and nobody is at it. Who is told so calls [`Ledger::tidy`], on a thread that may block.
    pub fn has_to_tidy(&self) -> bool {
        let mut book = self.book();
        let has_to = !book.tidying && !book.ended.is_empty();
        book.tidying |= has_to;
        has_to
    }

    /// Removes the marks of what has ended. It blocks on the disk.
    pub fn tidy(&self) {
        loop {
            let disk = self.disk();
            let next = {
                let mut book = self.book();
                let next = book.ended.pop();
                book.tidying = next.is_some();
                next
            };
            match next {
                Some(request) => self.bring_up_to_date(request, &disk),
                None => return,
            }
        }
    }

    /// Makes the file of `request` what the book says of it.
    fn bring_up_to_date(&self, request: Fingerprint, _disk: &MutexGuard<'_, ()>) {
        let known = self.book().records.get(&request).copied();
        let done = match known {
            Some(record) => self.write(request, record),
            None => fs::remove_file(self.path(request)).or_else(|e| match e.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(e),
            }),
        };
        if let Err(e) = done {
            self.storage.failed(&e);
        }
    }

    fn write(&self, request: Fingerprint, record: Record) -> io::Result<()> {
        let text = serde_json::to_vec(&record)?;
        let path = self.path(request);
        if record.crashes > 0 {
            return write_private_file(&path, &text).map_err(PackageError::into_io);
        }
        fs::write(&path, text).inspect_err(|_| {
            // A torn mark would count as a crash. What cannot be removed either is told by the caller.
            let _ = fs::remove_file(&path);
        })
    }

    fn path(&self, request: Fingerprint) -> PathBuf {
        self.storage.dir().join(MARKS).join(request.to_string())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> MutexGuard<'_, ()> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn forgive(&mut self, request: Fingerprint) {
        if self.records.get(&request).is_some_and(|r| r.running) {
            self.records.remove(&request);
            self.ended.push(request);
        }
    }

    fn forgive_all(&mut self) {
        let running: Vec<_> = self.records.iter().filter(|(_, r)| r.running).map(|(f, _)| *f).collect();
        running.into_iter().for_each(|request| self.forgive(request));
    }
}

/// A record that cannot be read was being written at a power cut, for the first time.
fn read(path: &Path) -> Record {
    let interrupted = Record { crashes: 0, running: true, changed_secs: 0 };
    let mut text = Vec::new();
    let whole = fs::File::open(path).and_then(|file| file.take(MAX_MARK_BYTES).read_to_end(&mut text));
    whole.ok().and_then(|_| serde_json::from_slice(&text).ok()).unwrap_or(interrupted)
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::Key;
    use super::*;
    use crate::status::BrokerLink;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn request(n: u32) -> Fingerprint {
        Fingerprint::of(&Key::Id(n.to_string()), "transcribe", None, &[], b"")
    }

    fn open(dir: &Path, now: Duration) -> Ledger {
        let storage = Storage::new(dir.to_owned(), BrokerLink::default());
        let ledger = Ledger::new(storage.clone());
        ledger.load(now);
        assert!(!storage.is_failing());
        ledger
    }

    /// What the link has a blocking thread do.
    fn tidied(ledger: &Ledger) {
        assert!(ledger.has_to_tidy() && !ledger.has_to_tidy(), "one is enough");
        ledger.tidy();
        assert!(!ledger.has_to_tidy());
    }

    fn marks(dir: &Path) -> usize {
        fs::read_dir(dir.join(MARKS)).expect("readable").count()
    }

    #[test]
    fn a_request_that_ran_at_each_crash_is_counted_and_one_that_ended_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        for crash in 0..3 {
            let ledger = open(dir.path(), NOW);
            assert_eq!(ledger.crashes(request(1)), crash);
            ledger.begin(request(1), NOW);
            ledger.begin(request(2), NOW);
            ledger.end(request(2));
            tidied(&ledger);
            // Dropped without an end: the daemon died.
        }
        let ledger = open(dir.path(), NOW);
        assert_eq!((ledger.crashes(request(1)), ledger.crashes(request(2))), (3, 0));
        // Opened once more without another run: no further crash is counted.
        assert_eq!(open(dir.path(), NOW).crashes(request(1)), 3);
    }

    #[test]
    fn a_request_that_survives_is_forgiven() {
        let dir = tempfile::tempdir().expect("a directory");
        open(dir.path(), NOW).begin(request(1), NOW);
        let ledger = open(dir.path(), NOW);
        assert_eq!(ledger.crashes(request(1)), 1);
        ledger.begin(request(1), NOW);
        ledger.end(request(1));
        tidied(&ledger);
        assert_eq!(open(dir.path(), NOW).crashes(request(1)), 0);
    }

    #[test]
    fn a_request_that_ends_in_the_queue_keeps_its_count() {
        let dir = tempfile::tempdir().expect("a directory");
        open(dir.path(), NOW).begin(request(1), NOW);
        let ledger = open(dir.path(), NOW);
        ledger.end(request(1));
        assert!(!ledger.has_to_tidy());
        assert_eq!(ledger.crashes(request(1)), 1);
    }

    #[test]
    fn an_orderly_end_blames_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = open(dir.path(), NOW);
        ledger.begin(request(1), NOW);
        ledger.close();
        // It waited in the queue when the end began.
        ledger.begin(request(2), NOW);
        tidied(&ledger);
        assert_eq!(marks(dir.path()), 0, "whatever ends the process now finds nothing to blame");
        let ledger = open(dir.path(), NOW);
        assert_eq!((ledger.crashes(request(1)), ledger.crashes(request(2))), (0, 0));
    }

    #[test]
    fn a_torn_mark_counts_as_one_crash_and_a_stray_file_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        drop(open(dir.path(), NOW));
        let running = dir.path().join("running");
        fs::write(running.join(request(1).to_string()), b"{\"cra").expect("writes");
        fs::write(running.join(".writing-abc"), b"x").expect("writes");
        assert_eq!(open(dir.path(), NOW).crashes(request(1)), 1);
        assert_eq!(fs::read_dir(running).expect("readable").count(), 1);
    }

    #[test]
    fn records_are_bounded_in_age_and_number() {
        let dir = tempfile::tempdir().expect("a directory");
        drop(open(dir.path(), NOW));
        let record = Record { crashes: 1, running: false, changed_secs: NOW.as_secs() };
        for n in 0..MAX_LEDGER_RECORDS as u32 + 5 {
            let path = dir.path().join("running").join(request(n).to_string());
            fs::write(path, serde_json::to_vec(&record).expect("serializes")).expect("writes");
        }
        let files = || marks(dir.path());
        drop(open(dir.path(), NOW));
        assert_eq!(files(), MAX_LEDGER_RECORDS);
        drop(open(dir.path(), NOW + LEDGER_KEPT_FOR));
        assert_eq!(files(), 0);
    }

    #[test]
    fn the_link_never_waits_for_the_disk_and_a_mark_is_there_before_its_request_runs() {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = open(dir.path(), NOW);
        ledger.begin(request(1), NOW);
        assert_eq!(marks(dir.path()), 1);
        // The disk is slow: somebody has been at it for long.
        let disk = ledger.disk();
        std::thread::scope(|scope| {
            let begins = scope.spawn(|| ledger.begin(request(2), NOW));
            let until = std::time::Instant::now() + Duration::from_secs(30);
            while !ledger.book().records.contains_key(&request(2)) {
                assert!(std::time::Instant::now() < until, "it is known before it is written");
            }
            ledger.end(request(1));
            assert_eq!((ledger.crashes(request(1)), ledger.crashes(request(2))), (0, 0));
            assert!(ledger.has_to_tidy());
            assert!(!begins.is_finished(), "no request runs before its mark is written");
            drop(disk);
        });
        assert_eq!(marks(dir.path()), 2);
        ledger.tidy();
        assert_eq!(marks(dir.path()), 1);
    }

    #[test]
    fn the_last_word_about_a_request_is_what_its_file_says() {
        let dir = tempfile::tempdir().expect("a directory");
        open(dir.path(), NOW).begin(request(1), NOW);
        let ledger = open(dir.path(), NOW);
        ledger.begin(request(1), NOW);
        ledger.end(request(1));
        // It runs again before its mark was removed: the mark stays.
        ledger.begin(request(1), NOW);
        tidied(&ledger);
        assert_eq!(open(dir.path(), NOW).crashes(request(1)), 1);
        // And a mark that was to be written when its request had ended already is not.
        let ledger = open(dir.path(), NOW);
        ledger.book().records.insert(request(2), Record { crashes: 0, running: true, changed_secs: 0 });
        ledger.end(request(2));
        ledger.bring_up_to_date(request(2), &ledger.disk());
        assert_eq!(marks(dir.path()), 1);
    }

    #[test]
    fn what_begins_while_marks_are_read_knows_its_crashes() {
        let dir = tempfile::tempdir().expect("a directory");
        open(dir.path(), NOW).begin(request(1), NOW);
        let ledger = Ledger::new(Storage::new(dir.path().to_owned(), BrokerLink::default()));
        ledger.book().records.insert(request(1), Record { crashes: 0, running: true, changed_secs: NOW.as_secs() });
        ledger.load(NOW);
        assert_eq!(ledger.crashes(request(1)), 1);
        ledger.end(request(1));
        tidied(&ledger);
        assert_eq!(marks(dir.path()), 0);
    }

    #[test]
    fn without_a_disk_it_counts_in_memory() {
        let dir = tempfile::tempdir().expect("a directory");
        let blocked = dir.path().join("file");
        fs::write(&blocked, b"").expect("writes");
        let storage = Storage::new(blocked.clone(), BrokerLink::default());
        let ledger = Ledger::new(storage.clone());
        ledger.load(NOW);
        assert!(storage.is_failing());
        ledger.begin(request(1), NOW);
        ledger.end(request(1));
        assert_eq!(ledger.crashes(request(1)), 0);
    }
}
