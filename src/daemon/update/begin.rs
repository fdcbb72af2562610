//! The start: which generation this start serves, before anything of it is read.

use linnet_fleet::trust::Trusted;

use crate::config::fleet::FleetSettings;
use crate::config::{self, Config, ConfigError, GenerationLayer, Sources};
use crate::push::{self, Opened, Persisted};
use crate::store::generations::GenerationStore;

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

/// Decides what serves: gives the sources with that generation, and the configuration that they come to. Must be called when no other
/// daemon can have the state directory.
pub fn begin(base: Sources, local: Config) -> Result<(Option<Begun>, Sources, Config), ConfigError> {
    let Some(Opened { mut store, update, trusted, layer }) = push::open(&local) else { return Ok((None, base, local)) };
    let (sources, config) = layered(&base, local, layer, &mut store)?;
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
) -> Result<(Sources, Config), ConfigError> {
    let Some(layer) = layer else { return Ok((base.clone(), local)) };
    let number = layer.number;
    let sources = base.with_generation(Some(layer));
    let refused = match config::load(&sources) {
        Ok(config) => return Ok((sources, config)),
        Err(refused) => refused,
    };
    log::error!("update: generation {number} cannot serve: {refused}");
    if store.live() == store.good() {
        // It has served: what does not go with it any more is what somebody has changed on this device.
        return Err(refused);
    }
    if let Err(e) = store.roll_back() {
        log::error!("update: {e}");
    }
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
