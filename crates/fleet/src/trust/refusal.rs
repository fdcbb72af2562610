//! `tough`'s errors as refusals.

use std::error::Error as _;

use serde::Deserialize;
use tough::TransportErrorKind;
use tough::error::Error;
use tough::schema;

use super::File;
use super::error::TrustError;

/// The refusal that an error of a load stands for; `last` is the file that was asked for last, which is the one that was refused.
pub(super) fn of(error: &Error, last: (&str, Option<&File>)) -> TrustError {
    let (name, file) = last;
    match error {
        Error::OlderMetadata { .. }
        | Error::OlderSnapshotInTimestamp { .. }
        | Error::SnapshotRoleMissing { .. }
        | Error::SnapshotRoleRollback { .. } => TrustError::Rollback(error.to_string()),
        Error::VersionMismatch { .. } => TrustError::MixAndMatch(error.to_string()),
        Error::VerifyMetadata { source, .. } | Error::VerifyRoleMetadata { source, .. } => {
            signature(source, name, file)
        }
        Error::MaxUpdatesExceeded { max_root_updates, .. } => TrustError::TooManyRoots(*max_root_updates),
        Error::InvalidPath { .. } => {
            TrustError::Extraneous(format!("a role signs for what was not delegated to it: {error}"))
        }
        Error::Transport { source, .. } if source.kind() == TransportErrorKind::FileNotFound => {
            TrustError::missing(name)
        }
        Error::Transport { source, .. } => match source.source().and_then(|cause| cause.downcast_ref::<Error>()) {
            Some(Error::HashMismatch { .. }) => {
                TrustError::MixAndMatch(format!("the digest of {name} is not the one that signed metadata name"))
            }
            Some(Error::MaxSizeExceeded { max_size, .. }) => {
                TrustError::TooLarge { what: name.to_owned(), cap: *max_size }
            }
            _ => TrustError::Unreachable(error.to_string()),
        },
        Error::ParseTrustedMetadata { .. } | Error::VerifyTrustedMetadata { .. } => {
            TrustError::OwnState(error.to_string())
        }
        Error::DatastoreCreate { .. }
        | Error::DatastoreInit { .. }
        | Error::DatastoreOpen { .. }
        | Error::DatastoreRemove { .. }
        | Error::DatastoreSerialize { .. }
        | Error::JoinSpawnBlockingTask { .. }
        | Error::SystemTimeSteppedBackward { .. } => TrustError::Scratch(error.to_string()),
        Error::ParseMetadata { source, .. } => TrustError::garbage(name, source),
        _ => TrustError::garbage(name, error),
    }
}

fn signature(source: &schema::Error, name: &str, file: Option<&File>) -> TrustError {
    let role = || name.to_owned();
    match source {
        schema::Error::SignatureThreshold { valid: 0, .. } if file.is_some_and(|file| signatures(file) == 0) => {
            TrustError::Unsigned { role: role() }
        }
        schema::Error::SignatureThreshold { valid: 0, .. } => TrustError::WrongKeys { role: role() },
        schema::Error::SignatureThreshold { threshold, valid, .. } => {
            TrustError::BelowThreshold { role: role(), threshold: *threshold, valid: *valid }
        }
        other => TrustError::garbage(name, other),
    }
}

/// How many signatures a file bears, good or bad.
fn signatures(file: &[u8]) -> usize {
    #[derive(Deserialize)]
    struct Signed {
        signatures: Vec<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Signed>(file).map_or(0, |signed| signed.signatures.len())
}
