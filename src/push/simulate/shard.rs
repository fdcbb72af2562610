//! A share of the devices, played by one thread.
//!
//! Devices know nothing of each other: within a span of time in which the operator signs nothing, each may be played by itself, in
//! any order. So threads meet only where a span ends, and how many there are changes nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use linnet_fleet::clock::VirtualClock;

use super::SimulateError;
use super::device::{Bench, Device, Heard, NEVER, Waiter, World};
use super::expected::{Expected, Nature, Opening};
use super::link::Link;
use super::names::Names;
use super::operator::{BEGAN_SECS, Hint, NEW, OLD};
use super::reach::Reach;
use super::traffic::{Count, Traffic};

/// What a shard is told.
pub(super) enum Order {
    /// Play until then, milliseconds, that moment included.
    Play {
        until_ms: u64,
        world: Arc<World>,
        /// These devices are hinted to look, from this moment on.
        hint: Option<(u64, Hint)>,
    },
    /// Tell what became of every device.
    Judge(Arc<Verdict>),
}

/// What a shard answers.
pub(super) enum Reply {
    /// A span was played.
    Played {
        /// Reports that were sent.
        heard: Vec<Heard>,
        /// When something is due next, milliseconds.
        due_ms: u64,
        /// Whether every device has seen what was published, and has nothing under way.
        is_at_rest: bool,
    },
    /// What became of the devices.
    Judged(Box<Judged>),
}

/// What devices are judged by.
pub(super) struct Verdict {
    /// How far the new generation is opened, by publication.
    pub(super) openings: Vec<Option<Opening>>,
    pub(super) names: Arc<Names>,
}

/// What became of devices.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) wrong: u64,
    pub(super) on_new: u64,
    pub(super) on_old: u64,
    pub(super) states: BTreeMap<&'static str, u64>,
    pub(super) bad: u64,
    pub(super) messages: Tallied,
    pub(super) bytes: Tallied,
    /// Devices that began an update, and what it cost them together.
    pub(super) began: u64,
    pub(super) update: Count,
    /// What all devices have sent and received together.
    pub(super) traffic: Traffic,
    pub(super) refusals: BTreeMap<&'static str, u64>,
}

/// A sum and the most of one device.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tallied {
    pub(super) sum: u64,
    pub(super) most: u64,
}

impl Tallied {
    fn add(&mut self, one: u64) {
        self.sum += one;
        self.most = self.most.max(one);
    }

    fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.most = self.most.max(other.most);
    }
}

impl Judged {
    /// Takes in another shard's.
    pub(super) fn merge(&mut self, other: Self) {
        self.wrong += other.wrong;
        self.on_new += other.on_new;
        self.on_old += other.on_old;
        self.bad += other.bad;
        self.messages.merge(other.messages);
        self.bytes.merge(other.bytes);
        self.began += other.began;
        self.update.add(other.update);
        self.traffic.merge(&other.traffic);
        for (all, more) in [(&mut self.states, other.states), (&mut self.refusals, other.refusals)] {
            for (word, count) in more {
                *all.entry(word).or_default() += count;
            }
        }
    }

    /// Takes in one device.
    pub(super) fn add<R: Reach>(&mut self, device: &Device<R>, by: &Verdict) {
        let it = device.remains();
        let expected = Expected::of(&by.names.device(it.index), it.nature, it.seen, &by.openings);
        self.wrong += u64::from(!expected.holds(it.serving, it.changes));
        self.on_new += u64::from(it.serving == NEW);
        self.on_old += u64::from(it.serving == OLD);
        self.bad += u64::from(it.nature != Nature::Sound);
        *self.states.entry(it.update.map_or("not_begun", |update| update.state.as_str())).or_default() += 1;
        let all = it.traffic.sum();
        self.messages.add(all.messages);
        self.bytes.add(all.bytes);
        if it.update.is_some() {
            self.began += 1;
            self.update.add(it.traffic.update);
        }
        self.traffic.merge(&it.traffic);
    }
}

/// Devices, and what is due.
pub(super) struct Shard {
    devices: Vec<Device<Link>>,
    due: BinaryHeap<Reverse<(u64, u32)>>,
    bench: Bench,
}

impl Shard {
    pub(super) fn new(devices: Vec<Device<Link>>) -> Result<Self, SimulateError> {
        // Nothing waits; only time-outs are set and dropped.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(SimulateError::disk)?;
        let bench = Bench {
            runtime: Waiter::Alone(runtime),
            clock: VirtualClock::at(BEGAN_SECS),
            heard: Vec::new(),
            refusals: BTreeMap::new(),
        };
        let due = devices.iter().zip(0..).map(|(device, slot)| Reverse((device.due_ms(), slot))).collect();
        Ok(Self { devices, due, bench })
    }

    /// Does what it is told until nobody tells anything.
    pub(super) fn serve(mut self, orders: &Receiver<Order>, replies: &SyncSender<Reply>) {
        while let Ok(order) = orders.recv() {
            let reply = match order {
                Order::Play { until_ms, world, hint } => self.play(until_ms, &world, hint),
                Order::Judge(verdict) => Reply::Judged(Box::new(self.judge(&verdict))),
            };
            if replies.send(reply).is_err() {
                return;
            }
        }
    }

    fn play(&mut self, until_ms: u64, world: &World, hint: Option<(u64, Hint)>) -> Reply {
        if let Some((now_ms, hint)) = hint {
            for (device, slot) in self.devices.iter_mut().zip(0..) {
                let before_ms = device.due_ms();
                device.hint(now_ms, &hint);
                if device.due_ms() != before_ms {
                    self.due.push(Reverse((device.due_ms(), slot)));
                }
            }
        }
        let mut next_ms = NEVER;
        while let Some(Reverse((at_ms, slot))) = self.due.peek().copied() {
            if at_ms > until_ms {
                next_ms = at_ms;
                break;
            }
            self.due.pop();
            let device = &mut self.devices[slot as usize];
            // It was put off, or done already.
            if device.due_ms() != at_ms {
                continue;
            }
            device.wake(at_ms, world, &mut self.bench);
            if device.due_ms() != NEVER {
                self.due.push(Reverse((device.due_ms(), slot)));
            }
        }
        let publication = world.origin.number;
        Reply::Played {
            heard: std::mem::take(&mut self.bench.heard),
            due_ms: next_ms,
            is_at_rest: self.devices.iter().all(|device| device.is_at_rest(publication)),
        }
    }

    fn judge(&mut self, by: &Verdict) -> Judged {
        let mut judged = Judged { refusals: std::mem::take(&mut self.bench.refusals), ..Judged::default() };
        for device in &self.devices {
            judged.add(device, by);
        }
        judged
    }
}
