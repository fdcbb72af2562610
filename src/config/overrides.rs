//! What the command line and the environment say: the same few keys, each under one name.

use std::ffi::OsString;
use std::path::PathBuf;

use toml::Value;

use super::document::Values;
use super::error::{ConfigError, Fault, Place};
use super::keys;

/// A key that can be given outside the file: flag, variable, key.
const NAMES: [(&str, &str, &str); 4] = [
    ("--socket", "LINNET_SOCKET", "socket"),
    ("--models", "LINNET_MODELS", "models"),
    ("--state", "LINNET_STATE", "state"),
    ("--log", "LINNET_LOG", "log"),
];

/// The variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "LINNET_CONFIG";

/// Values of one layer above the file; each is optional.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// The local socket.
    pub socket: Option<OsString>,
    /// Directory of model packages.
    pub models: Option<OsString>,
    /// Directory of state.
    pub state: Option<OsString>,
    /// Log level.
    pub log: Option<OsString>,
}

impl Overrides {
    /// What the environment says. An empty variable counts as none.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        Self {
            config: given(CONFIG_VARIABLE).map(PathBuf::from),
            socket: given(NAMES[0].1),
            models: given(NAMES[1].1),
            state: given(NAMES[2].1),
            log: given(NAMES[3].1),
        }
    }

    /// The values under the names of this layer: variables, or flags when `as_flags`.
    pub(super) fn values(&self, as_flags: bool) -> Result<Values, ConfigError> {
        let mut values = Values::default();
        let mut faults = Vec::new();
        for (given, (flag, variable, name)) in [&self.socket, &self.models, &self.state, &self.log].iter().zip(NAMES) {
            let Some(given) = given else { continue };
            let Some(key) = keys::find("", name) else { continue };
            let place = if as_flags { Place::Flag(flag) } else { Place::Environment(variable) };
            let value = given.to_str().map(|text| Value::String(text.to_owned()));
            match value.filter(|v| key.kind.accepts(v)) {
                Some(value) => values.set(key, value, place),
                None => faults.push(Fault {
                    place,
                    key: String::new(),
                    message: format!("expected {}, found {given:?}", key.kind.expected()),
                }),
            }
        }
        if faults.is_empty() { Ok(values) } else { Err(ConfigError::Faults(faults)) }
    }
}
