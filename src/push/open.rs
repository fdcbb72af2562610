//! What a start of the daemon finds of updates: the generation to serve, and what goes on.

use std::path::Path;

use linnet_fleet::trust::Trusted;

use super::machine::{Fault, Persisted};
use super::{start, take_back};
use crate::config::{Config, GenerationLayer};
use crate::store::generations::fs::RealDisk;
use crate::store::generations::{GenerationStore, Options};
use crate::sys::clock;

/// Name of the directory of generations inside the state directory.
pub(super) const FLEET: &str = "fleet";

/// What an agent begins with, and what serves meanwhile.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: GenerationStore,
    /// The update to go on with.
    pub update: Option<Persisted>,
    /// What is trusted; absent where the shipped root cannot be read, and then nothing is updated until it can.
    pub trusted: Option<Trusted>,
    /// What this start serves; none for what was shipped.
    pub layer: Option<GenerationLayer>,
}

/// Opens the store and decides what this start serves, where `local` (without any generation) names a fleet. Faults are logged: whatever they are, a
/// generation serves.
pub fn open(local: &Config) -> Option<Opened> {
    let settings = local.fleet.as_ref()?;
    let root = local.state_dir.join(FLEET);
    let opened = RealDisk::at(&root)
        .map_err(|e| format!("{}: {e}", root.display()))
        .and_then(|disk| GenerationStore::open(Box::new(disk), Options::default()).map_err(|e| e.to_string()));
    let opened = match opened {
        Ok(opened) => opened,
        Err(e) => {
            log::error!("update: {e}; what was shipped serves, and nothing is updated");
            return None;
        }
    };
    for line in &opened.said {
        log::error!("update: {line}");
    }
    let mut store = opened.store;
    let started = start(&mut store, clock::since_epoch().as_secs());
    for line in &started.said {
        log::error!("update: {line}");
    }
    let mut update = started.update;
    let layer = layer(&mut store, &mut update, started.serve);
    let trusted = trusted(&store, &settings.root);
    Some(Opened { store, update, trusted, layer })
}

/// The layer of a generation; of the last good one where it cannot be read, and of none where that cannot either.
fn layer(store: &mut GenerationStore, update: &mut Option<Persisted>, serve: u64) -> Option<GenerationLayer> {
    for number in [serve, store.good()] {
        if number == 0 {
            return None;
        }
        match store.installed(number) {
            Ok(generation) => return Some(GenerationLayer::of(&generation, Some(store.packages_dir(number)))),
            Err(e) => {
                log::error!("update: generation {number} cannot serve: {e}");
                if store.live() != store.good() {
                    let damaged = Fault::from(e);
                    if let Err(fault) = take_back(store, update, &damaged, clock::since_epoch().as_secs()) {
                        log::error!("update: {}", fault.reason);
                    }
                }
            }
        }
    }
    log::error!("update: what was shipped serves");
    if let Err(e) = store.return_to_shipped() {
        log::error!("update: {e}");
    }
    None
}

/// What was committed last, or the beginning. Damage is told: the metadata are then followed from the shipped root again, and the numbers of
/// generations keep older ones out.
fn trusted(store: &GenerationStore, shipped: &Path) -> Option<Trusted> {
    match store.trust() {
        Ok(Some(bytes)) => match Trusted::parse(&bytes) {
            Ok(trusted) => return Some(trusted),
            Err(e) => {
                log::error!("update: what was trusted is damaged ({e}); trust begins again at {}", shipped.display())
            }
        },
        Ok(None) => {}
        Err(e) => log::error!("update: {e}; trust begins again at {}", shipped.display()),
    }
    let begun = std::fs::read(shipped)
        .map_err(|e| e.to_string())
        .and_then(|root| Trusted::begin(&root).map_err(|e| e.to_string()));
    begun.inspect_err(|e| log::error!("update: fleet.root = {}: {e}; nothing is updated", shipped.display())).ok()
}
