//! Which models there are: the families that this daemon knows, and the directory they are loaded from.

use std::sync::Arc;

use super::{DaemonError, on_own_thread};
use crate::config::Config;
use crate::engine::tract::TractEngine;
use crate::status::Events;
use crate::store::CTC_FAMILY;
use crate::task::catalog::{Catalog, Families, Loader};
use crate::task::transcribe::TranscribePipeline;

/// The loader of this daemon.
pub fn loader(events: Events) -> Loader {
    Loader { engine: Arc::new(TractEngine::default()), families: families(), events }
}

/// Every family of models, by the `family` of its manifest.
fn families() -> Families {
    Families::default().with(CTC_FAMILY, |package, engine| {
        let pipeline = TranscribePipeline::load(package, engine).map_err(|e| e.to_string())?;
        Ok(Arc::new(pipeline))
    })
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
