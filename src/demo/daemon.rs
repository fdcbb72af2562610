//! The demo's daemon: this same binary as a child process on a temporary directory.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{DemoError, over_http};

/// Longest wait for READY: a cold disk on a small machine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for the end before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

/// Starts the daemon under `home` with MQTT on `broker_port`, and waits until it is ready.
pub async fn start(home: &Path, broker_port: u16, models: Option<&Path>) -> Result<Daemon, DemoError> {
    let socket = home.join("linnet.sock");
    let config = home.join("linnet.toml");
    let log = home.join("linnetd.log");
    let text = format!("device = \"demo\"\n\n[mqtt]\nurl = \"mqtt://127.0.0.1:{broker_port}\"\n");
    std::fs::write(&config, text).map_err(|e| DemoError::Start(format!("{}: {e}", config.display())))?;
    let output = std::fs::File::create(&log).map_err(|e| DemoError::Start(format!("{}: {e}", log.display())))?;
    let program = std::env::current_exe().map_err(|e| DemoError::Start(format!("where linnetd is: {e}")))?;

    let mut command = Command::new(program);
    command.arg("--config").arg(&config).arg("--socket").arg(&socket).arg("--state").arg(home.join("state"));
    if let Some(models) = models {
        command.arg("--models").arg(models);
    }
    for inherited in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "LINNET_CONFIG", "LINNET_LOG"]
    {
        command.env_remove(inherited);
    }
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .spawn()
        .map_err(|e| DemoError::Start(format!("linnetd did not start: {e}")))?;
    let mut daemon = Daemon { child, socket, log };
    daemon.wait_until_ready().await?;
    Ok(daemon)
}

impl Daemon {
    /// Its local socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    async fn wait_until_ready(&mut self) -> Result<(), DemoError> {
        let until = Instant::now() + READY_TIMEOUT;
        while !over_http::is_ready(&self.socket).await {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(DemoError::Start(format!("linnetd ended with {status}:\n{}", self.last_words())));
            }
            if Instant::now() > until {
                return Err(DemoError::Start(format!(
                    "linnetd is not ready after {READY_TIMEOUT:?}:\n{}",
                    self.last_words()
                )));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// The end of its log, for the error's text.
    fn last_words(&self) -> String {
        const LINES: usize = 10;
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Asks it to end, and waits for it; killed when it takes too long.
    pub async fn stop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap_or_default()) {
            // An error means that it ended by itself: nothing is left to stop.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let until = Instant::now() + STOP_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
