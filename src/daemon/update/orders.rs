//! What the daemon's loop is asked for by who updates it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{mpsc, oneshot};

use super::{Activation, Back, DrainedWindow, Plan, on_own_thread};
use crate::config::Sources;
use crate::daemon::change_models::Places;
use crate::push::probe::{Code, ProbeFault, Proved};

/// Something that the daemon's loop is asked for, with where its answer goes.
#[derive(Debug)]
pub enum Order {
    /// [`Updates::plan`].
    Plan {
        /// Flags, environment and the candidate.
        candidate: Sources,
        /// The candidate's directory.
        dir: PathBuf,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<Plan, ProbeFault>>,
    },
    /// [`Updates::window`].
    Window {
        /// Where the answer goes.
        answer: oneshot::Sender<Result<DrainedWindow, String>>,
    },
    /// [`Updates::activate`].
    Activate {
        /// Flags, environment and the candidate.
        candidate: Sources,
        /// Where the models were let go of.
        window: Option<DrainedWindow>,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<Activation, String>>,
    },
    /// [`Updates::go_back`].
    GoBack {
        /// The way.
        back: Box<Back>,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<(), String>>,
    },
    /// [`Updates::restart`].
    Restart,
    /// [`Updates::places`].
    Places {
        /// Where the answer goes.
        answer: oneshot::Sender<Places>,
    },
    /// [`Updates::load_models`].
    LoadModels {
        /// Where the answer goes.
        answer: oneshot::Sender<Result<(), String>>,
    },
}

/// Why a switch did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unapplied {
    /// The daemon cannot take it; one sentence.
    #[error("{0}")]
    Refused(String),
    /// The daemon ends: nothing is known of the candidate.
    #[error("linnetd is ending")]
    Ending,
}

/// Asks the daemon's loop. Clones are one.
#[derive(Debug, Clone)]
pub struct Updates(mpsc::Sender<Order>);

/// The loop's end.
#[derive(Debug)]
pub struct Orders(mpsc::Receiver<Order>);

/// Both ends.
pub fn updates() -> (Updates, Orders) {
    // Who updates asks for one thing after another.
    let (ask, asked) = mpsc::channel(1);
    (Updates(ask), Orders(asked))
}

impl Orders {
    /// The next order; never when nobody can ask any more.
    pub async fn next(&mut self) -> Order {
        match self.0.recv().await {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }
}

impl Updates {
    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, Unapplied> {
        let (answer, answered) = oneshot::channel();
        self.0.send(order(answer)).await.map_err(|_| Unapplied::Ending)?;
        answered.await.map_err(|_| Unapplied::Ending)
    }

    /// How the generation in `dir`, which `candidate` holds, is to be proved: [`crate::push::probe::Probe::run`] does it, on a thread of its
    /// own, inside a [`Updates::window`] where `room` says so.
    pub async fn plan(&self, candidate: Sources, dir: PathBuf) -> Result<Plan, ProbeFault> {
        let planned = self.ask(|answer| Order::Plan { candidate, dir, answer }).await;
        planned.unwrap_or_else(|ending| Err(ProbeFault::new(Code::Interrupted, ending.to_string())))
    }

    /// Plans the proof of the generation in `dir` and runs it, in a window where it must be one; the window is for [`Updates::activate`].
    /// `stop` ends it early. A fault of code `interrupted` says nothing of the generation.
    pub async fn prove(
        &self,
        candidate: Sources,
        dir: PathBuf,
        stop: Arc<AtomicBool>,
    ) -> Result<(Proved, Option<DrainedWindow>), ProbeFault> {
        let Plan { probe, room, .. } = self.plan(candidate, dir).await?;
        let interrupted = |why: String| ProbeFault::new(Code::Interrupted, why);
        let window = match room.is_drained() {
            true => Some(self.window().await.map_err(|e| interrupted(e.to_string()))?),
            false => None,
        };
        let ran = on_own_thread("probe", move || probe.run(&stop)).await;
        let proved = ran.map_err(|e| interrupted(format!("the operating system refused a thread: {e}")))??;
        Ok((proved, window))
    }

    /// Has the models that serve let go of until the window is dropped, or given to [`Updates::activate`].
    pub async fn window(&self) -> Result<DrainedWindow, Unapplied> {
        self.ask(|answer| Order::Window { answer }).await?.map_err(Unapplied::Refused)
    }

    /// Serves what `candidate` holds from now on. Refused, everything is as it was.
    pub async fn activate(&self, candidate: Sources, window: Option<DrainedWindow>) -> Result<Activation, Unapplied> {
        let activated = self.ask(|answer| Order::Activate { candidate, window, answer }).await?;
        activated.map_err(Unapplied::Refused)
    }

    /// Serves again what served before a switch.
    pub async fn go_back(&self, back: Box<Back>) -> Result<(), Unapplied> {
        self.ask(|answer| Order::GoBack { back, answer }).await?.map_err(Unapplied::Refused)
    }

    /// Where models are, by the configuration that serves.
    pub async fn places(&self) -> Result<Places, Unapplied> {
        self.ask(|answer| Order::Places { answer }).await
    }

    /// Has the daemon look at its directories of models again, and at nothing else. Refused, everything is as it was.
    pub async fn load_models(&self) -> Result<(), Unapplied> {
        self.ask(|answer| Order::LoadModels { answer }).await?.map_err(Unapplied::Refused)
    }

    /// Has the daemon end its work in order and begin anew, in the same process and by the same command line.
    pub async fn restart(&self) -> Result<(), Unapplied> {
        self.0.send(Order::Restart).await.map_err(|_| Unapplied::Ending)
    }
}
