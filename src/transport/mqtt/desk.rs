//! What is known of every request: received, being read, running, answered. It decides; the link carries.

mod overload;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use linnet_proto::openai::Head;
use linnet_proto::topic::{DeviceName, ResponseTopics};
use linnet_proto::{ErrorCode, WireError};
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::AbortHandle;

use super::answer::Body;
use super::arrival::{Arrival, Message};
use super::bounds::{BUDGET_UNIT_BYTES, INLINE_PAYLOAD_BYTES, MAX_CRASHES, REPLY_SLACK};
use super::disk::Kept;
use super::envelope::{self, Envelope, Target};
use super::fingerprint::{Fingerprint, Key};
use super::ledger::Ledger;
use super::outbox::{Entry, Outbox, Settled, Verdict};
use super::payload::ParseLimits;
use super::pieces::{self, Pieces, Place};
use super::plan::Plan;
use super::release::{ReleaseQueue, Slot};
use super::repeats::KeptAnswers;
use super::request::Request as Asked;
use crate::job::{Admit, OnStart, Origin, Request};
use crate::status::{BrokerLink, LinkCount};
use crate::sys::clock;
use crate::transport::ask::{Turns, other_task};
use crate::transport::places::Places;
use overload::{Doubtful, Refused};

/// What the desk's own tasks tell it.
pub(super) enum Note {
    /// A large message was read.
    Read(Box<Message>),
    /// A piece of an answer is written.
    Piece { request: Fingerprint, payload: Bytes, place: Place },
    /// A job ended.
    Finished { request: Fingerprint, body: Body },
    /// A large message that is refused unless it is a repeat was digested; its payload had `bytes`.
    Digested { request: Fingerprint, bytes: usize, refused: Box<Refused> },
}

/// Somebody who waits for a running job's answer.
struct Waiter {
    target: Target,
    slots: Vec<Slot>,
}

struct Running {
    key: Key,
    waiters: Vec<Waiter>,
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

/// The limits that a reload replaces.
struct Limits {
    device: DeviceName,
    allowed: ResponseTopics,
    parse: ParseLimits,
    default_timeout: Duration,
    max_packet_bytes: u32,
    most_running: usize,
}

pub(super) struct Desk {
    limits: Limits,
    admit: Arc<dyn Admit>,
    link: BrokerLink,
    ledger: Arc<Ledger>,
    pub(super) outbox: Outbox,
    pub(super) release: ReleaseQueue,
    kept: KeptAnswers,
    running: HashMap<Fingerprint, Running>,
    /// Large messages that are being read.
    reading: usize,
    /// Large messages that may be repeats, and are digested under overload.
    doubtful: Doubtful,
    /// No request is taken any more: the daemon ends.
    closed: bool,
    budget: Places,
    notes: mpsc::Sender<Note>,
    /// Tells the ids of this run from those of another.
    run: u32,
    messages: u64,
}

impl Desk {
    pub(super) fn new(
        plan: &Plan,
        admit: Arc<dyn Admit>,
        link: BrokerLink,
        ledger: Arc<Ledger>,
        outbox: Outbox,
        notes: mpsc::Sender<Note>,
    ) -> Self {
        Self {
            limits: limits_of(plan),
            admit,
            link,
            ledger,
            kept: KeptAnswers::new(plan.settings.kept_answers, plan.settings.kept_for),
            outbox,
            release: ReleaseQueue::default(),
            running: HashMap::new(),
            reading: 0,
            doubtful: Doubtful::default(),
            closed: false,
            budget: Places::new(budget_units(plan)),
            notes,
            run: rand::random(),
            messages: 0,
        }
    }

    /// Takes the limits of `plan` for what comes from now on.
    pub(super) fn apply(&mut self, plan: &Plan) {
        self.limits = limits_of(plan);
        self.kept.resize(plan.settings.kept_answers, plan.settings.kept_for);
        // Messages that are in hand keep their share, and count.
        self.budget.resize(budget_units(plan));
    }

    /// A desk in place of this one, which a panic may have left half-done: nothing runs on it, and the broker delivers again
    /// what was not answered. `outbox` is what lies on disk.
    pub(super) fn renewed(&self, plan: &Plan, outbox: Outbox, notes: mpsc::Sender<Note>) -> Self {
        // The jobs of the old desk are cancelled when it is dropped; they are not what panicked.
        self.ledger.end_all_running();
        self.tidy_marks();
        let (admit, link, ledger) = (Arc::clone(&self.admit), self.link.clone(), Arc::clone(&self.ledger));
        Self { closed: self.closed, ..Self::new(plan, admit, link, ledger, outbox, notes) }
    }

