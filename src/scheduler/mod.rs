//! Orders jobs and runs them: one bounded queue, a fixed number of worker threads, supervision.
//!
//! A request is admitted or refused at once, never made to wait for a place. Workers take jobs by priority, then age.
//! Whoever takes a job out of the shared state (a worker at the end of its run, the supervisor, a drain, the caller who
//! goes away) owns its answer, so that each job is answered exactly once. All of it happens under one short lock; models run,
//! answers leave and lines are logged outside of it.

mod admission;
pub mod bounds;
mod drain;
mod executors;
mod hold;
mod pace;
mod queue;
mod settings;
mod state;
mod supervisor;
mod worker;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use drain::Drained;
pub use hold::Hold;
pub use settings::SchedulerSettings;
pub use state::{Load, Phase};

use crate::limits::LOCK_PATIENCE;
use crate::status::Events;
use crate::task::catalog::{Catalog, CatalogHandle};
use state::Shared;

/// The scheduler's handle; the daemon holds one, in an `Arc`, as its [`crate::job::Admit`]. Dropping it answers what is
/// left with `unavailable` and ends the threads.
#[derive(Debug)]
pub struct Scheduler {
    shared: Arc<Shared>,
}

impl Scheduler {
    /// Starts the worker threads and their supervisor. Requests are refused with `unavailable` until [`Scheduler::open`].
    /// The error is that of a thread that could not be started.
    pub fn start(settings: SchedulerSettings, catalog: CatalogHandle, events: Events) -> io::Result<Self> {
        let workers = settings.workers.max(1);
        // From here on a failure drops the handle, which ends the threads that run already.
        let scheduler = Self { shared: Arc::new(Shared::new(settings, catalog, events)) };
        for worker in 0..workers {
            worker::spawn(&scheduler.shared, worker)?;
        }
        supervisor::spawn(&scheduler.shared)?;
        Ok(scheduler)
    }

    /// Takes requests from now on.
    pub fn open(&self) {
        let mut state = self.shared.lock();
        if state.phase == Phase::Starting {
            state.phase = Phase::Open;
        }
    }

    /// Takes other bounds for what comes from now on. The number of workers stays as it is.
    pub fn reconfigure(&self, settings: SchedulerSettings) {
        self.shared.lock().settings = settings;
        self.shared.wake_supervisor();
    }

    /// Serves from `catalog` from now on, and gives back the one before, so that a reload can be reversed. Jobs that were
    /// admitted run on the model that they were admitted for; idle workers let go of models that are gone.
    pub fn swap_catalog(&self, catalog: Arc<Catalog>) -> Arc<Catalog> {
        catalog.settle();
        let before = self.shared.catalog.swap(catalog);
        self.tidy();
        before
    }

    /// Has idle workers let go of models that are gone, or that were let go of.
    pub fn tidy(&self) {
        self.shared.lock().catalog_changes += 1;
        self.shared.work.notify_all();
    }

    /// Whether the watchdog should go on being fed: false once a second worker hangs, no worker is left, or the supervisor
    /// has ended.
    pub fn is_live(&self) -> bool {
        self.shared.lock().ailment().is_none()
    }

    /// Why the watchdog should no longer be fed, in a few words, and for how long something stands still where that is known: what
    /// [`Scheduler::is_live`] looks at, a supervisor that does not look when it should for `bound`, or threads that keep the
    /// scheduler's state locked. It may block for [`LOCK_PATIENCE`], and never for longer.
    pub fn ailment(&self, bound: Duration) -> Option<(&'static str, Option<Duration>)> {
        let Some(state) = self.shared.lock_within(LOCK_PATIENCE) else {
            return Some(("the scheduler's state stays locked", None));
        };
        if let Some(ailment) = state.ailment() {
            return Some((ailment, None));
        }
        let late = state.supervisor_wakes?.elapsed();
        (late >= bound && state.phase != Phase::Stopped).then_some(("the scheduler's supervisor", Some(late)))
    }

    /// What waits and runs now.
    pub fn load(&self) -> Load {
        self.shared.lock().load()
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.end(Duration::ZERO, Duration::ZERO);
    }
}
