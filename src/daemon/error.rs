//! Why the daemon does not start, and the exit code of it.

use std::io;
use std::path::PathBuf;

use super::state_dir::StateTaken;
use crate::config::ConfigError;
use crate::exit::Exit;
use crate::sys::socket::SocketError;
use crate::transport::http::HttpStartError;
use crate::transport::mqtt::MqttStartError;

/// Why the daemon does not start. Each is one sentence, but for a configuration with several faults.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The local socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Another daemon uses the state directory.
    #[error(transparent)]
    State(#[from] StateTaken),
    /// No directory of models is set and none lies beside the program.
    #[error("there are no models beside linnetd; name their directory with --models DIR")]
    NoModels,
    /// The directory of models is not there.
    #[error("{path}: the directory of models cannot be read: {source}; name another with --models DIR", path = path.display())]
    Models {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// HTTP does not start.
    #[error(transparent)]
    Http(#[from] HttpStartError),
    /// MQTT does not start.
    #[error(transparent)]
    Mqtt(#[from] MqttStartError),
    /// The system refused a thread, a signal handler or a timer.
    #[error("the operating system refused a thread or a handler: {0}")]
    Thread(io::Error),
}

impl DaemonError {
    /// The exit code that belongs to it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Socket(SocketError::Group(_) | SocketError::NotOurs { .. }) => Exit::Config,
            Self::Socket(SocketError::Taken { .. }) | Self::State(_) | Self::Http(HttpStartError::Bind { .. }) => {
                Exit::Unavailable
            }
            Self::Socket(_) => Exit::CannotCreate,
            Self::NoModels | Self::Models { .. } => Exit::NoInput,
            Self::Http(_) | Self::Mqtt(_) => Exit::Config,
            Self::Thread(_) => Exit::OsError,
        }
    }
}