    /// From now on requests stay unacknowledged, and the broker delivers them at the next start.
    pub(super) fn stop_intake(&mut self) {
        self.closed = true;
    }

    /// Whether no job runs and no message is being read.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.reading == 0 && self.doubtful.is_empty()
    }

    /// A new connection: the broker will deliver again what was not acknowledged.
    pub(super) fn connected(&mut self) {
        self.release.begin_connection();
    }

    /// The connection is gone, and with it every place of a request.
    pub(super) fn disconnected(&mut self) {
        self.release.begin_connection();
        self.outbox.disconnected();
        for waiter in self.running.values_mut().flat_map(|r| &mut r.waiters) {
            waiter.slots.clear();
        }
    }

    /// The daemon ends as it was asked to: jobs that still run are cancelled and left to the broker, which delivers them
    /// again at the next start. Gives their number.
    pub(super) fn close(&mut self) -> usize {
        let left = self.running.len();
        self.running.clear();
        self.ledger.close();
        self.tidy_marks();
        left
    }

    /// Has the marks of what has ended removed, where nobody is at it already.
    fn tidy_marks(&self) {
        if self.ledger.has_to_tidy() {
            let ledger = Arc::clone(&self.ledger);
            tokio::task::spawn_blocking(move || ledger.tidy());
        }
    }

    /// Takes a message from the broker.
    pub(super) fn receive(&mut self, publish: Publish, now: Instant) {
        if self.closed && publish.pkid != 0 {
            return;
        }
        self.link.count(LinkCount::Received);
        let slot = self.release.receive(publish.pkid);
        let bytes = publish.size();
        let Publish { dup, retain, topic, payload, properties, .. } = publish;
        let mut properties = properties.unwrap_or_default();
        if retain {
            log::warn!("mqtt: a retained request is ignored; publish requests without the retain flag");
            return self.drop_message(LinkCount::DroppedRetained, slot);
        }
        let correlation = properties.correlation_data.take();
        let asked = properties.response_topic.as_deref();
        let envelope = match envelope::read(&self.limits.device, &self.limits.allowed, &topic, asked, correlation) {
            Ok(envelope) => envelope,
            Err(reason) => {
                log::warn!("mqtt: a request is dropped, since nobody can be answered: {reason}");
                return self.drop_message(LinkCount::DroppedUnanswerable, slot);
            }
        };
        if slot.is_none() && self.outbox.is_full() {
            return self.drop_message(LinkCount::DroppedFull, slot);
        }
        match self.reserve(&envelope, bytes, payload.len()) {
            Ok(held) => {
                let id = self.next_id();
                let expiry = properties.message_expiry_interval.map(|secs| Duration::from_secs(secs.into()));
                let arrival = Arrival { id, envelope, slot, received: now, expiry, redelivered: dup, held };
                self.read(arrival, properties, payload, now);
            }
            Err(error) => self.refuse(Refused { envelope, slot, redelivered: dup, error }, properties, payload, now),
        }
    }

    /// Whether a job runs for somebody who asks like `key`.
    fn runs_for(&self, key: &Key) -> bool {
        self.running.values().any(|running| running.key == *key)
    }

    /// An id for logs that no other message of this run has.
    fn next_id(&mut self) -> String {
        self.messages += 1;
        format!("m{:08x}.{:x}", self.run, self.messages)
    }

    /// Refuses what need not be read to be refused; else takes the payload's share of the memory.
    fn reserve(
        &self,
        envelope: &Envelope,
        packet_bytes: usize,
        payload_bytes: usize,
    ) -> Result<OwnedSemaphorePermit, WireError> {
        let max = self.limits.max_packet_bytes;
        if packet_bytes as u64 > u64::from(max) {
            let message = format!("the packet has {packet_bytes} bytes; at most {max} are taken (mqtt.max_packet_mib)");
            return Err(WireError::new(ErrorCode::TooLarge, message));
        }
        if let Err(error) = &envelope.task {
            return Err(error.clone());
        }
        if self.running.len() + self.reading >= self.limits.most_running {
            let message = format!("{} requests are in hand already; send it again later", self.limits.most_running);
            return Err(WireError::new(ErrorCode::Overloaded, message));
        }
        // The payload and, where it is base64, what it decodes to.
        let units = (payload_bytes as u64 * 2).div_ceil(BUDGET_UNIT_BYTES);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        self.budget.take(units).ok_or_else(|| {
            let message = "requests hold all of their memory (limits.max_upload_total_mib); send it again later";
            WireError::new(ErrorCode::Overloaded, message)
        })
    }

