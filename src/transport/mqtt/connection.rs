//! One connection to the broker: what is in flight on it, and what the broker said that it takes.
//!
//! Every connection gets a client and an event loop of its own. rumqttc 0.25 keeps state beyond a connection that does not
//! belong to the next one: buffered events, a packet-id collision that is never resolved, publishes that are dropped when
//! the broker has lost the session. The outbox and the broker's redelivery make up for all of it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAckProperties, Filter, Publish, PublishProperties, RetainForwardRule};

use super::bounds::MAX_IN_FLIGHT;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// TCP, TLS, CONNECT.
    Connecting,
    /// CONNACK has come, SUBACK not yet.
    Subscribing,
    /// Requests come in.
    Up,
    /// `offline` is on its way, then DISCONNECT.
    Farewell,
    /// DISCONNECT is on its way.
    Closing,
}

/// What a publish of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    /// An answer, by its number in the outbox.
    Answer(u64),
    /// `status`: `online`.
    Online,
    /// `state`.
    State,
    /// `status`: `offline`.
    Offline,
    /// `config/reported`.
    Reported,
}

#[derive(Debug)]
struct InFlight {
    sequence: u64,
    /// Known once the event loop has sent it.
    packet_id: Option<u16>,
    item: Item,
}

/// A message to publish.
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) retain: bool,
    pub(super) payload: Bytes,
    pub(super) content_type: Option<String>,
    pub(super) correlation: Option<Bytes>,
}

pub(super) struct Connection {
    client: AsyncClient,
    pub(super) phase: Phase,
    /// When the phase began.
    pub(super) since: Instant,
    pub(super) up_since: Option<Instant>,
    /// The last sign of life of the event loop, which pings at least once per keep-alive.
    pub(super) last_event: Instant,
    /// A longer silence than this is a connection that hangs.
    pub(super) silence: Duration,
    /// In order of sending; the first is the oldest.
    in_flight: VecDeque<InFlight>,
    /// Packet ids given so far: rumqttc gives them in sequence, from 1 to `window`, and round again.
    sequence: u64,
    window: u64,
    max_packet_bytes: Option<u32>,
    may_retain: bool,
}

impl Connection {
    pub(super) fn new(client: AsyncClient, silence: Duration, now: Instant) -> Self {
        Self {
            client,
            phase: Phase::Connecting,
            since: now,
            up_since: None,
            last_event: now,
            silence,
            in_flight: VecDeque::new(),
            sequence: 0,
            window: u64::from(MAX_IN_FLIGHT),
            max_packet_bytes: None,
            may_retain: true,
        }
    }

    pub(super) fn enter(&mut self, phase: Phase, now: Instant) {
        (self.phase, self.since) = (phase, now);
    }

    /// Notes what the broker said of itself.
    pub(super) fn learn(&mut self, properties: &ConnAckProperties) {
        self.window = properties.receive_max.map_or(self.window, |most| u64::from(most).min(self.window)).max(1);
        self.max_packet_bytes = properties.max_packet_size;
        self.may_retain = properties.retain_available != Some(0);
    }

    /// The largest packet that the broker takes, where it says so.
    pub(super) fn max_packet_bytes(&self) -> Option<u32> {
        self.max_packet_bytes
    }

    /// Subscribes to `requests`: QoS 1, nothing that was retained before (retain handling 2), and the retain flag left as the
    /// publisher set it, so that a retained request is seen for what it is. Behind it, in the same packet, to `hints`: QoS 0, with what is retained.
    /// `false` when the channel is full.
    pub(super) fn subscribe(&mut self, requests: String, hints: Vec<String>) -> bool {
        let requests = Filter {
            preserve_retain: true,
            retain_forward_rule: RetainForwardRule::Never,
            ..Filter::new(requests, QoS::AtLeastOnce)
        };
        let hints = hints.into_iter().map(|filter| Filter::new(filter, QoS::AtMostOnce));
        self.sequence += 1;
        self.client.try_subscribe_many(std::iter::once(requests).chain(hints)).is_ok()
    }

    /// Whether one more publish may go. The oldest unacknowledged one must not be a whole round of packet ids behind:
    /// rumqttc stalls on a collision, and never recovers from one.
    pub(super) fn has_room(&self) -> bool {
        let room = if self.window > 1 { self.window - 1 } else { 1 };
        self.in_flight.front().is_none_or(|oldest| self.sequence - oldest.sequence < room)
    }

    /// How large `message` is as a packet, bytes.
    pub(super) fn packet_bytes(message: &Message) -> usize {
        let Message { topic, payload, .. } = message;
        // A packet id takes two bytes that are not counted before it is given; the length may then take one more.
        let publish = Publish::new(topic.as_str(), QoS::AtLeastOnce, payload.clone(), Some(properties(message)));
        publish.size() + 3
    }

    /// Hands `message` to the event loop. `false` when its channel is full: it is tried again at the next event.
    pub(super) fn publish(&mut self, item: Item, message: Message) -> bool {
        let properties = properties(&message);
        let Message { topic, retain, payload, .. } = message;
        let retain = retain && self.may_retain;
        let handed = self.client.try_publish_with_properties(topic, QoS::AtLeastOnce, retain, payload, properties);
        if handed.is_ok() {
            self.in_flight.push_back(InFlight { sequence: self.sequence, packet_id: None, item });
            self.sequence += 1;
        }
        handed.is_ok()
    }

