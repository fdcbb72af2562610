//! The drained window: no model in memory, no request lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::on_own_thread;
use crate::scheduler::{Hold, Scheduler};
use crate::task::catalog::{Catalog, CatalogHandle, Served};

/// How often a load is looked at that has to end first.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// As long as this lives the models that served are not in memory, and requests wait: those whose deadline passes are answered
/// `updating`. Dropped, what serves then is loaded again.
#[derive(Debug)]
pub struct DrainedWindow {
    hold: Option<Hold>,
    /// What was let go of.
    gone: Vec<Arc<Served>>,
    catalog: CatalogHandle,
}

impl DrainedWindow {
    /// Waits until what runs has ended, for at most `grace`, and lets go of every model. The error is one sentence.
    pub(super) async fn open(
        scheduler: &Arc<Scheduler>,
        catalog: &CatalogHandle,
        grace: Duration,
    ) -> Result<Self, String> {
        let (scheduler, catalog) = (Arc::clone(scheduler), catalog.clone());
        let opened = on_own_thread("window", move || {
            let hold = scheduler.hold(grace).map_err(|running| {
                format!("{running} requests still run after {} s, and the models cannot be let go of", grace.as_secs())
            })?;
            let (began, serving) = (Instant::now(), catalog.get());
            let mut gone = serving.let_go(None);
            // A load that somebody began is over soon, and then let go of, too.
            while serving.is_loading() && began.elapsed() < grace {
                std::thread::sleep(LOOK_EVERY);
                gone.extend(serving.let_go(None));
            }
            scheduler.tidy();
            linnet_kernels::allocator::give_back();
            log::info!("drained: {} models were let go of for an update; requests wait", gone.len());
            Ok(Self { hold: Some(hold), gone, catalog })
        });
        opened.await.map_err(|e| format!("the operating system refused a thread: {e}"))?
    }

    /// What waits is run by `catalog`, which serves from now on; ends the window.
    pub(super) fn served_by(self, catalog: &Catalog) {
        if let Some(hold) = &self.hold {
            hold.move_waiting_to(catalog);
        }
    }
}

impl Drop for DrainedWindow {
    fn drop(&mut self) {
        self.hold = None;
        let (gone, serving) = (std::mem::take(&mut self.gone), self.catalog.get());
        let wanted: Vec<_> = gone
            .into_iter()
            .filter(|gone| serving.served().any(|served| Arc::ptr_eq(&served.home, &gone.home)))
            .collect();
        let loads = std::thread::Builder::new().name("linnet-load".to_owned()).spawn(move || {
            for served in wanted {
                // Whoever asks for it is told what is wrong with it.
                let _ = served.home.pipeline(&mut || Ok(()));
            }
        });
        if let Err(error) = loads {
            log::warn!("no thread to load models again: {error}; each is loaded when it is needed");
        }
    }
}
