//! The proof of a generation before it serves: a child process, `linnetd probe`, checks its configuration and has each new or
//! changed model answer its canary, while the generation before it serves.
//!
//! The child takes its limits upon itself before any work: memory, processor time, no core file, the lowest priority, the first to be
//! ended where memory runs out, and its own end when its parent ends. It says what it does, one JSON object a line ([`Line`]).
//! The parent keeps the time, ends the child's whole process group, and names what went wrong by a stable code ([`Code`]); that a
//! child was killed, hung or wrote nonsense is told apart without believing what it says.

mod child;
mod fault;
mod lines;
mod room;
mod starved;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

pub use child::{Asked, give_way, run as run_child};
pub use fault::{Code, ProbeFault};
pub use lines::Line;
pub use room::{Need, Room};

use crate::limits::{MAX_PROBE_OUTPUT_BYTES, PROBE_LOOK_EVERY};

/// What is to be proved, and within which limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// `linnetd`.
    pub program: PathBuf,
    /// The flags of the daemon that asks, so that the child sees the same layers of configuration; the environment it has anyway.
    pub flags: Vec<OsString>,
    /// The generation's directory ([`crate::config::generation`]).
    pub generation: PathBuf,
    /// Directories of the packages that prove themselves, in order.
    pub models: Vec<PathBuf>,
    /// What it may take.
    pub limits: ProbeLimits,
}

/// What a proof may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeLimits {
    /// By the clock, and of processors.
    pub time: Duration,
    /// Memory, MiB; without a limit when absent.
    pub memory_mib: Option<u64>,
}

/// A proof that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// The models that proved themselves, in order.
    pub models: Vec<ProvedModel>,
    /// How long all of it took.
    pub took: Duration,
}

/// One model that proved itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvedModel {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How long that took, milliseconds.
    pub ms: u64,
    /// The most memory that the child had taken by then, MiB.
    pub peak_mib: u64,
}

/// How the child ended.
enum End {
    Exited(ExitStatus),
    TimedOut,
    Stopped,
}

/// What was read of the child's output.
struct Heard {
    bytes: Vec<u8>,
    too_much: bool,
}

impl Probe {
    /// Runs it. `stop` ends it early, with [`Code::Interrupted`]. It blocks, and the child lives no longer than the thread that calls.
    pub fn run(&self, stop: &AtomicBool) -> Result<Proved, ProbeFault> {
        let began = Instant::now();
        let mut child = self
            .command()
            .spawn()
            .map_err(|e| ProbeFault::new(Code::Start, format!("{} cannot be started: {e}", self.program.display())))?;
        let group = Pid::from_child(&child);
        let flooded = Arc::new(AtomicBool::new(false));
        let out = child.stdout.take().map(|pipe| listen("probe-out", pipe, Arc::clone(&flooded)));
        let err = child.stderr.take().map(|pipe| listen("probe-err", pipe, Arc::clone(&flooded)));
        let end = self.wait(&mut child, began, stop, &flooded);
        // Whatever it has started ends with it, so that the pipes close. Its number is its own until it is waited for below.
        let _ = kill_process_group(group, Signal::KILL);
        let status = child.wait();
        let (out, err) = (heard(out), heard(err));
        log_child(&err.bytes);
        let end = match (end, status) {
            (Some(end), _) => end,
            (None, Ok(status)) => End::Exited(status),
            (None, Err(e)) => {
                return Err(ProbeFault::new(Code::Start, format!("its process cannot be waited for: {e}")));
            }
        };
        judge(&end, &out, &err, self).map(|models| Proved { models, took: began.elapsed() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let limits = &self.limits;
        command.arg("probe").arg("--generation").arg(&self.generation);
        command.arg("--memory-mib").arg(limits.memory_mib.unwrap_or(0).to_string());
        command.arg("--cpu-secs").arg(limits.time.as_secs().max(1).to_string());
        for model in &self.models {
            command.arg("--prove").arg(model);
        }
        command.args(&self.flags);
        // What the service manager gave to the daemon is not the child's to use.
        for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"] {
            command.env_remove(variable);
        }
        // Where memory is what is missing, a backtrace asks for more of it, and waits for ever for the lock that it holds itself.
        command.env("RUST_BACKTRACE", "0").env("RUST_LIB_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command
    }

    /// Waits until the child has ended (`None`) or has to be ended.
    fn wait(&self, child: &mut Child, began: Instant, stop: &AtomicBool, flooded: &AtomicBool) -> Option<End> {
        loop {
            // Looks without taking the process's number back, so that its group can still be ended by it.
            if has_ended(child) || flooded.load(Ordering::Relaxed) {
                return None;
            }
            if stop.load(Ordering::Relaxed) {
                return Some(End::Stopped);
            }
            if began.elapsed() >= self.limits.time {
                return Some(End::TimedOut);
            }
            std::thread::sleep(PROBE_LOOK_EVERY);
        }
    }
}

/// Whether the child has ended; its number stays taken.
fn has_ended(child: &Child) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::Pid(Pid::from_child(child)), options), Ok(Some(_)) | Err(_))
}

