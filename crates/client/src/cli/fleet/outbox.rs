//! What is on its way to the broker, and whose it is.
//!
//! The MQTT library sends in the order it was given, names the packet identifier of each publication as it sends it, and forgets what a broken
//! connection left unacknowledged, since it begins each session anew. So the two are told apart here: what the operator publishes himself and
//! waits for, and answers to devices, which ask again by themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rumqttc::v5::mqttbytes::v5::PubAck;

use crate::refusal::{Fault, Refusal, filter};

/// Most refusals of answers that are told over one connection.
const MAX_TOLD: usize = 16;

/// Whose a publication is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The operator's: metadata and hints.
    Own,
    /// An answer to a device.
    Answer,
}

/// Publications of the connection that stands.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    is_open: bool,
    /// Given to the library, in order, and not sent yet; each with its topic.
    given: VecDeque<(Kind, String)>,
    /// Sent and not acknowledged, by packet identifier.
    sent: BTreeMap<u16, (Kind, String)>,
    /// What the broker said to the operator's own that it would not take.
    refused: Option<Refusal>,
    /// Refusals of answers that were told: reason code and filter, since each answer has a topic of its own.
    told: BTreeSet<(u8, String)>,
}

impl Outbox {
    /// The connection stands. What the library still held of an earlier one it has sent before it subscribed; none of that is known here.
    pub(super) fn open(&mut self) {
        *self = Self { is_open: true, ..Self::default() };
    }

    /// The connection is gone, and with it everything that was on its way.
    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    /// Whether anything can be given to the library.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// One was given to the library.
    pub(super) fn give(&mut self, kind: Kind, topic: &str) {
        self.given.push_back((kind, topic.to_owned()));
    }

    /// The library has sent one; 0 is the identifier of what nobody acknowledges.
    pub(super) fn sent(&mut self, id: u16) {
        if let Some(given) = self.given.pop_front().filter(|_| id != 0) {
            self.sent.insert(id, given);
        }
    }

    /// The broker has acknowledged one, or says why it will not take it. Gives the refusal of an answer to a device, for which
    /// nobody waits, once for each reason and kind of topic.
    pub(super) fn acknowledged(&mut self, ack: &PubAck) -> Option<Refusal> {
        let (kind, topic) = self.sent.remove(&ack.pkid)?;
        let refusal = Fault::of_publication(ack, &topic)?;
        match kind {
            Kind::Answer => {
                let is_news = self.told.len() < MAX_TOLD && self.told.insert((refusal.code, filter(&topic)));
                is_news.then_some(refusal)
            }
            Kind::Own => {
                self.refused = Some(refusal);
                None
            }
        }
    }

    /// Whether something of the operator's own is still on its way.
    pub(super) fn owes(&self) -> bool {
        self.given.iter().chain(self.sent.values()).any(|(kind, _)| *kind == Kind::Own)
    }

    /// What was refused since the last call.
    pub(super) fn take_refusal(&mut self) -> Option<Refusal> {
        self.refused.take()
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::v5::PubAckReason;

    use super::*;

    const TOPIC: &str = "linnet/fleet/home/index";

    fn taken(id: u16) -> PubAck {
        PubAck::new(id, None)
    }

    fn refused(id: u16) -> PubAck {
        PubAck { reason: PubAckReason::NotAuthorized, ..taken(id) }
    }

    fn opened() -> Outbox {
        let mut outbox = Outbox::default();
        outbox.open();
        outbox
    }

    #[test]
    fn answers_to_devices_are_not_waited_for() {
        let mut outbox = opened();
        for kind in [Kind::Answer, Kind::Own, Kind::Answer] {
            outbox.give(kind, TOPIC);
        }
        (1..=3).for_each(|id| outbox.sent(id));
        outbox.give(Kind::Answer, TOPIC);
        assert!(outbox.owes());
        outbox.acknowledged(&taken(2));
        assert!(!outbox.owes());
    }

    #[test]
    fn what_a_broken_connection_took_along_is_owed_no_more() {
        let mut outbox = opened();
        outbox.give(Kind::Own, TOPIC);
        outbox.sent(1);
        outbox.close();
        assert!(!outbox.owes() && !outbox.is_open());
        // The library sends what it was given at the last moment before it subscribes anew.
        outbox.sent(2);
        outbox.open();
        outbox.give(Kind::Own, TOPIC);
        outbox.acknowledged(&taken(2));
        assert!(outbox.owes());
        outbox.sent(3);
        outbox.acknowledged(&taken(3));
        assert!(!outbox.owes());
    }

    #[test]
    fn a_refused_answer_is_no_fault_of_what_the_operator_publishes_and_a_refusal_is_told_once() {
        let mut outbox = opened();
        outbox.give(Kind::Answer, TOPIC);
        outbox.give(Kind::Own, TOPIC);
        outbox.sent(1);
        outbox.sent(2);
        assert!(outbox.acknowledged(&refused(1)).is_some(), "somebody is to be told");
        assert_eq!(outbox.take_refusal(), None);
        assert_eq!(outbox.acknowledged(&refused(2)), None);
        assert!(outbox.take_refusal().is_some_and(|refusal| refusal.said.contains(TOPIC)));
        assert_eq!(outbox.take_refusal(), None);
    }

    #[test]
    fn refused_answers_are_told_once_for_a_reason_and_a_kind_of_topic_until_the_connection_is_anew() {
        let mut outbox = opened();
        let told = |outbox: &mut Outbox, topic: &str, reason| {
            outbox.give(Kind::Answer, topic);
            outbox.sent(1);
            outbox.acknowledged(&PubAck { reason, ..taken(1) }).is_some()
        };
        for n in 0..100 {
            let topic = format!("linnet/d{}/fetched/{n:016x}", n % 3);
            assert_eq!(told(&mut outbox, &topic, PubAckReason::NotAuthorized), n == 0, "{topic}");
        }
        assert!(told(&mut outbox, "linnet/d1/fetched/ab", PubAckReason::QuotaExceeded), "another reason");
        assert!(told(&mut outbox, TOPIC, PubAckReason::QuotaExceeded), "another kind of topic");
        outbox.close();
        outbox.open();
        assert!(told(&mut outbox, "linnet/d1/fetched/ab", PubAckReason::QuotaExceeded), "a connection anew");
        let others = (0..100).filter(|n| told(&mut outbox, &format!("other/{n}"), PubAckReason::NotAuthorized));
        assert_eq!(others.count(), MAX_TOLD - 1);
    }

    #[test]
    fn what_nobody_acknowledges_keeps_its_place_in_the_order() {
        let mut outbox = opened();
        outbox.give(Kind::Answer, TOPIC);
        outbox.give(Kind::Own, TOPIC);
        outbox.sent(0);
        outbox.sent(1);
        outbox.acknowledged(&taken(1));
        assert!(!outbox.owes());
    }
}
