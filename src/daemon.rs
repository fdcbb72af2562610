//! Builds every component in dependency order, says READY, serves, reloads, drains.

pub mod change_models;
mod error;
mod idle_unload;
pub(crate) mod models;
mod own_thread;
mod reload;
mod settle;
mod state_dir;
pub mod update;
mod watchdog;

use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::Duration;

use linnet_proto::fleet::Running;
use linnet_proto::status::{Limits, Provisioning, ProvisioningState};
use tokio::net::UnixListener;

use crate::config::{self, Config, Sources};
use crate::exit::Exit;
use crate::job::Admit;
use crate::job::chain::Chains;
use crate::limits::{BLOCKING_THREAD_IDLE, CLOSE_GRACE, RUNTIME_BLOCKING_THREADS, RUNTIME_THREADS};
use crate::logging::{self, message_id};
use crate::provision::{self, Provisioner};
use crate::push::agent::{Agent, Parts};
use crate::scheduler::{Scheduler, SchedulerSettings};
use crate::status::{BrokerLink, DaemonStatus, Events, StatusSource, events};
use crate::sys::liveness::Loops;
use crate::sys::reloads::{Reloads, reloads};
use crate::sys::signals::{Signals, Wish};
use crate::sys::socket::OwnedSocket;
use crate::sys::{descriptors, notify};
use crate::task::catalog::{CatalogHandle, Loader};
use crate::transport::http::{HttpServer, Listeners};
use crate::transport::mqtt::notices::Notices;
use crate::transport::mqtt::{MqttStartError, MqttTransport};
use change_models::{ModelChanges, Places};
pub use error::DaemonError;
use idle_unload::IdleUnload;
use own_thread::on_own_thread;
use state_dir::HeldState;
pub use state_dir::hold_state;
use update::{Begun, Failed, Order, Orders, Updates};
use watchdog::Watchdog;

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As asked; nothing is left to do.
    Done,
    /// The process is to begin anew, by the same command line ([`crate::sys::restart`]).
    Restart,
}

/// Serves until it is asked to end. `sources` are without a generation: which one serves is found in the state directory.
pub fn serve(sources: Sources) -> Result<Ended, DaemonError> {
    let config = config::load(&sources)?;
    logging::start(config.log);
    events::log_panics();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .max_blocking_threads(RUNTIME_BLOCKING_THREADS)
        .thread_keep_alive(BLOCKING_THREAD_IDLE)
        .thread_name("transport")
        .enable_all()
        .build()
        .map_err(DaemonError::Thread)?;
    let ended = runtime.block_on(async {
        let (reloads, asked) = reloads();
        let mut signals = Signals::listen(asked).map_err(DaemonError::Thread)?;
        let (updates, mut orders) = update::updates();
        // A generation is taken back once: what serves instead is none on trial.
        let mut without = None;
        let (daemon, begun) = loop {
            let (sources, config) = (sources.clone(), config.clone());
            match Daemon::start(sources, config, reloads.clone(), updates.clone(), &mut signals, without).await? {
                Started::Serves(started) => break *started,
                Started::Ended => return Ok(Ended::Done),
                Started::TakenBack(failed) => without = Some(failed),
            }
        };
        let provisioner = daemon.start_provisioner(updates.clone());
        let agent = begun.map(|begun| daemon.start_agent(begun, updates)).transpose().map_err(DaemonError::Thread)?;
        let ended = daemon.run(&mut signals, &mut orders).await;
        drop((orders, provisioner));
        if let Some(agent) = agent {
            // It may have a child process or a piece of a file at hand.
            let _ = on_own_thread("update-end", move || agent.end(CLOSE_GRACE)).await;
        }
        ended
    });
    runtime.shutdown_timeout(Duration::ZERO);
    ended
}

/// What a start came to.
enum Started {
    /// It serves. With it comes what it was begun with of updates, where the device belongs to a fleet.
    Serves(Box<(Daemon, Option<Begun>)>),
    /// The end was asked for meanwhile.
    Ended,
    /// What was on trial does not come up, and has made way: another start serves what was there before.
    TakenBack(Failed),
}

/// What a daemon holds before it reads anything of a generation.
struct Claimed {
    socket: OwnedSocket,
    unix: StdUnixListener,
    state: Option<HeldState>,
    first: Option<HeldState>,
}

