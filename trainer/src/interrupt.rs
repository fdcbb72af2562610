//! Ctrl-C and SIGTERM: long work looks at a flag, saves, and ends with [`Kind::Interrupted`](crate::error::Kind).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Failure, Kind};

static STOP: AtomicBool = AtomicBool::new(false);

/// What a shell gives a program that Ctrl-C has ended (128 and SIGINT's 2).
const AT_ONCE: i32 = 130;

/// Turns the signals into the flag; the second call and every later one do nothing. A second signal ends the process
/// at once with 130. Files are written beside their place and renamed, so that none is half there.
pub fn listen() {
    static LISTENING: OnceLock<()> = OnceLock::new();
    LISTENING.get_or_init(|| {
        let set = ctrlc::set_handler(|| {
            if STOP.swap(true, Ordering::SeqCst) {
                eprintln!("\nstopped at once; what was not saved is lost");
                // The thread in hand may take minutes to come back with an exit code, which is what was refused.
                #[expect(clippy::disallowed_methods, reason = "an end at once is what was asked for")]
                std::process::exit(AT_ONCE);
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
