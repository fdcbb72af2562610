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
mod mirror;
mod operator;
mod progress;
mod random;
mod shard;
mod summary;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

pub use arguments::{Break, Plan, SimulateArgs};
use linnet_fleet::bucket;
use linnet_fleet::clock::VirtualClock;
use linnet_fleet::repository::RepositoryError;
use linnet_fleet::trust::{Limits, TrustError, Trusted, refresh};
use linnet_proto::fleet::Rollout;
pub use progress::{Progress, ProgressLine};
pub use summary::{Summary, WaveSummary};

use crate::exit::Exit;
use arguments::millionths;
use device::{Device, Heard, World, name};
use expected::{Nature, Opening};
use mirror::Mirror;
use operator::{BEGAN_SECS, Home, OLD, Operator, Publication, Standing, model};
use random::Random;
use shard::{Judged, Order, Reply, Shard};

/// Most threads.
const MAX_THREADS: usize = 64;

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
    /// A fault of the simulation.
    #[error("the simulation is at fault: {0}")]
    Model(String),
}

impl SimulateError {
    /// How the program ends by it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Disk(_) => Exit::CannotCreate,
            Self::Repository(_) | Self::Trust(_) | Self::Model(_) => Exit::Software,
        }
    }

    fn disk(error: std::io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Runs a simulation on every processor that is there.
pub fn simulate(plan: &Plan, progress: &mut dyn FnMut(Progress)) -> Result<Summary, SimulateError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    simulate_on(threads, plan, progress)
}

