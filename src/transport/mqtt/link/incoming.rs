//! What comes in over a connection: what each packet means to the desk, and what a connection's end means to the link.

use std::time::Instant;

use linnet_proto::topic::Topic;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, PubAckReason, Publish, SubscribeReasonCode};
use rumqttc::v5::{ConnectionError, Event, EventLoop};

use super::{Link, silence};
use crate::status::{LinkCount, LinkState};
use crate::transport::mqtt::connection::{Connection, Item, Phase};
use crate::transport::mqtt::failure::End;
use crate::transport::mqtt::outbox::Verdict;

impl Link {
    pub(super) fn on_event(
        &mut self,
        event: Event,
        connection: &mut Connection,
        events: &mut EventLoop,
    ) -> Option<End> {
        let now = Instant::now();
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => return self.connected(&connack, connection, events, now),
            Event::Incoming(Packet::SubAck(suback)) if connection.phase == Phase::Subscribing => {
                return match suback.return_codes.first() {
                    Some(SubscribeReasonCode::Success(_)) => {
                        if suback.return_codes[1..].iter().any(|code| !matches!(code, SubscribeReasonCode::Success(_)))
                        {
                            log::warn!(
                                "mqtt: the broker refuses the topics that say when there is an update; check its ACL"
                            );
                        }
                        self.up(connection, now);
                        None
                    }
                    refused => Some(End::Lost(format!(
                        "the broker refuses the subscription to {} ({}); check its ACL",
                        Topic::requests_filter(&self.plan.device),
                        refused.map_or_else(|| "no reason".to_owned(), |code| format!("{code:?}"))
                    ))),
                };
            }
            Event::Incoming(Packet::Publish(publish)) => self.receive(publish, now),
            Event::Incoming(Packet::PubAck(puback)) => match connection.acknowledged(puback.pkid) {
                Some(Item::Answer(number)) => self.delivered(number, verdict(puback.reason), now),
                Some(Item::Offline) if connection.phase == Phase::Farewell => {
                    connection.disconnect();
                    connection.enter(Phase::Closing, now);
                }
                Some(Item::Online | Item::State | Item::Reported) if verdict(puback.reason) != Verdict::Taken => {
                    log::warn!(
                        "mqtt: the broker refuses status, state or config/reported of {} ({:?}); check its ACL",
                        self.plan.device,
                        puback.reason
                    )
                }
                _ => {}
            },
            Event::Outgoing(Outgoing::Publish(packet_id)) => connection.sent(packet_id),
            Event::Outgoing(Outgoing::Disconnect) => return Some(End::Closed),
            _ => {}
        }
        None
    }

    /// A message is a hint, or a request.
    pub(super) fn receive(&mut self, publish: Publish, now: Instant) {
        if !self.notices.take(&publish.topic, &self.plan.device) {
            self.desk.receive(publish, now);
        }
    }

    fn connected(
        &mut self,
        connack: &ConnAck,
        connection: &mut Connection,
        events: &mut EventLoop,
        now: Instant,
    ) -> Option<End> {
        if let Some(properties) = &connack.properties {
            if properties.max_qos == Some(0) {
                return Some(End::Lost("the broker offers QoS 0 only; linnetd needs QoS 1".into()));
            }
            connection.learn(properties);
        }
        if events.options.keep_alive().is_zero() {
            // A broker that wants no pings: rumqttc would send them without a pause.
            events.options.set_keep_alive(self.plan.keep_alive());
        }
        connection.silence = silence(events.options.keep_alive());
        self.desk.connected();
        // On every connection: a session that is present may still be without the subscription.
        if !connection.subscribe(Topic::requests_filter(&self.plan.device), self.notices.filters(&self.plan.device)) {
            return Some(End::Lost("the event loop takes nothing".into()));
        }
        connection.enter(Phase::Subscribing, now);
        log::debug!("mqtt: connected to {}, session present: {}", self.plan.settings.url, connack.session_present);
        None
    }

    fn up(&mut self, connection: &mut Connection, now: Instant) {
        connection.enter(Phase::Up, now);
        connection.up_since = Some(now);
        self.announcements.all(now);
        self.link.set(LinkState::Up);
        self.link.count(LinkCount::Connected);
        self.last_reason.clear();
        log::info!("mqtt: {} is reached; requests to {} are taken", self.plan.settings.url, self.plan.device);
    }

    pub(super) fn delivered(&mut self, number: u64, verdict: Verdict, now: Instant) {
        if verdict == Verdict::Never {
            log::warn!(
                "mqtt: the broker refuses an answer for good; its ACL must let linnetd publish to response topics"
            );
        }
        if self.desk.delivered(number, verdict, now) {
            self.disk.remove(number);
        }
    }

    pub(super) fn failed(error: &ConnectionError, connection: &Connection) -> End {
        // DISCONNECT was sent; the broker may close before the event of it is seen.
        if connection.phase == Phase::Closing {
            return End::Closed;
        }
        End::of(error, connection.phase > Phase::Connecting)
    }

    /// Logs and counts a connection's end; the same reason again only at debug level. Whether another client uses the same client id.
    pub(super) fn report(&mut self, end: &End) -> bool {
        let now = Instant::now();
        let (reason, contested) = match end {
            End::Closed => return false,
            End::Lost(reason) => {
                self.contest.failed(now);
                (reason.clone(), false)
            }
            End::Malformed(reason) => {
                self.malformed += 1;
                (reason.clone(), false)
            }
            End::Dropped(reason) => match self.up_for {
                Some(up) => (reason.clone(), self.contest.dropped(up, now)),
                None => {
                    self.contest.failed(now);
                    (reason.clone(), false)
                }
            },
            End::TakenOver => {
                self.link.count(LinkCount::TakenOver);
                ("another client took the session over".to_owned(), self.contest.taken(now))
            }
        };
        let reason = if contested { self.contested(&reason) } else { reason };
        self.link.count(LinkCount::Lost);
        self.link.down(&reason);
        let level = if reason == self.last_reason { log::Level::Debug } else { log::Level::Warn };
        log::log!(level, "mqtt: {}: {reason}; linnetd goes on trying", self.plan.settings.url);
        self.last_reason = reason;
        contested
    }

    /// Says so to whoever asks and to whoever reports.
    fn contested(&self, reason: &str) -> String {
        let id = &self.plan.settings.client_id;
        let said = format!(
            "another client seems to use this device's client id {id}, and each takes the session from the other ({reason}, again and again): \
             where two devices bear one name, or one mqtt.client_id, give each its own; where none does, the broker's log says why it ends the connection"
        );
        self.link.contest(&said);
        // The operator hears of it with the next connection.
        self.notices.look();
        said
    }
}

fn verdict(reason: PubAckReason) -> Verdict {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Verdict::Taken,
        PubAckReason::NotAuthorized | PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid => {
            Verdict::Never
        }
        PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError
        | PubAckReason::PacketIdentifierInUse
        | PubAckReason::QuotaExceeded => Verdict::Later,
    }
}
