//! Log records as lines on stderr: time, level, target, message, `KEY=value`.

use std::fmt::Write as _;
use std::io::Write as _;

use log::kv::{Error, Key, Value, VisitSource};
use log::{Log, Metadata, Record};

use crate::sys::clock;

/// Writes each record as one line, in one call, so that lines of several threads do not mix.
pub(super) struct StderrLog;

impl Log for StderrLog {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = line(&clock::rfc3339(clock::since_epoch()), record);
        // There is nowhere to say that stderr is closed.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// One record as one line; line ends inside it become blanks.
fn line(time: &str, record: &Record<'_>) -> String {
    let mut line = String::with_capacity(160);
    // Writing to a string cannot fail.
    let _ = write!(line, "{time} {:<5} {}: {}", record.level(), record.target(), record.args());
    let _ = record.key_values().visit(&mut Fields(&mut line));
    let mut line = line.replace(['\n', '\r'], " ");
    line.push('\n');
    line
}

/// Appends fields as `KEY=value`, in quotes where blanks would cut them. `MESSAGE_ID` is for the journal.
struct Fields<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let value = match value.to_f64() {
            // Times in milliseconds: nobody reads more digits. Whole numbers are no floats here.
            Some(number) if number.fract() != 0.0 => format!("{number:.3}"),
            _ => value.to_string(),
        };
        if key.as_str() == "MESSAGE_ID" || value.is_empty() {
            return Ok(());
        }
        if value.contains([' ', '"', '=']) {
            write!(self.0, " {key}={value:?}")?;
        } else {
            write!(self.0, " {key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_with_its_fields() {
        let fields = [
            ("MESSAGE_ID", Value::from("abc")),
            ("REQUEST_ID", Value::from("h1.0")),
            ("MODEL", Value::from("")),
            ("MS", Value::from(332.211_999_9)),
            ("STATUS", Value::from(200)),
            ("REASON", Value::from("two words\nand more")),
        ];
        let wanted = "2026-07-31T08:15:00.123Z INFO  linnet::daemon: first second REQUEST_ID=h1.0 MS=332.212 STATUS=200 \
                      REASON=\"two words\\nand more\"\n";
        let time = "2026-07-31T08:15:00.123Z";
        let got = line(
            time,
            &Record::builder()
                .level(log::Level::Info)
                .target("linnet::daemon")
                .args(format_args!("first\nsecond"))
                .key_values(&fields)
                .build(),
        );
        assert_eq!(got, wanted);
    }
}
