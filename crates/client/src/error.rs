//! Why a request got no answer, and the exit code that says so.

use std::path::PathBuf;
use std::time::Duration;

use linnet_proto::libretranslate::PlainError;
use linnet_proto::{ErrorBody, ErrorCode, WireError};

/// Why a request got no answer. Each sentence names the thing and the way out.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens on the socket.
    #[error(
        "linnetd does not answer on {path}: {source}; start it with `linnetd &` (or `systemctl start linnetd`), or name its \
         socket with --socket or LINNET_SOCKET"
    )]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The user may not open the socket.
    #[error("{path}: permission denied; the socket belongs to linnetd's group: add yourself to it and log in again")]
    NotAllowed {
        /// The socket.
        path: PathBuf,
    },
    /// The connection broke, or what came was not what `linnetd` says.
    #[error(
        "the answer of linnetd broke off or made no sense: {0}; is it another program's socket, or did linnetd end?"
    )]
    Broken(String),
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file; `standard input` for `-`.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The broker's address is not one.
    #[error("{0}")]
    BadUrl(String),
    /// The broker is not reached, or refused.
    #[error("the MQTT broker at {address}: {reason}")]
    Broker {
        /// Host and port.
        address: String,
        /// One sentence.
        reason: String,
    },
    /// The broker is there and will not have what is asked of it.
    #[error("the MQTT broker at {address} {said}")]
    BrokerRefuses {
        /// Host and port.
        address: String,
        /// What it said, and what to do.
        said: String,
        /// The reason code of MQTT 5.
        code: u8,
    },
    /// No daemon serves the device.
    #[error("no linnetd serves the device `{device}` on this broker: {reason}")]
    NoDevice {
        /// The device.
        device: String,
        /// What was seen.
        reason: &'static str,
    },
    /// A model cannot be fetched from a hub.
    #[error("{0}")]
    Pull(String),
    /// Nothing came in time.
    #[error("no answer within {} s; ask for less, or allow more with --timeout", .0.as_secs_f64())]
    TimedOut(Duration),
    /// `linnetd` refused or failed, and said why.
    #[error("{0}")]
    Refused(WireError),
    /// Standard output cannot be written.
    #[error("standard output: {0}")]
    Output(std::io::Error),
    /// A file cannot be written.
    #[error("{path} cannot be written: {source}; name a place that this user may write, with room to spare")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file cannot be made because its directory is not there.
    #[error("{0}")]
    NoDirectory(String),
    /// A program beside this one is needed and did not run.
    #[error("{0}")]
    Beside(String),
    /// A fleet's repository cannot be read or changed.
    #[error(transparent)]
    Fleet(linnet_fleet::repository::RepositoryError),
    /// A check found what must not be signed.
    #[error("{0}")]
    Checked(String),
    /// Too many devices failed.
    #[error("halted: {0}")]
    Halted(String),
    /// A push stopped before its end.
    #[error("paused: {0}")]
    Paused(String),
    /// Ctrl-C, and what becomes of the request.
    #[error("interrupted{0}")]
    Interrupted(&'static str),
}

impl ClientError {
    /// The refusal in `body`, else a broken answer.
    pub(crate) fn of_body(status: u16, body: &[u8]) -> Self {
        if let Ok(plain) = serde_json::from_slice::<PlainError>(body) {
            let refused = WireError::new(plain.code, plain.error);
            return Self::Refused(WireError { param: plain.param, ..refused });
        }
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => Self::of_error_body(body),
            Err(_) => Self::Broken(format!("HTTP status {status} without an error object")),
        }
    }

    pub(crate) fn of_error_body(body: ErrorBody) -> Self {
        let inner = body.error;
        Self::Refused(WireError {
            code: inner.code,
            message: inner.message,
            param: inner.param,
            retry_after_ms: inner.retry_after_ms,
        })
    }

    /// Exit code after `sysexits.h`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BadUrl(_) => 64,
            Self::Read { .. } => 66,
            Self::NoDaemon { .. } | Self::NoDevice { .. } | Self::Broker { .. } | Self::Beside(_) => 69,
            Self::NotAllowed { .. } => 77,
            // A wrong user, password or right; what else it refuses may go well another time.
            Self::BrokerRefuses { code, .. } => {
                if matches!(code, 0x86 | 0x87 | 0x8a) {
                    77
                } else {
                    75
                }
            }
            Self::Broken(_) => 76,
            Self::Pull(_) => 69,
            Self::TimedOut(_) => 75,
            Self::NoDirectory(_) => 73,
            Self::Output(_) | Self::Write { .. } => 74,
            Self::Fleet(e) => exit_code_of_repository(e),
            Self::Checked(_) => 65,
            Self::Halted(_) => 70,
            Self::Paused(_) => 75,
            Self::Interrupted(_) => 130,
            Self::Refused(refused) => exit_code_of(refused.code),
        }
    }
}

fn exit_code_of_repository(e: &linnet_fleet::repository::RepositoryError) -> u8 {
    use linnet_fleet::repository::RepositoryError as E;
    match e {
        E::Setting(_) => 64,
        E::Metadata { .. } | E::Exhausted { .. } | E::Package { .. } | E::Generation(_) | E::Rollout(_) => 65,
        E::Read { .. } | E::List { .. } | E::NotARepository { .. } | E::NoGeneration { .. } => 66,
        E::NotEmpty { .. } => 73,
        E::MakeDirectory { .. } | E::Write { .. } | E::Sync { .. } | E::Rename { .. } | E::Remove { .. } => 74,
        E::Locked { .. } => 75,
        E::Lock { .. } => 74,
        E::Sign { .. } | E::Key(_) => 77,
    }
}

fn exit_code_of(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::InvalidRequest
        | ErrorCode::InvalidOption
        | ErrorCode::UnknownModel
        | ErrorCode::NotFound
        | ErrorCode::MethodNotAllowed
        | ErrorCode::UnsupportedTask => 64,
        ErrorCode::InvalidAudio
        | ErrorCode::EmptyAudio
        | ErrorCode::UnsupportedMedia
        | ErrorCode::TooLarge
        | ErrorCode::ContextLengthExceeded => 65,
        ErrorCode::ModelFailed | ErrorCode::Unavailable | ErrorCode::Updating => 69,
        ErrorCode::Poisoned | ErrorCode::Internal => 70,
        ErrorCode::Overloaded | ErrorCode::DeadlineExceeded | ErrorCode::RequestTimeout | ErrorCode::Cancelled => 75,
        ErrorCode::Unauthorized | ErrorCode::Forbidden => 77,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_can_tell_its_own_mistake_from_bad_audio_and_from_a_busy_daemon() {
        let exit = |code| ClientError::Refused(WireError::new(code, "no")).exit_code();
        assert_eq!(exit(ErrorCode::InvalidOption), 64);
        assert_eq!(exit(ErrorCode::InvalidAudio), 65);
        assert_eq!(exit(ErrorCode::Overloaded), 75);
    }

    #[test]
    fn a_body_that_is_no_error_object_is_a_broken_answer() {
        assert!(matches!(ClientError::of_body(500, b"<html>"), ClientError::Broken(_)));
        let body = serde_json::to_vec(&ErrorBody::from(WireError::new(ErrorCode::TooLarge, "too long"))).expect("JSON");
        match ClientError::of_body(413, &body) {
            ClientError::Refused(refused) => assert_eq!(refused.code, ErrorCode::TooLarge),
            other => panic!("{other:?}"),
        }
    }
}
