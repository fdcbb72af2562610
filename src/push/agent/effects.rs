//! The actions of an update on this device.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use linnet_fleet::source::LeastRate;
use linnet_fleet::trust::{Contents, Trusted};
use linnet_proto::fleet::{Generation, PushState, Running};
use linnet_proto::status::FleetFailure;
use tokio::runtime::Handle;

use super::clock::KernelClock;
use super::sources::FleetSources;
use super::standing::{AskedFor, Blame, Standings};
use super::{Broker, Parts, ProveAgain, Stop};
use crate::config::fleet::FleetSettings;
use crate::config::{Config, Sources};
use crate::daemon::update::{Back, DrainedWindow, Updates};
use crate::push::bounds::{DISK_PAUSE, LIE_PAUSE, MAX_REASON_BYTES, RETRY_MOST, SOURCE_PAUSE, WATCH_EVERY};
use crate::push::machine::{Fault, Outcome, Persisted, Wanted};
use crate::push::trial::Trial;
use crate::push::{Action, Effects, Moment, Progress, ReportFacts, Settings, Watched, report, save, settle};
use crate::status::{BrokerLink, DaemonStatus, Events};
use crate::store::generations::GenerationStore;
use crate::sys::clock;
use crate::transport::mqtt::notices::Notices;

/// This device, as an update acts on it.
pub(super) struct Device {
    pub(super) store: GenerationStore,
    pub(super) trusted: Trusted,
    /// What the trusted metadata say.
    pub(super) contents: Contents,
    pub(super) base: Sources,
    pub(super) config: Arc<Config>,
    pub(super) settings: FleetSettings,
    pub(super) sources: FleetSources,
    /// How each of them stands, which decides who is asked first.
    pub(super) standings: Standings,
    /// How fast the source of a place gives what is fetched; none while nothing is.
    pub(super) rate: Option<(usize, LeastRate)>,
    /// Which sources gave pieces of the file of this digest.
    pub(super) givers: Option<(String, BTreeSet<usize>)>,
    /// How often in a row no source could be used.
    fruitless: Cell<u32>,
    /// The generation that is being fetched, once it was judged.
    pub(super) generation: Option<Generation>,
    pub(super) updates: Updates,
    pub(super) window: Option<DrainedWindow>,
    pub(super) back: Option<Box<Back>>,
    /// What this process serves.
    pub(super) serving: u64,
    pub(super) local_packages: Vec<String>,
    pub(super) trial: Trial,
    pub(super) events: Events,
    pub(super) link: BrokerLink,
    pub(super) prove_again: ProveAgain,
    pub(super) watch: super::watch::Watch,
    pub(super) stop: Arc<Stop>,
    /// The known time that was committed last, seconds.
    pub(super) marked_secs: u64,
    /// Whether the last report said that another client uses this device's name.
    contested: Cell<bool>,
    /// What was logged last of an update.
    logged: RefCell<Option<String>>,
    status: Arc<DaemonStatus>,
    notices: Notices,
    runtime: Handle,
    began: Instant,
}

impl Device {
    pub(super) fn new(parts: Parts, runtime: Handle, stop: Arc<Stop>) -> Self {
        let Parts {
            store, trusted, base, config, settings, updates, notices, events, status, link, prove_again, ..
        } = parts;
        let contents = trusted.contents().unwrap_or_default();
        let standings = Standings::of(settings.sources.iter().map(ToString::to_string));
        let mut trial = Trial::default();
        // A trial that began before a restart is judged by what is counted from now on.
        trial.begin(events.tally());
        Self {
            marked_secs: trusted.known_time().secs,
            serving: config.generation(),
            local_packages: crate::daemon::models::added_locally(&config),
            store,
            trusted,
            contents,
            base,
            config,
            settings,
            sources: FleetSources::default(),
            standings,
            rate: None,
            givers: None,
            fruitless: Cell::default(),
            generation: None,
            updates,
            window: None,
            back: None,
            trial,
            events,
            link,
            prove_again,
            watch: super::watch::Watch::default(),
            stop,
            contested: Cell::default(),
            logged: RefCell::default(),
            status,
            notices,
            runtime,
            began: Instant::now(),
        }
    }

    pub(super) fn settings(&self) -> &FleetSettings {
        &self.settings
    }

    pub(super) fn updates(&self) -> Updates {
        self.updates.clone()
    }

    pub(super) fn driver_settings(&self) -> Settings {
        Settings {
            probe: self.settings.probe.time,
            trial: self.settings.trial,
            watch_every: WATCH_EVERY.min(self.settings.trial / 4),
        }
    }

    pub(super) fn clock(&self) -> KernelClock {
        KernelClock(self.settings.clock)
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { since_epoch_secs: clock::since_epoch().as_secs(), monotonic: self.began.elapsed() }
    }

