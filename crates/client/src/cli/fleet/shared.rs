//! What the connection's task and those who use the connection share, and how they publish over it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as StdInstant};

use bytes::Bytes;
use linnet_fleet::range_server::RangeServer;
use linnet_proto::fleet::{Fingerprint, Index};
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::Piece;
use super::hearing::{HeardOut, Hearing, Left};
use super::outbox::{Kind, Outbox};
use super::refusals::Refusals;
use super::seen::Seen;
use crate::refusal::Fault;

/// How long the broker may take to acknowledge what was published.
pub(super) const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);
/// When a device asks again that was told so, milliseconds.
const BUSY_MS: u64 = 2_000;
/// Lines for the operator that wait.
const MAX_SAID: usize = 20;

/// What this client has heard and been told.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) seen: Seen,
    pub(super) index: Option<Index>,
    /// Counts connections: after each, what is retained is published anew.
    pub(super) connections: u64,
    pub(super) down: Option<Fault>,
    pub(super) outbox: Outbox,
    /// How far the reports that the broker retains have come over this connection.
    pub(super) hearing: Hearing,
    /// What devices that asked for a name were told, for the operator.
    said: VecDeque<String>,
    refusals: Refusals,
}

/// Shared between the connection's task and who uses it; nobody waits while it is held.
#[derive(Default)]
pub(super) struct Shared {
    heard: Mutex<Heard>,
    pub(super) changed: Notify,
    /// There may be room for another packet.
    pub(super) room: Notify,
}

impl Shared {
    pub(super) fn heard(&self) -> MutexGuard<'_, Heard> {
        // Whoever panicked left a whole value: each change is one assignment.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has something told to the operator; more than he can read at once is left out, and so is the same again.
    pub(super) fn say(&self, line: String) {
        let mut heard = self.heard();
        if heard.said.len() < MAX_SAID && heard.said.back() != Some(&line) {
            heard.said.push_back(line);
        }
    }

    /// Has the operator told that a device was granted a name.
    pub(super) fn say_granted(&self, device: &Fingerprint, line: String) {
        self.heard().refusals.granted(device);
        self.say(line);
    }

    /// Has the operator told that a device is given no name, if he was not told so before.
    pub(super) fn say_refused(&self, device: &Fingerprint, line: &str) {
        let mut heard = self.heard();
        if heard.said.len() >= MAX_SAID {
            heard.refusals.untold();
        } else if let Some(line) = heard.refusals.refused(device, line, StdInstant::now()) {
            heard.said.push_back(line);
        }
    }

    /// What there is to tell the operator since the last call.
    pub(super) fn said(&self) -> VecDeque<String> {
        let mut heard = self.heard();
        let mut said = std::mem::take(&mut heard.said);
        said.extend(heard.refusals.count(StdInstant::now()));
        said
    }

    /// Whether a device reports under this name.
    pub(super) fn bears(&self, name: &str) -> bool {
        self.heard().seen.bears(name)
    }

    /// How many connections there were.
    pub(super) fn connections(&self) -> u64 {
        self.heard().connections
    }

    /// Listens to the reports that the broker retains until all of them have come over the connection that stands, at most `longest`. `None`
    /// where that connection is gone.
    pub(super) async fn hear(&self, longest: Duration) -> Option<HeardOut> {
        let connection = self.connections();
        loop {
            match self.heard_out(longest) {
                Ok(heard) if heard.connection == connection => return Some(heard),
                // Sooner where the connection goes.
                Err(Some(wait)) => drop(tokio::time::timeout(wait, self.gone(connection)).await),
                _ => return None,
            }
            if self.connections() != connection {
                return None;
            }
        }
    }

    /// What was heard, if it was all; else how long it is waited for at least, where there is a connection.
    pub(super) fn heard_out(&self, longest: Duration) -> Result<HeardOut, Option<Duration>> {
        let heard = self.heard();
        match heard.hearing.left(Instant::now(), longest) {
            Left::Unsubscribed => Err(None),
            Left::Wait(wait) => Err(Some(wait)),
            Left::Over { took, is_whole } => {
                Ok(HeardOut { connection: heard.connections, devices: heard.seen.len(), took, is_whole })
            }
        }
    }

    /// Waits until connection number `connection` stands no more.
    async fn gone(&self, connection: u64) {
        self.until(|heard| heard.connections != connection || !heard.outbox.is_open()).await;
    }

    /// Waits for a connection that is not number `connection`.
    pub(super) async fn connected_after(&self, connection: u64) {
        self.until(|heard| heard.connections != connection && heard.outbox.is_open()).await;
    }

    async fn until(&self, mut is_so: impl FnMut(&Heard) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_so(&self.heard()) {
                return;
            }
            changed.await;
        }
    }
}

/// A message to be published.
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) topic: String,
    pub(super) retain: bool,
    pub(super) payload: Bytes,
    pub(super) properties: PublishProperties,
}

/// Why a message was not given to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The connection that it was for is gone.
    Down,
    /// It takes nothing.
    Stuck,
}

/// Publishes over the connection that stands.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) client: AsyncClient,
    pub(super) shared: Arc<Shared>,
}

impl Sender {
    /// Has an answer to a device sent. Where the connection is gone the answer is dropped: the device asks again by itself.
    pub(super) async fn answer(&self, topic: String, payload: Vec<u8>, properties: PublishProperties) {
        let message = Message { kind: Kind::Answer, topic, retain: false, payload: payload.into(), properties };
        let _ = self.send(message, self.shared.connections()).await;
    }

    /// Gives a message to connection number `connection`, once there is room.
    pub(super) async fn send(&self, message: Message, connection: u64) -> Result<(), Unsent> {
        let given = async {
            loop {
                let room = self.shared.room.notified();
                if self.give(&message, connection)? {
                    return Ok(());
                }
                room.await;
            }
        };
        tokio::time::timeout(FLUSH_TIMEOUT, given).await.unwrap_or(Err(Unsent::Stuck))
    }

    /// Whether there was room. What is written down of it has the order of what was given, since both are done under the lock.
    fn give(&self, message: &Message, connection: u64) -> Result<bool, Unsent> {
        let mut heard = self.shared.heard();
        if !heard.outbox.is_open() || heard.connections != connection {
            return Err(Unsent::Down);
        }
        let Message { kind, topic, retain, payload, properties } = message;
        let given = self.client.try_publish_with_properties(
            topic.as_str(),
            QoS::AtLeastOnce,
            *retain,
            payload.clone(),
            properties.clone(),
        );
        // Every topic is one: it is full.
        let has_room = given.is_ok();
        if has_room {
            heard.outbox.give(*kind, topic);
        }
        Ok(has_room)
    }

    /// Tells a device to ask again later; not even that may have room.
    pub(super) fn busy(&self, piece: Piece) {
        let properties = PublishProperties { correlation_data: piece.correlation, ..PublishProperties::default() };
        let mut heard = self.shared.heard();
        let busy = RangeServer::busy(BUSY_MS);
        let given = |outbox: &Outbox| {
            outbox.is_open()
                && self
                    .client
                    .try_publish_with_properties(piece.reply_to.as_str(), QoS::AtMostOnce, false, busy, properties)
                    .is_ok()
        };
        if given(&heard.outbox) {
            heard.outbox.give(Kind::Answer, &piece.reply_to);
        }
    }
}
