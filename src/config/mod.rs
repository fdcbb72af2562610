//! One tree of settings: file -> raw -> checked. Unknown keys, wrong types and bad values are named with file, line and key.
//!
//! Layers cover each other: the embedded `config/linnet.toml`, what the device was granted by a claim ([`identity`]), the file, a generation that was pushed,
//! the environment, the command line ([`Sources`]); what is marked local in the file goes before a generation. [`keys`] is the table of every key;
//! [`document`] holds values to it, `raw` gives them types, and [`Config`] is what has passed the rules between keys, too. `linnetd --check` and the start run the same [`load`].
//! [`diff`] is what `SIGHUP` applies, and can take back.

mod check;
pub mod diff;
pub mod document;
pub mod error;
pub mod explain;
pub mod fleet;
pub mod generation;
pub mod identity;
pub mod keys;
pub mod migrate;
pub mod overrides;
mod raw;
pub mod reference;
#[cfg(test)]
mod tests;
pub mod transport;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linnet_proto::fleet::RESERVED_DEVICES;
use linnet_proto::topic::DeviceName;

use document::Values;
pub use error::{ConfigError, Fault, Place};
use fleet::{FleetSettings, ProvisionSettings};
pub use generation::GenerationLayer;
use identity::Identity;
pub use overrides::Overrides;
use transport::{HttpSettings, IntakeSettings, MqttSettings};

/// The default configuration, commented: what ships is what runs.
pub const DEFAULT_FILE: &str = include_str!("../../config/linnet.toml");

/// Checked settings of the whole daemon.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file and the generation that it comes from.
    pub origin: Origin,
    /// Device name, one topic level.
    pub device: String,
    /// Directories of model packages, the earlier one first; empty when none is set and none was found beside the program.
    pub models: Vec<PathBuf>,
    /// The model of requests that name none, by name or alias.
    pub default_model: Option<String>,
    /// The same for one task, by the task's name.
    pub defaults: BTreeMap<String, String>,
    /// Further names of models, each with the model that is meant.
    pub aliases: BTreeMap<String, String>,
    /// Which models are in memory, and when.
    pub memory: MemorySettings,
    /// Directory of what must outlive a restart.
    pub state_dir: PathBuf,
    /// How much is logged.
    pub log: log::LevelFilter,
    /// `[http]` and the local socket.
    pub http: HttpSettings,
    /// Limits of what HTTP takes in.
    pub intake: IntakeSettings,
    /// `[mqtt]`; `None` when it is off.
    pub mqtt: Option<MqttSettings>,
    /// Limits of what MQTT takes in.
    pub mqtt_intake: IntakeSettings,
    /// `[scheduler]`.
    pub scheduler: Scheduling,
    /// `[fleet]`; `None` when the device belongs to none.
    pub fleet: Option<FleetSettings>,
    /// `fleet.claim` of a device that has no name by it yet: until then it takes nothing from a broker and no updates.
    pub provision: Option<ProvisionSettings>,
    /// The same as it was written, for the diff.
    values: Values,
}

impl Config {
    /// The directory that models are added to: the first that is configured, else `models` in the state directory. `bundled` is what
    /// was installed with the program.
    pub fn own_models(&self, bundled: Option<&Path>) -> PathBuf {
        let own =
            self.models.iter().find(|dir| Some(dir.as_path()) != bundled && Some(dir.as_path()) != self.packages());
        own.cloned().unwrap_or_else(|| self.state_dir.join(OWN_MODELS))
    }

    /// The number of the generation that it comes from; 0 is what was shipped with the device.
    pub fn generation(&self) -> u64 {
        self.origin.generation.as_ref().map_or(0, |generation| generation.number)
    }

    /// The directory of that generation's packages; one of [`Config::models`].
    pub fn packages(&self) -> Option<&Path> {
        self.origin.generation.as_ref()?.packages.as_deref()
    }

    /// `fleet.ca_file`, whether or not the device has its name in a fleet yet.
    pub fn authorities(&self) -> Option<&Path> {
        self.values.get("fleet.ca_file").and_then(toml::Value::as_str).map(Path::new)
    }

    /// What is wrong with the value of `key`, for a rule that only shows beyond the configuration: which models there are.
    pub fn fault(&self, key: &str, message: impl Into<String>) -> ConfigError {
        let place = self.values.place(key);
        ConfigError::Faults(vec![Fault { place, key: key.to_owned(), message: message.into() }])
    }
}

/// What a configuration comes from, beside flags and environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file, when there is one.
    pub file: Option<PathBuf>,
    /// What was granted by a claim.
    pub identity: Identity,
    /// The generation, when one was pushed.
    pub generation: Option<GenerationOrigin>,
}

/// A generation, without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationOrigin {
    /// Its number.
    pub number: u64,
    /// The directory of its packages.
    pub packages: Option<PathBuf>,
}

/// `[scheduler]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduling {
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Jobs that may wait.
    pub queue_length: usize,
    /// A running job without a mark of progress for so long is stuck.
    pub stuck_after: Duration,
    /// How long running jobs may take to end when the daemon ends.
    pub drain: Duration,
}

/// What this machine gives for keys without a fixed default ([`crate::sys::surroundings`] looks).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The host's name made fit for a topic.
    pub device: String,
    /// Where the local socket goes.
    pub socket: PathBuf,
    /// Where state goes.
    pub state: PathBuf,
    /// Packages beside the program, when there are any.
    pub models: Option<PathBuf>,
    /// Processors that this process may use.
    pub processors: usize,
}

