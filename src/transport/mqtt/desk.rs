//! What is known of every request: received, being read, running, answered. It decides; the link carries.
//!
//! [`intake`] takes packets until they are read, or [`overload`] turns them away; [`jobs`] has what is read answered.

mod intake;
mod jobs;
mod overload;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use linnet_proto::topic::{DeviceName, ResponseTopics};
use tokio::sync::mpsc;

use super::answer::Body;
use super::arrival::Message;
use super::bounds::BUDGET_UNIT_BYTES;
use super::disk::Kept;
use super::envelope::Target;
use super::fingerprint::Fingerprint;
use super::ledger::Ledger;
use super::outbox::{Entry, Outbox, Settled, Verdict};
use super::payload::ParseLimits;
use super::pieces::Place;
use super::plan::Plan;
use super::release::{ReleaseQueue, Slot};
use super::repeats::KeptAnswers;
use crate::job::Admit;
use crate::status::{BrokerLink, LinkCount};
use crate::transport::places::Places;
use jobs::Running;
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
