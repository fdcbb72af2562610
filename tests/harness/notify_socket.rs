//! systemd's end of `sd_notify`: a datagram socket that collects what the daemon says.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::PATIENCE;

/// Where `NOTIFY_SOCKET` leads.
pub struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
    _home: TempDir,
}

impl NotifySocket {
    /// A new one.
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("notify.sock");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Self { socket, path, _home: home }
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next message; `None` when none comes within `patience`.
    pub fn next_within(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).expect("a timeout");
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => return Some(String::from_utf8_lossy(&buffer[..length]).into_owned()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(e) => panic!("the socket of notifications: {e}"),
            }
        }
    }

    /// Waits for a message that holds the line `wanted`, passing over others.
    pub fn wait_for(&self, wanted: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let message = self.next_within(left).unwrap_or_else(|| panic!("{wanted} was never told"));
            if message.lines().any(|line| line == wanted) {
                return message;
            }
        }
    }
}
