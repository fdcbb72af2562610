//! What updates this device: it looks for signed metadata, and carries what they mean for it through the table.
//!
//! One thread of its own, since it writes to the disk and waits for child processes; it does one thing at a time. It is woken by a hint, by
//! the interval of `fleet.refresh_secs`, or by the update's own pause. Whatever it does can be cut off by the daemon's end and is
//! begun again at the next start.

mod clock;
mod effects;
mod fetch;
mod judge;
mod look;
mod sources;
mod standing;
mod switch;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use linnet_fleet::trust::Trusted;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

pub use clock::KernelClock;
use effects::Device;

use super::bounds::{HINT_JITTER_MOST, LOOK_JITTER_PERCENT, RETRY_FIRST, RETRY_MOST};
use super::machine::{Decision, Fault, Persisted};
use super::{Driver, Step};
use crate::config::fleet::FleetSettings;
use crate::config::transport::{IntakeSettings, MqttSettings};
use crate::config::{Config, Sources};
use crate::daemon::update::Updates;
use crate::status::{BrokerLink, DaemonStatus, Events};
use crate::store::generations::GenerationStore;
use crate::transport::mqtt::notices::Notices;

/// Has models answer their canaries again.
pub type ProveAgain = Box<dyn FnMut(&Path) -> Result<(), String> + Send>;

/// What an agent is made of.
pub struct Parts {
    /// The store, opened by this start.
    pub store: GenerationStore,
    /// The update as the start left it.
    pub update: Option<Persisted>,
    /// What is trusted.
    pub trusted: Trusted,
    /// Flags, environment and file, without a generation.
    pub base: Sources,
    /// What serves.
    pub config: Arc<Config>,
    /// `[fleet]`.
    pub settings: FleetSettings,
    /// Asks the daemon's loop.
    pub updates: Updates,
    /// What MQTT carries.
    pub notices: Notices,
    /// What is counted.
    pub events: Events,
    /// What is told of the daemon.
    pub status: Arc<DaemonStatus>,
    /// The link to the broker.
    pub link: BrokerLink,
    /// Has the models in a directory that serve and are in memory answer their canaries once more; one sentence where one does not.
    pub prove_again: ProveAgain,
}

