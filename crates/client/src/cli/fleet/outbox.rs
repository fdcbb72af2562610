//! What is on its way to the broker, and whose it is.
//!
//! The MQTT library sends in the order it was given, names the packet identifier of each publication as it sends it, and forgets what a broken
//! connection left unacknowledged, since it begins each session anew. So the two are told apart here: what the operator publishes himself and
//! waits for, and answers to devices, which ask again by themselves.

use std::collections::{BTreeMap, VecDeque};

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
    /// Given to the library, in order, and not sent yet.
    given: VecDeque<Kind>,
    /// Sent and not acknowledged, by packet identifier.
    sent: BTreeMap<u16, Kind>,
    /// What the broker said to the operator's own that it would not take.
    refused: Option<String>,
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
    pub(super) fn give(&mut self, kind: Kind) {
        self.given.push_back(kind);
    }

    /// The library has sent one; 0 is the identifier of what nobody acknowledges.
    pub(super) fn sent(&mut self, id: u16) {
        if let Some(kind) = self.given.pop_front().filter(|_| id != 0) {
            self.sent.insert(id, kind);
        }
    }

    /// The broker has acknowledged one, or says why it will not take it.
    pub(super) fn acknowledged(&mut self, id: u16, refusal: Option<String>) {
        if self.sent.remove(&id) == Some(Kind::Own) && refusal.is_some() {
            self.refused = refusal;
        }
    }

    /// Whether something of the operator's own is still on its way.
    pub(super) fn owes(&self) -> bool {
        self.given.iter().chain(self.sent.values()).any(|kind| *kind == Kind::Own)
    }

    /// What was refused since the last call.
    pub(super) fn take_refusal(&mut self) -> Option<String> {
        self.refused.take()
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Outbox};

    fn opened() -> Outbox {
        let mut outbox = Outbox::default();
        outbox.open();
        outbox
    }

    #[test]
    fn answers_to_devices_are_not_waited_for() {
        let mut outbox = opened();
        for kind in [Kind::Answer, Kind::Own, Kind::Answer] {
            outbox.give(kind);
        }
        (1..=3).for_each(|id| outbox.sent(id));
        outbox.give(Kind::Answer);
        assert!(outbox.owes());
        outbox.acknowledged(2, None);
        assert!(!outbox.owes());
    }

    #[test]
    fn what_a_broken_connection_took_along_is_owed_no_more() {
        let mut outbox = opened();
        outbox.give(Kind::Own);
        outbox.sent(1);
        outbox.close();
        assert!(!outbox.owes() && !outbox.is_open());
        // The library sends what it was given at the last moment before it subscribes anew.
        outbox.sent(2);
        outbox.open();
        outbox.give(Kind::Own);
        outbox.acknowledged(2, None);
        assert!(outbox.owes());
        outbox.sent(3);
        outbox.acknowledged(3, None);
        assert!(!outbox.owes());
    }

    #[test]
    fn a_refused_answer_is_no_fault_of_what_the_operator_publishes_and_a_refusal_is_told_once() {
        let mut outbox = opened();
        outbox.give(Kind::Answer);
        outbox.give(Kind::Own);
        outbox.sent(1);
        outbox.sent(2);
        outbox.acknowledged(1, Some("no".into()));
        assert_eq!(outbox.take_refusal(), None);
        outbox.acknowledged(2, Some("no".into()));
        assert_eq!(outbox.take_refusal().as_deref(), Some("no"));
        assert_eq!(outbox.take_refusal(), None);
    }

    #[test]
    fn what_nobody_acknowledges_keeps_its_place_in_the_order() {
        let mut outbox = opened();
        outbox.give(Kind::Answer);
        outbox.give(Kind::Own);
        outbox.sent(0);
        outbox.sent(1);
        outbox.acknowledged(1, None);
        assert!(!outbox.owes());
    }
}
