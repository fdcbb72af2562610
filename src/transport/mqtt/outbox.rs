//! Answers on their way out, in order. An answer leaves the outbox when the broker has acknowledged it.
//!
//! rumqttc forgets unacknowledged publishes when the broker has lost the session, so the outbox is what is sent again
//! after every reconnect. It is written to disk only when an answer lies for longer than
//! [`super::bounds::SPILL_AFTER`]: until then the request, unacknowledged at the broker, is the durable copy, and the
//! usual answer costs no `fsync`.

use std::collections::BTreeMap;
use std::time::Instant;

use super::answer::Body;
use super::bounds::{
    MAX_LOT_BYTES, MAX_LOT_ENTRIES, MAX_OUTBOX_BYTES, MAX_REFUSALS, OUTBOX_SPARE, REFUSED_PAUSE, SPILL_AFTER,
};
use super::envelope::Target;
use super::fingerprint::Fingerprint;
use super::pieces::Place;
use super::release::Slot;
use super::spill::Room;

/// One answer to one requester.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The request, where it is known which one (an answer to what could not be read has none).
    pub request: Option<Fingerprint>,
    /// Where it goes.
    pub target: Target,
    /// What goes.
    pub body: Body,
}

#[derive(Debug)]
struct Waiting {
    entry: Entry,
    /// Acknowledged to the broker when this answer is.
    slots: Vec<Slot>,
    since: Instant,
    /// Handed to the connection; its acknowledgement is awaited.
    sent: bool,
    /// Not before this.
    not_before: Instant,
    refusals: u32,
    on_disk: bool,
    /// The entry is a piece of an answer: it is sent once, and forgotten with the connection.
    piece: Option<Place>,
}

/// What the broker said of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Taken.
    Taken,
    /// Refused for a reason that may pass (a quota).
    Later,
    /// Refused for good (the access list).
    Never,
}

/// What is left to do after a verdict.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled {
    /// It stays and is sent again.
    Stays,
    /// It is gone: acknowledge its requests, and remove its file if it has one.
    Gone {
        /// The requests' places.
        slots: Vec<Slot>,
        /// Whether a file is to be removed.
        on_disk: bool,
    },
}

/// The answers that wait, by number in the order of their making.
#[derive(Debug)]
pub struct Outbox {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    bytes: usize,
    most: usize,
}

impl Outbox {
    /// An empty outbox beside at most `in_flight` requests. Its numbers begin with `first`.
    pub fn new(in_flight: usize, first: u64) -> Self {
        Self { next: first, waiting: BTreeMap::new(), bytes: 0, most: in_flight + OUTBOX_SPARE }
    }

    /// The number that comes next.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Gives only numbers behind `last` from now on: that one may be on disk.
    pub fn go_on_behind(&mut self, last: u64) {
        self.next = self.next.max(last.saturating_add(1));
    }

    /// Takes in what [`super::spill`] found on disk.
    pub fn take_in(&mut self, kept: Vec<(u64, Entry)>, now: Instant) {
        for (number, entry) in kept {
            self.go_on_behind(number);
            self.insert(number, entry, Vec::new(), true, now);
        }
    }

    /// How much more may be read from disk; `None` while much waits already.
    pub fn room(&self) -> Option<Room> {
        let entries = MAX_LOT_ENTRIES.saturating_sub(self.waiting.len());
        let bytes = MAX_LOT_BYTES.saturating_sub(self.bytes as u64);
        (entries >= MAX_LOT_ENTRIES / 2 && bytes >= MAX_LOT_BYTES / 2).then_some(Room { entries, bytes })
    }

    /// Puts an answer in and gives its number. `slots` are acknowledged with it.
    pub fn push(&mut self, entry: Entry, slots: impl IntoIterator<Item = Slot>, now: Instant) -> u64 {
        let number = self.next;
        self.next += 1;
        self.insert(number, entry, slots.into_iter().collect(), false, now);
        number
    }

    fn insert(&mut self, number: u64, entry: Entry, slots: Vec<Slot>, on_disk: bool, now: Instant) {
        self.bytes += entry.body.payload.len();
        let waiting =
            Waiting { entry, slots, since: now, sent: false, not_before: now, refusals: 0, on_disk, piece: None };
        self.waiting.insert(number, waiting);
    }