fn simulate_on(threads: usize, plan: &Plan, progress: &mut dyn FnMut(Progress)) -> Result<Summary, SimulateError> {
    let setting = Setting::new(plan)?;
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

/// Everything as it stands before the push begins.
struct Setting {
    devices: Vec<Device>,
    operator: Operator,
    world: World,
    publications: Vec<Arc<Publication>>,
}

/// Streams of random numbers.
const KEYS: u64 = 1;
const ATTACKER: u64 = 2;
const CONTENT: u64 = 3;
const BAD: u64 = 4;
const AWAY: u64 = 5;

impl Setting {
    fn new(plan: &Plan) -> Result<Self, SimulateError> {
        let random = |stream| Random::of(plan.seed, stream);
        let limits = Limits { memo: Some(Arc::default()), ..Limits::default() };
        let mut home = Home::found(&limits.scratch, random(KEYS))?;
        let mut content = model(random(CONTENT));
        home.publish(&content)?;
        let open = Rollout { opened: Rollout::BUCKETS, wave: 1, ..home.rollout(OLD, "old")? };
        home.sign(&open, 0)?;
        let before = Arc::new(home.now()?);
        let old_files = home.generation(OLD)?.files().into_iter().map(|file| file.sha256.clone()).collect::<Vec<_>>();
        content.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
        home.publish(&content)?;
        let mirror = Arc::new(Mirror::new(&limits.scratch, random(ATTACKER), &before, &home)?);

        let root = before.metadata.iter().find(|(name, _)| name == "1.root.json").map(|(_, bytes)| bytes.clone());
        let shipped = Trusted::begin(&root.unwrap_or_default())?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(SimulateError::disk)?;
        let clock = VirtualClock::at(BEGAN_SECS);
        let trusted = runtime.block_on(refresh(&shipped, &before.memory, &clock, &limits))?.trusted;

        let salt = format!("{:016x}", plan.seed);
        let names: Vec<String> = (0..plan.devices).map(name).collect();
        let buckets: Vec<u32> = names.iter().map(|name| bucket(&salt, name)).collect();
        let natures = natures(plan, random(BAD));
        let back = away(plan, random(AWAY));
        let loss = millionths(plan.loss);
        let device = |index: u32| {
            let at = index as usize;
            let chance = (plan.seed, loss);
            Device::new(index, buckets[at], natures[at], back[at], chance, &trusted, &old_files)
        };
        let devices = (0..plan.devices).map(device).collect();
        let names = names.into_iter().collect::<BTreeSet<_>>();
        let operator = Operator::new(home, plan, &salt, &names, &buckets, |device| back[device].is_none())?;
        let world = World { origin: Arc::clone(&before), mirror, limits, fault: plan.fault };
        Ok(Self { devices, operator, world, publications: vec![before] })
    }
}

/// What each device is like: exactly the share that was asked for is bad.
fn natures(plan: &Plan, mut random: Random) -> Vec<Nature> {
    let mut natures = vec![Nature::Sound; plan.devices as usize];
    let bad = random.shuffled(plan.devices).into_iter().take(plan.bad.of(plan.devices as usize));
    for (nth, device) in bad.enumerate() {
        let on_trial = plan.fault == Some(Break::Rollback) || nth % 2 == 1;
        natures[device as usize] = if on_trial { Nature::FailsOnTrial } else { Nature::FailsProbe };
    }
    natures
}

/// When each device comes back, where it is away.
fn away(plan: &Plan, mut random: Random) -> Vec<Option<u64>> {
    let mut back = vec![None; plan.devices as usize];
    let away = random.shuffled(plan.devices);
    for device in away.into_iter().take(plan.offline.of(plan.devices as usize)) {
        back[device as usize] = Some(random.millis(bounds::BACK));
    }
    back
}

/// Deals devices out, in turn.
fn deal(devices: Vec<Device>, shares: usize) -> Vec<Vec<Device>> {
    let mut dealt: Vec<Vec<Device>> = (0..shares).map(|_| Vec::with_capacity(devices.len() / shares + 1)).collect();
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
        let mut world = Arc::new(self.world());
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
                world = Arc::new(self.world());
            }
            progress(self.progress(now_ms));
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
        Ok(self.summary(judged, is_over, now_ms))
    }

    fn world(&self) -> World {
        World {
            origin: Arc::clone(&self.world.origin),
            mirror: Arc::clone(&self.world.mirror),
            limits: self.world.limits.clone(),
            fault: self.world.fault,
        }
    }

    fn publish(&mut self, signed: operator::Signed, now_ms: u64) -> Option<(u64, Range<u32>)> {
        self.world.origin = Arc::clone(&signed.publication);
        self.publications.push(signed.publication);
        Some((now_ms, signed.hint)).filter(|(_, buckets)| !buckets.is_empty())
    }

    fn play(
        &self,
        until_ms: u64,
        world: &Arc<World>,
        hint: Option<(u64, Range<u32>)>,
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
        let openings = self.publications.iter().map(|publication| Opening::read(&publication.rollouts));
        let openings = Arc::new(openings.collect::<Result<Vec<_>, _>>().map_err(SimulateError::Model)?);
        for line in &self.lines {
            line.order(Order::Judge(Arc::clone(&openings)))?;
        }
        let mut judged = Judged::default();
        for line in &self.lines {
            if let Reply::Judged(part) = line.reply()? {
                judged.merge(*part);
            }
        }
        Ok(judged)
    }

    fn progress(&self, now_ms: u64) -> Progress {
        let open = &self.operator.tallies[..self.operator.opened()];
        let sum = |of: fn(&linnet_fleet::waves::Tally) -> usize| open.iter().map(of).sum();
        Progress {
            virtual_secs: now_ms / 1000,
            waves: (open.len(), self.operator.waves.len()),
            reported: (sum(|tally| tally.reported()), sum(|tally| tally.devices())),
            failed: sum(|tally| tally.failed),
        }
    }

    fn summary(&self, judged: Judged, is_over: bool, now_ms: u64) -> Summary {
        let operator = &self.operator;
        let waves =
            operator.log.iter().zip(&operator.waves).zip(&operator.tallies).map(|((log, wave), tally)| WaveSummary {
                share: wave.share.to_string(),
                devices: tally.devices(),
                opened_secs: log.opened_ms / 1000,
                decided_secs: log.decided_ms.map(|ms| ms / 1000),
                confirmed: tally.confirmed,
                failed: tally.failed,
                working: tally.working,
                silent: tally.silent,
            });
        let devices = u64::from(self.plan.devices);
        let mean = |sum: u64| (sum as f64 / devices as f64 * 10.0).round() / 10.0;
        Summary {
            converged: is_over && judged.wrong == 0,
            halted: matches!(operator.standing, Standing::Halted(_)),
            wrong_generation: judged.wrong,
            devices,
            bad: judged.bad,
            on_new: judged.on_new,
            on_old: judged.on_old,
            waves: waves.collect(),
            waves_planned: operator.waves.len(),
            stopped: match operator.standing {
                Standing::Halted(why) => Some(why.to_string()),
                Standing::Silent(_) => Some("too few devices have reported".to_owned()),
                Standing::Running => Some("the time was over".to_owned()),
                Standing::Done => None,
            },
            resumed: operator.resumed,
            states: judged.states,
            refusals: judged.refusals,
            virtual_secs: now_ms / 1000,
            messages_per_device: mean(judged.messages.sum),
            most_messages: judged.messages.most,
            bytes_per_device: mean(judged.bytes.sum),
            most_bytes: judged.bytes.most,
            seed: self.plan.seed,
        }
    }
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
