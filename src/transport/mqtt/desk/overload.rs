//! A refusal, unless the message is a repeat of what is in hand already: that costs nothing and is taken under overload, too.

use std::time::Instant;

use bytes::Bytes;
use linnet_proto::{ErrorCode, WireError};
use rumqttc::v5::mqttbytes::v5::PublishProperties;

use super::{Desk, Note};
use crate::transport::mqtt::answer::Body;
use crate::transport::mqtt::arrival;
use crate::transport::mqtt::bounds::{INLINE_PAYLOAD_BYTES, MAX_DOUBTFUL_BYTES};
use crate::transport::mqtt::envelope::Envelope;
use crate::transport::mqtt::fingerprint::Fingerprint;
use crate::transport::mqtt::release::Slot;

/// A message that is refused unless it repeats another.
pub(in crate::transport::mqtt) struct Refused {
    pub(super) envelope: Envelope,
    pub(super) slot: Option<Slot>,
    /// The broker says that it may have delivered it before.
    pub(super) redelivered: bool,
    pub(super) error: WireError,
}

/// Large messages that may be repeats while they are digested. The budget of payloads is spent when they come, so they have
/// a bound of their own.
#[derive(Debug, Default)]
pub(super) struct Doubtful {
    messages: usize,
    bytes: usize,
}

impl Doubtful {
    /// Takes on a payload of `bytes`; `false` when it is one too many. One alone always fits.
    fn take(&mut self, bytes: usize) -> bool {
        let fits = self.messages == 0 || self.bytes + bytes <= MAX_DOUBTFUL_BYTES;
        if fits {
            self.messages += 1;
            self.bytes += bytes;
        }
        fits
    }

    fn give_back(&mut self, bytes: usize) {
        self.messages -= 1;
        self.bytes -= bytes;
    }

    /// Whether none is in hand.
    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }
}

impl Desk {
    /// Refuses, or sees to it as a repeat. What is large is digested on a thread that may block; [`Desk::digested`] goes on.
    pub(super) fn refuse(&mut self, refused: Refused, properties: PublishProperties, payload: Bytes, now: Instant) {
        let may_repeat = refused.error.code == ErrorCode::Overloaded
            && refused.slot.is_some()
            && (refused.redelivered || self.runs_for(&refused.envelope.key));
        if may_repeat && payload.len() <= INLINE_PAYLOAD_BYTES {
            let request = arrival::fingerprint(&refused.envelope, &properties, &payload);
            return self.repeat_or_turn_away(refused, request, now);
        }
        if !may_repeat || !self.doubtful.take(payload.len()) {
            return self.turn_away(refused, now);
        }
        let notes = self.notes.clone();
        tokio::task::spawn_blocking(move || {
            let request = arrival::fingerprint(&refused.envelope, &properties, &payload);
            let bytes = payload.len();
            drop(payload);
            // Fails only when the transport has ended; the broker still has the message.
            let _ = notes.blocking_send(Note::Digested { request, bytes, refused: Box::new(refused) });
        });
    }

    /// A large message that may be a repeat is digested.
    pub(super) fn digested(&mut self, refused: Refused, request: Fingerprint, bytes: usize, now: Instant) {
        self.doubtful.give_back(bytes);
        self.repeat_or_turn_away(refused, request, now);
    }

    fn repeat_or_turn_away(&mut self, refused: Refused, request: Fingerprint, now: Instant) {
        if !self.repeats(request, &refused.envelope.target, refused.redelivered, refused.slot, now) {
            self.turn_away(refused, now);
        }
    }

    fn turn_away(&mut self, refused: Refused, now: Instant) {
        let Refused { envelope, slot, error, .. } = refused;
        let id = self.next_id();
        self.turned_away(&id, envelope.label, &error);
        self.answer(None, envelope.target, Body::of_error(error), slot, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_repeats_are_digested_within_a_bound_and_one_alone_always() {
        let mut doubtful = Doubtful::default();
        assert!(doubtful.take(MAX_DOUBTFUL_BYTES * 2), "it is no larger than a packet may be");
        assert!(!doubtful.take(1));
        doubtful.give_back(MAX_DOUBTFUL_BYTES * 2);
        assert!(doubtful.is_empty());
        assert!(doubtful.take(MAX_DOUBTFUL_BYTES / 2) && doubtful.take(MAX_DOUBTFUL_BYTES / 2));
        assert!(!doubtful.take(1), "the memory of two packets is in hand");
        doubtful.give_back(MAX_DOUBTFUL_BYTES / 2);
        assert!(doubtful.take(1) && !doubtful.is_empty());
    }
}
