//! The connection's own task: what comes goes where it belongs. It never waits for anybody but the broker.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use linnet_fleet::range_server::RangeServer;
use linnet_proto::fleet::{FleetTopic, Index, Report};
use linnet_proto::topic::{FleetName, Topic};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::grants::Asked;
use super::hearing::Hearing;
use super::shared::{Sender, Shared};
use crate::mqtt::Broker;
use crate::refusal::{Fault, Refusal};

/// Waits before a lost connection is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A request for a piece.
pub(super) struct Piece {
    pub(super) reply_to: String,
    pub(super) correlation: Option<Bytes>,
    request: Bytes,
}

/// Answers requests in order; a slow broker slows it, and nothing else.
pub(super) async fn serve(server: RangeServer, mut waiting: mpsc::Receiver<Piece>, sender: Sender) {
    while let Some(piece) = waiting.recv().await {
        let reply = server.answer(&piece.request);
        let properties = PublishProperties { correlation_data: piece.correlation, ..PublishProperties::default() };
        sender.answer(piece.reply_to, reply, properties).await;
    }
}

/// What the task has.
pub(super) struct Connection {
    pub(super) broker: Broker,
    pub(super) client: AsyncClient,
    pub(super) sender: Sender,
    pub(super) shared: Arc<Shared>,
    pub(super) fleet: FleetName,
    pub(super) filters: Vec<String>,
    pub(super) pieces: mpsc::Sender<Piece>,
    pub(super) claims: mpsc::Sender<Asked>,
}

impl Connection {
    pub(super) async fn run(self, mut events: EventLoop) {
        let mut wait = RETRY.0;
        let mut unsubscribed = 0;
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    wait = RETRY.0;
                    unsubscribed = self.filters.len();
                    self.shared.heard().hearing = Hearing::default();
                    for filter in &self.filters {
                        if self.client.try_subscribe(filter.as_str(), QoS::AtLeastOnce).is_err() {
                            self.shared.heard().down = Some(Fault::Away("too much waits to be sent".into()));
                        }
                    }
                    if self.filters.is_empty() {
                        self.up();
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(ack))) => {
                    match ack.return_codes.iter().find(|code| !format!("{code:?}").starts_with("Success")) {
                        Some(code) => {
                            let refusal = Refusal::of_subscription(code, &self.fleet);
                            self.shared.heard().down = Some(Fault::Refused(refusal));
                            self.shared.changed.notify_waiters();
                        }
                        None => {
                            unsubscribed = unsubscribed.saturating_sub(1);
                            if unsubscribed == 0 {
                                self.up();
                            }
                        }
                    }
                }
                Ok(Event::Incoming(Packet::PubAck(ack))) => {
                    let refused = self.shared.heard().outbox.acknowledged(&ack);
                    if let Some(refusal) = refused {
                        self.shared.say(format!("devices are not answered: the broker {}", refusal.said));
                    }
                    self.shared.changed.notify_waiters();
                }
                Ok(Event::Outgoing(Outgoing::Publish(id))) => {
                    self.shared.heard().outbox.sent(id);
                    self.shared.room.notify_waiters();
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => self.take(publish),
                Ok(_) => {}
                Err(e) => {
                    self.gone(self.broker.fault(&e));
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY.1);
                }
            }
        }
    }

    fn gone(&self, fault: Fault) {
        let mut heard = self.shared.heard();
        heard.down = Some(fault);
        heard.outbox.close();
        heard.hearing = Hearing::default();
        drop(heard);
        self.shared.changed.notify_waiters();
        self.shared.room.notify_waiters();
    }

    fn up(&self) {
        let mut heard = self.shared.heard();
        heard.down = None;
        heard.connections += 1;
        heard.outbox.open();
        heard.hearing.subscribed(Instant::now());
        drop(heard);
        self.shared.changed.notify_waiters();
    }

    fn take(&self, publish: Publish) {
        if let Ok(topic) = FleetTopic::from_bytes(&publish.topic) {
            match topic {
                FleetTopic::Index(fleet) if fleet == self.fleet => {
                    self.shared.heard().index = Index::parse(&publish.payload).ok();
                }
                FleetTopic::Fetch(fleet) if fleet == self.fleet => return self.fetch(publish),
                // Where too many wait it is left out: the device asks again by itself.
                FleetTopic::ClaimRequest { fleet, key } if fleet == self.fleet && !publish.retain => {
                    return drop(self.claims.try_send(Asked { key, payload: publish.payload }));
                }
                _ => return,
            }
        } else if let Ok(Topic::ConfigReported(device)) = Topic::from_bytes(&publish.topic) {
            // An empty one is a report that was cleared.
            if publish.payload.is_empty() {
                return;
            }
            let mut heard = self.shared.heard();
            if publish.retain {
                heard.hearing.retained(Instant::now());
            }
            match Report::parse(&publish.payload) {
                // The topic is what the broker let the device write to; what stands in the report must agree.
                Ok(report) if report.device == device.as_str() => heard.seen.take(self.fleet.as_str(), report),
                _ => heard.seen.passed_over += 1,
            }
        } else {
            return;
        }
        self.shared.changed.notify_waiters();
    }

    fn fetch(&self, publish: Publish) {
        let Some(properties) = publish.properties else { return };
        // Answers go to a device's own topic for them and nowhere else, whoever asks.
        let Some(reply_to) = properties.response_topic else { return };
        if !matches!(reply_to.parse(), Ok(FleetTopic::Fetched { .. })) {
            return;
        }
        let piece = Piece { reply_to, correlation: properties.correlation_data, request: publish.payload };
        if let Err(mpsc::error::TrySendError::Full(piece)) = self.pieces.try_send(piece) {
            self.sender.busy(piece);
        }
    }
}
