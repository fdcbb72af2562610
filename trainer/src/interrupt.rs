//! Ctrl-C and SIGTERM: long work looks at a flag, saves, and ends with [`Kind::Interrupted`](crate::error::Kind).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Failure, Kind};

static STOP: AtomicBool = AtomicBool::new(false);

/// Turns the signals into the flag; the second call and every later one do nothing. A second signal ends the process as
/// if it had never been asked.
pub fn listen() {
    static LISTENING: OnceLock<()> = OnceLock::new();
    LISTENING.get_or_init(|| {
        let set = ctrlc::set_handler(|| {
            if STOP.swap(true, Ordering::SeqCst) {
                std::process::abort();
            }
            eprintln!("\nstopping after what is in hand; again to stop at once");
        });
        if let Err(error) = set {
            eprintln!("Ctrl-C cannot be caught ({error}); it will end the program without saving");
        }
    });
}

/// Whether somebody wants an end.
pub fn requested() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// What a command returns after it has saved.
pub fn failure(saved: &str) -> Failure {
    Failure::new(Kind::Interrupted, format!("stopped; {saved}: the same command goes on from there"))
}
