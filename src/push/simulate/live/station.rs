//! The operator's connection to the broker: publishes the repositories, hears reports, serves pieces of files, and clears away what the broker
//! was left to keep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use linnet_fleet::range_server::RangeServer;
use linnet_fleet::repository::index;
use linnet_fleet::source::{Memory, Source, SourceFault};
use linnet_fleet::waves::{Outcome, outcome};
use linnet_proto::fleet::{FleetTopic, RangeHead, RangeRequest, RangeStatus, Report};
use linnet_proto::topic::{DeviceName, FleetName, Topic};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, Publish, PublishProperties, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::push::simulate::SimulateError;
use crate::push::simulate::bounds::{
    AWAY_PATIENCE, BUSY_MS, CONNECT_PATIENCE, FLUSH_PATIENCE, RECONNECT_PAUSE, WAITING_PACKETS, WAITING_PIECES,
};
use crate::push::simulate::names::Names;
use crate::push::simulate::operator::NEW;
use crate::push::simulate::options::in_options;
use crate::transport::mqtt::why_ended;

/// Files of a repository.
pub(super) enum Files {
    /// An operator's directory.
    Directory(RangeServer),
    /// A mirror's.
    Memory(Memory),
}

impl Files {
    async fn answer(&self, request: &[u8]) -> Vec<u8> {
        match self {
            Self::Directory(server) => server.answer(request),
            Self::Memory(memory) => lie(memory, request).await,
        }
    }
}

/// As an honest server answers, out of what a mirror holds.
async fn lie(memory: &Memory, request: &[u8]) -> Vec<u8> {
    let only = |status| RangeHead { status, offset: 0, total: 0, retry_after_ms: None }.with(&[]);
    let Ok(RangeRequest { path, offset, bytes }) = serde_json::from_slice(request) else {
        return only(RangeStatus::Refused);
    };
    match memory.piece(&path, offset, bytes).await {
        // Where the file ends it does not say: nobody reads that.
        Ok(piece) => {
            let total = offset + piece.len() as u64;
            RangeHead { status: RangeStatus::Ok, offset, total, retry_after_ms: None }.with(&piece)
        }
        Err(SourceFault::NotThere) => only(RangeStatus::NotFound),
        Err(_) => only(RangeStatus::Refused),
    }
}

/// What was heard and published.
#[derive(Default)]
struct Heard {
    /// The newest that each device has said of the push, since it was asked last.
    outcomes: BTreeMap<u32, Outcome>,
    /// Counts connections: after each, what is retained is published anew.
    connections: u64,
    /// Why there is no connection, and since when.
    down: Option<(String, Instant)>,
    /// What the broker will not let the operator do.
    refused: Option<String>,
    published: u64,
    /// Of those: acknowledged, or forgotten with the connection that they went out over.
    settled: u64,
}

impl Heard {
    /// The connection has ended, and the session with it: what was not acknowledged never will be. What is retained is published anew once
    /// there is another; a device whose hint or piece was lost looks, or asks, again by itself.
    fn gone(&mut self, reason: String) {
        self.down.get_or_insert((reason, Instant::now()));
        self.settled = self.published;
    }

    /// One was acknowledged. It may be one that was counted as forgotten, and went out over the next connection after all.
    fn acknowledged(&mut self) {
        self.settled = (self.settled + 1).min(self.published);
    }

    /// Why the connection is given up, if it is: the first one has failed, or a later one is not back in time.
    fn lost(&self) -> Option<&String> {
        let (reason, since) = self.down.as_ref()?;
        (self.connections == 0 || since.elapsed() >= AWAY_PATIENCE).then_some(reason)
    }
}

/// Shared between the connection's task and who uses it; nobody waits while it is held.
#[derive(Default)]
struct Shared {
    heard: Mutex<Heard>,
    changed: Notify,
}

