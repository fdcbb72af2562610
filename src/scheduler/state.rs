//! What the threads share, and the two ways in which a job leaves it.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use linnet_proto::{ErrorCode, WireError};
use tokio::sync::mpsc::OwnedPermit;

use super::bounds::{LOCK_PAUSE, MAX_REPLACED_STUCK};
use super::hold::updating;
use super::pace::Pace;
use super::queue::{Place, Queue};
use super::settings::SchedulerSettings;
use crate::job::{Answer, CancelToken, Job, OnStart, Part};
use crate::status::{Events, Subject};
use crate::task::Heartbeat;
use crate::task::catalog::{CatalogHandle, Served};
use crate::task::context::deadline_exceeded;

/// Where the scheduler is in its life; it only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not open yet: refuses.
    Starting,
    /// Takes requests.
    Open,
    /// Works off what it has and refuses what comes.
    Draining,
    /// Its threads end.
    Stopped,
}

/// What waits and runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Where the scheduler is in its life.
    pub phase: Phase,
    /// Jobs that wait.
    pub waiting: usize,
    /// Jobs that run.
    pub running: usize,
    /// Worker threads that serve.
    pub workers: usize,
    /// Threads of abandoned workers that have not come back.
    pub abandoned: usize,
}

/// The right to give a job its last part; using it up is the proof that it is answered once.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) subject: Subject,
    pub(super) admitted: Instant,
    pub(super) permit: OwnedPermit<Result<Part, WireError>>,
}

impl Ending {
    /// Counts, sends and logs. `started` is when a worker began, if one did. Call it outside of the lock.
    pub(super) fn answer(self, events: &Events, started: Option<Instant>, outcome: Result<Answer, WireError>) {
        let until = started.unwrap_or_else(Instant::now);
        let waited = until.saturating_duration_since(self.admitted);
        let ended = events.request_ended(&self.subject, waited, started.map(|s| s.elapsed()), &outcome);
        self.permit.send(outcome.map(Part::Done));
        ended.tell(&self.subject);
    }
}

/// An admitted job.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) job: Job,
    pub(super) served: Arc<Served>,
    pub(super) on_start: Option<OnStart>,
    pub(super) ending: Ending,
}

/// A job that a worker runs, as the supervisor sees it.
#[derive(Debug)]
pub(super) struct Running {
    /// Taken by whoever answers first.
    pub(super) ending: Option<Ending>,
    pub(super) subject: Subject,
    pub(super) cancel: CancelToken,
    pub(super) deadline: Instant,
    pub(super) started: Instant,
    pub(super) heartbeat: Heartbeat,
    /// The last count of the heartbeat that the supervisor saw, and since when.
    pub(super) seen: (u64, Instant),
}

/// One worker's place. A thread owns it as long as their turns agree: abandoning a thread is raising the turn.
#[derive(Debug, Default)]
pub(super) struct Seat {
    pub(super) turn: u64,
    /// A thread serves here.
    pub(super) taken: bool,
    pub(super) running: Option<Running>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) settings: SchedulerSettings,
    pub(super) queue: Queue<Waiting>,
    pub(super) seats: Vec<Seat>,
    pub(super) pace: Pace,
    pub(super) stuck: u64,
    pub(super) abandoned: usize,
    /// Jobs that were taken out of the queue to be answered without being run, and whose answers are on their way.
    pub(super) answering: usize,
    /// Requests that are still being read and count on a place.
    pub(super) foreseen: Arc<AtomicUsize>,
    /// Rises with every swap of the catalog.
    pub(super) catalog_changes: u64,
    /// Who wants no job to be begun.
    pub(super) holds: usize,
    /// The supervisor runs.
    pub(super) supervised: bool,
    /// When the supervisor looks again by itself; `None` while it sleeps until it is called.
    pub(super) supervisor_wakes: Option<Instant>,
}

impl State {
    /// Threads that serve.
    pub(super) fn workers(&self) -> usize {
        self.seats.iter().filter(|seat| seat.taken).count()
    }

    /// Jobs that run.
    pub(super) fn running(&self) -> usize {
        self.seats.iter().filter(|seat| seat.running.is_some()).count()
    }

