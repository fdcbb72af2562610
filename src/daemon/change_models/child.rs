//! `linnetd import` as a child of the daemon, with bounded output and an end.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use linnet_proto::models::{AddModel, AddedModel};
use linnet_proto::{ErrorCode, WireError};

use super::Places;
use crate::exit::Exit;
use crate::store::write::settle_abandoned;

/// How often the child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Most that it may say, bytes: one object, or one sentence.
const MAX_SAID_BYTES: u64 = 64 << 10;

/// What is to be taken in.
pub(super) struct Import {
    pub(super) asked: AddModel,
    pub(super) places: Places,
}

impl Import {
    /// Runs it to its end, or to `stop`.
    pub(super) fn run(self, stop: &AtomicBool) -> Result<AddedModel, WireError> {
        let from = Path::new(&self.asked.path);
        if !from.is_absolute() {
            return Err(refused("`path` is a path from the root of the file system on").with_param("path"));
        }
        if let Err(e) = std::fs::read_dir(from) {
            let message = format!("{}: linnetd cannot read it: {e}", from.display());
            return Err(refused(message).with_param("path"));
        }
        std::fs::create_dir_all(&self.places.into).map_err(|e| {
            let into = self.places.into.display();
            WireError::new(ErrorCode::Internal, format!("linnetd cannot write {into}, where models are added: {e}"))
        })?;
        let failed = |e: std::io::Error| WireError::new(ErrorCode::Internal, format!("linnetd import: {e}"));
        let mut child = Running(self.command().map_err(failed)?.spawn().map_err(failed)?);
        let (out, err) = (listen(child.0.stdout.take()), listen(child.0.stderr.take()));
        let status = child.end(stop).map_err(failed)?;
        let (out, err) = (heard(out), heard(err));
        match status {
            None => {
                drop(child);
                settle_abandoned(&self.places.into);
                Err(WireError::new(ErrorCode::Cancelled, "the caller has gone"))
            }
            Some(status) if status.success() => serde_json::from_slice(&out).map_err(|e| {
                WireError::new(ErrorCode::Internal, format!("linnetd import said what makes no sense: {e}"))
            }),
            Some(status) => Err(said(status, &err)),
        }
    }

    fn command(&self) -> std::io::Result<Command> {
        let AddModel { path, directory: _, name, aliases, dtype, copy, replace } = &self.asked;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["import", "--json", "--for-daemon"]);
        let mut flag = |flag: &str, value: &OsStr| {
            let mut joined = std::ffi::OsString::from(format!("--{flag}="));
            joined.push(value);
            command.arg(joined);
        };
        flag("models", self.places.into.as_os_str());
        if let Some(fleet) = &self.places.fleet {
            flag("fleet-dir", fleet.as_os_str());
        }
        for (key, value) in [("name", name), ("dtype", dtype)] {
            if let Some(value) = value {
                flag(key, value.as_ref());
            }
        }
        for alias in aliases {
            flag("alias", alias.as_ref());
        }
        for (flag, given) in [("--copy", copy), ("--replace", replace)] {
            command.args(given.then_some(flag));
        }
        command.arg("--").arg(path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its words go to who asked, not to the journal.
        command.env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET");
        Ok(command)
    }
}

/// The child; killed when this is dropped.
struct Running(Child);

impl Running {
    /// How it ended; `None` where it was ended by `stop`.
    fn end(&mut self, stop: &AtomicBool) -> std::io::Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            if stop.load(Ordering::Relaxed) {
                // Its pipes end with it, and so does who listens to them.
                self.0.kill()?;
                self.0.wait()?;
                return Ok(None);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

type Listener = Option<std::thread::JoinHandle<Vec<u8>>>;

fn listen(pipe: Option<impl Read + Send + 'static>) -> Listener {
    let pipe = pipe?;
    std::thread::Builder::new()
        .name("models-listen".to_owned())
        .spawn(move || {
            let mut bytes = Vec::new();
            // What could be read counts; a child that says more finds the pipe closed.
            let _ = pipe.take(MAX_SAID_BYTES).read_to_end(&mut bytes);
            bytes
        })
        .ok()
}

fn heard(listener: Listener) -> Vec<u8> {
    listener.and_then(|thread| thread.join().ok()).unwrap_or_default()
}

fn refused(message: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::InvalidRequest, message)
}

/// The child's sentence under the code that its exit code means.
fn said(status: ExitStatus, err: &[u8]) -> WireError {
    let text = String::from_utf8_lossy(err);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let sentence = line.strip_prefix("linnetd: ").unwrap_or(line).to_owned();
    let is = |exit: Exit| status.code() == Some(exit as i32);
    match status.code() {
        None => {
            let message =
                "it took linnetd import down: the system ended it, as it does where memory runs out, or it crashed";
            WireError::new(ErrorCode::ModelFailed, message)
        }
        Some(_) if is(Exit::Usage) => refused(sentence).with_param("model"),
        // Files that this user cannot read: the caller may send them.
        Some(_) if is(Exit::NoInput) => refused(sentence).with_param("path"),
        Some(_) if is(Exit::Data) => WireError::new(ErrorCode::ModelFailed, sentence).with_param("model"),
        Some(_) => WireError::new(ErrorCode::Internal, sentence),
    }
}
