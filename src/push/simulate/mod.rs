//! `linnetd simulate`: a push to thousands of devices in virtual time.
//!
//! What is simulated is the world: links that lose and delay, devices that are away, devices that the new generation fails on, a
//! malicious mirror, an operator who waits. What is real: the state machine ([`super::Driver`]), trust (`linnet_fleet::trust`, with
//! real signatures), the choice of a generation, downloads with their digests, the waves' rules, and the signed repository.
//!
//! `expected` says where each device must be in the end, from nothing but the inputs and the signed rollouts that it could see.

mod arguments;
mod believe;
pub mod bounds;
mod device;
mod expected;
mod link;
mod live;
mod mirror;
mod names;
mod operator;
mod options;
mod progress;
mod random;
mod reach;
mod setting;
mod shard;
mod summary;
#[cfg(test)]
mod tests;
mod traffic;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

pub use arguments::{Break, Broker, Plan, SimulateArgs};
use linnet_fleet::repository::RepositoryError;
use linnet_fleet::trust::TrustError;
pub use progress::{Progress, ProgressLine};
pub use summary::{Summary, WaveSummary};

use crate::exit::Exit;
use crate::transport::mqtt::MqttStartError;
use arguments::millionths;
use device::{Device, Heard, World};
use expected::Opening;
use link::Link;
use names::Names;
use operator::{Hint, Operator, Publication};
use random::Random;
use setting::Setting;
use shard::{Judged, Order, Reply, Shard, Verdict};

/// Most threads.
const MAX_THREADS: usize = 64;

/// Streams of random numbers from this one on belong to devices.
const DEVICES: u64 = 1000;

