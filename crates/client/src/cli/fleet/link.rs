//! The operator's connection to a broker: publishes a repository's metadata, hears reports, serves pieces of files.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use linnet_fleet::claims::Registrar;
use linnet_fleet::range_server::RangeServer;
use linnet_fleet::repository::{Repository, index};
use linnet_proto::fleet::FleetTopic;
use linnet_proto::topic::{DeviceName, FleetName, Topic};
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::args::BrokerArgs;
use super::connection::{Connection, serve};
use super::grants::{WAITING_CLAIMS, grant};
use super::hearing::{HeardOut, LONGEST};
use super::outbox::Kind;
use super::seen::Seen;
use super::shared::{FLUSH_TIMEOUT, Message, Sender, Shared, Unsent};
use crate::ClientError;
use crate::mqtt::Broker;
use crate::refusal::Fault;

/// Longest wait for the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the retained index of before is waited for.
const INDEX_TIMEOUT: Duration = Duration::from_millis(500);
/// Requests for pieces that wait; the others are told to ask again.
const WAITING_PIECES: usize = 256;
/// Packets that wait for the connection.
const WAITING_PACKETS: usize = 64;

/// An open connection.
pub(super) struct Link {
    sender: Sender,
    shared: Arc<Shared>,
    fleet: FleetName,
    address: String,
    tasks: Vec<JoinHandle<()>>,
    /// What is retained by this process, by name: digests would do, but these files are small.
    retained: BTreeMap<String, Vec<u8>>,
    /// The connection that it was published over; 0 is none.
    connection: u64,
}

impl Drop for Link {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Hears reports.
    Reports,
    /// Publishes metadata.
    Publish,
    /// Publishes metadata, and hears reports to know whom to tell.
    Tell,
    /// Hears reports, publishes metadata, serves pieces of files and grants names.
    Serve,
}

impl BrokerArgs {
    /// The broker, if one was named.
    pub(super) fn broker(&self) -> Result<Option<Broker>, ClientError> {
        let parse = |url: &String| Broker::parse(url, self.mqtt_password.clone(), self.ca_file.clone());
        // An environment variable that is empty is one that is not set.
        self.mqtt.as_ref().filter(|url| !url.is_empty()).map(parse).transpose()
    }

    /// The broker, or that one is needed.
    pub(super) fn required(&self, instead: &str) -> Result<Broker, ClientError> {
        let none =
            || ClientError::BadUrl(format!("no broker is named: give --mqtt URL (or set LINNET_MQTT_URL){instead}"));
        self.broker()?.ok_or_else(none)
    }
}

impl Link {
    /// Connects and subscribes.
    pub(super) async fn open(broker: &Broker, fleet: FleetName, purpose: Purpose) -> Result<Self, ClientError> {
        Self::connect(broker, fleet, purpose, None).await
    }

    /// The same, to serve the repository in `dir`, and names by `registrar`.
    pub(super) async fn open_to_serve(
        broker: &Broker,
        fleet: FleetName,
        dir: &Path,
        registrar: Registrar,
    ) -> Result<Self, ClientError> {
        Self::connect(broker, fleet, Purpose::Serve, Some((dir, registrar))).await
    }

