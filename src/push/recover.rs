//! `linnetd recover --factory`: what was shipped serves again, whatever was pushed.

use linnet_fleet::trust::Trusted;
use linnet_proto::fleet::Rollout;

use super::machine::Persisted;
use super::open::FLEET;
use crate::config::Config;
use crate::daemon::hold_state;
use crate::store::generations::fs::RealDisk;
use crate::store::generations::{GenerationStore, Options};

/// What a recovery did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The generation that served before; 0 where nothing that was pushed did.
    pub from: u64,
}

/// Points the device of `config` back to what was shipped, and remembers the generation that served, and each older one that is open, as refused: they
/// come back when the operator asks for another attempt at them, and any newer one comes as ever. What is trusted stays. No daemon may run on the state directory. The
/// error is one sentence.
pub fn to_factory(config: &Config) -> Result<Recovered, String> {
    let root = config.state_dir.join(FLEET);
    if !root.is_dir() {
        return Ok(Recovered { from: 0 });
    }
    let _held = hold_state(config)?;
    let disk = RealDisk::at(&root).map_err(|e| format!("{}: {e}", root.display()))?;
    let mut store = GenerationStore::open(Box::new(disk), Options::default()).map_err(|e| e.to_string())?.store;
    let live = store.pointers().live.clone();
    if live.generation > 0 {
        let update = store.update().and_then(|bytes| Persisted::parse(bytes).ok());
        let attempt = update.filter(|update| update.sha256 == live.sha256).map_or(1, |update| update.attempt);
        store.refuse(&live.sha256, attempt).map_err(|e| e.to_string())?;
        for rollout in opened(&store) {
            if rollout.number <= live.generation {
                store.refuse(&rollout.sha256, rollout.attempt).map_err(|e| e.to_string())?;
            }
        }
    }
    store.return_to_shipped().map_err(|e| e.to_string())?;
    store.collect_garbage(None).map_err(|e| e.to_string())?;
    Ok(Recovered { from: live.generation })
}

/// What the trusted metadata open. Without any, or with damaged ones, the device begins anew with what its sources have, and refuses what served.
fn opened(store: &GenerationStore) -> Vec<Rollout> {
    let trusted = store.trust().ok().flatten().and_then(|bytes| Trusted::parse(&bytes).ok());
    let contents = trusted.and_then(|trusted| trusted.contents().ok()).unwrap_or_default();
    contents.rollouts.into_iter().filter_map(|entry| entry.rollout.ok()).collect()
}