    /// Waits for something on the runtime; `None` when the daemon ends before.
    pub(super) fn wait<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        let stop = &self.stop.token;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = stop.cancelled() => None,
                done = what => Some(done),
            }
        })
    }

    /// Sets up each source once; what cannot be set up is tried again at the next call.
    pub(super) fn set_up_sources(&mut self) -> Vec<(usize, Fault)> {
        let intake = self.config.mqtt_intake.clone();
        let broker = self.config.mqtt.clone().map(|mqtt| Broker { mqtt, intake });
        self.sources.set_up(&self.settings, broker.as_ref())
    }

    /// What came of sources by their places, as one fault: each is named once.
    pub(super) fn fault_of(&self, faults: &[(usize, Fault)]) -> Fault {
        let Some((_, first)) = faults.first() else {
            return Fault::new("source", "no source of fleet.sources can be used");
        };
        let said = faults.iter().map(|(place, fault)| format!("{}: {}", self.standings.name(*place), fault.reason));
        let mut said = said.collect::<Vec<_>>().join("; ");
        said.truncate(said.floor_char_boundary(MAX_REASON_BYTES));
        Fault::new(first.code.clone(), said)
    }

    /// A source has failed for a file of the update.
    pub(super) fn blame(&mut self, place: usize, fault: &Fault, blame: Blame) {
        self.standings.failed(place, AskedFor::File, fault, self.moment());
        self.set_back(place, AskedFor::File, fault, blame);
        self.tell_sources();
    }

    /// Others are asked before a source, which is said once for as long as that is so.
    pub(super) fn set_back(&mut self, place: usize, asked_for: AskedFor, fault: &Fault, blame: Blame) {
        let now = self.moment();
        let was_set_back = self.standings.is_set_back(place, now);
        let pause = self.standings.set_back(place, asked_for, blame, now);
        if !was_set_back && !pause.is_zero() {
            let is_for_update = blame == Blame::Harmful && asked_for == AskedFor::File;
            let rest = if is_for_update { "the rest of this update, and for " } else { "" };
            let (name, minutes) = (self.standings.name(place), pause.as_secs() / 60);
            log::info!("update: other sources are asked before {name} for {rest}{minutes} min: {}", fault.reason);
        }
    }

    /// Tells who asks for the status how the sources stand.
    pub(super) fn tell_sources(&self) {
        self.status.set_fleet_sources(self.standings.told(self.moment()));
    }

    /// No update is under way.
    pub(super) fn update_is_over(&mut self) {
        self.standings.end();
        self.tell_sources();
    }

    /// The generation that an update is about: as it was judged, or read again after a restart.
    pub(super) fn known_generation(&mut self, update: &Persisted) -> Result<Generation, Fault> {
        if let Some(known) = self.generation.as_ref().filter(|known| known.number == update.generation) {
            return Ok(known.clone());
        }
        let damaged = || Fault::new("damaged", "its document is damaged on the disk");
        let document = self.store.document(&update.sha256).ok_or_else(damaged)?;
        let read = Generation::parse(&document).map_err(|e| Fault::new("generation", e.to_string()))?;
        self.generation = Some(read.clone());
        Ok(read)
    }

    /// Nothing is known of the generation: the next start goes on with it.
    pub(super) fn ending(&self) -> Progress {
        Progress::Waiting(Fault::new("ending", "linnetd is ending"), Duration::from_secs(1))
    }

    /// Each time longer, as long as no source gives anything.
    pub(super) fn wait_for_source(&self, fault: Fault) -> Progress {
        self.wait_from(SOURCE_PAUSE, fault)
    }

    /// The same where a whole file was another than is signed.
    pub(super) fn wait_for_truth(&self, fault: Fault) -> Progress {
        self.wait_from(LIE_PAUSE, fault)
    }

    fn wait_from(&self, first: Duration, fault: Fault) -> Progress {
        let before = self.fruitless.replace(self.fruitless.get().saturating_add(1));
        let pause = pause_after(first, before, self.settings.refresh);
        Progress::Waiting(fault, pause.mul_f64(0.5 + rand::random::<f64>()))
    }

    /// A source has given something.
    pub(super) fn is_fruitful(&self) {
        self.fruitless.set(0);
    }

    /// A disk that is full of what was fetched is the generation's fault, any other trouble is waited out.
    pub(super) fn wait_for_disk(&self, fault: Fault) -> Progress {
        if fault.code == "no_space" {
            return Progress::Ended(Outcome::Failed(fault));
        }
        Progress::Waiting(fault, DISK_PAUSE)
    }

    /// Whether the last report is wrong about who uses this device's name.
    pub(super) fn is_contest_news(&self) -> bool {
        self.contested.get() != self.link.contested().is_some()
    }

    /// Says where the device stands: to the broker, and to who asks for the status.
    pub(super) fn say(&self, update: Option<&Persisted>, waiting: Option<&Fault>) {
        let serving = self.serving;
        let running = Running { generation: serving, confirmed: serving == self.store.good() };
        self.status.set_generation(Some(running));
        let facts = ReportFacts {
            device: self.config.device.clone(),
            fleet: self.settings.name.clone(),
            running,
            clock_trusted: self.is_clock_trusted(),
            linnetd: env!("CARGO_PKG_VERSION").to_owned(),
            groups: self.settings.groups.clone(),
            labels: self.settings.labels.clone(),
            free_mib: self.store.free_bytes().unwrap_or(0) >> 20,
            local_packages: self.local_packages.clone(),
            metadata: self.trusted.versions().reported(),
            instance: self.store.instance().to_owned(),
        };
        let mut report = report(update, waiting, &facts);
        report.contested = self.link.contested().is_some();
        self.contested.set(report.contested);
        if let Some(update) = update {
            // While a later one is under way the last failure is still the last.
            if update.state.is_failure() {
                self.status.set_fleet_last_failure(Some(FleetFailure {
                    generation: update.generation,
                    state: update.state,
                    reason: update.reason.clone().unwrap_or_default(),
                    secs: update.since_secs,
                }));
            } else if update.state == PushState::Confirmed {
                self.status.set_fleet_last_failure(None);
            }
            let (number, state) = (update.generation, update.state.as_str());
            let said = match report.reason.as_deref() {
                Some(reason) => format!("generation {number} is {state}: {reason}"),
                None => format!("generation {number} is {state}"),
            };
            // A report may change without anything that people want to read again.
            if self.logged.replace(Some(said.clone())).as_ref() != Some(&said) {
                let level = if update.state.is_failure() { log::Level::Warn } else { log::Level::Info };
                log::log!(level, GENERATION = number, STATE = state; "update: {said}");
            }
        }
        self.notices.report(serde_json::to_vec(&report).unwrap_or_default().into());
    }
}

