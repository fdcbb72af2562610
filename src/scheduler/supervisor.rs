//! The supervisor's thread: deadlines of what waits and runs, and workers that hang.
//!
//! It sleeps until the next thing that can be due, and without a limit while nothing waits or runs, so that an idle daemon
//! is not woken.

use std::io;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use linnet_proto::{ErrorCode, WireError};

use super::admission::workerless;
use super::bounds::MAX_REPLACED_STUCK;
use super::state::{Ending, Phase, Shared, State, Waiting};
use super::worker;
use crate::job::CancelToken;
use crate::status::Subject;
use crate::task::context::deadline_exceeded;

/// Starts the supervisor.
pub(super) fn spawn(shared: &Arc<Shared>) -> io::Result<()> {
    let of_thread = Arc::clone(shared);
    shared.lock().supervised = true;
    let spawned = thread::Builder::new().name("linnet-supervisor".into()).spawn(move || {
        let presence = Presence(of_thread);
        supervise(&presence.0);
    });
    if let Err(error) = spawned {
        shared.lock().supervised = false;
        return Err(error);
    }
    Ok(())
}

/// Tells when the supervisor is gone, however it went.
struct Presence(Arc<Shared>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.lock().supervised = false;
        self.0.settled.notify_all();
    }
}

/// What an inspection found due; all of it is taken out of the state.
#[derive(Default)]
struct Due {
    /// Deadline passed in the queue, and what each is told.
    expired: Vec<(Waiting, WireError)>,
    /// Deadline passed while running: the caller is answered now, the worker stops at its next checkpoint.
    overdue: Vec<(Option<Ending>, Instant, CancelToken)>,
    stuck: Vec<Stuck>,
    /// Nobody is left to run them.
    stranded: Vec<Waiting>,
}

struct Stuck {
    worker: usize,
    ending: Option<Ending>,
    subject: Subject,
    cancel: CancelToken,
    started: Instant,
    silent: Duration,
    replaced: bool,
}

impl Due {
    fn is_empty(&self) -> bool {
        self.expired.is_empty() && self.overdue.is_empty() && self.stuck.is_empty() && self.stranded.is_empty()
    }
}

fn supervise(shared: &Arc<Shared>) {
    let mut state = shared.lock();
    while state.phase != Phase::Stopped {
        let now = Instant::now();
        let due = state.take_due(now);
        if !due.is_empty() {
            drop(state);
            act(shared, due);
            state = shared.lock();
            continue;
        }
        let wakes = state.next_due(now);
        state.supervisor_wakes = wakes;
        state = match wakes {
            Some(at) => {
                let wait = at.saturating_duration_since(now);
                shared.watch.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
            }
            None => shared.watch.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        // Awake: it looks at everything before it sleeps again, so nobody needs to call.
        state.supervisor_wakes = Some(now);
    }
}

impl State {
    fn take_due(&mut self, now: Instant) -> Due {
        let expired = self.queue.take_expired(now).into_iter().map(|waiting| (waiting, self.expired())).collect();
        let mut due = Due { expired, ..Due::default() };
        let stuck_after = self.settings.stuck_after;
        for (worker, seat) in self.seats.iter_mut().enumerate() {
            let Some(running) = &mut seat.running else { continue };
            let count = running.heartbeat.count();
            if count != running.seen.0 {
                running.seen = (count, now);
            }
            let silent = now.saturating_duration_since(running.seen.1);
            if silent >= stuck_after {
                self.stuck += 1;
                self.abandoned += 1;
                let replaced = self.stuck <= MAX_REPLACED_STUCK;
                seat.turn += 1;
                seat.taken = replaced;
                due.stuck.extend(seat.running.take().map(|running| Stuck {
                    worker,
                    ending: running.ending,
                    subject: running.subject,
                    cancel: running.cancel,
                    started: running.started,
                    silent,
                    replaced,
                }));
            } else if running.deadline <= now && running.ending.is_some() {
                due.overdue.push((running.ending.take(), running.started, running.cancel.clone()));
            }
        }
        self.answering += due.expired.len();
        if self.workers() == 0 {
            due.stranded = self.take_waiting();
        }
        due
    }

    /// When something can be due next; `None` while nothing waits or runs.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        let running = self.seats.iter().filter_map(|seat| seat.running.as_ref());
        let looks = running.flat_map(|running| {
            let look = (now + self.inspect_every()).min(running.seen.1 + self.settings.stuck_after);
            [Some(look), running.ending.is_some().then_some(running.deadline)]
        });
        looks.chain([self.queue.next_deadline()]).flatten().min()
    }
}

fn act(shared: &Arc<Shared>, due: Due) {
    for (waiting, error) in due.expired {
        shared.end_waiting(waiting, error);
    }
    for (ending, started, cancel) in due.overdue {
        if let Some(ending) = ending {
            ending.answer(&shared.events, Some(started), Err(deadline_exceeded("while it was running")));
        }
        cancel.cancel();
    }
    for stuck in due.stuck {
        abandon(shared, stuck);
    }
    for waiting in due.stranded {
        shared.end_waiting(waiting, workerless());
    }
    shared.settled.notify_all();
}

fn abandon(shared: &Arc<Shared>, stuck: Stuck) {
    shared.events.worker_stuck(stuck.worker, &stuck.subject, stuck.silent, stuck.replaced);
    stuck.cancel.cancel();
    if let Some(ending) = stuck.ending {
        let message = format!(
            "the worker made no progress for {:.1} s and was abandoned; the request may be tried again once",
            stuck.silent.as_secs_f64()
        );
        ending.answer(&shared.events, Some(stuck.started), Err(WireError::new(ErrorCode::Internal, message)));
    }
    if stuck.replaced
        && let Err(error) = worker::spawn(shared, stuck.worker)
    {
        log::error!("no thread for worker {}: {error}; it is not replaced", stuck.worker);
    }
}
