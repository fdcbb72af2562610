//! The start: which generation this start serves, before anything of it is read.

use linnet_fleet::trust::Trusted;

use crate::config::fleet::FleetSettings;
use crate::config::{self, Config, ConfigError, GenerationLayer, Sources};
use crate::push::probe::Code;
use crate::push::{self, Fault, Opened, Persisted};
use crate::store::generations::GenerationStore;
use crate::sys::clock;

/// What an agent goes on with.
pub struct Begun {
    /// The store.
    pub store: GenerationStore,
    /// The update as the start left it.
    pub update: Option<Persisted>,
    /// What is trusted.
    pub trusted: Trusted,
    /// `[fleet]`.
    pub settings: FleetSettings,
    /// Flags, environment and file.
    pub base: Sources,
}

/// A generation on trial that did not come up in this process.
#[derive(Debug)]
pub struct Failed {
    generation: u64,
    fault: Fault,
}

impl Begun {
    /// Whether the generation that this start `serves` was not confirmed yet.
    pub fn is_on_trial(&self, serves: u64) -> bool {
        serves == self.store.live() && serves != self.store.good()
    }

    /// The generation on trial does not come up for `reason`: it goes back.
    pub fn take_back(mut self, reason: &str) -> Failed {
        let failed = Failed { generation: self.store.live(), fault: Fault::new("start", reason) };
        log::error!("update: generation {} cannot serve: {reason}", failed.generation);
        take_back(&mut self.store, &mut self.update, &failed.fault);
        failed
    }
}

fn take_back(store: &mut GenerationStore, update: &mut Option<Persisted>, fault: &Fault) {
    if let Err(unsaved) = push::take_back(store, update, fault, clock::since_epoch().as_secs()) {
        log::error!("update: {}", unsaved.reason);
    }
}

/// Decides what serves: gives the sources with that generation, and the configuration that they come to. `without`: what did not come up a moment
/// ago, and is not opened even where the disk did not take its way back. Must be called when no other daemon can have the state directory.
pub fn begin(
    base: Sources,
    local: Config,
    without: Option<Failed>,
) -> Result<(Option<Begun>, Sources, Config), ConfigError> {
    let Some(Opened { mut store, mut update, trusted, layer }) = push::open(&local) else {
        return Ok((None, base, local));
    };
    let (sources, config) = layered(&base, local, layer, &mut store, &mut update, without)?;
    let begun = match (trusted, config.fleet.clone()) {
        (Some(trusted), Some(settings)) => Some(Begun { store, update, trusted, settings, base }),
        _ => None,
    };
    Ok((begun, sources, config))
}

/// A generation whose configuration does not go with this device's own any more takes nobody down: one on trial makes way for the last good
/// one, and that for what was shipped.
fn layered(
    base: &Sources,
    local: Config,
    layer: Option<GenerationLayer>,
    store: &mut GenerationStore,
    update: &mut Option<Persisted>,
    without: Option<Failed>,
) -> Result<(Sources, Config), ConfigError> {
    let Some(layer) = layer else { return Ok((base.clone(), local)) };
    let number = layer.number;
    let fault = match without.filter(|failed| failed.generation == number) {
        Some(failed) => failed.fault,
        None => {
            let sources = base.with_generation(Some(layer));
            let refused = match config::load(&sources) {
                Ok(config) => return Ok((sources, config)),
                Err(refused) => refused,
            };
            log::error!("update: generation {number} cannot serve: {refused}");
            if number == store.good() {
                // It has served: what does not go with it any more is what somebody has changed on this device.
                return Err(refused);
            }
            Fault::new(Code::Config.as_str(), refused.to_string())
        }
    };
    take_back(store, update, &fault);
    let good = store.good();
    let layer = (good > 0).then(|| store.installed(good)).transpose();
    match layer {
        Ok(generation) => {
            let layer = generation.map(|g| GenerationLayer::of(&g, Some(store.packages_dir(good))));
            let sources = base.with_generation(layer);
            Ok((sources.clone(), config::load(&sources)?))
        }
        Err(e) => {
            log::error!("update: {e}; what was shipped serves");
            Ok((base.clone(), local))
        }
    }
}