impl Shared {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        // Whoever panicked left a whole value: each change is one assignment.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The operator at the broker.
pub(super) struct Station {
    client: AsyncClient,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
    url: String,
    names: Arc<Names>,
    /// What each fleet's repository holds.
    shown: BTreeMap<String, Vec<(String, Bytes)>>,
    /// Topics on which something is retained.
    retained: BTreeSet<String>,
    /// The connection that all of it was published over.
    connection: u64,
}

impl Drop for Station {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Station {
    /// Connects. `files` are served, each by its fleet.
    pub(super) async fn open(
        options: MqttOptions,
        url: &str,
        names: &Arc<Names>,
        files: Vec<(FleetName, Files)>,
    ) -> Result<Self, SimulateError> {
        let (client, events) = AsyncClient::new(options, WAITING_PACKETS);
        let shared = Arc::new(Shared::default());
        let mut filters = vec![FleetTopic::reports_filter()];
        filters.extend(files.iter().map(|(fleet, _)| FleetTopic::Fetch(fleet.clone()).to_string()));
        let (pieces, waiting) = mpsc::channel(WAITING_PIECES);
        let connection = Connection {
            client: client.clone(),
            shared: Arc::clone(&shared),
            names: Arc::clone(names),
            filters,
            pieces,
        };
        let tasks = [
            tokio::spawn(serve(files, waiting, client.clone(), Arc::clone(&shared))),
            tokio::spawn(connection.run(events)),
        ];
        let station = Self {
            client,
            shared,
            tasks,
            url: url.to_owned(),
            names: Arc::clone(names),
            shown: BTreeMap::new(),
            retained: BTreeSet::new(),
            connection: 0,
        };
        station.wait(CONNECT_PATIENCE, "it has not answered", |heard| heard.connections > 0).await?;
        Ok(station)
    }

    /// A fault of the broker's.
    pub(super) fn fault(&self, reason: impl Into<String>) -> SimulateError {
        SimulateError::Broker { url: self.url.clone(), reason: in_options(&reason.into()) }
    }

    /// Waits until something holds of what was heard; a connection that refuses, or is lost, is a fault.
    async fn wait(
        &self,
        patience: Duration,
        otherwise: &str,
        holds: impl Fn(&Heard) -> bool,
    ) -> Result<(), SimulateError> {
        let held = async {
            loop {
                let changed = self.shared.changed.notified();
                {
                    let heard = self.shared.heard();
                    if let Some(reason) = heard.refused.as_ref().or(heard.lost()) {
                        return Err(self.fault(reason));
                    }
                    if holds(&heard) {
                        return Ok(());
                    }
                }
                changed.await;
            }
        };
        let overdue = |_| Err(self.fault(format!("{otherwise} within {} s", patience.as_secs())));
        tokio::time::timeout(patience, held).await.unwrap_or_else(overdue)
    }

    /// What devices have said since the last call.
    pub(super) fn outcomes(&self) -> BTreeMap<u32, Outcome> {
        std::mem::take(&mut self.shared.heard().outcomes)
    }

    /// Whether the broker is there. A fault once it has been away for long, or refuses something.
    pub(super) fn is_up(&self) -> Result<bool, SimulateError> {
        let heard = self.shared.heard();
        match heard.refused.as_ref().or(heard.lost()) {
            Some(reason) => Err(self.fault(reason)),
            None => Ok(heard.down.is_none()),
        }
    }

    /// Publishes what a fleet's repository holds now: what has a version in its name first, then the timestamp, then the index, and nothing that
    /// was there before is left.
    pub(super) async fn show(&mut self, fleet: &FleetName, metadata: &[(String, Bytes)]) -> Result<(), SimulateError> {
        let before = self.shown.insert(fleet.to_string(), metadata.to_vec()).unwrap_or_default();
        for (name, bytes) in metadata {
            if !before.iter().any(|(there, held)| there == name && held == bytes) {
                self.retain(FleetTopic::of_file(fleet, name).to_string(), bytes.clone()).await?;
            }
        }
        let files: Vec<(String, Vec<u8>)> =
            metadata.iter().map(|(name, bytes)| (name.clone(), bytes.to_vec())).collect();
        let listed = index(&files);
        let written = serde_json::to_vec(&listed).map_err(|e| SimulateError::Model(e.to_string()))?;
        self.retain(FleetTopic::Index(fleet.clone()).to_string(), written.into()).await?;
        for (name, _) in before.iter().filter(|(name, _)| !listed.has(name)) {
            self.clear_one(FleetTopic::of_file(fleet, name).to_string()).await?;
        }
        self.flush().await
    }

