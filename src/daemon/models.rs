//! Which models there are: the families that this daemon knows, and the directories they are loaded from.

use std::path::PathBuf;
use std::sync::Arc;

use super::{DaemonError, on_own_thread};
use crate::config::{Config, ConfigError};
use crate::engine::tract::TractEngine;
use crate::status::Events;
use crate::task::catalog::{Budget, Catalog, Families, Loader, Loading};

/// The loader of this daemon.
pub fn loader(events: Events) -> Loader {
    Loader {
        engine: Arc::new(TractEngine::default()),
        families: Families::built_in(),
        events,
        budget: Budget::default(),
    }
}

/// Loads, warms and proves every package of the configured directories, on a thread of its own. What `before` serves
/// unchanged is taken over.
pub async fn load(loader: &Loader, config: &Config, before: Option<Arc<Catalog>>) -> Result<Catalog, DaemonError> {
    let directories = readable(&config.models)?;
    check_default(config, &Catalog::listed(&directories))?;
    let (loader, loading) = (loader.clone(), loading(config));
    loader.budget.set_limit(config.memory.limit_bytes);
    let load = move || loader.load(&directories, &loading, before.as_deref());
    on_own_thread("models", load).await.map_err(DaemonError::Thread)
}

/// Which models are loaded, and when.
fn loading(config: &Config) -> Loading {
    Loading {
        default_model: config.default_model.clone(),
        preload: config.memory.preload.clone(),
        pinned: config.memory.pinned.clone(),
        dtype: config.memory.dtype.clone(),
    }
}

/// The configured default must be a package of the catalog; whether it serves is told to who asks for it.
pub fn check_default(config: &Config, catalog: &Catalog) -> Result<(), ConfigError> {
    match config.default_model.as_deref().and_then(|name| catalog.unknown_name(name)) {
        Some(why) => Err(config.fault("default_model", why)),
        None => Ok(()),
    }
}

/// The directories that can be read. One is enough: a site's own may be made later.
fn readable(directories: &[PathBuf]) -> Result<Vec<PathBuf>, DaemonError> {
    let mut refused = None;
    let mut found = Vec::new();
    for path in directories {
        match std::fs::read_dir(path) {
            Ok(_) => found.push(path.clone()),
            Err(source) => {
                if directories.len() > 1 {
                    log::warn!("{}: the directory of models is passed over: {source}", path.display());
                }
                refused.get_or_insert(DaemonError::Models { path: path.clone(), source });
            }
        }
    }
    if found.is_empty() { Err(refused.unwrap_or(DaemonError::NoModels)) } else { Ok(found) }
}