/// The running daemon. Fields are dropped in this order: transports, then the scheduler, then the state directory and the socket's path.
struct Daemon {
    http: HttpServer,
    mqtt: Option<MqttTransport>,
    link: BrokerLink,
    /// What MQTT carries for updates.
    notices: Notices,
    status: Arc<DaemonStatus>,
    scheduler: Arc<Scheduler>,
    loader: Loader,
    catalog: CatalogHandle,
    config: Arc<Config>,
    sources: Sources,
    loops: Loops,
    idle: IdleUnload,
    reloads: Reloads,
    /// Held while MQTT is on, or the device belongs to a fleet.
    state: Option<HeldState>,
    _first: Option<HeldState>,
    _socket: OwnedSocket,
}

impl Daemon {
    /// From a checked configuration, without a generation, to READY.
    async fn start(
        sources: Sources,
        config: Config,
        reloads: Reloads,
        updates: Updates,
        signals: &mut Signals,
        without: Option<Failed>,
    ) -> Result<Started, DaemonError> {
        log::info!("linnetd {} starts on {}", env!("CARGO_PKG_VERSION"), config.http.socket.display());

        // The path first: a second daemon is refused before it loads anything, and who connects meanwhile waits.
        let group = config.http.socket_group.as_deref();
        let (socket, unix) = OwnedSocket::claim(&config.http.socket, config.http.socket_mode, group)?;
        state_dir::prepare(&config);
        let state = state_dir::claim(&config)?;
        let first = state_dir::warn_of_another(&config);
        let (begun, sources, config) = update::begin(sources, config, without)?;
        let claimed = Claimed { socket, unix, state, first };
        let serves = config.generation();
        match Self::open(claimed, sources, Arc::new(config), begun.as_ref(), reloads, updates, signals).await {
            Ok(Some(daemon)) => Ok(Started::Serves(Box::new((daemon, begun)))),
            Ok(None) => Ok(Started::Ended),
            // What is wrong with the configuration does not mend itself by another start, and systemd does not try one.
            Err(e) if e.exit() == Exit::Config => match begun.filter(|begun| begun.is_on_trial(serves)) {
                Some(begun) => Ok(Started::TakenBack(begun.take_back(&e.to_string()))),
                None => Err(e),
            },
            Err(e) => Err(e),
        }
    }

    /// From what serves to READY. `None` when the end was asked for meanwhile.
    async fn open(
        claimed: Claimed,
        sources: Sources,
        config: Arc<Config>,
        begun: Option<&Begun>,
        reloads: Reloads,
        updates: Updates,
        signals: &mut Signals,
    ) -> Result<Option<Self>, DaemonError> {
        let Claimed { socket, unix, state, first } = claimed;
        descriptors::make_room_for(config.http.max_connections);

        let places = Places::of(&config, sources.around.models.as_deref());
        settle::settle(&places.own);
        let events = Events::default();
        let loader = models::loader(events.clone());
        let catalog = tokio::select! {
            loaded = models::load(&loader, &config, None) => CatalogHandle::new(Arc::new(loaded?)),
            () = end_is_wished(signals) => return Ok(None),
        };

        let scheduler = Scheduler::start(scheduler_settings(&config), catalog.clone(), events.clone());
        let scheduler = Arc::new(scheduler.map_err(DaemonError::Thread)?);
        let idle = IdleUnload::start(&loader.budget, &scheduler, config.memory.idle_unload);
        let link = BrokerLink::default();
        let loops = Loops::under(notify::watchdog());
        let (told, of) = (limits(&config), Arc::clone(&scheduler));
        let status = DaemonStatus::new(&*config.device, catalog.clone(), of, link.clone(), told, events, loops.clone());
        let changes = Arc::new(ModelChanges::new(updates, catalog.clone()));
        let status = Arc::new(status.with_reloads(reloads.clone(), places.into).with_change_models(changes));
        let generation = config.generation();
        if let Some(begun) = begun {
            status.set_generation(Some(Running { generation, confirmed: generation == begun.store.good() }));
        }

        let listeners = Listeners {
            unix: UnixListener::from_std(unix).map_err(DaemonError::Thread)?,
            tcp: Listeners::bind_tcp(config.http.tcp.as_ref()).await?,
        };
        let (http, intake) = (config.http.clone(), config.intake.clone());
        // Open before anybody is let in: who has waited for the start must not be turned away.
        scheduler.open();
        let (admit, source) = (admit(&scheduler), Arc::clone(&status) as _);
        let http = HttpServer::start(http, intake, listeners, admit, source, &loops)?;
        let mut daemon = Self {
            http,
            mqtt: None,
            link,
            notices: Notices::new(begun.is_some()),
            status,
            scheduler,
            loader,
            catalog,
            config,
            sources,
            loops,
            idle,
            reloads,
            state,
            _first: first,
            _socket: socket,
        };
        // It connects when it can: READY does not wait for the broker.
        daemon.mqtt = daemon.start_mqtt(&daemon.config)?;
        daemon.tell_ready();
        Ok(Some(daemon))
    }

