//! What the daemon says of itself: `GET /v1/status`, MQTT `state` and `status`.

use serde::{Deserialize, Serialize};

use crate::fleet::{PushState, Running};

/// A loaded or failed model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Its name.
    pub name: String,
    /// Version of its package.
    pub version: String,
    /// Other names it answers to.
    pub aliases: Vec<String>,
    /// What it does.
    pub tasks: Vec<String>,
    /// Languages.
    pub languages: Vec<String>,
    /// `model_type`.
    pub family: String,
    /// Ready or not, and why not.
    pub state: ModelState,
    /// Memory that its weights take, MiB.
    pub memory_mib: u64,
}

/// Whether a model serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ModelState {
    /// Loaded, warm, canary passed.
    Ready,
    /// Loads on first use.
    Unloaded,
    /// Being loaded.
    Loading,
    /// Does not serve; the others do.
    Failed {
        /// One sentence.
        reason: String,
    },
}

/// The whole of `GET /v1/status` and of the retained MQTT topic `state`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `linnetd`'s version.
    pub version: String,
    /// Device name.
    pub device: String,
    /// `starting`, `ready`, `degraded` (a model failed, or one of the fields below says what is wrong), `draining`.
    pub health: Health,
    /// Seconds since start.
    pub uptime_secs: f64,
    /// Models in name order.
    pub models: Vec<ModelStatus>,
    /// Directory that `linnet models add` puts models into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models_dir: Option<String>,
    /// The generation that serves, and whether it was confirmed; absent for a device of no fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Running>,
    /// Where generations are looked for, in the order of `fleet.sources`, and how each stood when it was asked last; empty for a device of no
    /// fleet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fleet_sources: Vec<SourceStatus>,
    /// The generation that this device refused or took back last; absent while none was, and once a later one is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet_last_failure: Option<FleetFailure>,
    /// How it stands with a device that waits for its name; absent for any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioning: Option<Provisioning>,
    /// Limits that a caller may need.
    pub limits: Limits,
    /// Jobs waiting.
    pub queue_depth: usize,
    /// Worker threads.
    pub workers: usize,
    /// Workers that were replaced since start.
    pub worker_restarts: u64,
    /// Workers that hang and were abandoned.
    pub workers_stuck: u64,
    /// MQTT link: `off`, `connecting`, `up`, `down`.
    pub mqtt: String,
    /// Why the link is down, one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt_reason: Option<String>,
    /// That another client uses this device's client id, one sentence; absent while nobody has for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt_contested: Option<String>,
    /// Why MQTT's answers that wait and its marks of running requests do not outlive a restart, one sentence; absent while
    /// they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt_storage: Option<String>,
    /// Loops of the daemon that stand still; empty while all is well. Under systemd the watchdog then restarts it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stalled: Vec<String>,
}

/// A source of generations, as the device found it. All times are seconds since 1970-01-01 UTC by the device's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// As `fleet.sources` names it.
    pub source: String,
    /// Whether it failed when it was asked last.
    pub failing: bool,
    /// When it last gave metadata that are trusted, or a file that is the right one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded_secs: Option<u64>,
    /// Its last failure, which may be older than its last success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<SourceFailure>,
    /// Until when others are asked before it, since it failed for files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_back_until_secs: Option<u64>,
}

/// Why a source was of no use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFailure {
    /// When.
    pub secs: u64,
    /// Stable word: `expired`, `wrong_keys`, `unreachable`, `too_slow`, …
    pub code: String,
    /// One sentence.
    pub reason: String,
}

/// A generation that did not stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetFailure {
    /// Its number.
    pub generation: u64,
    /// `rejected` or `rolled_back`.
    pub state: PushState,
    /// One sentence.
    pub reason: String,
    /// When, seconds since 1970-01-01 UTC by the device's clock.
    pub secs: u64,
}

/// A device with a claim and without a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioning {
    /// Path of the claim.
    pub claim: String,
    /// How far it has come.
    pub state: ProvisioningState,
    /// Why there is no name yet, one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far a device without a name has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProvisioningState {
    /// It asks for the first time.
    Asking,
    /// The broker is not reached, or nobody answers there.
    Unanswered,
    /// The operator refuses it.
    Refused,
    /// Its claim cannot be read, or what it was granted cannot be kept or used.
    Failed,
}

/// Overall health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not yet ready.
    Starting,
    /// Everything serves.
    Ready,
    /// It serves, but not all that it should.
    Degraded,
    /// Ending; takes no new requests.
    Draining,
}

/// Limits that a caller may need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest upload, bytes.
    pub max_upload_bytes: u64,
    /// Longest audio, seconds.
    pub max_audio_secs: u64,
    /// Largest MQTT packet, bytes.
    pub max_packet_bytes: u64,
    /// Jobs that may wait.
    pub queue_length: usize,
    /// Default deadline, milliseconds.
    pub default_deadline_ms: u64,
    /// Longest deadline that a request may name, milliseconds.
    pub max_deadline_ms: u64,
}