/// The mean pause after `before` tries in a row that gave nothing; a look comes after `refresh` in any case.
fn pause_after(first: Duration, before: u32, refresh: Duration) -> Duration {
    first.saturating_mul(1 << before.min(16)).min(RETRY_MOST).min(refresh)
}

impl Effects for Device {
    fn now(&mut self) -> Moment {
        self.moment()
    }

    fn save(&mut self, update: &Persisted) -> Result<(), Fault> {
        save(&mut self.store, update)
    }

    fn is_refused(&mut self, wanted: &Wanted) -> bool {
        self.store.is_refused(&wanted.sha256, wanted.attempt)
    }

    fn live(&mut self) -> u64 {
        self.store.live()
    }

    fn judge(&mut self, update: &Persisted) -> Progress {
        self.standings.begin(&update.sha256, update.attempt, self.moment());
        let faults = self.set_up_sources();
        if self.sources.is_empty() {
            return self.wait_for_source(self.fault_of(&faults));
        }
        self.judge_generation(update)
    }

    fn fetch(&mut self, update: &Persisted) -> Progress {
        self.set_up_sources();
        self.fetch_next(update)
    }

    fn probe(&mut self, update: &Persisted) -> Progress {
        self.prove(update)
    }

    fn activate(&mut self, update: &Persisted) -> Progress {
        self.switch_to(update)
    }

    fn watch(&mut self, update: &Persisted) -> Watched {
        self.watch_serving(update)
    }

    fn confirm(&mut self, update: &Persisted) -> Progress {
        match settle(&mut self.store, update) {
            Ok(()) => {
                self.back = None;
                self.say(Some(update), None);
                Progress::Ended(Outcome::Done)
            }
            Err(fault) => self.wait_for_disk(fault),
        }
    }

    fn discard(&mut self, update: &Persisted) -> Progress {
        self.window = None;
        match settle(&mut self.store, update) {
            Ok(()) => Progress::Ended(Outcome::Done),
            Err(fault) => self.wait_for_disk(fault),
        }
    }

    fn roll_back(&mut self, update: &Persisted) -> Progress {
        let progress = self.switch_back(update);
        if progress == Progress::Ended(Outcome::Done) {
            self.say(Some(update), None);
        }
        progress
    }

    fn give_up(&mut self, _action: Action) {
        // Every action has ended when its step returns; what it leaves is the window.
        self.window = None;
    }

    fn report(&mut self, update: &Persisted, waiting: Option<&Fault>) {
        self.say(Some(update), waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_cut_off_goes_on_within_seconds_and_whoever_gives_nothing_is_asked_ever_more_seldom() {
        let secs = |first, before| pause_after(first, before, Duration::from_secs(3600)).as_secs();
        assert_eq!([0, 1, 2, 3].map(|before| secs(SOURCE_PAUSE, before)), [2, 4, 8, 16]);
        assert_eq!([0, 1, 2].map(|before| secs(LIE_PAUSE, before)), [30, 60, 120]);
        assert_eq!(secs(SOURCE_PAUSE, u32::MAX), RETRY_MOST.as_secs());
        assert_eq!(pause_after(LIE_PAUSE, 9, Duration::from_secs(10)), Duration::from_secs(10));
    }
}
