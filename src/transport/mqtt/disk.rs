//! The outbox's way to disk and off it again, beside the link's task: one piece of work at a time, on a thread that may block.
//!
//! At the start, and after a panic of the link, what lies there is read: a lot of bounded size, and the next one when most
//! of it is delivered. Nothing waits for a slow disk longer than it is told to.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use linnet_proto::topic::ResponseTopics;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use super::answer::Body;
use super::bounds::SPILL_PAUSE;
use super::fingerprint::Fingerprint;
use super::outbox::{Entry, Outbox};
use super::spill::{Found, Spill};
use crate::sys::clock;

/// What a piece of work came to.
pub(super) enum Done {
    /// What lies there was listed, and a first lot read. On an error nobody knows what lies there.
    Opened(io::Result<Found>),
    /// Another lot was read.
    Read(Found),
    /// Answers by number, and whether each was written.
    Written(Vec<(u64, bool)>),
    /// It panicked.
    Failed,
}

/// Answers that came from disk: repeats of their requests are to get them, too.
pub(super) type Kept = Vec<(Fingerprint, Body)>;

pub(super) struct Disk {
    spill: Spill,
    work: Option<JoinHandle<Done>>,
    /// `work` was begun for an outbox that is gone: what it came to is nobody's.
    stale: bool,
    /// The directory was listed, or cannot be.
    open: bool,
    /// Answers that lie there for later, by number and in order.
    unread: VecDeque<u64>,
    /// Answers that are gone, whose files are to be removed.
    gone: Vec<u64>,
    not_before: Option<Instant>,
}

impl Disk {
    pub(super) fn new(spill: Spill) -> Self {
        Self {
            spill,
            work: None,
            stale: false,
            open: false,
            unread: VecDeque::new(),
            gone: Vec::new(),
            not_before: None,
        }
    }

    /// The outbox is another one from now on, and everything is read anew.
    pub(super) fn begin_again(&mut self) {
        // What it writes now is found when it is listed.
        self.stale = self.work.is_some();
        self.open = false;
        self.unread.clear();
        self.not_before = None;
    }

    /// Reads what lies there into `outbox`, and waits for it for at most `patience`; then it comes when it comes.
    pub(super) async fn open(&mut self, outbox: &mut Outbox, allowed: &ResponseTopics, patience: Duration) -> Kept {
        let deadline = tokio::time::Instant::now() + patience;
        let mut kept = Kept::new();
        while !self.open {
            self.begin(outbox, allowed, Instant::now());
            match timeout_at(deadline, self.done()).await {
                Ok(done) => kept.extend(self.note(done, outbox, Instant::now())),
                Err(_) => {
                    log::error!(
                        "mqtt: {} has not been read within {patience:?}: the link goes on without; answers that lie there are \
                         sent when they have been read, and until then a repeat of their requests is run again",
                        self.spill.storage().dir().display()
                    );
                    outbox.go_on_behind(unlikely_number());
                    break;
                }
            }
        }
        kept
    }

    /// Begins what is to be done next, when nothing is being done: to read what lies there, then as much as there is room
    /// for; else to write what has lain for long enough, and to remove what is gone. While the directory cannot be written it
    /// is tried now and then, whether or not anything lies.
    pub(super) fn begin(&mut self, outbox: &Outbox, allowed: &ResponseTopics, now: Instant) {
        if self.work.is_some() {
            return;
        }
        let room = outbox.room();
        if !self.open || (room.is_some() && !self.unread.is_empty()) {
            let (spill, allowed, opens) = (self.spill.clone(), allowed.clone(), !self.open);
            let (unread, gone) = (std::mem::take(&mut self.unread), std::mem::take(&mut self.gone));
            // A desk that is full before anything is read: then one answer at a time.
            let room = room.unwrap_or_default();
            self.work = Some(tokio::task::spawn_blocking(move || {
                gone.into_iter().for_each(|number| spill.remove(number));
                if opens {
                    Done::Opened(spill.list().map(|numbers| spill.read(numbers, room, &allowed)))
                } else {
                    Done::Read(spill.read(unread, room, &allowed))
                }
            }));
        } else if self.not_before.is_none_or(|at| at <= now) {
            let lot = outbox.to_spill(false, now);
            if !lot.is_empty() || !self.gone.is_empty() || self.spill.storage().is_failing() {
                self.work = Some(self.write(lot, Arc::default()));
            }
        }
    }

