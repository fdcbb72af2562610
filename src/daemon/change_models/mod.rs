//! Models that are added and removed while the daemon serves, on somebody's word over the Unix socket.
//!
//! A model is taken in by `linnetd import`, a child process: what loads it for the first time may need more memory than there is, or
//! crash, and what serves must not. Only the swap of the catalog is the daemon's loop's to do. One change is made at a time; a caller who
//! leaves ends the child, and what it had begun is removed; what has changed on the disk is loaded all the same.

mod child;
mod receive;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use linnet_proto::models::{AddModel, AddedModel, RemovedModel};
use linnet_proto::status::ModelState;
use linnet_proto::{ErrorCode, WireError};
use tokio::sync::Mutex;

use super::on_own_thread;
use super::update::Updates;
use crate::config::Config;
use crate::import::{self, ImportError};
use crate::limits::{CHANGE_MODELS_PATIENCE, CHANGE_MODELS_RETRY};
use crate::push::held;
use crate::status::{Archive, ChangeModels};
use crate::store::write::HiddenDirectory;
use crate::task::catalog::CatalogHandle;

/// Where models are, by the configuration that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Where they are added.
    pub into: PathBuf,
    /// Every directory of models that is this device's own: neither a generation's nor what was installed with the program.
    pub own: Vec<PathBuf>,
    /// The directory of generations, where the device belongs to a fleet.
    pub fleet: Option<PathBuf>,
}

impl Places {
    /// By `config`; `bundled` came with the program.
    pub(super) fn of(config: &Config, bundled: Option<&Path>) -> Self {
        let into = config.own_models(bundled);
        let is_own = |dir: &&PathBuf| Some(dir.as_path()) != bundled && Some(dir.as_path()) != config.packages();
        let others = config.models.iter().filter(is_own).filter(|dir| **dir != into).cloned();
        let own = std::iter::once(into.clone()).chain(others).collect();
        Self { into, own, fleet: held::fleet_dir(config) }
    }
}

/// Changes the models of this daemon. Clones are one.
#[derive(Debug, Clone)]
pub struct ModelChanges {
    updates: Updates,
    catalog: CatalogHandle,
    one_at_a_time: Arc<Mutex<()>>,
}

impl ModelChanges {
    /// Changes `catalog` by way of the loop behind `updates`.
    pub fn new(updates: Updates, catalog: CatalogHandle) -> Self {
        Self { updates, catalog, one_at_a_time: Arc::default() }
    }

    async fn add_from(&self, asked: AddModel) -> Result<AddedModel, WireError> {
        // Two of one name: the second finds the first in its place.
        let turn = Arc::clone(&self.one_at_a_time).lock_owned().await;
        let places = self.places().await?;
        let stop = Stop::default();
        // One that took another's place has nothing to go back to.
        let is_new = !asked.replace;
        let (flag, import) = (Arc::clone(&stop.0), child::Import { asked, places });
        let own = self.clone();
        let added = whole(async move {
            let _turn = turn;
            let added = on_own_thread("models-add", move || import.run(&flag)).await.map_err(no_thread)??;
            // It is in its place: it serves though the caller has gone.
            let loaded = own.load().await;
            let state = own.state(&added);
            if is_new && (loaded.is_err() || state.is_none()) {
                take_away(added.dir.clone()).await;
            }
            loaded.map(|()| (added, state))
        });
        let (added, state) = added.await?;
        drop(stop);
        match state {
            Some(ModelState::Failed { reason }) => {
                let message = format!("the model {} is in its place, but does not serve: {reason}", added.name);
                Err(WireError::new(ErrorCode::ModelFailed, message).with_param("model"))
            }
            Some(_) => {
                log::info!(MODEL = added.name.as_str(); "the model {} was added in {}", added.name, added.dir);
                Ok(added)
            }
            None => {
                let message = format!(
                    "the model {} cannot serve from {}: this daemon cannot read the directory, or `models` in its configuration does not name it",
                    added.name, added.dir
                );
                Err(WireError::new(ErrorCode::Internal, message))
            }
        }
    }

    async fn add_received(&self, asked: AddModel, archive: Archive) -> Result<AddedModel, WireError> {
        let into = self.places().await?.into;
        let directory = asked.directory.clone();
        let received = on_own_thread("models-receive", move || receive::unpack(&into, directory.as_deref(), archive));
        let received = received.await.map_err(no_thread)??;
        let path = received.model().display().to_string();
        // What was received is this daemon's: links to it are as good as copies.
        self.add_from(AddModel { path, copy: false, ..asked }).await
    }

    async fn remove_named(&self, name: String) -> Result<RemovedModel, WireError> {
        let turn = Arc::clone(&self.one_at_a_time).lock_owned().await;
        let places = self.places().await?;
        let own = self.clone();
        whole(async move {
            let _turn = turn;
            own.remove_from(places, name).await
        })
        .await
    }