    /// Publishes everything again where the broker has come back, since it may have forgotten.
    pub(super) async fn keep_up(&mut self) -> Result<(), SimulateError> {
        let connections = self.shared.heard().connections;
        if std::mem::replace(&mut self.connection, connections) == connections {
            return Ok(());
        }
        for (fleet, metadata) in std::mem::take(&mut self.shown) {
            let fleet = FleetName::new(fleet).map_err(|e| SimulateError::Model(e.to_string()))?;
            self.show(&fleet, &metadata).await?;
        }
        Ok(())
    }

    /// Tells devices that there is something to look at.
    pub(super) async fn hint(&mut self, devices: impl Iterator<Item = u32>) -> Result<(), SimulateError> {
        let payload = Bytes::from(hint(&self.names));
        for index in devices {
            self.retain(Topic::ConfigDesired(self.device(index)?).to_string(), payload.clone()).await?;
        }
        self.flush().await
    }

    fn device(&self, index: u32) -> Result<DeviceName, SimulateError> {
        DeviceName::new(self.names.device(index)).map_err(|e| SimulateError::Model(e.to_string()))
    }

    /// Takes everything from the broker that it keeps of this run, what `devices` left there included. They have gone before.
    pub(super) async fn clear(&mut self, devices: u32) -> Result<(), SimulateError> {
        if !self.is_up()? {
            return Err(self.fault("it is not there"));
        }
        let connection = self.shared.heard().connections;
        for index in 0..devices {
            let device = self.device(index)?;
            let of_device = [Topic::Status, Topic::State, Topic::ConfigReported, Topic::ConfigDesired];
            self.retained.extend(of_device.map(|topic| topic(device.clone()).to_string()));
        }
        for topic in std::mem::take(&mut self.retained) {
            self.publish(topic, Bytes::new()).await?;
        }
        self.flush().await?;
        if !self.is_up()? || self.shared.heard().connections != connection {
            return Err(self.fault("it went while it was being cleared"));
        }
        // Fails only where the connection has ended already.
        let _ = self.client.try_disconnect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(())
    }

    async fn retain(&mut self, topic: String, payload: Bytes) -> Result<(), SimulateError> {
        self.retained.insert(topic.clone());
        self.publish(topic, payload).await
    }

    async fn clear_one(&mut self, topic: String) -> Result<(), SimulateError> {
        self.retained.remove(&topic);
        self.publish(topic, Bytes::new()).await
    }

    /// Publishes one retained message.
    async fn publish(&self, topic: String, payload: Bytes) -> Result<(), SimulateError> {
        self.shared.heard().published += 1;
        let published = self.client.publish(topic, QoS::AtLeastOnce, true, payload);
        match tokio::time::timeout(FLUSH_PATIENCE, published).await {
            Ok(published) => published.map_err(|e| self.fault(e.to_string())),
            Err(_) => Err(self.fault(format!("it has taken nothing for {} s", FLUSH_PATIENCE.as_secs()))),
        }
    }