    /// Writes `lot` and removes what is gone, on a thread that may block; `written` counts along.
    fn write(&mut self, lot: Vec<(u64, Entry)>, written: Arc<AtomicUsize>) -> JoinHandle<Done> {
        let (spill, gone) = (self.spill.clone(), std::mem::take(&mut self.gone));
        tokio::task::spawn_blocking(move || {
            gone.into_iter().for_each(|number| spill.remove(number));
            Done::Written(write(&spill, lot, &written))
        })
    }

    /// When there will be something to begin that there is not now.
    pub(super) fn next_work(&self, outbox: &Outbox) -> Option<Instant> {
        if self.work.is_some() {
            return None;
        }
        let waits = self.spill.storage().is_failing() || !self.gone.is_empty();
        let due = if waits { self.not_before } else { outbox.next_spill() }?;
        Some(self.not_before.map_or(due, |at| at.max(due)))
    }

    /// Waits until something is done; for ever when nothing is being done.
    pub(super) async fn done(&mut self) -> Done {
        match &mut self.work {
            Some(work) => work.await.unwrap_or(Done::Failed),
            None => std::future::pending().await,
        }
    }

    /// Takes note of what was done. What has left the outbox while it was written is removed again; what was read goes into
    /// the outbox.
    pub(super) fn note(&mut self, done: Done, outbox: &mut Outbox, now: Instant) -> Kept {
        self.work = None;
        if std::mem::take(&mut self.stale) {
            return Kept::new();
        }
        match done {
            Done::Opened(Ok(found)) => {
                self.open = true;
                self.found(found, outbox, now)
            }
            Done::Opened(Err(_)) => {
                self.open = true;
                outbox.go_on_behind(unlikely_number());
                Kept::new()
            }
            Done::Read(found) => self.found(found, outbox, now),
            Done::Written(lot) => {
                // A lot of nothing may be a try, which is not to be repeated at once.
                let failed = lot.iter().any(|(_, written)| !written) || self.spill.storage().is_failing();
                self.not_before = failed.then(|| now + SPILL_PAUSE);
                let left = lot.into_iter().filter(|(number, written)| *written && !outbox.spilled(*number));
                self.gone.extend(left.map(|(number, _)| number));
                Kept::new()
            }
            Done::Failed => {
                if !self.open {
                    outbox.go_on_behind(unlikely_number());
                }
                self.open = true;
                self.not_before = Some(now + SPILL_PAUSE);
                Kept::new()
            }
        }
    }

    fn found(&mut self, found: Found, outbox: &mut Outbox, now: Instant) -> Kept {
        let Found { entries, unread } = found;
        if let Some(last) = unread.back() {
            outbox.go_on_behind(*last);
            log::warn!(
                "mqtt: {} answers that nobody has taken yet are read from {}; {} more stay there and follow when most of these \
                 are delivered",
                entries.len(),
                self.spill.storage().dir().display(),
                unread.len()
            );
        }
        self.unread = unread;
        let kept = entries.iter().filter_map(|(_, entry)| Some((entry.request?, entry.body.clone()))).collect();
        outbox.take_in(entries, now);
        kept
    }

    /// Has an answer's file removed.
    pub(super) fn remove(&mut self, number: u64) {
        self.gone.push(number);
    }