/// Why a simulation cannot be run; nothing of it is a result.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The scratch directory.
    #[error("the simulation's repository cannot be kept: {0}; it needs a megabyte in /dev/shm or in $TMPDIR")]
    Disk(std::io::Error),
    /// The repository.
    #[error("the simulation's repository: {0}")]
    Repository(#[from] RepositoryError),
    /// Honest metadata were refused.
    #[error("the simulation's own metadata are refused: {0}")]
    Trust(#[from] TrustError),
    /// Settings of the broker's connections.
    #[error("{}", options::of_settings(.0))]
    Settings(#[from] MqttStartError),
    /// The broker is not there, refuses, or is lost.
    #[error("the broker {url}: {reason}")]
    Broker {
        /// As it was given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// Ended by Ctrl-C; over a broker everything that it retained was cleared.
    #[error("interrupted; nothing of it is left at the broker")]
    Interrupted,
    /// The broker retains what was published.
    #[error(
        "{cause}; what it published stays at the broker, on topics of `{fleet}`: linnet/fleet/{fleet}… and linnet/{fleet}-…"
    )]
    Left {
        /// The run's fleet, and how its devices' names begin.
        fleet: String,
        /// How it ended.
        cause: Box<SimulateError>,
    },
    /// A fault of the simulation.
    #[error("the simulation is at fault: {0}")]
    Model(String),
}

impl SimulateError {
    /// How the program ends by it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Disk(_) => Exit::CannotCreate,
            Self::Settings(_) => Exit::Usage,
            Self::Broker { .. } => Exit::Unavailable,
            Self::Interrupted => Exit::Interrupted,
            Self::Left { cause, .. } => cause.exit(),
            Self::Repository(_) | Self::Trust(_) | Self::Model(_) => Exit::Software,
        }
    }

    fn disk(error: std::io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Runs a simulation: in virtual time on every processor that is there, or over a broker.
pub fn simulate(plan: &Plan, progress: &mut dyn FnMut(Progress)) -> Result<Summary, SimulateError> {
    if let Some(broker) = &plan.broker {
        return live::simulate_over(broker, plan, progress);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    simulate_on(threads, plan, progress)
}

fn simulate_on(threads: usize, plan: &Plan, progress: &mut dyn FnMut(Progress)) -> Result<Summary, SimulateError> {
    let loss = millionths(plan.loss);
    let link = |index: u32| Ok(Link::new(loss, Random::of(plan.seed, u64::from(index) + DEVICES)));
    let setting = Setting::new(plan, Names::steady(), link)?;
    let shares = deal(setting.devices, threads.clamp(1, MAX_THREADS));
    std::thread::scope(|scope| {
        let mut lines = Vec::new();
        for share in shares {
            let shard = Shard::new(share)?;
            let (orders, ordered) = sync_channel(1);
            let (replies, replied) = sync_channel(1);
            let thread = std::thread::Builder::new().name("simulate".into());
            thread.spawn_scoped(scope, move || shard.serve(&ordered, &replies)).map_err(SimulateError::disk)?;
            lines.push(Line { orders, replied });
        }
        Run { plan, world: setting.world, operator: setting.operator, lines, publications: setting.publications }
            .run(progress)
    })
}

/// Deals devices out, in turn.
fn deal(devices: Vec<Device<Link>>, shares: usize) -> Vec<Vec<Device<Link>>> {
    let mut dealt: Vec<Vec<Device<Link>>> =
        (0..shares).map(|_| Vec::with_capacity(devices.len() / shares + 1)).collect();
    for (at, device) in devices.into_iter().enumerate() {
        dealt[at % shares].push(device);
    }
    dealt
}

/// The line to a shard.
struct Line {
    orders: SyncSender<Order>,
    replied: Receiver<Reply>,
}

/// A run under way.
struct Run<'a> {
    plan: &'a Plan,
    world: World,
    operator: Operator,
    lines: Vec<Line>,
    publications: Vec<Arc<Publication>>,
}

/// What shards answered.
struct Span {
    due_ms: u64,
    is_at_rest: bool,
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

impl Run<'_> {
    fn run(mut self, progress: &mut dyn FnMut(Progress)) -> Result<Summary, SimulateError> {
        let mut reports = BinaryHeap::<Reverse<Heard>>::new();
        let mut now_ms = 0;
        let begun = self.operator.begin(now_ms)?;
        let mut hint = self.publish(begun, now_ms);
        let mut world = Arc::new(self.world.clone());
        let is_over = loop {
            let tick = if self.operator.is_at_rest() { bounds::TICK_AT_REST } else { bounds::TICK };
            let until_ms = now_ms + millis(tick);
            let span = self.play(until_ms, &world, hint.take(), &mut reports)?;
            now_ms = until_ms;
            while let Some(Reverse(heard)) = reports.peek().copied().filter(|Reverse(heard)| heard.at_ms <= now_ms) {
                reports.pop();
                self.operator.hear(heard.device as usize, heard.said.into());
            }
            if let Some(signed) = self.operator.decide(now_ms)? {
                hint = self.publish(signed, now_ms);
                world = Arc::new(self.world.clone());
            }
            progress(Progress::of(&self.operator, now_ms));
            let is_quiet = reports.is_empty() && self.operator.is_at_rest() && hint.is_none() && span.is_at_rest;
            if is_quiet && now_ms >= millis(bounds::SPAN) {
                break true;
            }
            if now_ms >= millis(bounds::MOST) {
                break false;
            }
            // Where nothing happens, time is skipped, to a tick.
            let next_ms = [Some(span.due_ms), reports.peek().map(|Reverse(heard)| heard.at_ms), self.operator.due_ms()];
            let next_ms = next_ms.into_iter().flatten().min().unwrap_or(until_ms);
            if hint.is_none() && next_ms > now_ms && next_ms != device::NEVER {
                now_ms += (next_ms - now_ms - 1) / millis(bounds::TICK) * millis(bounds::TICK);
            }
        };
        let judged = self.judge()?;
        Ok(Summary::of(self.plan, &self.operator, judged, is_over, now_ms))
    }

    fn publish(&mut self, signed: operator::Signed, now_ms: u64) -> Option<(u64, Hint)> {
        self.world.origin = Arc::clone(&signed.publication);
        self.publications.push(signed.publication);
        Some((now_ms, signed.hint)).filter(|(_, hint)| !hint.buckets.is_empty())
    }

    fn play(
        &self,
        until_ms: u64,
        world: &Arc<World>,
        hint: Option<(u64, Hint)>,
        reports: &mut BinaryHeap<Reverse<Heard>>,
    ) -> Result<Span, SimulateError> {
        for line in &self.lines {
            line.order(Order::Play { until_ms, world: Arc::clone(world), hint: hint.clone() })?;
        }
        let mut span = Span { due_ms: device::NEVER, is_at_rest: true };
        for line in &self.lines {
            if let Reply::Played { heard, due_ms, is_at_rest } = line.reply()? {
                reports.extend(heard.into_iter().map(Reverse));
                span.due_ms = span.due_ms.min(due_ms);
                span.is_at_rest &= is_at_rest;
            }
        }
        Ok(span)
    }

    fn judge(&self) -> Result<Judged, SimulateError> {
        let verdict = Arc::new(verdict(&self.publications, &self.world.names)?);
        for line in &self.lines {
            line.order(Order::Judge(Arc::clone(&verdict)))?;
        }
        let mut judged = Judged::default();
        for line in &self.lines {
            if let Reply::Judged(part) = line.reply()? {
                judged.merge(*part);
            }
        }
        Ok(judged)
    }
}

/// What devices are judged by, read out of what was signed.
fn verdict(publications: &[Arc<Publication>], names: &Arc<Names>) -> Result<Verdict, SimulateError> {
    let openings = publications.iter().map(|publication| Opening::read(&publication.rollouts));
    let openings = openings.collect::<Result<Vec<_>, _>>().map_err(SimulateError::Model)?;
    Ok(Verdict { openings, names: Arc::clone(names) })
}

impl Line {
    fn order(&self, order: Order) -> Result<(), SimulateError> {
        self.orders.send(order).map_err(|_| Self::gone())
    }

    fn reply(&self) -> Result<Reply, SimulateError> {
        self.replied.recv().map_err(|_| Self::gone())
    }

    fn gone() -> SimulateError {
        SimulateError::Model("a thread has ended before its time".to_owned())
    }
}
