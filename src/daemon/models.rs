//! Which models there are: the families that this daemon knows, and the directory they are loaded from.

use std::sync::Arc;

use super::{DaemonError, on_own_thread};
use crate::config::Config;
use crate::engine::tract::TractEngine;
use crate::status::Events;
use crate::task::catalog::{Catalog, Families, Loader};

/// The loader of this daemon.
pub fn loader(events: Events) -> Loader {
    Loader { engine: Arc::new(TractEngine::default()), families: Families::built_in(), events }
}

/// Loads, warms and proves every package of the configured directory, on a thread of its own. What `before` serves
/// unchanged is taken over.
pub async fn load(loader: &Loader, config: &Config, before: Option<Arc<Catalog>>) -> Result<Catalog, DaemonError> {
    let directory = config.models.clone().ok_or(DaemonError::NoModels)?;
    if let Err(source) = std::fs::read_dir(&directory) {
        return Err(DaemonError::Models { path: directory, source });
    }
    let loader = loader.clone();
    let load = move || loader.load(&[directory], None, before.as_deref());
    on_own_thread("models", load).await.map_err(DaemonError::Thread)
}