    /// Writes all that is not on disk yet, at the daemon's end, for at most `patience`. Says in the log what is left. Gives
    /// how many answers are lost with the process.
    pub(super) async fn save(&mut self, outbox: &mut Outbox, patience: Duration) -> usize {
        let deadline = tokio::time::Instant::now() + patience;
        if self.work.is_some()
            && let Ok(done) = timeout_at(deadline, self.done()).await
        {
            // What was read only now lies on disk still.
            self.note(done, outbox, Instant::now());
        }
        let lot = outbox.to_spill(true, Instant::now());
        let (all, written) = (lot.len(), Arc::<AtomicUsize>::default());
        let slow = match &self.work {
            Some(_) => true,
            None => {
                let work = self.write(lot, Arc::clone(&written));
                timeout_at(deadline, work).await.is_err()
            }
        };
        let lost = all - written.load(Ordering::Acquire).min(all);
        let dir = self.spill.storage().dir().display();
        if slow {
            log::error!(
                "mqtt: {dir} has not taken everything within {patience:?}, and linnetd ends without waiting any longer"
            );
        }
        if lost > 0 {
            log::error!(
                "mqtt: {lost} of {all} answers that nobody has taken yet are not kept; the broker delivers their requests again \
                 at the next start"
            );
        }
        if !self.unread.is_empty() {
            log::warn!("mqtt: {} answers that were not reached stay in {dir} for the next start", self.unread.len());
        }
        lost
    }
}

/// A number that nothing on disk has, where nobody knows what lies there.
fn unlikely_number() -> u64 {
    u64::try_from(clock::since_epoch().as_micros()).unwrap_or(0)
}

