//! A worker's thread: takes a job, runs it, answers.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use linnet_features::audio::AudioLimits;
use linnet_proto::{ErrorCode, WireError};

use super::executors::Executors;
use super::state::{Ending, Phase, Running, Shared, Waiting};
use crate::job::{Answer, Job, OnStart};
use crate::status::Subject;
use crate::task::catalog::Served;
use crate::task::{Heartbeat, TaskContext};

/// Starts a thread in seat `worker`, whose former owner loses it.
pub(super) fn spawn(shared: &Arc<Shared>, worker: usize) -> io::Result<()> {
    let turn = {
        let mut state = shared.lock();
        let seat = &mut state.seats[worker];
        seat.turn += 1;
        seat.taken = true;
        seat.turn
    };
    let of_thread = Arc::clone(shared);
    let spawned = thread::Builder::new().name(format!("linnet-worker-{worker}")).spawn(move || {
        Worker { shared: of_thread, worker, turn, executors: Executors::default(), catalog_changes: 0 }.work();
    });
    if let Err(error) = spawned {
        shared.lock().seats[worker].taken = false;
        return Err(error);
    }
    Ok(())
}

/// One thread in its seat.
struct Worker {
    shared: Arc<Shared>,
    worker: usize,
    turn: u64,
    executors: Executors,
    catalog_changes: u64,
}

/// What a worker has to do next.
enum Next {
    Run(Box<Taken>),
    /// The catalog changed.
    Tidy,
    /// Its seat is another's, or all ends.
    Leave,
}

/// A job that this worker runs. Its ending lies in the worker's seat, where the supervisor can reach it.
struct Taken {
    job: Job,
    served: Arc<Served>,
    on_start: Option<OnStart>,
    heartbeat: Heartbeat,
    started: Instant,
    audio_limits: AudioLimits,
}

impl Worker {
    fn work(mut self) {
        loop {
            match self.next() {
                Next::Run(taken) => {
                    if !self.run(*taken) {
                        return;
                    }
                }
                Next::Tidy => self.executors.keep_only(&self.shared.catalog.get()),
                Next::Leave => break,
            }
        }
        self.let_go();
        let mut state = self.shared.lock();
        let seat = &mut state.seats[self.worker];
        if seat.turn == self.turn {
            seat.taken = false;
        }
        drop(state);
        self.shared.settled.notify_all();
    }

    /// Waits for work, without a limit: an idle worker costs nothing. Every change that concerns it wakes it.
    fn next(&mut self) -> Next {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            if state.phase == Phase::Stopped || state.seats[self.worker].turn != self.turn {
                return Next::Leave;
            }
            if state.catalog_changes != self.catalog_changes {
                self.catalog_changes = state.catalog_changes;
                return Next::Tidy;
            }
            // While all ends nothing is held back: what is left is worked off.
            let held = state.holds > 0 && state.phase == Phase::Open;
            let first = if held { None } else { state.queue.pop() };
            let Some(waiting) = first else {
                state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let now = Instant::now();
            if waiting.job.deadline <= now {
                state.answering += 1;
                let error = state.expired();
                drop(state);
                shared.end_waiting(waiting, error);
                state = shared.lock();
                continue;
            }
            let Waiting { job, served, on_start, ending } = waiting;
            let heartbeat = Heartbeat::default();
            state.seats[self.worker].running = Some(Running {
                subject: ending.subject.clone(),
                ending: Some(ending),
                cancel: job.cancel.clone(),
                deadline: job.deadline,
                started: now,
                heartbeat: heartbeat.clone(),
                seen: (heartbeat.count(), now),
            });
            let audio_limits = state.settings.audio_limits.clone();
            let next_look = now + state.inspect_every();
            let late = state.supervisor_is_late_for(next_look);
            drop(state);
            if late {
                shared.wake_supervisor();
            }
            return Next::Run(Box::new(Taken { job, served, on_start, heartbeat, started: now, audio_limits }));
        }
    }

    /// Runs and answers. False when this thread is to end: it was abandoned, or another has taken its seat.
    fn run(&mut self, taken: Taken) -> bool {
        let outcome = catch_unwind(AssertUnwindSafe(|| execute(&mut self.executors, &taken)));
        taken.heartbeat.tick();
        let Some((ending, subject)) = self.take_ending() else { return false };
        let panicked = outcome.is_err();
        let answered = matches!(outcome, Ok(Ok(_)));
        if panicked {
            self.shared.events.worker_panicked(self.worker, &subject);
        }
        if let Some(ending) = ending {
            let outcome = outcome.unwrap_or_else(|panic| {
                // Whatever it holds may panic again when it is dropped.
                std::mem::forget(panic);
                Err(WireError::new(
                    ErrorCode::Internal,
                    "the worker failed while it ran this request; the log says where",
                ))
            });
            ending.answer(&self.shared.events, Some(taken.started), outcome);
        }
        let took = taken.started.elapsed();
        drop(taken);
        if !self.leave_job(answered.then_some(took)) {
            return false;
        }
        !panicked || !self.hand_over()
    }

    /// The right to answer, unless the supervisor answered already (`None` inside) or abandoned this worker (`None`).
    fn take_ending(&mut self) -> Option<(Option<Ending>, Subject)> {
        let mut state = self.shared.lock();
        let seat = &mut state.seats[self.worker];
        if seat.turn == self.turn
            && let Some(running) = &mut seat.running
        {
            return Some((running.ending.take(), running.subject.clone()));
        }
        drop(state);
        self.returned();
        None
    }

    /// Frees the seat after the answer has left. False when the worker was abandoned on the last steps.
    fn leave_job(&mut self, took: Option<Duration>) -> bool {
        let mut state = self.shared.lock();
        if state.seats[self.worker].turn != self.turn {
            drop(state);
            self.returned();
            return false;
        }
        state.seats[self.worker].running = None;
        if let Some(took) = took {
            state.pace.ran(took);
        }
        drop(state);
        self.shared.settled.notify_all();
        true
    }

    /// An abandoned thread ends.
    fn returned(&mut self) {
        self.let_go();
        self.shared.lock().abandoned -= 1;
        self.shared.settled.notify_all();
        self.shared.events.worker_returned(self.worker);
    }

    /// Drops every executor. One that a panic has left half-done may panic again.
    fn let_go(&mut self) {
        let executors = std::mem::take(&mut self.executors);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(executors))) {
            std::mem::forget(panic);
        }
    }

    /// After a panic: drops what the panic may have left half-done and gives the seat to a new thread. False when no
    /// thread could be started: then this one goes on with fresh executors.
    fn hand_over(&mut self) -> bool {
        self.let_go();
        match spawn(&self.shared, self.worker) {
            Ok(()) => true,
            Err(error) => {
                log::error!("no thread for worker {}: {error}; the one that panicked goes on", self.worker);
                let mut state = self.shared.lock();
                let seat = &mut state.seats[self.worker];
                seat.taken = true;
                self.turn = seat.turn;
                false
            }
        }
    }
}

fn execute(executors: &mut Executors, taken: &Taken) -> Result<Answer, WireError> {
    if let Some(on_start) = &taken.on_start {
        on_start.call();
    }
    taken.heartbeat.tick();
    let mut context = TaskContext::new(&taken.job, taken.heartbeat.clone(), taken.audio_limits.clone());
    let executor = executors.of(&taken.served, &mut || context.checkpoint())?;
    executor.execute(&taken.job, &mut context)
}