    /// Serves until the end, or a restart, is asked for, then drains.
    async fn run(mut self, signals: &mut Signals, orders: &mut Orders) -> Result<Ended, DaemonError> {
        let watchdog = Watchdog::start(self.loops.clone(), Arc::clone(&self.scheduler)).map_err(DaemonError::Thread)?;
        let watch = self.loops.watch("the daemon's own loop");
        let beat = watch.beat();
        let mut again = false;
        let ended = loop {
            let next = match std::mem::take(&mut again) {
                true => Next::Wish(Wish::Reload),
                false => beat.keep(next(signals, orders)).await,
            };
            // Whoever wishes for a reload during this has changed something that this one may not have read.
            let end = async {
                while signals.next().await == Wish::Reload {
                    again = true;
                }
            };
            let work = async {
                match next {
                    Next::Wish(Wish::End) => {}
                    Next::Wish(Wish::Reload) => tokio::select! {
                        () = self.reload() => return None,
                        () = end => {
                            log::warn!("asked to end while the configuration is read again: the reload is given up");
                        }
                    },
                    Next::Order(order) if matches!(*order, Order::Restart) => return Some(Ended::Restart),
                    Next::Order(order) => tokio::select! {
                        () = self.obey(*order) => return None,
                        () = end => log::warn!("asked to end while a generation is switched: the switch is given up"),
                    },
                }
                Some(Ended::Done)
            };
            if let Some(ended) = beat.keep(work).await {
                break ended;
            }
        };
        // No second wish cuts this short: it is soon done, and a mark that stays counts as a crash.
        if let Some(mqtt) = &self.mqtt {
            beat.keep(mqtt.blame_nobody()).await;
        }
        let end = async {
            tokio::select! {
                () = self.drain(ended) => ended,
                () = end_is_wished(signals) => {
                    log::warn!("asked to end a second time: ending at once");
                    Ended::Done
                }
            }
        };
        let ended = beat.keep(end).await;
        drop(watchdog);
        if ended == Ended::Done {
            log::info!(MESSAGE_ID = message_id::ENDED; "linnetd has ended");
        }
        Ok(ended)
    }

    /// What updates this device, on a thread of its own.
    fn start_agent(&self, begun: Begun, updates: Updates) -> std::io::Result<Agent> {
        let catalog = self.catalog.clone();
        Agent::start(Parts {
            store: begun.store,
            update: begun.update,
            trusted: begun.trusted,
            base: begun.base,
            config: Arc::clone(&self.config),
            settings: begun.settings,
            updates,
            notices: self.notices.clone(),
            events: self.loader.events.clone(),
            status: Arc::clone(&self.status),
            link: self.link.clone(),
            prove_again: Box::new(move |packages| models::prove_again(&catalog.get(), packages)),
        })
    }

    /// What asks for a name, where the device has a claim and no name yet.
    fn start_provisioner(&self, updates: Updates) -> Option<Provisioner> {
        let settings = self.config.provision.clone()?;
        self.status.set_provisioning(Some(Provisioning {
            claim: settings.claim.display().to_string(),
            state: ProvisioningState::Asking,
            reason: None,
        }));
        Some(Provisioner::start(provision::Parts {
            settings,
            intake: self.config.mqtt_intake.clone(),
            sources: self.sources.clone(),
            status: Arc::clone(&self.status),
            updates,
        }))
    }

