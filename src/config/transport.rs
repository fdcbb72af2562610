//! Checked settings of the transports. Every value here has passed its rule.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use linnet_features::audio::AudioLimits;

/// Limits that every transport applies to what it receives.
#[derive(Debug, Clone, PartialEq)]
pub struct IntakeSettings {
    /// Largest request body or payload, bytes.
    pub max_upload_bytes: u64,
    /// Bodies held in memory at once over all requests, bytes.
    pub max_upload_total_bytes: u64,
    /// Limits of the audio itself.
    pub audio: AudioLimits,
    /// Deadline of a request that names none.
    pub default_timeout: Duration,
    /// Longest deadline that a request may name.
    pub max_timeout: Duration,
}

/// `[http]` and the local socket.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSettings {
    /// Path of the Unix socket.
    pub socket: PathBuf,
    /// Its file mode (0o660).
    pub socket_mode: u32,
    /// Group that owns it, when not the daemon's own.
    pub socket_group: Option<String>,
    /// TCP listener; off unless configured.
    pub tcp: Option<HttpTcpSettings>,
    /// Connections at once; a further one waits in the kernel's backlog.
    pub max_connections: usize,
    /// Time for the request's head to arrive.
    pub header_timeout: Duration,
    /// Longest silence inside a body, and of a client that reads nothing.
    pub idle_timeout: Duration,
}

/// HTTP over TCP: always with a token.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpTcpSettings {
    /// Address and port.
    pub address: SocketAddr,
    /// File that holds the bearer token (a systemd credential is a file, too).
    pub token_file: PathBuf,
    /// PEM certificate chain and key; needed beyond loopback unless `insecure_plaintext`.
    pub tls: Option<TlsFiles>,
    /// Plain text beyond loopback, on the operator's word.
    pub insecure_plaintext: bool,
}

/// PEM files of a certificate chain and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Chain.
    pub cert: PathBuf,
    /// Key.
    pub key: PathBuf,
}

/// `[mqtt]`; absent when MQTT is off.
#[derive(Debug, Clone, PartialEq)]
pub struct MqttSettings {
    /// `mqtt://`, `mqtts://`, `ws://` or `wss://` with host and port.
    pub url: String,
    /// Device name, one topic level.
    pub device: String,
    /// Client identifier; `linnet-<device>` by default.
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// CA bundle for TLS; the system's roots are not consulted.
    pub ca_file: Option<PathBuf>,
    /// Client certificate.
    pub client_cert: Option<TlsFiles>,
    /// ALPN protocols.
    pub alpn: Vec<String>,
    /// Keep-alive.
    pub keep_alive: Duration,
    /// Session expiry asked of the broker.
    pub session_expiry: Duration,
    /// Largest packet in either direction, bytes.
    pub max_packet_bytes: u32,
    /// Requests in flight (Receive Maximum); above the queue's bound.
    pub receive_maximum: u16,
    /// Topic filters that response topics may match, beside `linnet/+/response/#`.
    pub response_topics: Vec<String>,
    /// Kept answers and their age.
    pub kept_answers: usize,
    /// How long an answer is kept for repeats.
    pub kept_for: Duration,
    /// Directory of the outbox and the ledger of running requests.
    pub state_dir: PathBuf,
    /// Where to wait between attempts to connect: first and longest, with jitter.
    pub backoff: (Duration, Duration),
}
