//! A message on its way from the broker to a job.

use std::time::{Duration, Instant};

use bytes::Bytes;
use linnet_proto::WireError;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use tokio::sync::OwnedSemaphorePermit;

use super::envelope::Envelope;
use super::fingerprint::Fingerprint;
use super::payload::ParseLimits;
use super::release::Slot;
use super::request::{self, Request};

/// A message before its payload is read.
pub(super) struct Arrival {
    /// Unique in this run; for logs.
    pub(super) id: String,
    pub(super) envelope: Envelope,
    pub(super) slot: Option<Slot>,
    pub(super) received: Instant,
    /// What was left of the message's life when it came.
    pub(super) expiry: Option<Duration>,
    /// The broker says that it may have delivered it before.
    pub(super) redelivered: bool,
    /// The payload's share of the memory.
    pub(super) held: OwnedSemaphorePermit,
}

/// A message whose payload was read.
pub(super) struct Message {
    pub(super) arrival: Arrival,
    pub(super) request: Fingerprint,
    pub(super) asked: Result<Request, WireError>,
}

impl Arrival {
    /// Digests and parses the payload, which takes time in proportion to its length.
    pub(super) fn read(self, properties: &PublishProperties, payload: Bytes, limits: ParseLimits) -> Message {
        let request = fingerprint(&self.envelope, properties, &payload);
        let asked = self.envelope.task.clone().and_then(|task| {
            let (content_type, properties) = (properties.content_type.as_deref(), &properties.user_properties);
            request::read(task.as_str(), content_type, properties, payload, limits)
        });
        Message { arrival: self, request, asked }
    }

    /// `timeout`, or what is left of the message's life where that is less.
    pub(super) fn deadline(&self, timeout: Duration, now: Instant) -> Duration {
        match self.expiry {
            Some(expiry) => timeout.min(expiry.saturating_sub(now.saturating_duration_since(self.received))),
            None => timeout,
        }
    }
}

/// What makes a message and its repeats one request. It takes time in proportion to the payload's length.
pub(super) fn fingerprint(envelope: &Envelope, properties: &PublishProperties, payload: &[u8]) -> Fingerprint {
    // An envelope without a task was answered before.
    let task = envelope.task.as_ref().map_or("", |t| t.as_str());
    Fingerprint::of(&envelope.key, task, properties.content_type.as_deref(), &properties.user_properties, payload)
}