fn write(spill: &Spill, lot: Vec<(u64, Entry)>, count: &AtomicUsize) -> Vec<(u64, bool)> {
    let mut failed = false;
    let lot = lot.into_iter().map(|(number, entry)| {
        // After one failure the rest of the lot is left for the next try.
        let written = !failed && spill.write(number, &entry).inspect_err(|e| spill.storage().failed(e)).is_ok();
        failed |= !written;
        count.fetch_add(usize::from(written), Ordering::Release);
        (number, written)
    });
    let lot = lot.collect();
    if !failed && spill.storage().is_failing() {
        spill.storage().probe();
    }
    lot
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc::{SyncSender, sync_channel};

    use super::super::bounds::MAX_LOT_ENTRIES;
    use super::super::envelope::Target;
    use super::super::fingerprint::Key;
    use super::super::outbox::Verdict;
    use super::super::storage::{ANSWERS, Storage};
    use super::*;
    use crate::status::BrokerLink;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(30);

    fn allowed() -> ResponseTopics {
        ResponseTopics::new(&["site/#"]).expect("filters")
    }

    fn entry(id: &str) -> Entry {
        Entry {
            request: Some(Fingerprint::of(&Key::Id(id.into()), "transcribe", None, &[], b"")),
            target: Target { topic: allowed().check("site/a").expect("allowed"), correlation: None },
            body: Body { payload: id.to_owned().into(), content_type: "text/plain".into(), error: None },
        }
    }

    fn disk(dir: &Path) -> Disk {
        Disk::new(Spill::new(Storage::new(dir.to_owned(), BrokerLink::default())))
    }

    fn files(dir: &Path) -> usize {
        std::fs::read_dir(dir.join(ANSWERS)).expect("readable").count()
    }

    /// Work that a slow disk does not end until the sender is dropped.
    fn slow(disk: &mut Disk, done: Done) -> SyncSender<()> {
        let (until, wait) = sync_channel::<()>(1);
        disk.work = Some(tokio::task::spawn_blocking(move || {
            let _ = wait.recv();
            done
        }));
        until
    }

    async fn step(disk: &mut Disk, outbox: &mut Outbox) -> Kept {
        disk.begin(outbox, &allowed(), Instant::now());
        assert!(disk.work.is_some(), "there is nothing to do");
        let done = disk.done().await;
        disk.note(done, outbox, Instant::now())
    }

    #[tokio::test]
    async fn more_answers_than_a_lot_holds_are_all_sent_a_lot_at_a_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let all = MAX_LOT_ENTRIES as u64 + 7;
        let (mut first, mut outbox) = (disk(dir.path()), Outbox::new(4, 1));
        first.open(&mut outbox, &allowed(), LONG).await;
        outbox.push(entry("1"), None, Instant::now());
        assert_eq!(first.save(&mut outbox, LONG).await, 0);
        let file = |number: u64| dir.path().join(ANSWERS).join(format!("{number:016x}.json"));
        for number in 2..=all {
            std::fs::copy(file(1), file(number)).expect("copies");
        }

        let (mut disk, mut outbox) = (disk(dir.path()), Outbox::new(4, 1));
        let kept = disk.open(&mut outbox, &allowed(), LONG).await;
        assert_eq!((kept.len(), disk.unread.len()), (MAX_LOT_ENTRIES, 7));
        assert_eq!(kept[0], (entry("1").request.expect("known"), entry("1").body));
        assert_eq!(outbox.next_number(), all + 1, "no number of one that is still to be read is given");
        let mut sent = Vec::new();
        while let Some((number, _)) = outbox.next_to_send(Instant::now()) {
            sent.push(number);
            outbox.settle(number, Verdict::Taken, Instant::now());
            disk.remove(number);
            if outbox.is_empty() {
                step(&mut disk, &mut outbox).await;
            }
        }
        assert_eq!(sent, (1..=all).collect::<Vec<_>>());
        assert_eq!(files(dir.path()), 0);
    }

    #[tokio::test]
    async fn a_disk_that_is_slow_at_the_start_holds_the_link_up_no_longer_than_it_may() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut first, mut outbox) = (disk(dir.path()), Outbox::new(4, 1));
        first.open(&mut outbox, &allowed(), LONG).await;
        outbox.push(entry("old"), None, Instant::now());
        first.save(&mut outbox, LONG).await;

        let (mut disk, mut outbox) = (disk(dir.path()), Outbox::new(4, 1));
        let found = disk.spill.list().map(|numbers| disk.spill.read(numbers, outbox.room().expect("room"), &allowed()));
        let until = slow(&mut disk, Done::Opened(found));
        assert_eq!(disk.open(&mut outbox, &allowed(), SHORT).await, []);
        let number = outbox.push(entry("new"), None, Instant::now());
        assert!(number > 1_000_000, "{number} may be that of an answer which was not read yet");
        drop(until);
        assert_eq!(step(&mut disk, &mut outbox).await.len(), 1, "it comes when it comes");
        assert_eq!(outbox.next_to_send(Instant::now()).map(|(number, _)| number), Some(1));
    }

    #[tokio::test]
    async fn a_slow_disk_does_not_hold_up_the_end_and_what_is_lost_is_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut disk, mut outbox) = (disk(dir.path()), Outbox::new(4, 1));
        disk.open(&mut outbox, &allowed(), LONG).await;
        outbox.push(entry("a"), None, Instant::now());
        outbox.push(entry("b"), None, Instant::now());
        let until = slow(&mut disk, Done::Written(Vec::new()));
        let began = Instant::now();
        assert_eq!(disk.save(&mut outbox, SHORT).await, 2);
        assert!(began.elapsed() < LONG);
        drop(until);
    }

    #[tokio::test]
    async fn what_was_written_for_a_link_that_panicked_is_read_by_the_next_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut disk, mut outbox) = (disk(dir.path()), Outbox::new(4, 1));
        disk.open(&mut outbox, &allowed(), LONG).await;
        let number = outbox.push(entry("a"), None, Instant::now());
        disk.spill.write(number, &entry("a")).expect("writes");
        let until = slow(&mut disk, Done::Written(vec![(number, true)]));
        // The old outbox is gone before the write is noted.
        let mut outbox = Outbox::new(4, outbox.next_number());
        disk.begin_again();
        drop(until);
        assert_eq!(disk.open(&mut outbox, &allowed(), LONG).await.len(), 1);
        assert_eq!(outbox.next_to_send(Instant::now()).map(|(number, _)| number), Some(number));
        assert_eq!(files(dir.path()), 1);
    }
}
