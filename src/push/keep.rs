//! The update and the store together: the start of the daemon, each save, each end.

use super::machine::{Fault, Persisted, Serve, start as plan};
use crate::store::generations::{GenerationStore, StoreError};
use linnet_proto::fleet::PushState;

/// What a start came to.
#[derive(Debug)]
pub struct Started {
    /// The generation to open; 0 is what was shipped.
    pub serve: u64,
    /// The update to go on with: [`super::Driver::new`].
    pub update: Option<Persisted>,
    /// What was found damaged, and what was done about it; one sentence each, for the log.
    pub said: Vec<String>,
}

/// Decides which generation this start of the daemon opens, and makes durable what must be before it is opened: the count of its
/// openings, or the way back. Call it once, before anything of a generation is read, and open what it says.
pub fn start(store: &mut GenerationStore, since_epoch_secs: u64) -> Started {
    let mut said = Vec::new();
    let read = store.update().map(Persisted::parse).transpose().unwrap_or_else(|e| {
        said.push(format!("the state of the last update {e}; the last good generation serves"));
        None
    });
    let mut plan = plan(read.as_ref(), store.live(), store.good(), since_epoch_secs);
    let mut fault = None;
    if let Some(update) = plan.update.as_ref().filter(|update| Some(*update) != read.as_ref()) {
        fault = save(store, update).err();
    }
    if let (Some(fault), Serve::Live) = (&fault, plan.serve)
        && store.live() != store.good()
    {
        // Uncounted it could take the device down for ever.
        let generation = store.live();
        said.push(format!(
            "{}; generation {generation} is not opened while its openings cannot be counted",
            fault.reason
        ));
        plan.serve = Serve::Good;
        plan.update = plan.update.map(|update| update.not_counted(since_epoch_secs));
    }
    let serve = match plan.serve {
        Serve::Live => store.live(),
        Serve::Good => store.good(),
    };
    if plan.serve == Serve::Good
        && let Err(e) = store.roll_back()
    {
        said.push(format!("{e}; generation {serve} serves all the same"));
    }
    let in_progress = plan.update.as_ref().filter(|update| !update.state.is_failure());
    let keep = in_progress.map(|update| update.sha256.clone());
    if let Err(e) = store.collect_garbage(keep.as_deref()) {
        said.push(format!("{e}; what no generation needs stays for now"));
    }
    Started { serve, update: plan.update, said }
}

/// What this start found live cannot be served, and was not confirmed: it goes back before anybody is let in, and `update` with it, so that nobody
/// takes what serves instead for the generation on trial. What the disk does not take is an error; the agent tries it again.
pub fn take_back(
    store: &mut GenerationStore,
    update: &mut Option<Persisted>,
    fault: &Fault,
    since_epoch_secs: u64,
) -> Result<(), Fault> {
    let live = store.live();
    let mut saved = Ok(());
    if let Some(update) = update.as_mut().filter(|update| update.generation == live && !update.state.is_failure()) {
        *update = update.not_served(fault, since_epoch_secs);
        saved = save(store, update);
    }
    store.roll_back()?;
    saved
}

/// Makes an update's state durable: [`super::Effects::save`].
pub fn save(store: &mut GenerationStore, update: &Persisted) -> Result<(), Fault> {
    store.save_update(&update.to_bytes()).map_err(Fault::from)
}

/// Brings about what an end asks of the store: the pointers, the memory of what was refused, and the removal of what nobody needs.
/// Nothing is done where it is done already, and nothing for an update that has not ended.
pub fn settle(store: &mut GenerationStore, update: &Persisted) -> Result<(), Fault> {
    match update.state {
        PushState::Confirmed if store.live() == update.generation => store.confirm()?,
        PushState::Confirmed => {}
        PushState::Rejected | PushState::RolledBack => {
            store.roll_back()?;
            store.refuse(&update.sha256, update.attempt)?;
        }
        _ => return Ok(()),
    }
    Ok(store.collect_garbage(None)?)
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
