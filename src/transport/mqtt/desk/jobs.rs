//! From a message that is read to its answer: whom a repeat joins, what is admitted as a job, and who is told its pieces and its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use linnet_proto::openai::Head;
use linnet_proto::{ErrorCode, WireError};
use tokio::task::AbortHandle;

use super::{Desk, Note};
use crate::job::{OnStart, Origin, Request};
use crate::status::LinkCount;
use crate::sys::clock;
use crate::transport::ask::{Turns, other_task};
use crate::transport::mqtt::answer::Body;
use crate::transport::mqtt::arrival::Arrival;
use crate::transport::mqtt::bounds::{MAX_CRASHES, REPLY_SLACK};
use crate::transport::mqtt::envelope::{Envelope, Target};
use crate::transport::mqtt::fingerprint::{Fingerprint, Key};
use crate::transport::mqtt::outbox::Entry;
use crate::transport::mqtt::pieces::{self, Pieces, Place};
use crate::transport::mqtt::release::Slot;
use crate::transport::mqtt::request::Request as Asked;

/// Somebody who waits for a running job's answer.
pub(super) struct Waiter {
    pub(super) target: Target,
    pub(super) slots: Vec<Slot>,
}

pub(super) struct Running {
    key: Key,
    pub(super) waiters: Vec<Waiter>,
    began: Instant,
    id: String,
    label: &'static str,
    task: AbortHandle,
}

impl Drop for Running {
    /// Drops the job's reply, which cancels the job; nothing happens when it has ended.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Desk {
    /// Whether a job runs for somebody who asks like `key`.
    pub(super) fn runs_for(&self, key: &Key) -> bool {
        self.running.values().any(|running| running.key == *key)
    }

    /// Whether `request` is a repeat; it is then seen to: it joins the answer that waits or the job that runs, or gets the
    /// answer that was given.
    pub(super) fn repeats(
        &mut self,
        request: Fingerprint,
        target: &Target,
        redelivered: bool,
        slot: Option<Slot>,
        now: Instant,
    ) -> bool {
        if self.outbox.join(request, target, redelivered, slot) {
            // It is acknowledged with the answer.
        } else if let Some(running) = self.running.get_mut(&request) {
            match running.waiters.iter_mut().find(|w| w.target == *target) {
                Some(waiter) => waiter.slots.extend(slot),
                None => running.waiters.push(Waiter { target: target.clone(), slots: slot.into_iter().collect() }),
            }
        } else if let Some(body) = self.kept.find(request, now).or_else(|| self.outbox.answer_to(request)).cloned() {
            self.answer(Some(request), target.clone(), body, slot, now);
        } else {
            return false;
        }
        self.link.count(LinkCount::Repeated);
        true
    }

    /// Everything that is checked before the job is admitted; gives its time as well.
    fn check(
        &self,
        arrival: &Arrival,
        request: Fingerprint,
        asked: Result<Asked, WireError>,
        now: Instant,
    ) -> Result<(Asked, Duration), WireError> {
        let crashes = self.ledger.crashes(request);
        if crashes >= MAX_CRASHES {
            let message = format!("linnetd died {crashes} times while it ran this request; it is not tried again");
            return Err(WireError::new(ErrorCode::Poisoned, message));
        }
        let asked = asked?;
        let timeout = arrival.deadline(asked.timeout.unwrap_or(self.limits.default_timeout), now);
        if timeout.is_zero() {
            let message = "the message had expired when it came; give it a longer message expiry interval";
            return Err(WireError::new(ErrorCode::DeadlineExceeded, message));
        }
        Ok((asked, timeout))
    }

    /// Has a refusal counted that the scheduler does not see.
    pub(super) fn turned_away(&self, id: &str, task: &'static str, error: &WireError) {
        self.admit.turned_away(id, Origin::Mqtt, task, error);
    }

    /// Admits the request as a job, or says why not.
    pub(super) fn begin(
        &mut self,
        arrival: Arrival,
        request: Fingerprint,
        asked: Result<Asked, WireError>,
        now: Instant,
    ) -> Result<(), WireError> {
        let (Asked { jobs, form, priority, .. }, timeout) = self
            .check(&arrival, request, asked, now)
            .inspect_err(|error| self.turned_away(&arrival.id, arrival.envelope.label, error))?;
        let id = arrival.id;
        let mut jobs = jobs.into_iter();
        let task = jobs.next().ok_or_else(other_task)?;
        let job = Request { id: id.clone(), origin: Origin::Mqtt, task, timeout, priority };
        let ledger = Arc::clone(&self.ledger);
        let on_start = OnStart::new(move || ledger.begin(request, clock::since_epoch()));
        let turns = match Turns::begin(Arc::clone(&self.admit), job, jobs, REPLY_SLACK, Some(on_start)) {
            Ok(turns) => turns,
            Err(error) => {
                self.ledger.end(request);
                self.tidy_marks();
                return Err(error);
            }
        };
        let (notes, held) = (self.notes.clone(), arrival.held);
        let head = Head { id: id.clone(), created: clock::since_epoch().as_secs() };
        let pieces = form.streams().then(|| Pieces::new(notes.clone(), request, &form, &head));
        let task = tokio::spawn(async move {
            let body = pieces::collect(turns, &form, &head, pieces).await;
            drop(held);
            // Fails only when the transport has ended; the broker still has the message.
            let _ = notes.send(Note::Finished { request, body }).await;
        });
        let Envelope { key, target, label, .. } = arrival.envelope;
        let waiter = Waiter { target, slots: arrival.slot.into_iter().collect() };
        let running =
            Running { key, waiters: vec![waiter], began: arrival.received, id, label, task: task.abort_handle() };
        self.running.insert(request, running);
        Ok(())
    }

    /// A piece of an answer is written: everybody who waits for the answer gets it, as far as there is room.
    pub(super) fn piece(&mut self, request: Fingerprint, payload: &Bytes, place: &Place, now: Instant) {
        let Some(running) = self.running.get(&request) else { return };
        for waiter in &running.waiters {
            if self.outbox.is_full() {
                return;
            }
            let body = Body { payload: payload.clone(), content_type: "application/json".to_owned(), error: None };
            let entry = Entry { request: None, target: waiter.target.clone(), body };
            self.outbox.push_piece(entry, Arc::clone(place), now);
        }
    }

    /// A job has ended: everybody who waits for it is answered.
    pub(super) fn finished(&mut self, request: Fingerprint, body: &Body, now: Instant) {
        self.ledger.end(request);
        self.tidy_marks();
        let Some(mut running) = self.running.remove(&request) else { return };
        let ms = now.saturating_duration_since(running.began).as_secs_f64() * 1000.0;
        let outcome = body.error.map_or("ok", ErrorCode::as_str);
        log::debug!(
            REQUEST_ID = running.id.as_str(), TASK = running.label, MS = ms, OUTCOME = outcome;
            "mqtt {} {outcome} in {ms:.1} ms", running.label
        );
        self.keep(request, body, now);
        // A job that the ending daemon turned away is left to the broker, which has it still, and to the next start.
        let turned_away = matches!(body.error, Some(ErrorCode::Unavailable | ErrorCode::Cancelled));
        for Waiter { target, slots } in running.waiters.drain(..) {
            if self.closed && turned_away && !slots.is_empty() {
                continue;
            }
            self.outbox.push(Entry { request: Some(request), target, body: body.clone() }, slots, now);
        }
    }
}