/// The agent while it runs. Dropped, it is asked to end and not waited for.
pub struct Agent {
    stop: Arc<Stop>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The wish to end, for what waits on the runtime and for what blocks.
#[derive(Default)]
pub(super) struct Stop {
    pub(super) token: CancellationToken,
    pub(super) flag: AtomicBool,
}

impl Agent {
    /// Begins. Must be called on a tokio runtime.
    pub fn start(parts: Parts) -> std::io::Result<Self> {
        let stop = Arc::<Stop>::default();
        let (of_thread, runtime) = (Arc::clone(&stop), Handle::current());
        let thread = std::thread::Builder::new().name("update".into()).spawn(move || {
            Loop::new(parts, of_thread, runtime).run();
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends whatever is under way and waits for the thread, but no longer than `patience`.
    pub fn end(mut self, patience: Duration) {
        self.stop.wish();
        let until = Instant::now() + patience;
        let Some(thread) = self.thread.take() else { return };
        while !thread.is_finished() {
            if Instant::now() >= until {
                log::warn!("update: it has not ended within {patience:?}; the next start goes on with it");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // A panic has been logged where it happened.
        let _ = thread.join();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.wish();
    }
}

impl Stop {
    fn wish(&self) {
        self.flag.store(true, Ordering::Relaxed);
        self.token.cancel();
    }
}

/// What settings of MQTT a source needs.
pub(super) struct Broker {
    pub(super) mqtt: MqttSettings,
    pub(super) intake: IntakeSettings,
}

struct Loop {
    device: Device,
    driver: Driver,
    runtime: Handle,
    stop: Arc<Stop>,
    notices: Notices,
    /// When metadata are looked at next.
    look: Instant,
    /// When the update's next step is due.
    step: Option<Instant>,
    failures: u32,
    last_fault: Option<String>,
    /// The next look is one that a hint has brought.
    is_hinted: bool,
    /// What metadata mean for this device waits for the end of an update.
    is_put_off: bool,
}

/// Why the loop woke.
enum Woken {
    Hint,
    Time,
    End,
}

impl Loop {
    fn new(parts: Parts, stop: Arc<Stop>, runtime: Handle) -> Self {
        let (notices, update) = (parts.notices.clone(), parts.update.clone());
        let device = Device::new(parts, runtime.clone(), Arc::clone(&stop));
        let driver = Driver::new(update, device.driver_settings(), device.moment());
        let now = Instant::now();
        Self {
            device,
            driver,
            runtime,
            stop,
            notices,
            look: now,
            step: Some(now),
            failures: 0,
            last_fault: None,
            is_hinted: false,
            is_put_off: false,
        }
    }

    fn run(mut self) {
        self.device.say(self.driver.update(), None);
        loop {
            match self.wait() {
                Woken::End => return,
                // All devices hear the same hint in the same moment. Further ones before the look that it brings bring none of their own.
                Woken::Hint => {
                    if !self.is_hinted {
                        self.is_hinted = true;
                        self.look_soon();
                    }
                }
                Woken::Time => {}
            }
            if self.device.is_contest_news() {
                self.device.say(self.driver.update(), None);
            }
            if Instant::now() >= self.look {
                self.look_for_metadata();
            }
            if self.step.is_some_and(|step| Instant::now() >= step) && !self.take_step() {
                return;
            }
        }
    }

    fn look_soon(&mut self) {
        let most = HINT_JITTER_MOST.min(self.device.settings().refresh / 20);
        self.look = self.look.min(Instant::now() + most.mul_f64(rand::random()));
    }

    fn wait(&self) -> Woken {
        let until = self.step.map_or(self.look, |step| step.min(self.look));
        let (stop, notices) = (&self.stop.token, &self.notices);
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = stop.cancelled() => Woken::End,
                () = tokio::time::sleep_until(until.into()) => Woken::Time,
                () = notices.hint() => Woken::Hint,
            }
        })
    }

    fn look_for_metadata(&mut self) {
        self.is_hinted = false;
        let refresh = self.device.settings().refresh;
        let wait = match self.device.look() {
            Ok(None) => {
                self.failures = 0;
                refresh
            }
            Ok(Some(wanted)) => {
                self.failures = 0;
                match self.driver.offer(&wanted, &mut self.device) {
                    Ok(decision) => {
                        self.is_put_off = decision == Decision::Later;
                        log::debug!("update: generation {}: {decision:?}", wanted.generation);
                    }
                    Err(fault) => log::warn!("update: generation {} cannot begin: {}", wanted.generation, fault.reason),
                }
                self.step = Some(Instant::now());
                refresh
            }
            Err(fault) => {
                self.failures = self.failures.saturating_add(1);
                self.told_once(&fault);
                let pause = RETRY_FIRST.saturating_mul(1 << self.failures.min(12)).min(RETRY_MOST);
                pause.min(refresh)
            }
        };
        if self.failures == 0 && self.last_fault.take().is_some() {
            // What was reported as missing is missed no more.
            self.device.say(self.driver.update(), None);
        }
        let jitter = f64::from(LOOK_JITTER_PERCENT) / 100.0 * (rand::random::<f64>() * 2.0 - 1.0);
        self.look = Instant::now() + wait.mul_f64(1.0 + jitter);
    }

    /// The same fault again is no news.
    fn told_once(&mut self, fault: &Fault) {
        let said = format!("{}: {}", fault.code, fault.reason);
        if self.last_fault.as_ref() != Some(&said) {
            log::warn!("update: no newer metadata can be had ({said}); what serves goes on");
            self.device.say(self.driver.update(), Some(fault));
            self.last_fault = Some(said);
        }
    }

    /// False when the process is to restart, which is the daemon's loop to do.
    fn take_step(&mut self) -> bool {
        self.driver.set_settings(self.device.driver_settings());
        match self.driver.step(&mut self.device) {
            Step::Idle => {
                self.step = None;
                self.device.update_is_over();
                // What was opened while another was on trial is not left until the next look by the interval.
                if std::mem::take(&mut self.is_put_off) {
                    self.look_soon();
                }
            }
            Step::Again(pause) => self.step = Some(Instant::now() + pause),
            Step::Restart => {
                // Refused only where the daemon ends anyway.
                let _ = self.runtime.block_on(self.device.updates().restart());
                return false;
            }
        }
        true
    }
}
