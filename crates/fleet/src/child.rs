//! Programs that an operator plugs in: run with bounds on their time and on what they print.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The time that it has.
    pub(crate) wait: Duration,
    /// Bytes that it may print.
    pub(crate) output: u64,
}

/// Runs `command` with `input` on its standard input and gives what it prints, which must be text. A fault is one sentence that begins with what it
/// is about, such as "it cannot be started". Standard error reaches the terminal.
pub(crate) fn run(command: &mut Command, input: &[u8], bounds: Bounds) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("it cannot be started: {e}"))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let deadline = Instant::now() + bounds.wait;
    std::thread::scope(|scope| {
        // What it prints is read on a thread of its own, so that a command that prints before it reads does not wait for ever.
        let reader = scope.spawn(move || {
            let mut printed = Vec::new();
            let read = stdout.map_or(Ok(0), |out| out.take(bounds.output + 1).read_to_end(&mut printed));
            read.map(|_| printed)
        });
        // One that needs no input closes it: its exit code says how it went.
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(input);
        }
        let status = wait(&mut child, deadline).map_err(|e| e.to_string())?;
        let printed = reader.join().map_err(|_| "its output cannot be read".to_owned())?;
        let printed = printed.map_err(|e| format!("its output cannot be read: {e}"))?;
        let Some(status) = status else {
            return Err(format!("it was not done within {} s", bounds.wait.as_secs()));
        };
        // First: one that is no longer read may end by that.
        if printed.len() as u64 > bounds.output {
            return Err(format!("it printed more than {} bytes", bounds.output));
        }
        if !status.success() {
            return Err(format!("it refused ({status})"));
        }
        String::from_utf8(printed).map_err(|_| "it printed what is no text".into())
    })
}

/// Waits until the deadline, then ends it; `None` where it had to be ended.
fn wait(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