    async fn connect(
        broker: &Broker,
        fleet: FleetName,
        purpose: Purpose,
        serving: Option<(&Path, Registrar)>,
    ) -> Result<Self, ClientError> {
        let id = format!("linnet-fleet-{:016x}", rand::random::<u64>());
        let (client, events) = AsyncClient::new(broker.options(&id)?, WAITING_PACKETS);
        let shared = Arc::new(Shared::default());
        let sender = Sender { client: client.clone(), shared: shared.clone() };
        let mut filters = Vec::new();
        if purpose != Purpose::Publish {
            filters.push(FleetTopic::reports_filter());
        }
        if purpose != Purpose::Reports {
            filters.push(FleetTopic::Index(fleet.clone()).to_string());
        }
        let (pieces, waiting) = mpsc::channel(WAITING_PIECES);
        let mut tasks = Vec::new();
        let (claims, asking) = mpsc::channel(WAITING_CLAIMS);
        if let Some((dir, registrar)) = serving {
            filters.push(FleetTopic::Fetch(fleet.clone()).to_string());
            filters.push(FleetTopic::claims_filter(&fleet));
            let server = RangeServer::new(dir);
            tasks.push(tokio::spawn(serve(server, waiting, sender.clone())));
            tasks.push(tokio::spawn(grant(registrar, fleet.clone(), asking, sender.clone(), shared.clone())));
        }
        let connection = Connection {
            broker: broker.clone(),
            client,
            sender: sender.clone(),
            shared: shared.clone(),
            fleet: fleet.clone(),
            filters,
            pieces,
            claims,
        };
        tasks.push(tokio::spawn(connection.run(events)));
        let link =
            Self { sender, shared, fleet, address: broker.address(), tasks, retained: BTreeMap::new(), connection: 0 };
        let connected = async {
            loop {
                let changed = link.shared.changed.notified();
                {
                    let heard = link.shared.heard();
                    if let Some(fault) = &heard.down {
                        return Err(link.of_fault(fault));
                    }
                    if heard.connections > 0 {
                        return Ok(());
                    }
                }
                changed.await;
            }
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connected).await {
            Ok(connected) => connected?,
            Err(_) => return Err(link.failed(&format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
        Ok(link)
    }

    /// The broker's address.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// A fault of the broker's.
    pub(super) fn failed(&self, reason: &str) -> ClientError {
        ClientError::Broker { address: self.address.clone(), reason: reason.to_owned() }
    }

    /// Why there is no connection, as an error.
    pub(super) fn of_fault(&self, fault: &Fault) -> ClientError {
        match fault {
            Fault::Away(reason) => self.failed(reason),
            Fault::Refused(refusal) => refusal.at(&self.address),
        }
    }

    /// Waits until something was heard, at most `most`.
    pub(super) async fn changed(&self, most: Duration) {
        let _ = tokio::time::timeout(most, self.shared.changed.notified()).await;
    }

    /// Looks at what was reported.
    pub(super) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.shared.heard().seen)
    }

    /// What there is to tell the operator since the last call.
    pub(super) fn said(&self) -> VecDeque<String> {
        self.shared.said()
    }

    /// Why the connection is down, if it is.
    pub(super) fn down(&self) -> Option<Fault> {
        self.shared.heard().down.clone()
    }

    /// The number of the connection that stands, or stood last.
    pub(super) fn connection(&self) -> u64 {
        self.shared.connections()
    }

    /// Listens to the reports that the broker retains until all of them have come, at most `longest`. `None` where the connection is gone.
    pub(super) async fn hear(&self, longest: Duration) -> Option<HeardOut> {
        self.shared.hear(longest).await
    }

    /// What the broker had retained, once all of it was heard.
    pub(super) fn heard_out(&self) -> Option<HeardOut> {
        self.shared.heard_out(LONGEST).ok()
    }

    /// Listens until nothing new has come for a second, at most `most`.
    pub(super) async fn listen(&self, most: Duration) {
        let until = tokio::time::Instant::now() + most;
        loop {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            let quiet = Duration::from_secs(1).min(left);
            if quiet.is_zero() || tokio::time::timeout(quiet, self.shared.changed.notified()).await.is_err() {
                return;
            }
        }
    }

    /// Brings what the broker retains up to the repository, if it is not: what metadata name comes before what names it, the index last,
    /// and what no longer exists is cleared after it.
    pub(super) async fn publish(&mut self, repository: &Repository) -> Result<(), ClientError> {
        let connection = self.shared.connections();
        let before = std::mem::take(&mut self.retained);
        // The broker may have come back without what it retained; and until everything is acknowledged, nothing is known to be there.
        let before = if std::mem::take(&mut self.connection) == connection { before } else { BTreeMap::new() };
        let files = repository.metadata_files().map_err(ClientError::Fleet)?;
        let known = self.known(before.is_empty()).await;
        let mut changed = false;
        for (name, bytes) in &files {
            if before.get(name) != Some(bytes) {
                self.retain(&FleetTopic::of_file(&self.fleet, name), bytes.clone(), connection).await?;
                changed = true;
            }
        }
        let listed = index(&files);
        let gone: Vec<String> =
            known.into_iter().chain(before.keys().cloned()).filter(|name| !listed.has(name)).collect();
        if changed || !gone.is_empty() {
            let index = serde_json::to_vec(&listed).map_err(|e| self.failed(&e.to_string()))?;
            self.retain(&FleetTopic::Index(self.fleet.clone()), index, connection).await?;
        }
        for name in &gone {
            self.retain(&FleetTopic::of_file(&self.fleet, name), Vec::new(), connection).await?;
        }
        self.flush_of(connection).await?;
        self.retained = files.into_iter().collect();
        self.connection = connection;
        Ok(())
    }

    /// Whether this connection has published `name` with this content.
    pub(super) fn holds(&self, name: &str, bytes: &[u8]) -> bool {
        self.connection == self.shared.connections() && self.retained.get(name).is_some_and(|held| held == bytes)
    }

    /// Names in the index that the broker retained before, where there was one.
    async fn known(&self, is_new: bool) -> Vec<String> {
        if is_new {
            let until = tokio::time::Instant::now() + INDEX_TIMEOUT;
            while self.shared.heard().index.is_none() && tokio::time::Instant::now() < until {
                self.changed(Duration::from_millis(50)).await;
            }
        }
        let heard = self.shared.heard();
        let files = heard.index.iter().flat_map(|index| &index.files);
        files.map(|file| file.name.clone()).filter(|name| name.len() <= 64).collect()
    }

    /// Tells devices that there is something to look at, and waits until the broker has it. Nobody believes it.
    pub(super) async fn hint(
        &self,
        devices: impl IntoIterator<Item = &String>,
        number: u64,
    ) -> Result<(), ClientError> {
        let connection = self.shared.connections();
        let payload = serde_json::json!({ "fleet": self.fleet.as_str(), "generation": number }).to_string();
        for device in devices {
            // A report under a name that no device can bear gets no hint.
            let Ok(device) = DeviceName::new(device.as_str()) else { continue };
            let topic = Topic::ConfigDesired(device).to_string();
            self.publish_one(topic, payload.clone().into_bytes(), connection).await?;
        }
        self.flush_of(connection).await
    }

    async fn retain(&self, topic: &FleetTopic, bytes: Vec<u8>, connection: u64) -> Result<(), ClientError> {
        self.publish_one(topic.to_string(), bytes, connection).await
    }

    /// Publishes one retained message over connection number `connection`.
    async fn publish_one(&self, topic: String, bytes: Vec<u8>, connection: u64) -> Result<(), ClientError> {
        let properties = PublishProperties::default();
        let message = Message { kind: Kind::Own, topic, retain: true, payload: bytes.into(), properties };
        self.sender.send(message, connection).await.map_err(|unsent| match unsent {
            Unsent::Down => self.lost(),
            Unsent::Stuck => self.failed("it takes nothing"),
        })
    }

    /// The connection went while it was needed.
    pub(super) fn lost(&self) -> ClientError {
        self.of_fault(&self.down().unwrap_or_else(|| Fault::Away("the connection was lost, and is back".into())))
    }

    /// Waits until the broker has everything of the operator's own that went out over connection number `connection`; answers to devices
    /// are not waited for.
    async fn flush_of(&self, connection: u64) -> Result<(), ClientError> {
        let flushed = async {
            loop {
                let changed = self.shared.changed.notified();
                let (is_there, refused, owes) = {
                    let mut heard = self.shared.heard();
                    let is_there = heard.outbox.is_open() && heard.connections == connection;
                    (is_there, heard.outbox.take_refusal(), heard.outbox.owes())
                };
                match refused {
                    Some(refused) => return Err(refused.at(&self.address)),
                    None if !is_there => return Err(self.lost()),
                    None if !owes => return Ok(()),
                    None => changed.await,
                }
            }
        };
        let overdue = |_| Err(self.failed("it does not acknowledge what was published"));
        tokio::time::timeout(FLUSH_TIMEOUT, flushed).await.unwrap_or_else(overdue)
    }
}