type Listener = std::io::Result<std::thread::JoinHandle<Heard>>;

/// Reads a pipe to its end, or to the bound.
fn listen(name: &str, pipe: impl Read + Send + 'static, flooded: Arc<AtomicBool>) -> Listener {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let mut bytes = Vec::new();
        // An error is an end, too: what was heard until then is judged.
        let _ = pipe.take(MAX_PROBE_OUTPUT_BYTES + 1).read_to_end(&mut bytes);
        let too_much = bytes.len() as u64 > MAX_PROBE_OUTPUT_BYTES;
        if too_much {
            flooded.store(true, Ordering::Relaxed);
        }
        Heard { bytes, too_much }
    })
}

fn heard(listener: Option<Listener>) -> Heard {
    let heard = listener.and_then(Result::ok).and_then(|thread| thread.join().ok());
    heard.unwrap_or(Heard { bytes: Vec::new(), too_much: false })
}

/// What the child said on stderr, for who looks for the cause.
fn log_child(said: &[u8]) {
    for line in String::from_utf8_lossy(said).lines().take(CHILD_LINES) {
        log::debug!("probe: {}", line.escape_debug());
    }
}

/// Lines of the child's stderr that are logged.
const CHILD_LINES: usize = 50;

/// What an allocation that fails says before it ends the process: the standard library's own words.
const NO_MEMORY: &[u8] = b"memory allocation of ";

/// What came of it.
fn judge(end: &End, out: &Heard, err: &Heard, probe: &Probe) -> Result<Vec<ProvedModel>, ProbeFault> {
    let (lines, unread) = lines::read(&out.bytes);
    let model = lines.iter().rev().find_map(|line| match line {
        Line::Begins { dir } => Some(name_of(dir)),
        _ => None,
    });
    let fault = |code, reason: String| Err(ProbeFault { code, model: model.clone(), reason });
    let at = model.as_ref().map_or("its configuration was checked".to_owned(), |name| format!("{name} was proved"));
    if out.too_much || err.too_much {
        return fault(Code::Output, format!("it wrote more than {MAX_PROBE_OUTPUT_BYTES} bytes and was ended"));
    }
    let memory = probe.limits.memory_mib.map_or("all that there is".to_owned(), |mib| format!("{mib} MiB"));
    let status = match end {
        End::Stopped => return fault(Code::Interrupted, format!("linnetd ended while {at}")),
        End::TimedOut => {
            let secs = probe.limits.time.as_secs_f64();
            return fault(Code::Timeout, format!("it was not done after {secs:.0} s, while {at}"));
        }
        End::Exited(status) => status,
    };
    let starved = err.bytes.windows(NO_MEMORY.len()).any(|words| words == NO_MEMORY);
    if let Some(signal) = status.signal() {
        let [kill, cpu, abort] = [Signal::KILL, Signal::XCPU, Signal::ABORT].map(Signal::as_raw);
        return if signal == abort && starved {
            fault(Code::Memory, format!("it needed more than the {memory} that it may take, while {at}"))
        } else if signal == kill {
            fault(Code::Memory, format!("the system ended it, as it does where memory runs out, while {at}"))
        } else if signal == cpu {
            let secs = probe.limits.time.as_secs();
            fault(Code::Timeout, format!("it used {secs} s of processors and was not done, while {at}"))
        } else {
            fault(Code::Signal, format!("it was ended by {}, while {at}", fault::signal_name(signal)))
        };
    }
    if let Some(line) = unread {
        return fault(Code::Output, format!("its line {line} cannot be understood"));
    }
    if let Some(failed) = lines.iter().find_map(|line| match line {
        Line::Failed { code, reason } => Some((*code, reason)),
        _ => None,
    }) {
        return fault(failed.0, failed.1.clone());
    }
    let proved: Vec<_> = lines.iter().filter_map(Line::proved).collect();
    let whole = matches!(lines.first(), Some(Line::Config))
        && matches!(lines.last(), Some(Line::Done { models }) if *models == probe.models.len())
        && proved.len() == probe.models.len();
    match status.code() {
        Some(0) if whole => Ok(proved),
        Some(code) => fault(Code::Output, format!("it ended with code {code} and did not say how, while {at}")),
        None => fault(Code::Output, format!("it ended and did not say how, while {at}")),
    }
}

/// What a package's directory is called.
fn name_of(dir: &Path) -> String {
    dir.file_name().map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned())
}