    /// Reads the payload: at once when it is small, else on a thread that may block.
    fn read(&mut self, arrival: Arrival, properties: PublishProperties, payload: Bytes, now: Instant) {
        let limits = self.limits.parse;
        if payload.len() <= INLINE_PAYLOAD_BYTES {
            return self.settle(arrival.read(&properties, payload, limits), now);
        }
        self.reading += 1;
        let notes = self.notes.clone();
        tokio::task::spawn_blocking(move || {
            let message = arrival.read(&properties, payload, limits);
            // Fails only when the transport has ended; the broker still has the message.
            let _ = notes.blocking_send(Note::Read(Box::new(message)));
        });
    }

    /// Takes what one of the desk's tasks has to say.
    pub(super) fn note(&mut self, note: Note, now: Instant) {
        match note {
            Note::Read(message) => {
                self.reading -= 1;
                self.settle(*message, now);
            }
            Note::Piece { request, payload, place } => self.piece(request, &payload, &place, now),
            Note::Finished { request, body } => self.finished(request, &body, now),
            Note::Digested { request, bytes, refused } => self.digested(*refused, request, bytes, now),
        }
    }

    /// A message is read: it is a repeat, a refusal, or a job.
    fn settle(&mut self, message: Message, now: Instant) {
        let Message { arrival, request, asked } = message;
        let (target, slot) = (arrival.envelope.target.clone(), arrival.slot);
        if self.repeats(request, &target, arrival.redelivered, slot, now) {
            return;
        }
        if let Err(error) = self.begin(arrival, request, asked, now) {
            let body = Body::of_error(error);
            self.keep(request, &body, now);
            self.answer(Some(request), target, body, slot, now);
        }
    }

    /// Whether `request` is a repeat; it is then seen to: it joins the answer that waits or the job that runs, or gets the
    /// answer that was given.
    fn repeats(
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
    fn turned_away(&self, id: &str, task: &'static str, error: &WireError) {
        self.admit.turned_away(id, Origin::Mqtt, task, error);
    }

    /// Admits the request as a job, or says why not.
    fn begin(
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
    fn piece(&mut self, request: Fingerprint, payload: &Bytes, place: &Place, now: Instant) {
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
    fn finished(&mut self, request: Fingerprint, body: &Body, now: Instant) {
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

    fn keep(&mut self, request: Fingerprint, body: &Body, now: Instant) {
        if body.is_final() {
            self.kept.keep(request, body.clone(), now);
        }
    }

    /// An answer that was on disk may be asked for again, too.
    pub(super) fn keep_from_disk(&mut self, kept: Kept, now: Instant) {
        for (request, body) in kept {
            self.keep(request, &body, now);
        }
    }

    fn answer(&mut self, request: Option<Fingerprint>, target: Target, body: Body, slot: Option<Slot>, now: Instant) {
        self.outbox.push(Entry { request, target, body }, slot, now);
    }

    /// The broker's word on an answer. `true` when its file is to be removed.
    pub(super) fn delivered(&mut self, number: u64, verdict: Verdict, now: Instant) -> bool {
        let piece = self.outbox.is_piece(number);
        match self.outbox.settle(number, verdict, now) {
            Settled::Stays => false,
            Settled::Gone { slots, on_disk } => {
                let taken = verdict == Verdict::Taken;
                if !piece {
                    self.link.count(if taken { LinkCount::Answered } else { LinkCount::AnswersRefused });
                }
                slots.into_iter().for_each(|slot| self.release.finish(slot));
                on_disk
            }
        }
    }

    fn drop_message(&mut self, why: LinkCount, slot: Option<Slot>) {
        self.link.count(why);
        if let Some(slot) = slot {
            self.release.finish(slot);
        }
    }
}

fn limits_of(plan: &Plan) -> Limits {
    Limits {
        device: plan.device.clone(),
        allowed: plan.allowed.clone(),
        parse: plan.parse_limits(),
        default_timeout: plan.intake.default_timeout,
        max_packet_bytes: plan.max_packet_bytes,
        most_running: usize::from(plan.receive_maximum),
    }
}

/// The memory of all payloads in hand, in the units in which it is counted.
fn budget_units(plan: &Plan) -> u32 {
    let units = plan.intake.max_upload_total_bytes.div_ceil(BUDGET_UNIT_BYTES);
    u32::try_from(units).unwrap_or(u32::MAX).min(u32::MAX >> 1)
}
