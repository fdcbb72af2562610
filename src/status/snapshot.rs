//! The daemon's state in one look: catalog, scheduler, link and limits together.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use linnet_proto::fleet::Running;
use linnet_proto::status::{FleetFailure, Health, Limits, Provisioning, SourceStatus, Status};

use super::metrics::{Sample, resident_bytes};
use super::{BrokerLink, ChangeModels, Events, LinkCount, StatusSource};
use crate::scheduler::{Phase, Scheduler};
use crate::sys::liveness::Loops;
use crate::sys::reloads::Reloads;
use crate::task::catalog::CatalogHandle;

/// Who changes the models.
struct ModelChanger(Arc<dyn ChangeModels>);

impl std::fmt::Debug for ModelChanger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ModelChanger")
    }
}

/// What [`StatusSource`] is asked of, for the whole daemon. Build it once; it reads everything anew at each question.
#[derive(Debug)]
pub struct DaemonStatus {
    device: String,
    began: Instant,
    catalog: CatalogHandle,
    scheduler: Arc<Scheduler>,
    link: BrokerLink,
    limits: RwLock<Limits>,
    events: Events,
    loops: Loops,
    reloads: Option<Reloads>,
    models_dir: Option<PathBuf>,
    change_models: Option<ModelChanger>,
    generation: RwLock<Option<Running>>,
    fleet_sources: RwLock<Vec<SourceStatus>>,
    fleet_last_failure: RwLock<Option<FleetFailure>>,
    provisioning: RwLock<Option<Provisioning>>,
}

impl DaemonStatus {
    /// The status of the daemon that calls itself `device` and begins now.
    pub fn new(
        device: impl Into<String>,
        catalog: CatalogHandle,
        scheduler: Arc<Scheduler>,
        link: BrokerLink,
        limits: Limits,
        events: Events,
        loops: Loops,
    ) -> Self {
        let (device, began) = (device.into(), Instant::now());
        Self {
            device,
            began,
            catalog,
            scheduler,
            link,
            limits: RwLock::new(limits),
            events,
            loops,
            reloads: None,
            models_dir: None,
            change_models: None,
            generation: RwLock::default(),
            fleet_sources: RwLock::default(),
            fleet_last_failure: RwLock::default(),
            provisioning: RwLock::default(),
        }
    }

    /// The same, with somebody who grants reloads, and the directory that models are to be added to.
    #[must_use]
    pub fn with_reloads(mut self, reloads: Reloads, models_dir: PathBuf) -> Self {
        self.reloads = Some(reloads);
        self.models_dir = Some(models_dir);
        self
    }

    /// The same, with somebody who adds and removes models.
    #[must_use]
    pub fn with_change_models(mut self, change_models: Arc<dyn ChangeModels>) -> Self {
        self.change_models = Some(ModelChanger(change_models));
        self
    }

    /// Tells other limits from now on, after a reload.
    pub fn set_limits(&self, limits: Limits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// Tells which generation serves from now on.
    pub fn set_generation(&self, generation: Option<Running>) {
        *self.generation.write().unwrap_or_else(PoisonError::into_inner) = generation;
    }

    /// Tells how the sources of generations stand from now on.
    pub fn set_fleet_sources(&self, sources: Vec<SourceStatus>) {
        *self.fleet_sources.write().unwrap_or_else(PoisonError::into_inner) = sources;
    }

    /// Tells which generation was refused or taken back last.
    pub fn set_fleet_last_failure(&self, failure: Option<FleetFailure>) {
        *self.fleet_last_failure.write().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// Tells how it stands with the name that the device waits for.
    pub fn set_provisioning(&self, provisioning: Option<Provisioning>) {
        *self.provisioning.write().unwrap_or_else(PoisonError::into_inner) = provisioning;
    }

    fn health(&self, phase: Phase, well: bool) -> Health {
        let catalog = self.catalog.get();
        match phase {
            Phase::Starting => Health::Starting,
            Phase::Draining | Phase::Stopped => Health::Draining,
            Phase::Open if well && self.scheduler.is_live() && catalog.serves() && !catalog.has_failed() => {
                Health::Ready
            }
            Phase::Open => Health::Degraded,
        }
    }
}

impl StatusSource for DaemonStatus {
    fn reloads(&self) -> Option<Reloads> {
        self.reloads.clone()
    }

    fn change_models(&self) -> Option<Arc<dyn ChangeModels>> {
        self.change_models.as_ref().map(|changer| Arc::clone(&changer.0))
    }

    fn status(&self) -> Status {
        let load = self.scheduler.load();
        let stalled: Vec<String> = self.loops.standing_still().iter().map(|still| still.name.to_owned()).collect();
        let mqtt_storage = self.link.storage();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: self.device.clone(),
            health: self.health(load.phase, stalled.is_empty() && mqtt_storage.is_none()),
            uptime_secs: self.began.elapsed().as_secs_f64(),
            models: self.catalog.get().status(),
            models_dir: self.models_dir.as_ref().map(|dir| dir.display().to_string()),
            generation: *self.generation.read().unwrap_or_else(PoisonError::into_inner),
            fleet_sources: self.fleet_sources.read().unwrap_or_else(PoisonError::into_inner).clone(),
            fleet_last_failure: self.fleet_last_failure.read().unwrap_or_else(PoisonError::into_inner).clone(),
            provisioning: self.provisioning.read().unwrap_or_else(PoisonError::into_inner).clone(),
            limits: self.limits.read().unwrap_or_else(PoisonError::into_inner).clone(),
            queue_depth: load.waiting,
            workers: load.workers,
            worker_restarts: self.events.metrics().worker_restarts(),
            workers_stuck: self.events.metrics().workers_stuck(),
            mqtt: self.link.get().as_str().to_owned(),
            mqtt_reason: self.link.reason(),
            mqtt_contested: self.link.contested(),
            mqtt_storage,
            stalled,
        }
    }

    /// Requests are taken and some model can answer them.
    fn is_ready(&self) -> bool {
        self.scheduler.load().phase == Phase::Open && self.scheduler.is_live() && self.catalog.get().serves()
    }

    fn metrics(&self) -> String {
        let load = self.scheduler.load();
        self.events.metrics().text(&Sample {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: self.began.elapsed(),
            queue_depth: load.waiting,
            running: load.running,
            workers: load.workers,
            models: self.catalog.get().memory(),
            link: self.link.get(),
            link_counts: LinkCount::ALL.map(|what| (what.as_str(), self.link.counted(what))),
            resident_bytes: resident_bytes(),
        })
    }
}
