//! The outbox's way to disk and off it again, beside the link's task: one lot at a time.

use std::time::Instant;

use tokio::task::JoinHandle;

use super::bounds::SPILL_PAUSE;
use super::outbox::{Entry, Outbox};
use super::spill::Spill;

/// Answers of a lot by number, and whether each was written.
type Lot = Vec<(u64, bool)>;

pub(super) struct Disk {
    spill: Spill,
    writing: Option<JoinHandle<Lot>>,
    not_before: Option<Instant>,
}

impl Disk {
    pub(super) fn new(spill: Spill) -> Self {
        Self { spill, writing: None, not_before: None }
    }

    /// The directory's side of it.
    pub(super) fn spill(&self) -> &Spill {
        &self.spill
    }

    /// Starts writing what has lain for long enough. While the directory cannot be written it is tried now and then,
    /// whether or not anything lies.
    pub(super) fn write_what_lies(&mut self, outbox: &Outbox, now: Instant) {
        if self.writing.is_some() || self.not_before.is_some_and(|at| at > now) {
            return;
        }
        let lot = outbox.to_spill(false, now);
        if !lot.is_empty() || self.spill.storage().is_failing() {
            let spill = self.spill.clone();
            self.writing = Some(tokio::task::spawn_blocking(move || write(&spill, lot)));
        }
    }

    /// When there will be something to write that there is not now.
    pub(super) fn next_write(&self, outbox: &Outbox) -> Option<Instant> {
        if self.writing.is_some() {
            return None;
        }
        let due = if self.spill.storage().is_failing() { self.not_before } else { outbox.next_spill() }?;
        Some(self.not_before.map_or(due, |at| at.max(due)))
    }

    /// Waits until a lot is written; for ever when none is.
    pub(super) async fn written(&mut self) -> Lot {
        match &mut self.writing {
            // A panic while writing is as good as a failure to write: the next lot tries again.
            Some(task) => task.await.unwrap_or_default(),
            None => std::future::pending().await,
        }
    }

    /// Takes note of a written lot. What has left the outbox meanwhile is removed again.
    pub(super) fn note(&mut self, lot: &[(u64, bool)], outbox: &mut Outbox, now: Instant) {
        self.writing = None;
        // A lot of nothing is that of a panic, or of a try; neither is to be repeated at once.
        let all_written = !lot.is_empty() && lot.iter().all(|(_, written)| *written);
        self.not_before = (!all_written || self.spill.storage().is_failing()).then(|| now + SPILL_PAUSE);
        for (number, written) in lot.iter().copied() {
            if written && !outbox.spilled(number) {
                self.remove(number);
            }
        }
    }

    /// Removes an answer's file.
    pub(super) fn remove(&self, number: u64) {
        let spill = self.spill.clone();
        tokio::task::spawn_blocking(move || spill.remove(number));
    }

    /// Waits until nothing is being written.
    pub(super) async fn settle(&mut self) {
        if self.writing.is_some() {
            self.written().await;
            self.writing = None;
        }
    }

    /// Writes all that is not on disk yet, at the daemon's end.
    pub(super) async fn write_everything(&mut self, outbox: &mut Outbox) {
        if self.writing.is_some() {
            let lot = self.written().await;
            self.note(&lot, outbox, Instant::now());
        }
        let (spill, lot) = (self.spill.clone(), outbox.to_spill(true, Instant::now()));
        let all = lot.len();
        let written = tokio::task::spawn_blocking(move || write(&spill, lot)).await.unwrap_or_default();
        let lost = all - written.iter().filter(|(_, written)| *written).count();
        if lost > 0 {
            log::error!(
                "mqtt: {lost} answers that nobody has taken yet are not kept; the broker delivers their requests again at the \
                 next start"
            );
        }
    }
}

fn write(spill: &Spill, lot: Vec<(u64, Entry)>) -> Lot {
    let mut failed = false;
    let lot = lot.into_iter().map(|(number, entry)| {
        // After one failure the rest of the lot is left for the next try.
        let written = !failed && spill.write(number, &entry).inspect_err(|e| spill.storage().failed(e)).is_ok();
        failed |= !written;
        (number, written)
    });
    let lot = lot.collect();
    if !failed && spill.storage().is_failing() {
        spill.storage().probe();
    }
    lot
}
