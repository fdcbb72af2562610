//! `linnetd --check FILE --explain`: every key, its value, and who gave it.

use std::fmt::Write;

use toml::Value;

use super::keys::KEYS;
use super::{Config, ConfigError, Place, Sources, check, layered};

/// One key.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// `section.name`.
    pub key: String,
    /// Its value, as TOML; `None` when it has none.
    pub value: Option<String>,
    /// Who gave it.
    pub source: Source,
}

/// Who gave a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A flag, a variable, a line of the file or of a generation, or the default.
    Place(Place),
    /// Nobody: it follows from what this machine is, or from other keys.
    Derived,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Place(place) => place.fmt(f),
            Self::Derived => f.write_str("default, of this machine and the other keys"),
        }
    }
}

/// Every key in the order of the table. What is secret stands in files: only their paths are told.
pub fn explain(sources: &Sources) -> Result<(Config, Vec<Explained>), ConfigError> {
    let (values, origin) = layered(sources)?;
    let config = check::check(values.clone(), origin, &sources.around)?;
    let explained = KEYS.iter().map(|key| {
        let path = key.path();
        let place = values.place(&path);
        let given = values.get(&path).map(ToString::to_string);
        match (given, place) {
            (None, Place::Default) => match derived(&path, &config) {
                Some(value) => Explained { key: path, value: Some(value.to_string()), source: Source::Derived },
                None => Explained { key: path, value: None, source: Source::Place(Place::Default) },
            },
            (value, place) => Explained { key: path, value, source: Source::Place(place) },
        }
    });
    let explained = explained.collect();
    Ok((config, explained))
}

/// The value of a key that nobody has set, where it still has one.
fn derived(key: &str, config: &Config) -> Option<Value> {
    let path = |path: &std::path::Path| Value::String(path.display().to_string());
    Some(match key {
        "device" => Value::String(config.device.clone()),
        "socket" => path(&config.http.socket),
        "state" => path(&config.state_dir),
        "models" => {
            let own = config.models.iter().filter(|dir| Some(dir.as_path()) != config.packages());
            Value::Array(own.map(|dir| path(dir)).collect())
        }
        "mqtt.client_id" => Value::String(config.mqtt.as_ref()?.client_id.clone()),
        "mqtt.receive_maximum" => Value::Integer(config.mqtt.as_ref()?.receive_maximum.into()),
        _ => return None,
    })
    .filter(|value| value.as_array().is_none_or(|dirs| !dirs.is_empty()))
}

/// The page for people, which is a configuration, too.
pub fn page(explained: &[Explained]) -> String {
    let line = |e: &Explained| match &e.value {
        Some(value) => format!("{} = {value}", e.key),
        None => format!("# {} is not set", e.key),
    };
    let width = explained.iter().map(|e| line(e).chars().count()).filter(|n| *n <= WIDEST).max().unwrap_or(0);
    let mut page = String::new();
    for e in explained {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{:<width$}  # {}", line(e), e.source);
    }
    page
}

/// A longer line pushes its own source to the right, not everybody's.
const WIDEST: usize = 60;
