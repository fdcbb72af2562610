//! A device's way over a broker: its link for hints and reports, and a connection for what it fetches. Both are the daemon's own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use linnet_fleet::source::{Exchange, Mqtt, Source, SourceFault, async_trait};
use linnet_proto::fleet::FleetTopic;
use linnet_proto::topic::FleetName;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::clock::ScaledClock;
use super::no_models::NoModels;
use super::settings;
use crate::push::simulate::arguments::Broker;
use crate::push::simulate::bounds::FAREWELL_PATIENCE;
use crate::push::simulate::device::World;
use crate::push::simulate::operator::Publication;
use crate::push::simulate::random::Random;
use crate::push::simulate::reach::{Passage, Reach, Whose};
use crate::push::simulate::traffic::{Cause, Traffic};
use crate::status::BrokerLink;
use crate::sys::liveness::Loops;
use crate::transport::mqtt::exchange::BrokerExchange;
use crate::transport::mqtt::notices::Notices;
use crate::transport::mqtt::{MqttStartError, MqttTransport};

/// What all devices share.
pub(super) struct Surroundings {
    pub(super) runtime: Handle,
    pub(super) clock: ScaledClock,
    pub(super) broker: Broker,
    /// Fleets by [`Whose`]: the operator's, the forger's, the hider's.
    pub(super) fleets: [FleetName; 3],
    /// Where the devices' links keep their state.
    pub(super) state: PathBuf,
    /// What was published so far, in order.
    pub(super) publications: Mutex<Vec<Arc<Publication>>>,
    /// Everything ends.
    pub(super) stop: CancellationToken,
    /// Bytes of a hint.
    pub(super) hint_bytes: usize,
}

impl Surroundings {
    /// Which publication holds a file of this name's end and content.
    fn publication(&self, is_it: impl Fn(&Publication) -> bool) -> Option<u32> {
        let publications = self.publications.lock().unwrap_or_else(PoisonError::into_inner);
        publications.iter().rev().find(|publication| is_it(publication)).map(|publication| publication.number)
    }
}

/// The way of one device.
pub(super) struct Wire {
    around: Arc<Surroundings>,
    device: String,
    counted: Arc<Counted>,
    sources: [Mqtt; 3],
    notices: Notices,
    link: BrokerLink,
    loops: Loops,
    transport: Option<MqttTransport>,
    random: Random,
}

impl Wire {
    /// Of the device that is called so. Nothing is connected yet.
    pub(super) fn new(around: &Arc<Surroundings>, device: String, random: Random) -> Result<Self, MqttStartError> {
        let mqtt = settings::mqtt(&around.broker, &device, &around.state.join(&device));
        let exchange = BrokerExchange::new(mqtt, settings::intake())?;
        let counted = Arc::new(Counted {
            exchange,
            traffic: Mutex::default(),
            is_routine: AtomicBool::new(false),
            stop: around.stop.clone(),
        });
        let sources = around.fleets.clone().map(|fleet| Mqtt::new(Arc::clone(&counted) as _, fleet));
        let notices = Notices::new(true);
        Ok(Self {
            around: Arc::clone(around),
            device,
            counted,
            sources,
            notices,
            link: BrokerLink::default(),
            loops: Loops::default(),
            transport: None,
            random,
        })
    }

    /// Begins to connect the link; it goes on by itself until [`Wire::disconnect`].
    pub(super) fn connect(&mut self) -> Result<(), MqttStartError> {
        if self.transport.is_some() {
            return Ok(());
        }
        let _inside = self.around.runtime.enter();
        let mqtt = settings::mqtt(&self.around.broker, &self.device, &self.around.state.join(&self.device));
        let nobody = NoModels::of(&self.device);
        let (admit, status) = (Arc::clone(&nobody) as _, nobody as _);
        let (link, notices) = (self.link.clone(), self.notices.clone());
        let transport = MqttTransport::start(mqtt, settings::intake(), admit, status, link, notices, &self.loops)?;
        self.transport = Some(transport);
        Ok(())
    }

    /// Says goodbye to the broker, with both connections.
    pub(super) fn disconnect(&mut self) {
        self.let_go();
        let Some(transport) = self.transport.take() else { return };
        let goodbye = async {
            // A link that hangs is cut off when the transport is dropped.
            let _ = tokio::time::timeout(FAREWELL_PATIENCE, transport.drain(Duration::ZERO)).await;
        };
        self.around.runtime.block_on(goodbye);
    }

    /// Lets go of the connection that things are fetched over.
    pub(super) fn let_go(&self) {
        self.around.runtime.block_on(self.counted.exchange.close());
    }

    /// The state of the link.
    pub(super) fn link(&self) -> &BrokerLink {
        &self.link
    }

    /// Hints come from here.
    pub(super) fn notices(&self) -> &Notices {
        &self.notices
    }

    /// A hint has come.
    pub(super) fn count_hint(&self) {
        self.counted.traffic().add(Cause::Update, self.around.hint_bytes);
    }
}

