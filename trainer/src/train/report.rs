//! What a run says: a line on standard error, and JSON Lines in its directory.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::method::{Method, Score};
use crate::error::{Failure, Result};
use crate::progress::clock;

/// Progress of a run, on standard error and in its log.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    log: File,
    terminal: bool,
    last_line: Option<Instant>,
    /// Since the last line: loss, units, size of the batches, work seconds.
    since: (f64, usize, f64, f64),
}

/// One step, for the report.
#[derive(Debug, Clone, Copy)]
pub struct StepLine {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Batches of the epoch that are done, and all.
    pub batches: (usize, usize),
    /// Step of the run.
    pub step: u64,
    /// Loss of the step and its units.
    pub loss: (f64, usize),
    /// Gradient norm.
    pub norm: f64,
    /// Learning rate.
    pub rate: f64,
    /// Size of the step's batch.
    pub amount: f64,
    /// The time that it took, seconds.
    pub secs: f64,
    /// Time that is left, seconds.
    pub left_secs: f64,
}

impl Report {
    /// Appends to the log at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let log =
            OpenOptions::new().append(true).create(true).open(path).map_err(|error| Failure::write(path, error))?;
        let terminal = std::io::stderr().is_terminal();
        Ok(Self { path: path.to_owned(), log, terminal, last_line: None, since: (0.0, 0, 0.0, 0.0) })
    }

    /// Adds an event to the log.
    pub fn event(&mut self, event: Value) -> Result<()> {
        let mut line = event.to_string();
        line.push('\n');
        self.log.write_all(line.as_bytes()).map_err(|error| Failure::write(&self.path, error))
    }

    /// A sentence of its own line.
    pub fn say(&mut self, sentence: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        eprintln!("{clear}{sentence}");
    }

    /// After each step; says a line twice a second on a terminal, and each 15 s elsewhere.
    pub fn step<M: Method>(&mut self, line: StepLine) -> Result<()> {
        let since = &mut self.since;
        *since = (since.0 + line.loss.0, since.1 + line.loss.1, since.2 + line.amount, since.3 + line.secs);
        let pause = if self.terminal { Duration::from_millis(500) } else { Duration::from_secs(15) };
        if self.last_line.is_some_and(|last| last.elapsed() < pause) {
            return Ok(());
        }
        self.last_line = Some(Instant::now());
        let (loss, units, amount, work) = std::mem::take(&mut self.since);
        let (loss, speed) = (loss / units.max(1) as f64, amount / work.max(1e-9));
        let StepLine { epoch, batches: (done, all), step, rate, norm, left_secs, .. } = line;
        let text = format!(
            "epoch {} {done}/{all}  step {step}  loss {loss:.3}  gradient {norm:.2}  rate {rate:.2e}  {speed:.0} {} a second  {} left",
            epoch + 1,
            M::AMOUNT,
            clock(left_secs)
        );
        if self.terminal {
            eprint!("\r\x1b[K{text}");
        } else {
            eprintln!("{text}");
        }
        self.event(json!({
            "event": "step", "epoch": epoch + 1, "step": step, "loss": loss, "gradient": norm, "rate": rate,
            (M::AMOUNT_KEY): speed,
        }))
    }

    /// After a validation.
    pub fn epoch(
        &mut self,
        epoch: u64,
        step: u64,
        loss: f64,
        score: &Score,
        best: bool,
        trained_secs: f64,
    ) -> Result<()> {
        let mark = if best { "  best so far" } else { "" };
        self.say(&format!(
            "epoch {} done  step {step}  loss {loss:.3}  validation: {}{mark}  ({} trained)",
            epoch + 1,
            score.said,
            clock(trained_secs)
        ));
        for [(first, one), (second, other)] in &score.examples {
            self.say(&format!("  {first}: {one}\n  {second}: {other}"));
        }
        let mut event = json!({
            "event": "epoch", "epoch": epoch + 1, "step": step, "loss": loss, "best": best, "trained_secs": trained_secs,
        });
        if let Some(event) = event.as_object_mut() {
            event.extend(score.event.clone());
        }
        self.event(event)
    }
}
