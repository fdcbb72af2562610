//! The end: no new requests, the rest worked off while the grace lasts, what is left answered.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Scheduler;
use super::admission::draining;
use super::bounds::EXIT_GRACE;
use super::state::{Phase, Shared, State};

/// What became of the jobs that were there when the drain began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Ended by themselves: answered, failed, cancelled or past their deadline.
    pub ended: usize,
    /// Still waited when the grace was over; answered `unavailable`.
    pub refused: usize,
    /// Still ran when the grace was over; answered `unavailable` and told to stop.
    pub interrupted: usize,
    /// Worker threads that did not end.
    pub left_behind: usize,
}

impl Scheduler {
    /// Refuses what comes, works off what is there for at most `grace`, answers the rest with `unavailable`, and ends the
    /// threads. It blocks: call it from a thread that may wait. A second call finds nothing to do.
    pub fn drain(&self, grace: Duration) -> Drained {
        self.shared.end(grace, EXIT_GRACE)
    }
}

impl Shared {
    pub(super) fn end(&self, grace: Duration, exit_grace: Duration) -> Drained {
        let mut state = self.lock();
        state.phase = state.phase.max(Phase::Draining);
        // Who was held back works on: nothing is held while all ends.
        self.work.notify_all();
        let present = state.queue.len() + state.running() + state.answering;
        let settled = |s: &State| s.queue.is_empty() && s.running() == 0 && s.answering == 0;
        state = self.wait_until(state, grace, settled);

        let waiting = state.take_waiting();
        let mut running = Vec::new();
        for job in state.seats.iter_mut().filter_map(|seat| seat.running.as_mut()) {
            running.push((job.ending.take(), job.started, job.cancel.clone()));
        }
        state.phase = Phase::Stopped;
        drop(state);
        self.work.notify_all();
        self.watch.notify_all();

        let refused = waiting.len();
        for job in waiting {
            self.end_waiting(job, draining());
        }
        let mut interrupted = 0;
        for (ending, started, cancel) in running {
            cancel.cancel();
            if let Some(ending) = ending {
                interrupted += 1;
                ending.answer(&self.events, Some(started), Err(draining()));
            }
        }
        let gone = |s: &State| s.workers() == 0 && !s.supervised && s.answering == 0;
        let state = self.wait_until(self.lock(), exit_grace, gone);
        let left_behind = state.workers() + state.abandoned;
        Drained { ended: present - refused - interrupted, refused, interrupted, left_behind }
    }

    pub(super) fn wait_until<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        most: Duration,
        done: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let began = Instant::now();
        loop {
            let left = most.saturating_sub(began.elapsed());
            if done(&state) || left.is_zero() {
                return state;
            }
            state = self.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
