//! The tree as it is written: the default file with the operator's values laid over it, each value within its own rule.
//! [`super::check`] makes the checked tree of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The whole file. What has no fixed default is optional.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub device: Option<String>,
    pub socket: Option<PathBuf>,
    pub models: Option<Vec<PathBuf>>,
    pub default_model: Option<String>,
    pub aliases: Option<BTreeMap<String, String>>,
    pub dtype: Option<String>,
    pub preload: Vec<String>,
    pub pinned: Vec<String>,
    pub memory_limit_mib: u64,
    pub idle_unload_secs: u64,
    pub state: Option<PathBuf>,
    pub log: String,
    pub http: RawHttp,
    pub mqtt: RawMqtt,
    pub limits: RawLimits,
    pub scheduler: RawScheduler,
    pub defaults: BTreeMap<String, String>,
    pub fleet: RawFleet,
}

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttp {
    pub socket_mode: String,
    pub socket_group: Option<String>,
    pub tcp: Option<String>,
    pub token_file: Option<PathBuf>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub insecure_plaintext: bool,
    pub max_connections: usize,
    pub header_timeout_secs: u64,
    pub idle_timeout_secs: u64,
    pub default_timeout_secs: u64,
}

/// `[mqtt]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMqtt {
    pub url: Option<String>,
    pub device: Option<String>,
    pub client_id: Option<String>,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    pub alpn: Vec<String>,
    pub keep_alive_secs: u64,
    pub session_expiry_secs: u64,
    pub max_packet_mib: u32,
    pub receive_maximum: Option<u16>,
    pub response_topics: Vec<String>,
    pub default_timeout_secs: u64,
    pub kept_answers: usize,
    pub kept_answer_secs: u64,
    pub backoff_first_ms: u64,
    pub backoff_longest_secs: u64,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    pub max_upload_mib: u64,
    pub max_upload_total_mib: u64,
    pub max_audio_secs: u32,
    pub min_sample_rate_hz: u32,
    pub max_sample_rate_hz: u32,
    pub max_channels: u16,
    pub max_timeout_secs: u64,
}

/// `[scheduler]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScheduler {
    pub workers: usize,
    pub queue_length: usize,
    pub stuck_after_secs: u64,
    pub drain_secs: u64,
}

/// `[fleet]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFleet {
    pub claim: Option<PathBuf>,
    pub name: Option<String>,
    pub root: Option<PathBuf>,
    pub sources: Vec<String>,
    pub ca_file: Option<PathBuf>,
    pub groups: BTreeSet<String>,
    pub labels: Option<BTreeMap<String, String>>,
    pub refresh_secs: u64,
    pub trial_secs: u64,
    pub probe_secs: u64,
    pub probe_memory_mib: u64,
    pub drained_probe: bool,
    pub allow_local_keys: BTreeSet<String>,
    pub clock: String,
}
