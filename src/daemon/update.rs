//! Generations in the running daemon: where a proof has room, the switch and its way back, the restart for what cannot change live.
//!
//! Whoever updates holds [`Updates`] and asks the daemon's loop, which does one thing at a time and goes on hearing signals.

mod begin;
mod orders;
#[cfg(test)]
mod tests;
mod window;

use std::path::Path;
use std::sync::Arc;

pub use begin::{Begun, Failed, begin};
pub use orders::{Order, Orders, Unapplied, Updates, updates};
pub use window::DrainedWindow;

use super::reload::Known;
use super::{Daemon, models, on_own_thread};
use crate::config::diff::{Diff, KeyChange};
use crate::config::{self, Config, Sources};
use crate::logging::message_id;
use crate::push::probe::{Code, Need, Probe, ProbeFault, ProbeLimits, Room};
use crate::store::memory;
use crate::task::catalog::Catalog;

/// How a candidate is to be proved.
#[derive(Debug)]
pub struct Plan {
    /// The proof.
    pub probe: Probe,
    /// Where it has room.
    pub room: Room,
    /// What it needs.
    pub need: Need,
}

/// What a switch came to.
#[derive(Debug)]
pub struct Activation {
    /// Packages that were added on this device and serve beside the generation's.
    pub local_packages: Vec<String>,
    /// Keys that differ from what served before.
    pub changed: Vec<KeyChange>,
    /// Whether it serves.
    pub outcome: Outcome,
}

/// Whether a generation serves.
#[derive(Debug)]
pub enum Outcome {
    /// It serves; this is the way back.
    Serves(Box<Back>),
    /// Nothing was changed: these keys need a restart, which takes the generation whole.
    Restart(Vec<KeyChange>),
}

/// The way back to what served before a switch.
#[derive(Debug)]
pub struct Back {
    sources: Sources,
    /// What they came to.
    config: Arc<Config>,
    /// What served before.
    models: Arc<Catalog>,
    /// What serves as long as nothing was reloaded since.
    since: Arc<Catalog>,
}

impl Daemon {
    /// How the generation in `dir`, which `candidate` holds, is to be proved, by what serves and by the memory there is.
    pub(super) fn plan(&self, candidate: &Sources, dir: &Path) -> Result<Plan, ProbeFault> {
        let to = config::load(candidate).map_err(|e| ProbeFault::new(Code::Config, e.to_string()))?;
        let settings =
            to.fleet.as_ref().map(|fleet| fleet.probe).ok_or_else(|| {
                ProbeFault::new(Code::Config, "the device belongs to no fleet: fleet.name is not set")
            })?;
        let serving = self.catalog.get();
        let changed = models::changed(&self.loader, &to, &serving).map_err(|(dir, reason)| {
            let model = dir.file_name().map(|name| name.to_string_lossy().into_owned());
            ProbeFault { code: Code::Package, model, reason }
        })?;
        let need = Need::of(&changed);
        let held_mib = serving.held_beside(None) >> 20;
        let room = need.room(held_mib, memory::memory(), &settings)?;
        let program = std::env::current_exe()
            .map_err(|e| ProbeFault::new(Code::Start, format!("linnetd does not know its own file: {e}")))?;
        let limits = ProbeLimits { time: settings.time, memory_mib: room.memory_mib() };
        let probe = Probe {
            program,
            flags: candidate.flags.as_flags(),
            generation: dir.to_owned(),
            models: changed.into_iter().map(|changed| changed.package.dir).collect(),
            limits,
        };
        Ok(Plan { probe, room, need })
    }

    /// Lets go of the models that serve until the window is dropped; requests wait meanwhile.
    pub(super) async fn open_window(&self) -> Result<DrainedWindow, String> {
        DrainedWindow::open(&self.scheduler, &self.catalog, self.config.scheduler.drain).await
    }