    /// Puts a piece of an answer in. Its `place` is given back when it is published or dropped.
    pub fn push_piece(&mut self, entry: Entry, place: Place, now: Instant) {
        let number = self.push(entry, None, now);
        if let Some(waiting) = self.waiting.get_mut(&number) {
            waiting.piece = Some(place);
        }
    }

    /// Whether the entry is a piece of an answer.
    pub fn is_piece(&self, number: u64) -> bool {
        self.waiting.get(&number).is_some_and(|waiting| waiting.piece.is_some())
    }

    /// Whether no QoS 0 request should be taken on. Those of QoS 1 are bounded by Receive Maximum.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= self.most || self.bytes >= MAX_OUTBOX_BYTES
    }

    /// Answers that wait.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The broker delivers a request again (`redelivered`), or a client repeats it, while its answer to the same target
    /// waits here. Then the answer is not doubled, and `slot` is acknowledged with it. For a client's own repeat the
    /// answer must not be on its way yet: it may arrive before the client listens again.
    pub fn join(&mut self, request: Fingerprint, target: &Target, redelivered: bool, slot: Option<Slot>) -> bool {
        let found = self
            .waiting
            .values_mut()
            .find(|w| w.entry.request == Some(request) && w.entry.target == *target && (redelivered || !w.sent));
        match found {
            Some(waiting) => {
                waiting.slots.extend(slot);
                true
            }
            None => false,
        }
    }

    /// The answer to `request` that waits, to whomever it goes.
    pub fn answer_to(&self, request: Fingerprint) -> Option<&Body> {
        self.waiting.values().find(|w| w.entry.request == Some(request)).map(|w| &w.entry.body)
    }

    /// The first answer that may be sent now.
    pub fn next_to_send(&self, now: Instant) -> Option<(u64, &Entry)> {
        self.waiting.iter().find(|(_, w)| !w.sent && w.not_before <= now).map(|(number, w)| (*number, &w.entry))
    }

    /// When [`Outbox::next_to_send`] will have one that it has not now.
    pub fn next_attempt(&self, now: Instant) -> Option<Instant> {
        self.waiting.values().filter(|w| !w.sent && w.not_before > now).map(|w| w.not_before).min()
    }

    /// The answer is with the connection.
    pub fn sent(&mut self, number: u64) {
        if let Some(waiting) = self.waiting.get_mut(&number) {
            waiting.sent = true;
        }
    }

    /// Puts another body in an answer's place: the first one is larger than what the broker takes.
    pub fn replace(&mut self, number: u64, body: Body) {
        if let Some(waiting) = self.waiting.get_mut(&number) {
            self.bytes = self.bytes - waiting.entry.body.payload.len() + body.payload.len();
            waiting.entry.body = body;
        }
    }

    /// The broker answered for the answer.
    pub fn settle(&mut self, number: u64, verdict: Verdict, now: Instant) -> Settled {
        let Some(waiting) = self.waiting.get_mut(&number) else { return Settled::Stays };
        if verdict == Verdict::Later && waiting.piece.is_none() {
            waiting.refusals += 1;
            if waiting.refusals < MAX_REFUSALS {
                waiting.sent = false;
                waiting.not_before = now + REFUSED_PAUSE;
                return Settled::Stays;
            }
        }
        match self.waiting.remove(&number) {
            Some(gone) => {
                self.bytes -= gone.entry.body.payload.len();
                Settled::Gone { slots: gone.slots, on_disk: gone.on_disk }
            }
            None => Settled::Stays,
        }
    }

    /// The connection is gone: everything is to be sent again, and the places of requests are worth nothing.
    ///
    /// The broker delivers the requests of that connection again. An answer that knows its request is joined then; a refusal
    /// of what was not read knows none, so it is dropped here and made again, or each reconnect would add one more.
    pub fn disconnected(&mut self) {
        let bytes = &mut self.bytes;
        self.waiting.retain(|_, waiting| {
            let comes_again = waiting.entry.request.is_none() && !waiting.slots.is_empty() && !waiting.on_disk;
            let goes = comes_again || waiting.piece.is_some();
            if goes {
                *bytes -= waiting.entry.body.payload.len();
            }
            !goes
        });
        for waiting in self.waiting.values_mut() {
            waiting.sent = false;
            waiting.slots.clear();
        }
    }

    /// Answers that have waited long enough to be written to disk; all of them at the daemon's end.
    pub fn to_spill(&self, all: bool, now: Instant) -> Vec<(u64, Entry)> {
        let due = |w: &Waiting| {
            !w.on_disk && w.piece.is_none() && (all || now.saturating_duration_since(w.since) >= SPILL_AFTER)
        };
        self.waiting.iter().filter(|(_, w)| due(w)).map(|(number, w)| (*number, w.entry.clone())).collect()
    }

    /// When [`Outbox::to_spill`] will have the next one.
    pub fn next_spill(&self) -> Option<Instant> {
        self.waiting.values().filter(|w| !w.on_disk && w.piece.is_none()).map(|w| w.since + SPILL_AFTER).min()
    }

    /// The answer is on disk now. `false` means that it has left meanwhile, and that its file is to be removed.
    pub fn spilled(&mut self, number: u64) -> bool {
        match self.waiting.get_mut(&number) {
            Some(waiting) => {
                waiting.on_disk = true;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use linnet_proto::topic::{DeviceName, RequestId, ResponseTopic};

    use super::super::fingerprint::Key;
    use super::super::release::ReleaseQueue;
    use super::*;

    fn entry(id: &str) -> Entry {
        let device = DeviceName::new("k").expect("a name");
        let topic = ResponseTopic::default_for(&device, &RequestId::new(id).expect("an id"));
        Entry {
            request: Some(Fingerprint::of(&Key::Id(id.into()), "transcribe", None, &[], b"")),
            target: Target { topic, correlation: None },
            body: Body { payload: id.to_owned().into(), content_type: "text/plain".into(), error: None },
        }
    }

    fn outbox() -> Outbox {
        Outbox::new(4, 1)
    }

    #[test]
    fn answers_leave_in_order_and_come_back_after_a_lost_connection() {
        let now = Instant::now();
        let mut outbox = outbox();
        for id in ["a", "b", "c"] {
            outbox.push(entry(id), None, now);
        }
        let mut sent = Vec::new();
        while let Some((number, _)) = outbox.next_to_send(now) {
            outbox.sent(number);
            sent.push(number);
        }
        assert_eq!(sent, [1, 2, 3]);
        assert_eq!(outbox.settle(1, Verdict::Taken, now), Settled::Gone { slots: vec![], on_disk: false });
        outbox.disconnected();
        assert_eq!(outbox.next_to_send(now).map(|(n, _)| n), Some(2));
        assert_eq!(outbox.len(), 2);
    }

    #[test]
    fn a_refusal_of_what_the_broker_delivers_again_is_not_kept_beside_the_next_one() {
        let now = Instant::now();
        let (mut outbox, mut release) = (outbox(), ReleaseQueue::default());
        release.begin_connection();
        let unread = Entry { request: None, ..entry("refused") };
        for packet in 1..=3 {
            outbox.push(unread.clone(), release.receive(packet), now);
            outbox.disconnected();
            release.begin_connection();
        }
        assert!(outbox.is_empty());
        // One of QoS 0 does not come again: it stays.
        outbox.push(unread, None, now);
        outbox.disconnected();
        assert_eq!(outbox.len(), 1);
    }

    #[test]
    fn a_request_is_acknowledged_when_its_answer_is_taken() {
        let now = Instant::now();
        let (mut outbox, mut release) = (outbox(), ReleaseQueue::default());
        let slot = release.receive(5);
        let number = outbox.push(entry("a"), slot, now);
        outbox.sent(number);
        let Settled::Gone { slots, .. } = outbox.settle(number, Verdict::Taken, now) else { panic!("gone") };
        assert_eq!(slots, [slot.expect("QoS 1")]);
    }

    #[test]
    fn a_redelivered_request_joins_its_waiting_answer_but_a_clients_repeat_of_a_sent_one_does_not() {
        let now = Instant::now();
        let mut outbox = outbox();
        let one = entry("a");
        let request = one.request.expect("known");
        let number = outbox.push(one.clone(), None, now);
        assert!(outbox.join(request, &one.target, false, None), "not sent yet");
        outbox.sent(number);
        assert!(!outbox.join(request, &one.target, false, None), "the client may not have listened");
        assert!(outbox.join(request, &one.target, true, None), "the broker's own redelivery");
        assert!(!outbox.join(request, &entry("b").target, true, None), "another requester");
        assert_eq!(outbox.answer_to(request), Some(&one.body));
    }

    #[test]
    fn a_refusal_that_may_pass_is_tried_again_and_then_given_up() {
        let mut now = Instant::now();
        let mut outbox = outbox();
        let number = outbox.push(entry("a"), None, now);
        for _ in 1..MAX_REFUSALS {
            outbox.sent(number);
            assert_eq!(outbox.settle(number, Verdict::Later, now), Settled::Stays);
            assert_eq!(outbox.next_to_send(now), None, "not at once");
            assert_eq!(outbox.next_attempt(now), Some(now + REFUSED_PAUSE));
            now += REFUSED_PAUSE;
            assert!(outbox.next_to_send(now).is_some());
        }
        assert!(matches!(outbox.settle(number, Verdict::Later, now), Settled::Gone { .. }));
        let other = outbox.push(entry("b"), None, now);
        assert!(matches!(outbox.settle(other, Verdict::Never, now), Settled::Gone { .. }));
        assert!(outbox.is_empty());
    }

    #[test]
    fn only_what_lies_is_written_to_disk() {
        let now = Instant::now();
        let mut outbox = outbox();
        let number = outbox.push(entry("a"), None, now);
        assert_eq!(outbox.to_spill(false, now), []);
        assert_eq!(outbox.next_spill(), Some(now + SPILL_AFTER));
        assert_eq!(outbox.to_spill(true, now), [(number, entry("a"))]);
        assert_eq!(outbox.to_spill(false, now + SPILL_AFTER), [(number, entry("a"))]);
        assert!(outbox.spilled(number));
        assert_eq!((outbox.to_spill(true, now), outbox.next_spill()), (vec![], None));
        assert_eq!(outbox.settle(number, Verdict::Taken, now), Settled::Gone { slots: vec![], on_disk: true });
        assert!(!outbox.spilled(number), "it left while it was being written");
    }

    #[test]
    fn numbers_go_on_behind_what_was_on_disk() {
        let now = Instant::now();
        let mut outbox = outbox();
        outbox.take_in(vec![(7, entry("a"))], now);
        assert_eq!(outbox.push(entry("b"), None, now), 8);
        assert_eq!(outbox.next_to_send(now).map(|(n, _)| n), Some(7));
        assert_eq!(outbox.to_spill(false, now + Duration::from_secs(60)).len(), 1, "the first is on disk already");
    }

    #[test]
    fn more_is_read_from_disk_once_half_of_it_has_left() {
        let now = Instant::now();
        let mut outbox = outbox();
        let all = Room { entries: MAX_LOT_ENTRIES, bytes: MAX_LOT_BYTES };
        assert_eq!(outbox.room(), Some(all));
        let half = MAX_LOT_ENTRIES as u64 / 2;
        outbox.take_in((1..=half + 1).map(|number| (number, entry("a"))).collect(), now);
        assert_eq!(outbox.room(), None);
        outbox.settle(1, Verdict::Taken, now);
        assert_eq!(outbox.room().map(|room| room.entries), Some(MAX_LOT_ENTRIES / 2));
        let large = Body { payload: vec![b'x'; MAX_LOT_BYTES as usize].into(), ..entry("a").body };
        outbox.replace(2, large);
        assert_eq!(outbox.room(), None, "bytes count, too");
    }

    #[test]
    fn it_is_full_in_number_and_in_bytes() {
        let now = Instant::now();
        let mut outbox = outbox();
        for n in 0..4 + OUTBOX_SPARE {
            assert!(!outbox.is_full());
            outbox.push(entry(&n.to_string()), None, now);
        }
        assert!(outbox.is_full());
        let mut outbox = Outbox::new(4, 1);
        let number = outbox.push(entry("a"), None, now);
        let large = Body { payload: vec![b'x'; MAX_OUTBOX_BYTES].into(), ..entry("a").body };
        outbox.replace(number, large);
        assert!(outbox.is_full());
        outbox.settle(number, Verdict::Taken, now);
        assert!(!outbox.is_full());
    }
}
