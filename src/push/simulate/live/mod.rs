//! `linnetd simulate --broker`: the same push, over a real broker in scaled time.
//!
//! What is real beside what is real in virtual time: the broker; each device's link with its hints, reports and last will, and the connection that
//! it fetches over, both the daemon's own; a thread for each device, as the daemon's agent has one. What is simulated: what a device does in
//! an action, and its disk. The mirrors are two more fleets on the same broker.

mod clock;
mod no_models;
mod player;
mod settings;
mod station;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use linnet_fleet::range_server::RangeServer;
use linnet_proto::topic::FleetName;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::arguments::{Broker, Plan};
use super::bounds::{GATHER_PATIENCE, LAST_REPORTS, LEAST_TICK, MOST, TICK};
use super::names::Names;
use super::operator::{Publication, Signed};
use super::progress::Progress;
use super::random::Random;
use super::setting::Setting;
use super::shard::Judged;
use super::summary::Summary;
use super::{DEVICES, SimulateError, verdict};
use crate::status::LinkState;
use crate::transport::mqtt::{MqttStartError, plain_connection};
use clock::ScaledClock;
use player::{Played, Player, Seat, Stage};
use station::{Files, Station};
use wire::{Surroundings, Wire};

/// How often it is looked whether the devices have come or gone.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a push over a broker. What it left at the broker is cleared before this returns, where the broker can still be reached.
pub(super) fn simulate_over(
    broker: &Broker,
    plan: &Plan,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, SimulateError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(SimulateError::disk)?;
    let fleet = Fleet::found(broker, plan, runtime.handle())?;
    let done = runtime.block_on(async {
        let mut interrupts = Interrupts::listen().map_err(SimulateError::disk)?;
        let mut run = tokio::select! {
            run = Run::open(fleet) => run?,
            () = interrupts.next() => return Err(SimulateError::Interrupted),
        };
        let ended = tokio::select! {
            ended = run.push(progress) => ended,
            () = interrupts.next() => Err(SimulateError::Interrupted),
        };
        let left = run.left();
        tokio::select! {
            done = run.end(ended) => done,
            // Asked a second time: nobody waits for the broker.
            () = interrupts.next() => Err(left),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// Ctrl-C, and the service manager's wish to end.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// A fleet before anything of it is connected.
struct Fleet<'a> {
    plan: &'a Plan,
    around: Arc<Surroundings>,
    setting: Setting<Wire>,
    /// Where the devices' links keep their state; goes with the run.
    state: tempfile::TempDir,
}

impl<'a> Fleet<'a> {
    fn found(broker: &Broker, plan: &'a Plan, runtime: &Handle) -> Result<Self, SimulateError> {
        let names = Names::of_run(rand::random());
        let fleet = |suffix: &str| {
            FleetName::new(format!("{}{suffix}", names.fleet())).map_err(|e| SimulateError::Model(e.to_string()))
        };
        let state = tempfile::Builder::new().prefix("linnet-simulate-").tempdir().map_err(SimulateError::disk)?;
        let around = Arc::new(Surroundings {
            runtime: runtime.clone(),
            clock: ScaledClock::new(broker.speed),
            broker: broker.clone(),
            fleets: [fleet("")?, fleet("-forger")?, fleet("-hider")?],
            state: state.path().to_owned(),
            publications: Mutex::default(),
            stop: CancellationToken::new(),
            hint_bytes: station::hint(&names).len(),
        });
        let (seed, of_devices, of_names) = (plan.seed, Arc::clone(&around), names.clone());
        let wire = move |index: u32| -> Result<Wire, SimulateError> {
            let random = Random::of(seed, u64::from(index) + DEVICES);
            Ok(Wire::new(&of_devices, of_names.device(index), random)?)
        };
        let setting = Setting::new(plan, names, wire)?;
        publications(&around).clone_from(&setting.publications);
        Ok(Self { plan, around, setting, state })
    }
}

fn publications(around: &Surroundings) -> MutexGuard<'_, Vec<Arc<Publication>>> {
    around.publications.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run under way.
struct Run<'a> {
    fleet: Fleet<'a>,
    names: Arc<Names>,
    station: Station,
    seats: Vec<Seat>,
    threads: Vec<JoinHandle<Result<Played, MqttStartError>>>,
    stage: watch::Sender<Stage>,
}

/// How a push ended.
struct Ended {
    /// Nothing was under way any more.
    is_over: bool,
    at_ms: u64,
}

impl<'a> Run<'a> {
    /// Connects the operator.
    async fn open(fleet: Fleet<'a>) -> Result<Self, SimulateError> {
        let Fleet { around, setting, state, .. } = &fleet;
        let names = Arc::clone(&setting.world.names);
        let client = settings::mqtt(&around.broker, &format!("{}-operator", names.fleet()), state.path());
        let options = plain_connection(client, settings::intake())?;
        let mirror = &setting.world.mirror;
        let files = [
            Files::Directory(RangeServer::new(setting.operator.directory())),
            Files::Memory(mirror.forged.memory.clone()),
            Files::Memory(mirror.old.memory.clone()),
        ];
        let files = around.fleets.iter().cloned().zip(files).collect();
        let station = Station::open(options, &around.broker.url, &names, files).await?;
        let (stage, _) = watch::channel(Stage::Gathering);
        Ok(Self { fleet, names, station, seats: Vec::new(), threads: Vec::new(), stage })
    }

    /// The whole push.
    async fn push(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<Ended, SimulateError> {
        let world = &self.fleet.setting.world;
        let told = [&world.origin.metadata, &world.mirror.forged.metadata, &world.mirror.old.metadata];
        for (fleet, metadata) in self.fleet.around.fleets.iter().zip(told) {
            self.station.show(fleet, metadata).await?;
        }
        self.seat()?;
        self.gather(progress).await?;
        self.fleet.around.clock.begin();
        self.stage.send_replace(Stage::Playing);
        let begun = tokio::task::block_in_place(|| self.fleet.setting.operator.begin(0))?;
        self.publish(begun).await?;
        let tick = (TICK / self.fleet.around.broker.speed).max(LEAST_TICK);
        let is_over = loop {
            sleep(tick).await;
            self.require_threads()?;
            // Who hears nothing decides nothing.
            if !self.station.is_up()? {
                continue;
            }
            self.station.keep_up().await?;
            self.hear();
            let now_ms = self.fleet.around.clock.now_ms();
            let operator = &mut self.fleet.setting.operator;
            // Signing works on the disk.
            if let Some(signed) = tokio::task::block_in_place(|| operator.decide(now_ms))? {
                self.publish(signed).await?;
            }
            let operator = &self.fleet.setting.operator;
            progress(Progress::of(operator, now_ms));
            if operator.is_at_rest() {
                self.stage.send_if_modified(|stage| std::mem::replace(stage, Stage::Closing) != Stage::Closing);
                let newest = publications(&self.fleet.around).last().map_or(0, |newest| newest.number);
                if self.seats.iter().all(|seat| seat.is_at_rest(newest)) {
                    break true;
                }
            }
            if now_ms >= MOST.as_millis() as u64 {
                break false;
            }
        };
        let at_ms = self.fleet.around.clock.now_ms();
        let until = Instant::now() + LAST_REPORTS;
        while self.fleet.setting.operator.tallies.iter().any(|tally| tally.working > 0) && Instant::now() < until {
            sleep(LOOK).await;
            self.hear();
        }
        Ok(Ended { is_over, at_ms })
    }

    /// Begins a thread for each device.
    fn seat(&mut self) -> Result<(), SimulateError> {
        let setting = &mut self.fleet.setting;
        let world = Arc::new(setting.world());
        for device in std::mem::take(&mut setting.devices) {
            let seat = Seat::of(&device);
            self.seats.push(seat.clone());
            let (around, world) = (Arc::clone(&self.fleet.around), Arc::clone(&world));
            let player = Player { device, around, world, stage: self.stage.subscribe(), seat };
            let thread = std::thread::Builder::new().name("device".into()).spawn(|| player.play());
            self.threads.push(thread.map_err(SimulateError::disk)?);
        }
        Ok(())
    }

    /// Waits until the broker has taken every device, and those that are to be away have left.
    async fn gather(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), SimulateError> {
        let until = Instant::now() + GATHER_PATIENCE;
        loop {
            let up = self.seats.iter().filter(|seat| seat.link.get() == LinkState::Up).count();
            progress(Progress::gathering(up, self.seats.len()));
            if up == self.seats.len() {
                break;
            }
            self.require_threads()?;
            self.station.is_up()?;
            if Instant::now() >= until {
                let why = self.seats.iter().find_map(|seat| seat.link.reason());
                let why = why.map_or_else(String::new, |why| format!(": {why}"));
                let (all, secs) = (self.seats.len(), GATHER_PATIENCE.as_secs());
                return Err(self.station.fault(format!("it took {up} of {all} clients in {secs} s{why}")));
            }
            sleep(LOOK).await;
        }
        self.stage.send_replace(Stage::Parting);
        while self.seats.iter().any(|seat| seat.leaves && seat.link.get() != LinkState::Off) {
            self.require_threads()?;
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Takes in what devices have reported.
    fn hear(&mut self) {
        for (device, outcome) in self.station.outcomes() {
            self.fleet.setting.operator.hear(device as usize, outcome);
        }
    }

    /// Publishes what the operator has signed, and tells the devices that it is for.
    async fn publish(&mut self, signed: Signed) -> Result<(), SimulateError> {
        let Signed { publication, hint } = signed;
        // Before any device can see it.
        publications(&self.fleet.around).push(Arc::clone(&publication));
        self.station.show(&self.fleet.around.fleets[0], &publication.metadata).await?;
        let buckets = self.fleet.setting.buckets.iter().zip(0..);
        let hinted = buckets.filter(|(bucket, device)| hint.is_for(*device, **bucket)).map(|(_, device)| device);
        self.station.hint(hinted).await
    }

    /// A thread that has ended before its time is a fault of the simulation.
    fn require_threads(&self) -> Result<(), SimulateError> {
        match self.threads.iter().any(JoinHandle::is_finished) {
            true => Err(SimulateError::Model("a device's thread has ended before its time".to_owned())),
            false => Ok(()),
        }
    }

    /// What is said where the broker is left as it is.
    fn left(&self) -> SimulateError {
        SimulateError::Left { fleet: self.names.fleet().to_owned(), cause: Box::new(SimulateError::Interrupted) }
    }

    /// Has every device say goodbye, clears what the broker keeps, and judges.
    async fn end(mut self, ended: Result<Ended, SimulateError>) -> Result<Summary, SimulateError> {
        self.fleet.around.stop.cancel();
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(|| threads.into_iter().map(JoinHandle::join).collect::<Vec<_>>());
        let joined = joined.await.map_err(|e| SimulateError::Model(e.to_string()))?;
        let cleared = self.station.clear(self.fleet.plan.devices).await;
        let ended = match (ended, cleared) {
            (Ok(ended), Ok(())) => ended,
            (Err(cause), Ok(())) => return Err(cause),
            (Ok(_), Err(cause)) | (Err(cause), Err(_)) => {
                return Err(SimulateError::Left { fleet: self.names.fleet().to_owned(), cause: Box::new(cause) });
            }
        };
        let verdict = verdict(&publications(&self.fleet.around), &self.names)?;
        let mut judged = Judged::default();
        for played in joined {
            let played = played.map_err(|_| SimulateError::Model("a device's thread has panicked".to_owned()))?;
            let Played { device, refusals } = played?;
            judged.add(&device, &verdict);
            judged.merge(Judged { refusals, ..Judged::default() });
        }
        let Fleet { plan, setting, .. } = &self.fleet;
        Ok(Summary::of(plan, &setting.operator, judged, ended.is_over, ended.at_ms))
    }
}
