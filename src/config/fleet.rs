//! Checked settings of `[fleet]`: whom this device takes generations from, and how it tries them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::keys::MQTT_SOURCE;
use super::transport::MqttSettings;

/// `[fleet]`; absent when the device belongs to none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSettings {
    /// Name of the fleet, one level of MQTT topics.
    pub name: String,
    /// The first trusted `root.json`.
    pub root: PathBuf,
    /// Where generations are looked for, in order; at least one.
    pub sources: Vec<FleetSource>,
    /// Authorities that servers' certificates may come from; the system's where none is named.
    pub ca_file: Option<PathBuf>,
    /// Groups that this device belongs to.
    pub groups: BTreeSet<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How often metadata are looked at without a hint, before jitter.
    pub refresh: Duration,
    /// How long a generation serves on trial.
    pub trial: Duration,
    /// How a generation proves itself before it serves.
    pub probe: ProbeSettings,
    /// Keys of this device that a generation may set.
    pub allow_local_keys: BTreeSet<String>,
    /// When the clock is believed.
    pub clock: ClockTrust,
}

/// `fleet.claim` of a device that has no name by it yet.
#[derive(Debug, Clone, PartialEq)]
pub struct ProvisionSettings {
    /// The claim.
    pub claim: PathBuf,
    /// Directory of the device's key and of what it is granted.
    pub identity: PathBuf,
    /// The name that the device's own configuration gives it.
    pub wanted: Option<String>,
    /// Why what was granted before does not count, one sentence.
    pub damaged: Option<String>,
    /// How a connection is made, but for what the claim says: broker, user, certificates, client id.
    pub link: MqttSettings,
}

/// How a generation proves itself before it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeSettings {
    /// The time that it may take, of the clock and of processors.
    pub time: Duration,
    /// The memory that it may take, MiB; what is free when absent.
    pub memory_mib: Option<u64>,
    /// Whether models that serve may be let go of meanwhile.
    pub drained: bool,
}

/// Where generations come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetSource {
    /// The broker.
    Mqtt,
    /// A server: a URL of HTTP or HTTPS, without a `/` at its end.
    Http(String),
    /// A directory.
    Directory(PathBuf),
}

/// As the configuration has it.
impl std::fmt::Display for FleetSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mqtt => f.write_str(MQTT_SOURCE),
            Self::Http(url) => f.write_str(url),
            Self::Directory(path) => write!(f, "{}", path.display()),
        }
    }
}

/// When the clock counts as synchronised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockTrust {
    /// When the kernel says so.
    Kernel,
    /// From the start: the machine has a clock that runs on.
    Always,
    /// Never: only the last known time counts.
    Never,
}