    /// Waits until the broker has everything that was published until now, or has gone. It acknowledges in order, so the pieces that devices
    /// ask for meanwhile are not waited for.
    async fn flush(&self) -> Result<(), SimulateError> {
        let published = self.shared.heard().published;
        let otherwise = "it has not acknowledged what was published";
        self.wait(FLUSH_PATIENCE, otherwise, |heard| heard.settled >= published).await
    }
}

/// What a hint says; nobody believes it.
pub(super) fn hint(names: &Names) -> Vec<u8> {
    serde_json::json!({ "fleet": names.fleet(), "generation": NEW }).to_string().into_bytes()
}

/// A request for a piece.
struct Asked {
    fleet: FleetName,
    reply_to: String,
    correlation: Option<Bytes>,
    request: Bytes,
}

/// Answers requests in order; a slow broker slows it, and nothing else.
async fn serve(
    files: Vec<(FleetName, Files)>,
    mut waiting: mpsc::Receiver<Asked>,
    client: AsyncClient,
    shared: Arc<Shared>,
) {
    while let Some(asked) = waiting.recv().await {
        let Some((_, files)) = files.iter().find(|(fleet, _)| *fleet == asked.fleet) else { continue };
        let reply = files.answer(&asked.request).await;
        let properties = PublishProperties { correlation_data: asked.correlation, ..PublishProperties::default() };
        shared.heard().published += 1;
        let answered = client.publish_with_properties(asked.reply_to, QoS::AtLeastOnce, false, reply, properties);
        if answered.await.is_err() {
            return;
        }
    }
}

/// The connection's own task: it never waits for anybody but the broker.
struct Connection {
    client: AsyncClient,
    shared: Arc<Shared>,
    names: Arc<Names>,
    filters: Vec<String>,
    pieces: mpsc::Sender<Asked>,
}

impl Connection {
    async fn run(self, mut events: EventLoop) {
        let mut is_connected = false;
        let mut unsubscribed = 0;
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    is_connected = true;
                    unsubscribed = self.filters.len();
                    for filter in &self.filters {
                        if self.client.try_subscribe(filter.as_str(), QoS::AtLeastOnce).is_err() {
                            self.refused("too much waits to be sent".to_owned());
                        }
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(ack))) => match ack.return_codes.first() {
                    Some(SubscribeReasonCode::Success(_)) => {
                        unsubscribed -= usize::from(unsubscribed > 0);
                        if unsubscribed == 0 {
                            self.up();
                        }
                    }
                    code => self.refused(format!(
                        "it refuses a subscription ({}); the user must be let read linnet/fleet/+/fetch and {}",
                        code.map_or_else(|| "no reason".to_owned(), |code| format!("{code:?}")),
                        FleetTopic::reports_filter()
                    )),
                },
                Ok(Event::Incoming(Packet::PubAck(ack))) => {
                    self.shared.heard().acknowledged();
                    if !matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
                        self.refused(format!(
                            "it refuses what is published ({:?}); the user must be let write linnet/#",
                            ack.reason
                        ));
                    }
                    self.shared.changed.notify_waiters();
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => self.take(publish),
                Ok(_) => {}
                Err(e) => {
                    let reason = why_ended(&e, is_connected);
                    is_connected = false;
                    self.shared.heard().gone(reason);
                    self.shared.changed.notify_waiters();
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
            }
        }
    }

    fn refused(&self, reason: String) {
        self.shared.heard().refused = Some(reason);
        self.shared.changed.notify_waiters();
    }

    fn up(&self) {
        let mut heard = self.shared.heard();
        heard.down = None;
        heard.connections += 1;
        drop(heard);
        self.shared.changed.notify_waiters();
    }

    fn take(&self, publish: Publish) {
        if let Ok(FleetTopic::Fetch(fleet)) = FleetTopic::from_bytes(&publish.topic) {
            return self.ask(fleet, publish);
        }
        let Ok(Topic::ConfigReported(device)) = Topic::from_bytes(&publish.topic) else { return };
        // Other fleets' devices report on the same broker.
        let Some(index) = self.names.index(device.as_str()) else { return };
        let Ok(report) = Report::parse(&publish.payload) else { return };
        if report.fleet == self.names.fleet() && report.device == device.as_str() {
            self.shared.heard().outcomes.insert(index, outcome(&report, NEW, 1));
        }
    }

    fn ask(&self, fleet: FleetName, publish: Publish) {
        let Some(properties) = publish.properties else { return };
        // Answers go to a device's own topic for them and nowhere else, whoever asks.
        let Some(reply_to) = properties.response_topic else { return };
        if !matches!(reply_to.parse(), Ok(FleetTopic::Fetched { .. })) {
            return;
        }
        let asked = Asked { fleet, reply_to, correlation: properties.correlation_data, request: publish.payload };
        if let Err(mpsc::error::TrySendError::Full(asked)) = self.pieces.try_send(asked) {
            let properties = PublishProperties { correlation_data: asked.correlation, ..PublishProperties::default() };
            // Not even that has room: the device asks again by itself.
            let _ = self.client.try_publish_with_properties(
                asked.reply_to,
                QoS::AtMostOnce,
                false,
                RangeServer::busy(BUSY_MS),
                properties,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Heard;

    #[test]
    fn what_was_under_way_when_the_connection_ended_is_not_waited_for() {
        let mut heard = Heard { published: 3, ..Heard::default() };
        heard.acknowledged();
        heard.gone("it was restarted".to_owned());
        assert_eq!(heard.settled, 3);
        // One that waited for room goes out over the next connection.
        heard.acknowledged();
        assert_eq!(heard.settled, 3);
        heard.published += 2;
        heard.acknowledged();
        assert!(heard.settled < heard.published);
        heard.acknowledged();
        assert_eq!(heard.settled, heard.published);
    }
}