    /// The event loop has sent the oldest publish that was not sent yet, under this packet id.
    pub(super) fn sent(&mut self, packet_id: u16) {
        if let Some(first) = self.in_flight.iter_mut().find(|i| i.packet_id.is_none()) {
            first.packet_id = Some(packet_id);
        }
    }

    /// The broker has acknowledged this packet id.
    pub(super) fn acknowledged(&mut self, packet_id: u16) -> Option<Item> {
        let place = self.in_flight.iter().position(|i| i.packet_id == Some(packet_id))?;
        self.in_flight.remove(place).map(|i| i.item)
    }

    /// Acknowledges a request. `false` when the channel is full.
    pub(super) fn acknowledge(&self, packet_id: u16) -> bool {
        let receipt = Publish { qos: QoS::AtLeastOnce, pkid: packet_id, ..Publish::default() };
        self.client.try_ack(&receipt).is_ok()
    }

    /// Sends DISCONNECT, after which the broker keeps its last will to itself.
    pub(super) fn disconnect(&self) -> bool {
        self.client.try_disconnect().is_ok()
    }
}

fn properties(message: &Message) -> PublishProperties {
    PublishProperties {
        // Everything that is published is UTF-8 text.
        payload_format_indicator: Some(1),
        content_type: message.content_type.clone(),
        correlation_data: message.correlation.clone(),
        ..PublishProperties::default()
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::MqttOptions;

    use super::*;

    fn connection(receive_max: Option<u16>) -> Connection {
        let (client, event_loop) = AsyncClient::new(MqttOptions::new("c", "localhost", 1), 512);
        // The channel stays open as long as the test needs it.
        std::mem::forget(event_loop);
        let mut connection = Connection::new(client, Duration::from_secs(1), Instant::now());
        let mut properties = no_properties();
        properties.receive_max = receive_max;
        connection.learn(&properties);
        connection
    }

    fn no_properties() -> ConnAckProperties {
        ConnAckProperties {
            session_expiry_interval: None,
            receive_max: None,
            max_qos: None,
            retain_available: None,
            max_packet_size: None,
            assigned_client_identifier: None,
            topic_alias_max: None,
            reason_string: None,
            user_properties: Vec::new(),
            wildcard_subscription_available: None,
            subscription_identifiers_available: None,
            shared_subscription_available: None,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }

    fn message() -> Message {
        Message {
            topic: "linnet/k/response/1".into(),
            retain: false,
            payload: Bytes::from_static(b"x"),
            content_type: Some("text/plain".into()),
            correlation: None,
        }
    }

    /// rumqttc's own rule for the next id, of a window of `limit`.
    fn next_id(last: &mut u16, limit: u16) -> u16 {
        let next = *last + 1;
        *last = if next == limit { 0 } else { next };
        next
    }

    #[test]
    fn no_packet_id_is_given_twice_however_the_broker_acknowledges() {
        for limit in [1, 2, 3, MAX_IN_FLIGHT] {
            let mut connection = connection(Some(limit));
            assert!(connection.subscribe("linnet/k/request/#".into(), vec!["linnet/fleet/home/index".into()]));
            let (mut last, mut unacknowledged) = (0, Vec::new());
            next_id(&mut last, limit);
            for round in 0..200_usize {
                while connection.has_room() {
                    assert!(connection.publish(Item::State, message()));
                    let id = next_id(&mut last, limit);
                    assert!(!unacknowledged.contains(&id), "collision at a window of {limit}");
                    connection.sent(id);
                    unacknowledged.push(id);
                    if unacknowledged.len() > 100 {
                        panic!("more in flight than ids");
                    }
                }
                // Newest first, as the worst broker does.
                let place = if round % 3 == 0 { 0 } else { unacknowledged.len() - 1 };
                let id = unacknowledged.remove(place);
                assert_eq!(connection.acknowledged(id), Some(Item::State));
                if connection.client.try_disconnect().is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_packets_size_is_never_guessed_too_small() {
        for payload in [0, 100, 127, 128, 16_383, 16_384, 100_000] {
            let message = Message { payload: vec![b'x'; payload].into(), ..message() };
            let mut publish = Publish::new(
                message.topic.as_str(),
                QoS::AtLeastOnce,
                message.payload.clone(),
                Some(properties(&message)),
            );
            publish.pkid = 7;
            let bytes = publish.size();
            assert!((bytes..bytes + 4).contains(&Connection::packet_bytes(&message)), "{payload}");
        }
    }

    #[test]
    fn acknowledgements_find_what_they_acknowledge() {
        let mut connection = connection(None);
        assert!(connection.publish(Item::Answer(7), message()) && connection.publish(Item::Online, message()));
        connection.sent(1);
        assert_eq!(connection.acknowledged(2), None);
        connection.sent(2);
        assert_eq!(connection.acknowledged(2), Some(Item::Online));
        assert_eq!(connection.acknowledged(1), Some(Item::Answer(7)));
        assert_eq!(connection.acknowledged(1), None);
    }
}
