//! Requests at a steady pace while something happens to the daemon.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::request;

/// Between two requests: twenty a second.
const EVERY: Duration = Duration::from_millis(50);

/// A thread that asks which language a sentence has, until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Count>,
}

/// What became of the requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    /// Answered, and rightly.
    pub answered: u64,
    /// Refused with a code that says to come again.
    pub refused: u64,
    /// Nobody was there, or he was killed before the answer.
    pub broken: u64,
}

impl Load {
    /// On the socket of a daemon that need not be there yet.
    pub fn at(socket: &Path) -> Self {
        let (stop, socket) = (Arc::<AtomicBool>::default(), socket.to_owned());
        let until = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut count = Count::default();
            while !until.load(Ordering::Relaxed) {
                ask(&socket, &mut count);
                std::thread::sleep(EVERY);
            }
            count
        });
        Self { stop, thread }
    }

    /// Ends it. Panics where an answer was wrong.
    pub fn stop(self) -> Count {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("every answer was whole and right")
    }
}

/// Each is answered, refused, or finds nobody: never a wrong answer.
fn ask(socket: &Path, count: &mut Count) {
    let body = r#"{"q":"Guten Morgen, wie geht es Ihnen heute?"}"#.as_bytes();
    match request(socket, "POST", "/detect", &[("content-type", "application/json")], body) {
        Ok(answer) if answer.status == 200 => {
            assert_eq!(answer.json()[0]["language"], "de", "{}", answer.text());
            count.answered += 1;
        }
        Ok(answer) => {
            assert!(matches!(answer.status, 429 | 503 | 504), "{} {}", answer.status, answer.text());
            count.refused += 1;
        }
        Err(_) => count.broken += 1,
    }
}
