//! Health and memory of the daemon while something else happens to it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::percentile;

/// Pause between two looks.
const EVERY: Duration = Duration::from_millis(5);

/// What was seen.
pub struct Seen {
    /// Of `/healthz`, milliseconds.
    pub p50: f64,
    pub p99: f64,
    pub longest: f64,
    /// Highest resident memory.
    pub rss_mib: f64,
}

/// A thread that asks `/healthz` on a connection of its own, until it is stopped.
pub struct Watch {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen, String>>,
}

impl Watch {
    pub fn start(socket: &Path, pid: u32) -> Self {
        let ended = Arc::<AtomicBool>::default();
        let (until, socket) = (Arc::clone(&ended), socket.to_owned());
        Self { ended, thread: std::thread::spawn(move || watch(&socket, pid, &until)) }
    }

    pub fn stop(self) -> Result<Seen, String> {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the watch panicked".to_owned())?
    }
}

fn watch(socket: &PathBuf, pid: u32, ended: &AtomicBool) -> Result<Seen, String> {
    let mut stream = UnixStream::connect(socket).map_err(|e| format!("health: {e}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(|e| e.to_string())?;
    let (mut times, mut rss_mib, mut answer) = (Vec::new(), 0.0_f64, [0; 4096]);
    while !ended.load(Ordering::Relaxed) {
        let began = Instant::now();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").map_err(|e| format!("health: {e}"))?;
        // Head and body of this answer come in one piece.
        let n = stream.read(&mut answer).map_err(|e| format!("health: {e}"))?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        if !answer[..n].starts_with(b"HTTP/1.1 200") {
            return Err(format!("health: {}", String::from_utf8_lossy(&answer[..n])));
        }
        rss_mib = rss_mib.max(resident_mib(pid)?);
        std::thread::sleep(EVERY);
    }
    let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    Ok(Seen { p50, p99, longest: percentile(&mut times, 1.0), rss_mib })
}

/// Resident memory of a process.
pub fn resident_mib(pid: u32) -> Result<f64, String> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let kib = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| format!("{path} tells no VmRSS"))
}