/// Where settings come from. Kept while the daemon runs: a reload reads the file again under the same flags.
#[derive(Debug, Clone, PartialEq)]
pub struct Sources {
    /// The command line.
    pub flags: Overrides,
    /// The environment.
    pub environment: Overrides,
    /// The machine.
    pub around: Surroundings,
    /// What was pushed.
    pub generation: Option<GenerationLayer>,
}

impl Sources {
    /// The operator's file: the flag's, else the environment's.
    pub fn file(&self) -> Option<&Path> {
        self.flags.config.as_deref().or(self.environment.config.as_deref())
    }

    /// The same with another generation, or none.
    #[must_use]
    pub fn with_generation(&self, generation: Option<GenerationLayer>) -> Self {
        Self { generation, ..self.clone() }
    }

    fn origin(&self, identity: Identity) -> Origin {
        let generation = self.generation.as_ref().map(GenerationLayer::origin);
        Origin { file: self.file().map(Path::to_owned), identity, generation }
    }
}

/// Loads the configuration: default, what was granted, file, generation, what is local in the file, environment, flags, each over the one before; then
/// the rules.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let (values, origin) = layered(sources)?;
    check::check(values, origin, &sources.around)
}

/// As [`load`] would be if `granted` were what this device has been granted: for who is about to write it.
pub fn load_granted(sources: &Sources, granted: &str) -> Result<Config, ConfigError> {
    let (values, origin) = layers(sources, |own| identity::offered(own, &sources.around, granted))?;
    check::check(values, origin, &sources.around)
}

/// The values of every layer, each with the place that won.
fn layered(sources: &Sources) -> Result<(Values, Origin), ConfigError> {
    layers(sources, |own| identity::read(own, &sources.around))
}

/// What was granted is what `identity` makes of the file, the environment and the flags.
fn layers(
    sources: &Sources,
    identity: impl FnOnce(&Values) -> Result<(Identity, Values), ConfigError>,
) -> Result<(Values, Origin), ConfigError> {
    let mut values = defaults()?;
    let file = sources.file().map(document::read_file).transpose()?.unwrap_or_default();
    let (environment, flags) = (sources.environment.values(false)?, sources.flags.values(true)?);
    let mut own = file.clone();
    own.cover_with(environment.clone());
    own.cover_with(flags.clone());
    let (identity, granted) = identity(&own)?;
    values.cover_with(granted);
    values.cover_with(file.clone());
    if let Some(generation) = &sources.generation {
        let allowed = generation::Allowed::by(&file);
        values.cover_with(generation.values(&allowed)?);
        values.cover_with(file.only(|path| !allowed.allows(path)));
    }
    values.cover_with(environment);
    values.cover_with(flags);
    Ok((values, sources.origin(identity)))
}

/// Checks `file` alone, as `linnetd --check FILE` does: neither flags nor environment count.
pub fn check_file(file: &Path, around: &Surroundings) -> Result<Config, ConfigError> {
    load(&Sources {
        flags: Overrides { config: Some(file.to_owned()), ..Overrides::default() },
        environment: Overrides::default(),
        around: around.clone(),
        generation: None,
    })
}

/// As [`check_file`], for a text that stands for the file `file`.
pub fn check_text(text: &str, file: &Path, around: &Surroundings) -> Result<Config, ConfigError> {
    let mut values = defaults()?;
    let own = document::parse(text, file, file.parent().unwrap_or(Path::new(".")))?;
    let (identity, granted) = identity::read(&own, around)?;
    values.cover_with(granted);
    values.cover_with(own);
    check::check(values, Origin { file: Some(file.to_owned()), identity, generation: None }, around)
}

/// The embedded default's values.
fn defaults() -> Result<Values, ConfigError> {
    let mut values = document::parse(DEFAULT_FILE, Path::new("config/linnet.toml"), Path::new("."))?;
    values.forget_places();
    Ok(values)
}

/// A host's name made fit for a topic: what the rule of device names does not allow becomes `-`, or is left out where the name would begin with it.
pub fn device_of_host(host: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let name: String = host.trim().chars().map(fit).take(linnet_proto::topic::MAX_DEVICE_BYTES).collect();
    match DeviceName::new(name.trim_start_matches('-')) {
        Ok(name) if !RESERVED_DEVICES.contains(&name.as_str()) => name.as_str().to_owned(),
        _ => FALLBACK_DEVICE.to_owned(),
    }
}

/// The device's name on a machine without one.
const FALLBACK_DEVICE: &str = "linnet";

/// Directory of models in the state directory: what `linnet models add` puts there when no directory is configured.
pub const OWN_MODELS: &str = "models";

/// Which models are in memory, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySettings {
    /// Type of weights to take where a package has several; the most precise that fits when absent.
    pub dtype: Option<String>,
    /// Models or tasks that are loaded before the daemon is ready.
    pub preload: Vec<String>,
    /// Models that are never let go of.
    pub pinned: Vec<String>,
    /// Memory that all models together may take, bytes; 0 is no limit.
    pub limit_bytes: u64,
    /// A model that nobody has used for so long is let go of; zero is never.
    pub idle_unload: Duration,
}
