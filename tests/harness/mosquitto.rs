//! A real Mosquitto on a free port of the loopback interface, with persistence, that can be stopped and started again.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{eventually, free_port, skip};

/// A broker; stopped when dropped.
pub struct Mosquitto {
    program: PathBuf,
    child: Option<Child>,
    home: TempDir,
    port: u16,
}

impl Mosquitto {
    /// Starts one that takes anonymous clients and keeps its sessions on disk. `None`, said loudly, where Mosquitto is not
    /// installed.
    pub fn start(test: &str) -> Option<Self> {
        Self::start_with(test, "")
    }

    /// As [`Mosquitto::start`], with further lines of `mosquitto.conf` (`max_inflight_messages 20`).
    pub fn start_with(test: &str, lines: &str) -> Option<Self> {
        let Some(program) = find("mosquitto") else {
            skip(test, "the program `mosquitto` (Debian: apt-get install mosquitto)");
            return None;
        };
        let home = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {home}/\n\
             autosave_interval 1\nautosave_on_changes true\nlog_dest file {home}/mosquitto.log\n{lines}\n",
            home = home.path().display()
        );
        std::fs::write(home.path().join("mosquitto.conf"), text).expect("the broker's configuration");
        let mut broker = Self { program, child: None, home, port };
        broker.restart();
        Some(broker)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("mosquitto.log")).unwrap_or_default()
    }

    /// Starts it (again) on the same port, with what it kept on disk.
    pub fn restart(&mut self) {
        self.stop();
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.home.path().join("mosquitto.conf"));
        // Started by root it would change to a user that may not read this directory.
        if rustix::process::geteuid().is_root() {
            let conf = self.home.path().join("mosquitto.conf");
            let text = std::fs::read_to_string(&conf).expect("the broker's configuration");
            if !text.contains("\nuser ") {
                std::fs::write(&conf, format!("{text}\nuser root\n")).expect("the broker's configuration");
            }
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.expect("mosquitto starts"));
        let child = self.child.as_mut().expect("it was just started");
        let (port, log) = (self.port, self.home.path().join("mosquitto.log"));
        eventually("mosquitto listens", || {
            let ended = child.try_wait().expect("the child can be waited for");
            assert!(ended.is_none(), "mosquitto ended: {}", std::fs::read_to_string(&log).unwrap_or_default());
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }

    /// Stops it in good order: it writes its sessions to disk.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // It may have ended by itself.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM);
        eventually("mosquitto ends", || child.try_wait().expect("the child can be waited for"));
    }

    /// Ends it in the middle of whatever it does, as a power cut would.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // First it only falls silent, so that what its clients send it is left unacknowledged. It may have ended by itself.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::STOP);
        std::thread::sleep(std::time::Duration::from_millis(300));
        let _ = child.kill();
        child.wait().expect("the child can be waited for");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only when it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A program of the search path, or of the directories of system programs.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}