    /// Serves what `candidate` holds from now on, by difference: models that did not change stay loaded. The error is one sentence, and
    /// then everything is as it was.
    pub(super) async fn activate(
        &mut self,
        candidate: Sources,
        window: Option<DrainedWindow>,
    ) -> Result<Activation, String> {
        let to = config::load(&candidate).map_err(|e| e.to_string())?;
        if let Some(clash) = models::clash(&to) {
            return Err(clash);
        }
        let local_packages = models::added_locally(&to);
        let diff = Diff::between(&self.config, &to, &candidate.around).map_err(|e| e.to_string())?;
        if !diff.refused.is_empty() {
            for change in &diff.refused {
                log::info!("generation {}: needs a restart: {change}", to.generation());
            }
            let outcome = Outcome::Restart(diff.refused.clone());
            let changed = diff.changed.into_iter().chain(diff.refused).collect();
            return Ok(Activation { local_packages, changed, outcome });
        }
        let changed = diff.changed.clone();
        let config = Arc::clone(&self.config);
        let before = self.apply_all(diff, Known::Beside(self.catalog.get())).await?;
        let since = self.catalog.get();
        if let Some(window) = window {
            window.served_by(&since);
        }
        self.spare_memory(&before);
        let sources = std::mem::replace(&mut self.sources, candidate);
        self.tell_generation();
        let back = Back { sources, config, models: before, since };
        Ok(Activation { local_packages, changed, outcome: Outcome::Serves(Box::new(back)) })
    }

    /// Serves again what served before the switch that `back` comes from. What was reloaded since counts: it is read again, and of
    /// its models those that served before are taken as they are.
    pub(super) async fn go_back(&mut self, back: Back) -> Result<(), String> {
        // Whoever has broken the file meanwhile must not keep a bad generation alive.
        let to = config::load(&back.sources).unwrap_or_else(|e| {
            log::warn!("the configuration cannot be read again, and counts as it was before the update: {e}");
            back.config.as_ref().clone()
        });
        let diff = Diff::between(&self.config, &to, &back.sources.around).map_err(|e| e.to_string())?;
        for change in &diff.refused {
            log::warn!("needs a restart and keeps its old value: {change}");
        }
        let now = self.catalog.get();
        // As it was, without a look at the disk, unless somebody added or removed a model since.
        let known = match Arc::ptr_eq(&now, &back.since) {
            true => Known::Exactly(back.models),
            false => Known::Beside(Arc::new(now.beside(&back.models))),
        };
        let bad = self.apply_all(diff, known).await?;
        self.spare_memory(&bad);
        self.sources = back.sources;
        self.tell_generation();
        Ok(())
    }

    /// Keeps the weights of models that no longer serve for the way back where memory is plenty, and lets go of them where it is not:
    /// then they are loaded again when they are needed.
    fn spare_memory(&self, before: &Catalog) {
        let serving = self.catalog.get();
        let held = before.held_beside(Some(&serving));
        let available = memory::memory().map_or(u64::MAX, |memory| memory.available_mib << 20);
        if held > 0 && available < held.saturating_mul(2) {
            let gone = before.let_go(Some(&serving)).len();
            self.scheduler.tidy();
            linnet_kernels::allocator::give_back();
            log::info!(
                "let go of {gone} models that served before, {} MiB; {} MiB are available",
                held >> 20,
                available >> 20
            );
        }
    }

    /// Says which generation serves.
    fn tell_generation(&self) {
        let number = self.config.generation();
        self.status.set_generation(Some(linnet_proto::fleet::Running { generation: number, confirmed: number == 0 }));
        log::info!(MESSAGE_ID = message_id::GENERATION_SERVES, GENERATION = number; "generation {number} serves");
        if let Some(mqtt) = &self.mqtt {
            mqtt.state_changed();
        }
        self.tell_ready();
    }

    /// Does what is asked for; a restart is the loop's to do.
    pub(super) async fn obey(&mut self, order: Order) {
        match order {
            Order::Plan { candidate, dir, answer } => {
                let planned = self.plan(&candidate, &dir);
                // Whoever asked may be gone.
                let _ = answer.send(planned);
            }
            Order::Window { answer } => {
                let _ = answer.send(self.open_window().await);
            }
            Order::Activate { candidate, window, answer } => {
                let _ = answer.send(self.activate(candidate, window).await);
            }
            Order::GoBack { back, answer } => {
                let _ = answer.send(self.go_back(*back).await);
            }
            Order::Places { answer } => {
                let _ = answer.send(self.places());
            }
            Order::LoadModels { answer } => {
                let _ = answer.send(self.load_models().await);
            }
            Order::Restart => {}
        }
    }
}