    pub(super) fn load(&self) -> Load {
        Load {
            phase: self.phase,
            waiting: self.queue.len(),
            running: self.running(),
            workers: self.workers(),
            abandoned: self.abandoned,
        }
    }

    /// Why a job is answered whose deadline passed in the queue.
    pub(super) fn expired(&self) -> WireError {
        if self.holds > 0 { updating() } else { deadline_exceeded("while it waited in the queue") }
    }

    /// Takes everything that waits, to be answered without being run.
    pub(super) fn take_waiting(&mut self) -> Vec<Waiting> {
        let waiting = self.queue.take_all();
        self.answering += waiting.len();
        waiting
    }

    /// How often running jobs are looked at.
    pub(super) fn inspect_every(&self) -> Duration {
        (self.settings.stuck_after / 4).max(Duration::from_millis(1))
    }

    /// Something is due at `at`. Whether the supervisor, if it sleeps, would look too late for it and must be woken; it is
    /// then noted as due to look by `at`, so that one that does not is found out.
    pub(super) fn supervisor_is_late_for(&mut self, at: Instant) -> bool {
        let late = self.supervisor_wakes.is_none_or(|wakes| wakes > at);
        if late {
            self.supervisor_wakes = Some(at);
        }
        late
    }

    /// What is wrong with the threads, if anything.
    pub(super) fn ailment(&self) -> Option<&'static str> {
        if self.stuck > MAX_REPLACED_STUCK {
            return Some("a second worker hangs");
        }
        match (self.phase, self.supervised, self.workers()) {
            (Phase::Stopped, ..) => None,
            (_, false, _) => Some("the scheduler's supervisor has ended"),
            (_, _, 0) => Some("no worker is left"),
            _ => None,
        }
    }
}

/// What every thread holds.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// A job waits, the catalog changed, or all ends.
    pub(super) work: Condvar,
    /// Something is due sooner than the supervisor thinks.
    pub(super) watch: Condvar,
    /// A job or a thread ended.
    pub(super) settled: Condvar,
    pub(super) catalog: CatalogHandle,
    pub(super) events: Events,
}

impl Shared {
    pub(super) fn new(settings: SchedulerSettings, catalog: CatalogHandle, events: Events) -> Self {
        let seats = (0..settings.workers.max(1)).map(|_| Seat::default()).collect();
        Self {
            state: Mutex::new(State {
                phase: Phase::Starting,
                settings,
                queue: Queue::default(),
                seats,
                pace: Pace::default(),
                stuck: 0,
                abandoned: 0,
                answering: 0,
                foreseen: Arc::default(),
                catalog_changes: 0,
                holds: 0,
                supervised: false,
                supervisor_wakes: None,
            }),
            work: Condvar::new(),
            watch: Condvar::new(),
            settled: Condvar::new(),
            catalog,
            events,
        }
    }

    /// Nothing that can panic on a caller's account happens under the lock, so a poisoned one is as good as any.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Shared::lock`], for at most `patience`.
    pub(super) fn lock_within(&self, patience: Duration) -> Option<MutexGuard<'_, State>> {
        let began = Instant::now();
        loop {
            match self.state.try_lock() {
                Ok(state) => return Some(state),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if began.elapsed() >= patience => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            }
        }
    }

    /// Has the supervisor look now.
    pub(super) fn wake_supervisor(&self) {
        self.watch.notify_one();
    }

    /// The caller of the job at `place` is gone: frees the place if it still waits.
    pub(super) fn forget(&self, place: Place) {
        let gone = {
            let mut state = self.lock();
            let gone = state.queue.remove(place);
            state.answering += usize::from(gone.is_some());
            gone
        };
        if let Some(waiting) = gone {
            self.end_waiting(waiting, WireError::new(ErrorCode::Cancelled, "the caller is gone"));
        }
    }

    /// Answers a job that no worker has run and that [`State::answering`] counts already.
    pub(super) fn end_waiting(&self, waiting: Waiting, error: WireError) {
        let Waiting { job, ending, .. } = waiting;
        ending.answer(&self.events, None, Err(error));
        drop(job);
        self.lock().answering -= 1;
        self.settled.notify_all();
    }
}
