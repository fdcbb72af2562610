//! What a person sees while a long recording is worked on.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use linnet_proto::Segment;
use linnet_proto::topic::DeviceName;

/// A bar against the audio's length where a WAV header tells it, else the time that was heard so far. Hidden when standard
/// error is no terminal.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Begins; `secs` is the audio's length, where it is known.
    pub(super) fn begin(quiet: bool, secs: Option<f64>) -> Self {
        if quiet {
            return Self(ProgressBar::hidden());
        }
        let (bar, template) = match secs {
            Some(secs) => {
                (ProgressBar::new(millis(secs)), "{spinner} heard {prefix} [{wide_bar:.green}] {percent} %{left}")
            }
            None => (ProgressBar::new_spinner(), "{spinner} heard {prefix} {wide_msg:.dim}"),
        };
        Self::show(bar.with_prefix(clock(0.0)), template)
    }

    /// Begins where nothing is told before the whole answer: only that, and how long, it is waited for.
    pub(super) fn wait(quiet: bool, device: &DeviceName) -> Self {
        if quiet {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner().with_message(device.to_string());
        Self::show(bar, "{spinner} waiting for {msg}, {elapsed}")
    }

    fn show(bar: ProgressBar, template: &str) -> Self {
        // The templates are ours; one that did not parse would fall back to indicatif's own.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = bar.with_style(style.with_key("left", left).progress_chars("━╸ "));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// A segment is ready.
    pub(super) fn heard(&self, segment: &Segment) {
        self.0.set_position(millis(segment.end));
        self.0.set_prefix(clock(segment.end));
        self.0.set_message(segment.text.clone());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The time left; nothing before the first segment, from which no pace can be told.
fn left(state: &ProgressState, out: &mut dyn Write) {
    if state.pos() > 0 {
        // Writing to a string; what does not fit is not shown.
        let _ = write!(out, ", {:#} left", HumanDuration(state.eta()));
    }
}

fn millis(secs: f64) -> u64 {
    (secs.max(0.0) * 1000.0) as u64
}

/// `1:02:03` or `2:03`.
fn clock(secs: f64) -> String {
    let secs = secs.max(0.0) as u64;
    match secs / 3600 {
        0 => format!("{}:{:02}", secs / 60, secs % 60),
        hours => format!("{hours}:{:02}:{:02}", secs / 60 % 60, secs % 60),
    }
}

/// Length of a WAV file by its header, seconds: good enough for a bar. Anything else is `None`.
pub(super) fn wav_secs(head: &[u8], file_bytes: u64) -> Option<f64> {
    if head.get(..4)? != b"RIFF" || head.get(8..16)? != b"WAVEfmt " {
        return None;
    }
    let bytes_per_sec = u32::from_le_bytes(head.get(28..32)?.try_into().ok()?);
    (bytes_per_sec > 0).then(|| file_bytes as f64 / f64::from(bytes_per_sec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_shown_only_when_there_are_some() {
        assert_eq!(clock(0.4), "0:00");
        assert_eq!(clock(123.0), "2:03");
        assert_eq!(clock(3723.9), "1:02:03");
    }

    #[test]
    fn only_a_wav_header_tells_a_length() {
        let mut head = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        head.extend_from_slice(&16_000u32.to_le_bytes());
        head.extend_from_slice(&32_000u32.to_le_bytes());
        assert_eq!(wav_secs(&head, 64_000), Some(2.0));
        assert_eq!(wav_secs(b"fLaC", 64_000), None);
        assert_eq!(wav_secs(&head[..20], 64_000), None);
    }
}
