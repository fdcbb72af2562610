//! Requests at a steady pace while something happens to the daemon.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::request;

/// Between two requests: twenty a second.
const EVERY: Duration = Duration::from_millis(50);

/// After a daemon is there again, for a request that it was killed on to be seen as cut off.
const MOMENT: Duration = Duration::from_secs(1);

/// A thread that asks which language a sentence has, until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Count>,
    /// Since when nobody has been there yet.
    absent: Option<Instant>,
    /// When nobody was there, by the test's own doing.
    down: Vec<(Instant, Instant)>,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Count {
    /// Answered, and rightly.
    pub answered: u64,
    /// Refused with a code that says to come again.
    pub refused: u64,
    /// Nobody was there, or he was killed before the answer: when that was seen, and how.
    pub broken: Vec<(Instant, io::Error)>,
}

impl Load {
    /// On the socket of a daemon that is not there yet: [`Load::while_down`] starts it.
    pub fn at(socket: &Path) -> Self {
        let absent = Some(Instant::now());
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
        Self { stop, thread, absent, down: Vec::new() }
    }

    /// Does what leaves nobody there on the way: requests may find nobody, or be cut off, until it is done.
    pub fn while_down<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let from = self.absent.take().unwrap_or_else(Instant::now);
        let done = work();
        self.down.push((from, Instant::now()));
        done
    }

    /// Ends it. Panics where an answer was wrong, or lacking though somebody was there.
    pub fn stop(self) -> Count {
        self.stop.store(true, Ordering::Relaxed);
        let count = self.thread.join().expect("every answer was whole and right");
        let unexcused: Vec<_> = count
            .broken
            .iter()
            .filter(|(seen, _)| !self.down.iter().any(|(from, to)| from <= seen && *seen <= *to + MOMENT))
            .map(|(_, e)| e)
            .collect();
        assert!(
            unexcused.is_empty(),
            "{} requests had no answer though nobody was killed: {unexcused:?}",
            unexcused.len()
        );
        count
    }
}

#[test]
#[should_panic(expected = "though nobody was killed")]
fn a_request_without_an_answer_is_excused_by_a_kill_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("linnet.sock");
    let mut load = Load::at(&socket);
    let listener = load.while_down(|| UnixListener::bind(&socket).expect("it listens"));
    // Hangs up on everybody, for longer than the moment after the start.
    let until = Instant::now() + MOMENT + Duration::from_secs(1);
    while Instant::now() < until {
        drop(listener.accept());
    }
    drop(listener);
    load.stop();
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
        Err(e) => count.broken.push((Instant::now(), e)),
    }
}
