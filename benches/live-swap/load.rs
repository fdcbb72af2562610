//! Requests at a steady pace, each on a connection and a thread of its own, so that one that waits holds up no other.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::request;

/// Between two requests.
const EVERY: Duration = Duration::from_millis(50);

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// When it was sent, since the load began.
    pub at: Duration,
    /// Until its answer was read.
    pub took: Duration,
    /// Its status; 0 where none came.
    pub status: u16,
}

/// The load, until it is stopped.
pub struct Load {
    began: Instant,
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Answer>>>,
    thread: JoinHandle<()>,
}

impl Load {
    pub fn start(socket: &Path) -> Self {
        let (began, stop, answers) =
            (Instant::now(), Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Answer>>>::default());
        let (until, all, socket) = (Arc::clone(&stop), Arc::clone(&answers), socket.to_owned());
        let thread = std::thread::spawn(move || {
            let (mut asked, mut running) = (0, Vec::new());
            while !until.load(Ordering::Relaxed) {
                let (all, socket) = (Arc::clone(&all), socket.clone());
                running.push(std::thread::spawn(move || {
                    let answer = ask(&socket, began);
                    all.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                }));
                running.retain(|thread| !thread.is_finished());
                asked += 1;
                std::thread::sleep((EVERY * asked).saturating_sub(began.elapsed()));
            }
            for thread in running {
                // One that panicked has left no answer, and is missed below.
                let _ = thread.join();
            }
        });
        Self { began, stop, answers, thread }
    }

    /// Time since it began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Ends it, when the last has its answer.
    pub fn stop(self) -> Result<Vec<Answer>, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the load panicked".to_owned())?;
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        answers.sort_by_key(|answer| answer.at);
        Ok(answers)
    }
}

fn ask(socket: &Path, began: Instant) -> Answer {
    let at = began.elapsed();
    let body = br#"{"q":"Guten Morgen, wie geht es Ihnen heute?"}"#;
    let asked = request(socket, "POST", "/detect", &[("content-type", "application/json")], body);
    Answer { at, took: began.elapsed() - at, status: asked.map_or(0, |answer| answer.status) }
}
