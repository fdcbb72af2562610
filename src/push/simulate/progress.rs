//! How far a simulation has come, on one line that is written over.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::operator::Operator;
use super::summary::clock;

/// Least pause between two lines.
const PAUSE: Duration = Duration::from_millis(200);

/// How far a simulation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Virtual time, seconds.
    pub virtual_secs: u64,
    /// Waves that are open, and all.
    pub waves: (usize, usize),
    /// Devices that have reported an end, and of how many in the open waves.
    pub reported: (usize, usize),
    /// Devices that have failed.
    pub failed: usize,
    /// Devices that the broker has taken, and of how many; before the push begins.
    pub gathered: Option<(usize, usize)>,
}

impl Progress {
    /// How far the operator has come.
    pub(super) fn of(operator: &Operator, now_ms: u64) -> Self {
        let open = &operator.tallies[..operator.opened()];
        let sum = |of: fn(&linnet_fleet::waves::Tally) -> usize| open.iter().map(of).sum();
        Self {
            virtual_secs: now_ms / 1000,
            waves: (open.len(), operator.waves.len()),
            reported: (sum(|tally| tally.reported()), sum(|tally| tally.devices())),
            failed: sum(|tally| tally.failed),
            gathered: None,
        }
    }

    /// So many devices of all have connected.
    pub(super) fn gathering(devices: usize, all: usize) -> Self {
        Self { virtual_secs: 0, waves: (0, 0), reported: (0, 0), failed: 0, gathered: Some((devices, all)) }
    }

    /// One line.
    pub fn line(&self) -> String {
        if let Some((devices, all)) = self.gathered {
            return format!("{devices} of {all} devices are connected");
        }
        let Self { waves: (open, all), reported: (reported, devices), failed, .. } = self;
        let time = clock(self.virtual_secs);
        format!("{time}  wave {open} of {all}  {reported} of {devices} reported  {failed} failed")
    }
}

/// The line on standard error; nothing where that is no terminal.
#[derive(Debug)]
pub struct ProgressLine {
    is_terminal: bool,
    shown: Option<Instant>,
}

impl ProgressLine {
    /// Nothing is shown yet.
    #[allow(clippy::new_without_default)] // It looks at the terminal.
    pub fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), shown: None }
    }

    /// Shows it, if the last time was long enough ago.
    pub fn show(&mut self, progress: &Progress) {
        if !self.is_terminal || self.shown.is_some_and(|shown| shown.elapsed() < PAUSE) {
            return;
        }
        self.shown = Some(Instant::now());
        self.write(&progress.line());
    }

    /// Takes it away.
    pub fn clear(&self) {
        if self.shown.is_some() {
            self.write("");
        }
    }

    fn write(&self, line: &str) {
        let mut stderr = std::io::stderr().lock();
        // Nobody misses a line of progress.
        let _ = write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush());
    }
}
