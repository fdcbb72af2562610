//! The thread of one device, as the daemon's agent has one: it sleeps until something is due, or until a hint comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use linnet_fleet::clock::VirtualClock;
use tokio::sync::watch;

use super::wire::{Surroundings, Wire};
use crate::push::simulate::bounds::FETCH_IDLE;
use crate::push::simulate::device::{Bench, Device, Waiter, World};
use crate::push::simulate::operator::BEGAN_SECS;
use crate::status::BrokerLink;
use crate::transport::mqtt::MqttStartError;

/// How far the run as a whole is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Every device connects.
    Gathering,
    /// Those that are to be away leave.
    Parting,
    /// The push is under way.
    Playing,
    /// The operator has nothing left to decide: each looks once more, so that nobody waits for the interval.
    Closing,
}

/// Nothing was reached since the last publication, or something is under way.
const UNSETTLED: u32 = u32::MAX;

/// What a device's thread tells while it runs.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    /// The publication that it has reached with nothing under way; [`UNSETTLED`] otherwise.
    settled: Arc<AtomicU32>,
    /// Its link.
    pub(super) link: BrokerLink,
    /// It is to be away when the push begins.
    pub(super) leaves: bool,
}

impl Seat {
    /// Of a device that has not begun.
    pub(super) fn of(device: &Device<Wire>) -> Self {
        let settled = Arc::new(AtomicU32::new(UNSETTLED));
        Self { settled, link: device.reach().link().clone(), leaves: device.is_away() }
    }

    /// Whether it has reached this publication, and nothing is under way.
    pub(super) fn is_at_rest(&self, publication: u32) -> bool {
        self.settled.load(Ordering::Acquire) == publication
    }
}

/// Plays a device.
pub(super) struct Player {
    pub(super) device: Device<Wire>,
    pub(super) around: Arc<Surroundings>,
    pub(super) world: Arc<World>,
    pub(super) stage: watch::Receiver<Stage>,
    pub(super) seat: Seat,
}

/// A device at the end, and what it refused.
pub(super) struct Played {
    pub(super) device: Device<Wire>,
    pub(super) refusals: BTreeMap<&'static str, u64>,
}

/// Why a device woke.
enum Woken {
    Due,
    Hint,
    Stage,
    End,
}

impl Player {
    /// Plays until everything ends.
    pub(super) fn play(mut self) -> Result<Played, MqttStartError> {
        let mut bench = Bench {
            runtime: Waiter::Among(self.around.runtime.clone()),
            clock: VirtualClock::at(BEGAN_SECS),
            heard: Vec::new(),
            refusals: BTreeMap::new(),
        };
        let played = self.rounds(&mut bench);
        self.device.reach_mut().disconnect();
        played.map(|()| Played { device: self.device, refusals: bench.refusals })
    }

    fn rounds(&mut self, bench: &mut Bench) -> Result<(), MqttStartError> {
        self.device.reach_mut().connect()?;
        loop {
            match self.wait() {
                Woken::End => return Ok(()),
                Woken::Due => {}
                Woken::Hint => {
                    self.device.reach().count_hint();
                    self.device.look_soon(self.around.clock.now_ms());
                }
                Woken::Stage => match self.stage() {
                    Stage::Parting if self.device.is_away() => self.device.reach_mut().disconnect(),
                    Stage::Closing => self.device.look_now(self.around.clock.now_ms()),
                    Stage::Gathering | Stage::Parting | Stage::Playing => {}
                },
            }
            if self.stage() >= Stage::Playing {
                self.wake(bench)?;
            }
        }
    }

    /// Does what is due.
    fn wake(&mut self, bench: &mut Bench) -> Result<(), MqttStartError> {
        while self.device.due_ms() <= self.around.clock.now_ms() && !self.around.stop.is_cancelled() {
            self.seat.settled.store(UNSETTLED, Ordering::Release);
            if self.device.is_due_to_start(self.around.clock.now_ms()) {
                self.device.reach_mut().connect()?;
            }
            self.device.wake(self.around.clock.now_ms(), &self.world, bench);
            if self.device.is_restarting() {
                self.device.reach_mut().disconnect();
            }
        }
        let is_long = |at: std::time::Instant| at.saturating_duration_since(std::time::Instant::now()) > FETCH_IDLE;
        if self.around.clock.when(self.device.due_ms()).is_none_or(is_long) {
            self.device.reach().let_go();
        }
        let settled = self.device.settled().unwrap_or(UNSETTLED);
        self.seat.settled.store(settled, Ordering::Release);
        Ok(())
    }

    fn stage(&mut self) -> Stage {
        *self.stage.borrow_and_update()
    }

    fn wait(&mut self) -> Woken {
        // Nothing is due before the clock has begun.
        let due = self.around.clock.when(self.device.due_ms());
        let (stop, stage, notices) = (&self.around.stop, &mut self.stage, self.device.reach().notices());
        self.around.runtime.block_on(async {
            let due = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => Woken::End,
                changed = stage.changed() => if changed.is_ok() { Woken::Stage } else { Woken::End },
                () = due => Woken::Due,
                () = notices.hint() => Woken::Hint,
            }
        })
    }
}
