//! A change of configuration as a diff with a reverse: what a running daemon can take, part by part, and what it cannot.

use std::sync::Arc;

use super::check;
use super::keys::{KEYS, Reload};
use super::{Config, ConfigError, Surroundings};

/// One key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// `section.name`.
    pub key: String,
    /// The value before, as TOML; `None` when it was not set.
    pub old: Option<String>,
    /// The value after.
    pub new: Option<String>,
}

impl std::fmt::Display for KeyChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(not set)".into());
        write!(f, "{}: {} -> {}", self.key, shown(&self.old), shown(&self.new))
    }
}

/// A part of the daemon that takes new settings while it runs, in the order in which they are applied: what is most
/// likely to fail comes before what cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// HTTP's limits, token and certificates. Told at every reload: the files may hold something new.
    Http,
    /// The scheduler's bounds, and the limits of the audio.
    Scheduler,
    /// The directory of models. Told at every reload, since packages may have come or gone.
    Models,
    /// MQTT: on, off, or other settings.
    Mqtt,
    /// The log level.
    Log,
}

impl Part {
    /// Every part, in the order of application.
    pub const ALL: [Self; 5] = [Self::Http, Self::Scheduler, Self::Models, Self::Mqtt, Self::Log];

    /// For logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Scheduler => "scheduler",
            Self::Models => "models",
            Self::Mqtt => "mqtt",
            Self::Log => "log",
        }
    }

    /// Whether the part must be told: its settings differ.
    fn differs(self, from: &Config, to: &Config) -> bool {
        match self {
            // They read files that may have changed: tokens, certificates, passwords, packages.
            Self::Http | Self::Models => true,
            Self::Mqtt => from.mqtt.is_some() || to.mqtt.is_some(),
            Self::Scheduler => (&from.scheduler, &from.intake.audio) != (&to.scheduler, &to.intake.audio),
            Self::Log => from.log != to.log,
        }
    }
}

/// The way from one checked configuration to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Diff {
    /// What serves now.
    pub from: Arc<Config>,
    /// What will serve: the wanted one, with the old value of each refused key.
    pub to: Arc<Config>,
    /// Keys that are changed.
    pub changed: Vec<KeyChange>,
    /// Keys that only a restart can change; they keep their old value.
    pub refused: Vec<KeyChange>,
}

impl Diff {
    /// The diff from `from` to `wanted`. An error means that the wanted one does not pass the rules any more once the
    /// refused keys keep their old values; then nothing is to be applied.
    pub fn between(from: &Arc<Config>, wanted: &Config, around: &Surroundings) -> Result<Self, ConfigError> {
        let mut values = wanted.values.clone();
        let (mut changed, mut refused) = (Vec::new(), Vec::new());
        for key in KEYS {
            let path = key.path();
            let shown = |config: &Config| config.values.get(&path).map(ToString::to_string);
            let change = KeyChange { old: shown(from), new: shown(wanted), key: path.clone() };
            if change.old == change.new {
                continue;
            }
            match key.reload {
                Reload::Live => changed.push(change),
                Reload::Restart => {
                    values.take_over(&path, &from.values);
                    refused.push(change);
                }
            }
        }
        let to = check::check(values, wanted.origin.clone(), around)?;
        Ok(Self { from: Arc::clone(from), to: Arc::new(to), changed, refused })
    }

    /// The way back.
    #[must_use]
    pub fn reverse(&self) -> Self {
        let changed =
            self.changed.iter().map(|c| KeyChange { key: c.key.clone(), old: c.new.clone(), new: c.old.clone() });
        Self { from: Arc::clone(&self.to), to: Arc::clone(&self.from), changed: changed.collect(), refused: Vec::new() }
    }

    /// The parts that must be told, in order.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        Part::ALL.into_iter().filter(|part| part.differs(&self.from, &self.to))
    }
}