/// The device's exchange with what goes over it counted: questions and answers, by their payloads.
struct Counted {
    exchange: BrokerExchange,
    traffic: Mutex<Traffic>,
    /// The look under way is one that the interval asked for.
    is_routine: AtomicBool,
    stop: CancellationToken,
}

impl Counted {
    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cause(&self, topic: &str) -> Cause {
        let is_routine = self.is_routine.load(Ordering::Relaxed);
        match topic.parse() {
            Ok(FleetTopic::Metadata { name, .. }) => Cause::of_metadata(&name, is_routine),
            // The index answers whether there is a newer root.
            Ok(FleetTopic::Index(_) | FleetTopic::Root { .. }) => Cause::of_metadata("timestamp.json", is_routine),
            _ => Cause::Update,
        }
    }

    /// What comes of it, unless everything ends meanwhile.
    async fn unless_over<T>(&self, call: impl Future<Output = Result<T, SourceFault>>) -> Result<T, SourceFault> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(SourceFault::Unreachable("the run ends".to_owned())),
            answer = call => answer,
        }
    }
}

#[async_trait]
impl Exchange for Counted {
    async fn retained(&self, topic: &str, cap: u64) -> Result<Option<Bytes>, SourceFault> {
        let cause = self.cause(topic);
        self.traffic().add(cause, topic.len());
        let found = self.unless_over(self.exchange.retained(topic, cap)).await?;
        if let Some(payload) = &found {
            self.traffic().add(cause, payload.len());
        }
        Ok(found)
    }

    async fn ask(&self, topic: &str, id: &str, payload: Bytes) -> Result<Bytes, SourceFault> {
        self.traffic().add(Cause::Update, payload.len());
        let answer = self.unless_over(self.exchange.ask(topic, id, payload)).await?;
        self.traffic().add(Cause::Update, answer.len());
        Ok(answer)
    }
}

/// A repository behind the broker.
pub(super) struct Visit<'a> {
    source: &'a Mqtt,
    around: &'a Surroundings,
    whose: Whose,
    began: Instant,
    noted: Mutex<Noted>,
}

/// What came during a visit.
#[derive(Default)]
struct Noted {
    /// A question got no answer.
    broke: bool,
    timestamp: Option<Bytes>,
    rollouts: Option<Bytes>,
}

impl Visit<'_> {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, answer: &Result<Bytes, SourceFault>) {
        self.noted().broke |= matches!(answer, Err(fault) if *fault != SourceFault::NotThere);
    }
}

impl Reach for Wire {
    type Visit<'a> = Visit<'a>;

    fn count_routine_look(&mut self) {
        self.counted.traffic().routine_looks += 1;
    }

    fn visit<'a>(&'a mut self, whose: Whose, is_routine: bool, _: &'a World) -> Visit<'a> {
        self.counted.is_routine.store(is_routine, Ordering::Relaxed);
        let source = match whose {
            Whose::Operator => &self.sources[0],
            Whose::Forger => &self.sources[1],
            Whose::Hider => &self.sources[2],
        };
        Visit { source, around: &self.around, whose, began: Instant::now(), noted: Mutex::default() }
    }

    fn end(visit: Visit<'_>) -> Passage {
        let spent_ms = visit.around.clock.scaled_ms(visit.began.elapsed());
        if visit.whose != Whose::Operator {
            return Passage { spent_ms, ..Passage::default() };
        }
        let Noted { broke, timestamp, rollouts } = std::mem::take(&mut *visit.noted());
        let is_timestamp = |found: &Bytes, publication: &Publication| {
            publication.metadata.iter().any(|(name, bytes)| name == "timestamp.json" && bytes == found)
        };
        if broke {
            return Passage { spent_ms, ..Passage::default() };
        }
        let reached =
            timestamp.and_then(|found| visit.around.publication(|publication| is_timestamp(&found, publication)));
        let seen = rollouts.and_then(|found| visit.around.publication(|publication| publication.rollouts == found));
        Passage { spent_ms, reached, seen }
    }

    fn report(&mut self, payload: Vec<u8>) -> Option<u64> {
        self.counted.traffic().add(Cause::Update, payload.len());
        self.notices.report(payload.into());
        None
    }

    fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    fn traffic(&self) -> Traffic {
        *self.counted.traffic()
    }
}

#[async_trait]
impl Source for Visit<'_> {
    fn name(&self) -> String {
        self.source.name()
    }

    async fn metadata(&self, name: &str, cap: u64) -> Result<Bytes, SourceFault> {
        let answer = self.source.metadata(name, cap).await;
        self.note(&answer);
        if let Ok(content) = &answer {
            match name {
                "timestamp.json" => self.noted().timestamp = Some(content.clone()),
                name if name.ends_with(".rollouts.json") => self.noted().rollouts = Some(content.clone()),
                _ => {}
            }
        }
        answer
    }

    async fn piece(&self, path: &str, offset: u64, bytes: u64) -> Result<Bytes, SourceFault> {
        let answer = self.source.piece(path, offset, bytes).await;
        self.note(&answer);
        answer
    }
}