    /// MQTT under `config`, where it is on.
    fn start_mqtt(&self, config: &Config) -> Result<Option<MqttTransport>, MqttStartError> {
        let Some(mqtt) = config.mqtt.clone() else { return Ok(None) };
        let (admit, status) = (admit(&self.scheduler), Arc::clone(&self.status) as _);
        let (intake, link) = (config.mqtt_intake.clone(), self.link.clone());
        MqttTransport::start(mqtt, intake, admit, status, link, self.notices.clone(), &self.loops).map(Some)
    }

    fn tell_ready(&self) {
        let status = self.status.status();
        let serving = self.catalog.get().served().count();
        let line = match serving {
            0 => "no model serves; the log says why".to_owned(),
            1 => "serving with 1 model".to_owned(),
            n => format!("serving with {n} models"),
        };
        let (socket, workers) = (self.config.http.socket.display().to_string(), status.workers);
        log::info!(
            MESSAGE_ID = message_id::READY, SOCKET = socket.as_str(), WORKERS = workers;
            "ready: {line}, {workers} workers, socket {socket}"
        );
        if let Some(tcp) = self.http.tcp_address() {
            log::info!("http.tcp listens on {tcp}");
        }
        notify::ready(&line);
    }

    /// Takes no new request, lets running ones end for `drain_secs`, answers the rest.
    async fn drain(self, then: Ended) {
        let grace = self.config.scheduler.drain;
        let secs = grace.as_secs();
        match then {
            Ended::Done => {
                log::info!(MESSAGE_ID = message_id::DRAINING; "ending: running requests have {secs} s");
                notify::stopping();
            }
            Ended::Restart => {
                log::info!(MESSAGE_ID = message_id::RESTARTING; "restarting: running requests have {secs} s");
                notify::restarting();
            }
        }
        // What the scheduler turns away from now on is left to the broker and to the next start.
        if let Some(mqtt) = &self.mqtt {
            mqtt.stop_intake().await;
        }
        let scheduler = Arc::clone(&self.scheduler);
        let jobs = on_own_thread("drain", move || scheduler.drain(grace));
        let mqtt = async {
            match &self.mqtt {
                Some(mqtt) => mqtt.drain(grace + CLOSE_GRACE).await,
                None => 0,
            }
        };
        let (drained, cut, left) = tokio::join!(jobs, self.http.drain(grace + CLOSE_GRACE), mqtt);
        if let Ok(d) = drained
            && d.refused + d.interrupted > 0
        {
            log::warn!("{} requests that ran and {} that waited were answered with an error", d.interrupted, d.refused);
        }
        if cut > 0 {
            log::warn!("{cut} connections were closed before their time");
        }
        if left > 0 {
            log::warn!("{left} requests over MQTT are left; the broker delivers them again at the next start");
        }
    }
}

/// What the daemon's loop has to do next.
enum Next {
    Wish(Wish),
    Order(Box<Order>),
}

async fn next(signals: &mut Signals, orders: &mut Orders) -> Next {
    tokio::select! {
        wish = signals.next() => Next::Wish(wish),
        order = orders.next() => Next::Order(Box::new(order)),
    }
}

/// What the transports ask: the scheduler, behind the chains of what takes several models.
fn admit(scheduler: &Arc<Scheduler>) -> Arc<dyn Admit> {
    Arc::new(Chains::new(Arc::clone(scheduler) as _))
}

/// Waits for the wish to end; a wish to reload meanwhile is too late or too early to count.
async fn end_is_wished(signals: &mut Signals) {
    while signals.next().await != Wish::End {}
}

fn scheduler_settings(config: &Config) -> SchedulerSettings {
    SchedulerSettings {
        workers: config.scheduler.workers,
        queue_length: config.scheduler.queue_length,
        stuck_after: config.scheduler.stuck_after,
        audio_limits: config.intake.audio.clone(),
        ..SchedulerSettings::default()
    }
}

/// What callers are told of the limits.
fn limits(config: &Config) -> Limits {
    let intake = if config.mqtt.is_some() { &config.mqtt_intake } else { &config.intake };
    Limits {
        max_upload_bytes: config.intake.max_upload_bytes,
        max_audio_secs: config.intake.audio.max_secs as u64,
        max_packet_bytes: config.mqtt.as_ref().map_or(0, |mqtt| u64::from(mqtt.max_packet_bytes)),
        queue_length: config.scheduler.queue_length,
        default_deadline_ms: ms(intake.default_timeout),
        max_deadline_ms: ms(intake.max_timeout),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
