//! A pause: what runs ends, what comes waits, and whoever's deadline passes meanwhile is told why.

use std::sync::Arc;
use std::time::Duration;

use linnet_proto::{ErrorCode, WireError};

use super::Scheduler;
use super::state::Shared;
use crate::limits::UPDATING_RETRY;
use crate::task::catalog::Catalog;

/// No job is begun as long as this lives.
#[derive(Debug)]
pub struct Hold(Arc<Shared>);

impl Scheduler {
    /// Begins no further job until the hold is dropped, and waits until those that run have ended, for at most `grace`; the
    /// error is how many still run, and then nothing is held. Requests wait in the queue meanwhile. It blocks: call it from a thread that may wait.
    pub fn hold(&self, grace: Duration) -> Result<Hold, usize> {
        let mut state = self.shared.lock();
        state.holds += 1;
        let hold = Hold(Arc::clone(&self.shared));
        state = self.shared.wait_until(state, grace, |s| s.running() == 0);
        let running = state.running();
        drop(state);
        if running > 0 { Err(running) } else { Ok(hold) }
    }
}

impl Hold {
    /// Has what waits run on `catalog`'s models, where it serves one of the same name that does the same.
    pub fn move_waiting_to(&self, catalog: &Catalog) {
        let mut state = self.0.lock();
        for waiting in state.queue.iter_mut() {
            let task = waiting.job.request.task.name();
            if let Ok(served) = catalog.resolve(task, Some(&waiting.served.name)) {
                waiting.served = served;
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.lock().holds -= 1;
        self.0.work.notify_all();
    }
}

/// The answer of a request whose time was over while linnetd tried or took an update.
pub(super) fn updating() -> WireError {
    let retry_ms = u64::try_from(UPDATING_RETRY.as_millis()).unwrap_or(u64::MAX);
    let message = "linnetd is trying an update and has let go of its models meanwhile; try again in a few seconds";
    WireError::new(ErrorCode::Updating, message).with_retry_after_ms(retry_ms)
}