    /// Hides the model, has it let go of, and only then decides that it goes.
    async fn remove_from(&self, places: Places, name: String) -> Result<RemovedModel, WireError> {
        let wanted = name.clone();
        let hidden = on_own_thread("models-remove", move || {
            let dir = import::find(&wanted, &places.own, places.fleet.as_deref())?;
            Ok::<_, ImportError>((HiddenDirectory::of(&dir)?, dir))
        });
        let (mut hidden, dir) = hidden.await.map_err(no_thread)?.map_err(|e| not_changed(&e))?;
        if let Err(refused) = self.load().await {
            // It is named by the configuration, perhaps: everything stays.
            put_back(hidden, &name);
            return Err(refused);
        }
        let given_up = on_own_thread("models-remove", move || {
            let given_up = hidden.give_up();
            (hidden, given_up)
        });
        let (hidden, given_up) = given_up.await.map_err(no_thread)?;
        if let Err(e) = given_up {
            put_back(hidden, &name);
            self.load().await?;
            return Err(WireError::new(ErrorCode::Internal, format!("the model {name} stays: {e}")));
        }
        log::info!(MODEL = name.as_str(); "the model {name} was removed from {}", dir.display());
        let removed = on_own_thread("models-remove", move || hidden.remove()).await.map_err(no_thread)?;
        if let Err(e) = removed {
            log::warn!("{e}; the rest goes with the next change of models");
        }
        Ok(RemovedModel { id: name, object: "model".to_owned(), deleted: true, dir: dir.display().to_string() })
    }

    async fn places(&self) -> Result<Places, WireError> {
        self.updates.places().await.map_err(|e| ending(&e.to_string()))
    }

    async fn load(&self) -> Result<(), WireError> {
        self.updates.load_models().await.map_err(|e| {
            let message = format!("the models stay as they were: {e}");
            WireError::new(ErrorCode::InvalidRequest, message).with_param("model")
        })
    }

    /// How it stands with what was added; `None` where the daemon does not look there, though a model of that name may serve from elsewhere.
    fn state(&self, added: &AddedModel) -> Option<ModelState> {
        let catalog = self.catalog.get();
        let lies_there = |dir: &Path| dir.display().to_string() == added.dir;
        let is_known = catalog.served().any(|served| lies_there(&served.dir))
            || catalog.failed().any(|failed| lies_there(&failed.dir));
        let model = catalog.status().into_iter().find(|model| model.name == added.name);
        model.filter(|_| is_known).map(|model| model.state)
    }
}

impl ChangeModels for ModelChanges {
    fn add(&self, asked: AddModel) -> BoxFuture<'static, Result<AddedModel, WireError>> {
        let own = self.clone();
        within(async move { own.add_from(asked).await })
    }

    fn receive(&self, asked: AddModel, archive: Archive) -> BoxFuture<'static, Result<AddedModel, WireError>> {
        let own = self.clone();
        within(async move { own.add_received(asked, archive).await })
    }

    fn remove(&self, name: String) -> BoxFuture<'static, Result<RemovedModel, WireError>> {
        let own = self.clone();
        within(async move { own.remove_named(name).await })
    }
}

/// Ends what works for a caller when the caller has gone.
#[derive(Debug, Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn within<T: Send + 'static>(
    change: impl Future<Output = Result<T, WireError>> + Send + 'static,
) -> BoxFuture<'static, Result<T, WireError>> {
    Box::pin(async move {
        tokio::time::timeout(CHANGE_MODELS_PATIENCE, change).await.unwrap_or_else(|_| {
            let message = format!("it was not done after {} s and was given up", CHANGE_MODELS_PATIENCE.as_secs());
            Err(WireError::new(ErrorCode::Unavailable, message).with_retry_after_ms(millis(CHANGE_MODELS_RETRY)))
        })
    })
}

/// Does it to its end, though the caller should leave.
async fn whole<T: Send + 'static>(
    change: impl Future<Output = Result<T, WireError>> + Send + 'static,
) -> Result<T, WireError> {
    let ended = tokio::spawn(change).await;
    ended.unwrap_or_else(|e| Err(WireError::new(ErrorCode::Internal, format!("the change was cut off: {e}"))))
}

fn put_back(hidden: HiddenDirectory, name: &str) {
    if let Err(e) = hidden.put_back() {
        log::error!(MODEL = name; "{e}; it is put back by the next start");
    }
}

fn ending(why: &str) -> WireError {
    WireError::new(ErrorCode::Unavailable, why).with_retry_after_ms(millis(CHANGE_MODELS_RETRY))
}

/// Removes what was added and is not looked at: a failure leaves nothing behind.
async fn take_away(dir: String) {
    let removed = on_own_thread("models-remove", move || {
        let mut hidden = HiddenDirectory::of(Path::new(&dir))?;
        hidden.give_up()?;
        hidden.remove()
    });
    match removed.await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => log::warn!("what was added and cannot serve is left behind: {e}"),
        Err(e) => log::warn!("what was added and cannot serve is left behind: {e}"),
    }
}

fn no_thread(e: std::io::Error) -> WireError {
    WireError::new(ErrorCode::Internal, format!("the operating system refused a thread: {e}"))
}

fn not_changed(e: &ImportError) -> WireError {
    let code = match e.exit() {
        crate::exit::Exit::CannotCreate => ErrorCode::Internal,
        _ => ErrorCode::InvalidRequest,
    };
    WireError::new(code, e.to_string()).with_param("model")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
