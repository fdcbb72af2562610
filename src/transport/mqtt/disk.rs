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

    /// Starts writing what has lain for long enough.
    pub(super) fn write_what_lies(&mut self, outbox: &Outbox, now: Instant) {
        if self.writing.is_some() || self.not_before.is_some_and(|at| at > now) {
            return;
        }
        let lot = outbox.to_spill(false, now);
        if !lot.is_empty() {
            let spill = self.spill.clone();
            self.writing = Some(tokio::task::spawn_blocking(move || write(&spill, lot)));
        }
    }

    /// When there will be something to write that there is not now.
    pub(super) fn next_write(&self, outbox: &Outbox) -> Option<Instant> {
        if self.writing.is_some() {
            return None;
        }
        let due = outbox.next_spill()?;
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
        let all_written = !lot.is_empty() && lot.iter().all(|(_, written)| *written);
        self.not_before = (!all_written).then(|| now + SPILL_PAUSE);
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

    /// Writes all that is not on disk yet, at the daemon's end.
    pub(super) async fn write_everything(&mut self, outbox: &mut Outbox) {
        if self.writing.is_some() {
            let lot = self.written().await;
            self.note(&lot, outbox, Instant::now());
        }
        let (spill, lot) = (self.spill.clone(), outbox.to_spill(true, Instant::now()));
        if let Err(e) = tokio::task::spawn_blocking(move || write(&spill, lot)).await {
            log::error!("mqtt: answers that wait could not be written to disk: {e}");
        }
    }
}

fn write(spill: &Spill, lot: Vec<(u64, Entry)>) -> Lot {
    let mut failed = false;
    lot.into_iter()
        .map(|(number, entry)| {
            // After one failure the rest of the lot would only fill the log.
            let written = !failed
                && spill
                    .write(number, &entry)
                    .inspect_err(|e| log::warn!("mqtt: an answer that waits is kept in memory only: {e}"))
                    .is_ok();
            failed |= !written;
            (number, written)
        })
        .collect()
}
