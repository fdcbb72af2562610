//! A progress line: rewritten in place on a terminal, a new line now and then in a log.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Between two lines in a log.
const LOG_EVERY: Duration = Duration::from_secs(20);
/// Between two changes on a terminal.
const REDRAW_EVERY: Duration = Duration::from_millis(250);

/// One line on standard error.
#[derive(Debug)]
pub struct Line {
    terminal: bool,
    last: Option<Instant>,
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    /// Nothing is shown yet.
    pub fn new() -> Self {
        Self { terminal: stderr().is_terminal(), last: None }
    }

    /// Shows what `text` gives, if it is time.
    pub fn show(&mut self, text: impl FnOnce() -> String) {
        let every = if self.terminal { REDRAW_EVERY } else { LOG_EVERY };
        if self.last.is_none_or(|last| last.elapsed() >= every) {
            self.last = Some(Instant::now());
            self.draw(&text());
        }
    }

    /// Shows the last state and ends the line.
    pub fn finish(&mut self, text: &str) {
        self.draw(text);
        if self.terminal {
            eprintln!();
        }
    }

    fn draw(&self, text: &str) {
        let mut out = stderr().lock();
        // A terminal that is gone must not end the work.
        let _ = if self.terminal { write!(out, "\r\x1b[2K{text}") } else { writeln!(out, "{text}") };
        let _ = out.flush();
    }
}

/// `1:02:03` of a number of seconds; `unknown` where there is none yet.
pub fn clock(secs: f64) -> String {
    if !secs.is_finite() || secs > 1e7 {
        return "unknown".into();
    }
    let secs = secs.max(0.0) as u64;
    format!("{}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_a_clock_shows_them() {
        assert_eq!(clock(3723.9), "1:02:03");
        assert_eq!(clock(-1.0), "0:00:00");
        assert_eq!(clock(f64::NAN), "unknown");
        assert_eq!(clock(f64::INFINITY), "unknown");
    }
}
