//! Signals as things to wait for.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::reloads::Asked;

/// What the operator or the service manager asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// `SIGTERM`, `SIGINT`: end, after running jobs have ended; asked again: end now.
    End,
    /// `SIGHUP`, or a wish over the socket: read the configuration again.
    Reload,
}

/// The signals that the daemon listens to. `SIGPIPE` is ignored by the runtime of Rust.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    asked: Asked,
}

impl Signals {
    /// Listens from now on, and to who asks for reloads. Must be called on a tokio runtime.
    pub fn listen(asked: Asked) -> io::Result<Self> {
        Ok(Self {
            asked,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next wish. Dropping the future loses no signal.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
            _ = self.hangup.recv() => Wish::Reload,
            () = self.asked.next() => Wish::Reload,
        }
    }
}
