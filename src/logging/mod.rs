//! Where log records go: to systemd's journal with their fields when stderr is connected to it, to stderr as lines otherwise.
//!
//! Fields are written in capitals as the journal has them: `MESSAGE_ID` ([`message_id`]), `REQUEST_ID`, `TASK`, `MODEL`,
//! `MS`. Nobody's speech or text is logged at info level or above it.

pub mod message_id;
mod seldom;
mod stderr;

use log::{LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

pub use seldom::Seldom;
use stderr::StderrLog;

/// Installs the logger for the rest of the process; a second call changes only the level.
pub fn start(level: LevelFilter) {
    let to_journal = if connected_to_journal() {
        JournalLog::new().map(|journal| Box::new(journal.with_syslog_identifier("linnetd".into())) as Box<dyn Log>).ok()
    } else {
        None
    };
    let logger = Filtered { inner: to_journal.unwrap_or_else(|| Box::new(StderrLog)) };
    // The error says that there is a logger: a test's or the embedding program's, which is then the one to use.
    let _ = log::set_boxed_logger(Box::new(logger));
    set_level(level);
}

/// What a line on stderr begins with that the journal shall take as an error (`sd-daemon(3)`): without it `journalctl -p err`
/// would not find why a start failed. Empty where stderr is not the journal.
pub fn error_mark() -> &'static str {
    if connected_to_journal() { "<3>" } else { "" }
}

/// Changes how much is logged.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Lets everything of Linnet through, of libraries only warnings, unless somebody is debugging.
struct Filtered {
    inner: Box<dyn Log>,
}

impl Log for Filtered {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_wanted(metadata.target(), metadata.level(), log::max_level())
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.inner.log(record);
        }
    }

    fn flush(&self) {
        self.inner.flush();
    }
}

fn is_wanted(target: &str, level: log::Level, max: LevelFilter) -> bool {
    let own = target.starts_with("linnet");
    // symphonia warns about strangers' files, once for each packet: what matters of that is in the answer.
    let heard = level <= log::Level::Warn && !target.starts_with("symphonia");
    level <= max && (own || heard || max >= LevelFilter::Trace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    #[test]
    fn libraries_are_heard_when_they_warn_or_when_everything_is_traced() {
        assert!(is_wanted("linnet::daemon", Level::Info, LevelFilter::Info));
        assert!(!is_wanted("linnet::daemon", Level::Debug, LevelFilter::Info));
        assert!(!is_wanted("rumqttc::v5", Level::Info, LevelFilter::Debug));
        assert!(is_wanted("rumqttc::v5", Level::Warn, LevelFilter::Info));
        assert!(is_wanted("rumqttc::v5", Level::Debug, LevelFilter::Trace));
        assert!(!is_wanted("symphonia_format_ogg::logical", Level::Warn, LevelFilter::Debug));
        assert!(is_wanted("symphonia_format_ogg::logical", Level::Warn, LevelFilter::Trace));
        assert!(!is_wanted("linnet", Level::Error, LevelFilter::Off));
    }
}
