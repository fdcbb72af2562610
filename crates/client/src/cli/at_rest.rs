//! Directories among a device's sources that give nothing just now, which is no failure: a stick lies in a drawer most of its life.

use linnet_fleet::source::NO_DIRECTORY;
use linnet_proto::status::SourceStatus;

/// Why a directory gives nothing just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtRest {
    /// A stick that is not plugged in, a mount that is not there.
    NotThere,
    /// What it holds is older than what another source gave.
    NothingNewer,
}

impl AtRest {
    /// Of one of `all` the sources of a device; `None` where it is well, or something is wrong with it.
    pub(super) fn of(source: &SourceStatus, all: &[SourceStatus]) -> Option<Self> {
        let is_directory = source.source != "mqtt" && !source.source.contains("://");
        let failed = source.failed.as_ref().filter(|_| is_directory && source.failing)?;
        let is_served = all.iter().any(is_of_use);
        match failed.code.as_str() {
            "unreachable" if failed.reason.contains(NO_DIRECTORY) => Some(Self::NotThere),
            // The place that a stick is mounted at stays, empty.
            "missing" if failed.reason.contains("timestamp.json") => Some(Self::NotThere),
            "rollback" | "expired" if is_served => Some(Self::NothingNewer),
            _ => None,
        }
    }

    /// In a few words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::NotThere => "not there now; looked for again by itself",
            Self::NothingNewer => "holds nothing newer than the others",
        }
    }
}

/// Whether updates come from it.
pub(super) fn is_of_use(source: &SourceStatus) -> bool {
    !source.failing && source.succeeded_secs.is_some()
}

#[cfg(test)]
mod tests {
    use linnet_proto::status::SourceFailure;

    use super::*;

    fn source(name: &str, code: &str, reason: &str) -> SourceStatus {
        let failed = Some(SourceFailure { secs: 1, code: code.into(), reason: reason.into() });
        SourceStatus { source: name.into(), failing: true, failed, ..SourceStatus::default() }
    }

    #[test]
    fn a_stick_in_a_drawer_and_an_old_copy_are_at_rest_and_all_else_is_not() {
        let away = format!("timestamp.json could not be fetched: {NO_DIRECTORY}");
        let well = SourceStatus { source: "mqtt".into(), succeeded_secs: Some(1), ..SourceStatus::default() };
        let stick = "/media/stick/home";
        for (source, alone, beside) in [
            (source(stick, "unreachable", &away), Some(AtRest::NotThere), Some(AtRest::NotThere)),
            (source(stick, "missing", "timestamp.json is not there"), Some(AtRest::NotThere), Some(AtRest::NotThere)),
            (source(stick, "missing", "7.snapshot.json is not there"), None, None),
            (source(stick, "unreachable", "Input/output error"), None, None),
            (source(stick, "rollback", "version 3"), None, Some(AtRest::NothingNewer)),
            (source(stick, "expired", "its metadata expired"), None, Some(AtRest::NothingNewer)),
            (source(stick, "wrong_keys", "no"), None, None),
            (source("https://h/home", "rollback", "version 3"), None, None),
            (source("mqtt", "unreachable", &away), None, None),
            (SourceStatus { failing: false, ..source(stick, "rollback", "version 3") }, None, None),
        ] {
            assert_eq!(AtRest::of(&source, std::slice::from_ref(&source)), alone, "{source:?}");
            assert_eq!(AtRest::of(&source, &[source.clone(), well.clone()]), beside, "{source:?}");
        }
    }
}
