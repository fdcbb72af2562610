//! The client, as an operator calls it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::eventually;

/// The client, which lies beside the daemon.
pub fn linnet() -> Command {
    linnet_under(&[])
}

/// The same, started by another program that takes its path behind these words and becomes it.
pub fn linnet_under(words: &[OsString]) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_linnetd")).with_file_name("linnet");
    assert!(program.is_file(), "{} is missing: cargo build --release --workspace makes it", program.display());
    let program = OsString::from(program);
    let mut words = words.iter().chain([&program]);
    let mut command = Command::new(words.next().expect("there is one"));
    command.args(words);
    for name in ["LINNET_FLEET_DIR", "LINNET_MQTT_URL", "LINNET_MQTT_PASSWORD", "LINNET_SOCKET"] {
        command.env_remove(name);
    }
    command
}

/// What a command said.
pub struct Said {
    pub ok: bool,
    /// Everything.
    pub text: String,
    /// The object on the last line, where there is one.
    pub last: Value,
}

/// Runs it to its end.
pub fn said(mut command: Command) -> Said {
    let output = command.output().expect("linnet runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = out.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null);
    Said { ok: output.status.success(), text, last }
}

/// A command under way; ended when dropped.
pub struct Running {
    child: Child,
    words: PathBuf,
}

/// How it ended.
pub struct Ended {
    pub ok: bool,
    /// The object that it gives a script, where it does.
    pub last: Value,
    /// What it said besides.
    pub said: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts it; what it says goes to the file `words`.
    pub fn start(mut command: Command, words: PathBuf) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(std::fs::File::create(&words).expect("a file"));
        Self { child: command.spawn().expect("linnet runs"), words }
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.words).expect("what it says")
    }

    /// Waits until it has said this so many times.
    pub fn says_times(&mut self, what: &str, times: usize) {
        eventually(what, || {
            let has_ended = self.child.try_wait().expect("a child").is_some();
            let has_said = self.said().matches(what).count() >= times;
            assert!(has_said || !has_ended, "it ended: {}", self.said());
            has_said.then_some(())
        });
    }

    /// Waits until it says this.
    pub fn says(&mut self, what: &str) {
        self.says_times(what, 1);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let sent = rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal);
        sent.expect("it has not ended");
    }

    /// Waits until it has ended, and reads what it gives a script.
    pub fn end(mut self) -> Ended {
        let mut out = String::new();
        let mut stdout = self.child.stdout.take().expect("piped");
        std::io::Read::read_to_string(&mut stdout, &mut out).expect("text");
        let ok = self.child.wait().expect("it ends").success();
        Ended { ok, last: serde_json::from_str(&out).unwrap_or_default(), said: self.said() }
    }
}
