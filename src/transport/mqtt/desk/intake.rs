//! From a packet to a message that is read: where its answer goes, whether there is room for it, and its payload's share of the memory.

use std::time::{Duration, Instant};

use bytes::Bytes;
use linnet_proto::{ErrorCode, WireError};
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use tokio::sync::OwnedSemaphorePermit;

use super::overload::Refused;
use super::{Desk, Note};
use crate::status::LinkCount;
use crate::transport::mqtt::arrival::Arrival;
use crate::transport::mqtt::bounds::{BUDGET_UNIT_BYTES, INLINE_PAYLOAD_BYTES};
use crate::transport::mqtt::envelope::{self, Envelope};
use crate::transport::mqtt::release::Slot;

impl Desk {
    /// Takes a message from the broker.
    pub(in crate::transport::mqtt) fn receive(&mut self, publish: Publish, now: Instant) {
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

    /// An id for logs that no other message of this run has.
    pub(super) fn next_id(&mut self) -> String {
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

    fn drop_message(&mut self, why: LinkCount, slot: Option<Slot>) {
        self.link.count(why);
        if let Some(slot) = slot {
            self.release.finish(slot);
        }
    }
}
