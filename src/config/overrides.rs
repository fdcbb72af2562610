//! What the command line and the environment say: the same few keys, each under one name.

use std::ffi::OsString;
use std::path::PathBuf;

use linnet_proto::words::without_login;
use toml::Value;

use super::document::Values;
use super::error::{ConfigError, Fault, Place};
use super::keys::{self, Kind};

/// A key that can be given outside the file: flag, variable, key.
const NAMES: [(&str, &str, &str); 5] = [
    ("--socket", "LINNET_SOCKET", "socket"),
    ("--models", "LINNET_MODELS", "models"),
    ("--state", "LINNET_STATE", "state"),
    ("--log", "LINNET_LOG", "log"),
    ("--default-model", "LINNET_DEFAULT_MODEL", "default_model"),
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
    /// Directories of model packages; empty when none is given.
    pub models: Vec<OsString>,
    /// Directory of state.
    pub state: Option<OsString>,
    /// Log level.
    pub log: Option<OsString>,
    /// The model of requests that name none.
    pub default_model: Option<OsString>,
}

impl Overrides {
    /// What the environment says. An empty variable counts as none.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        Self {
            config: given(CONFIG_VARIABLE).map(PathBuf::from),
            socket: given(NAMES[0].1),
            models: given(NAMES[1].1).map(split_list).unwrap_or_default(),
            state: given(NAMES[2].1),
            log: given(NAMES[3].1),
            default_model: given(NAMES[4].1),
        }
    }

    /// The same as flags of a command line, for a child that is to see what this process sees.
    pub fn as_flags(&self) -> Vec<OsString> {
        let config = self.config.iter().map(|file| ("--config", file.as_os_str()));
        let [socket, models, state, log, default_model] = NAMES.map(|(flag, ..)| flag);
        let models = self.models.iter().map(|dir| (models, dir.as_os_str()));
        let single =
            [(socket, &self.socket), (state, &self.state), (log, &self.log), (default_model, &self.default_model)];
        let single = single.into_iter().filter_map(|(flag, value)| Some((flag, value.as_deref()?)));
        let joined = |(flag, value): (&str, &std::ffi::OsStr)| {
            let mut joined = OsString::from(format!("{flag}="));
            joined.push(value);
            joined
        };
        config.chain(models).chain(single).map(joined).collect()
    }

    /// The values under the names of this layer: variables, or flags when `as_flags`.
    pub(super) fn values(&self, as_flags: bool) -> Result<Values, ConfigError> {
        let mut values = Values::default();
        let mut faults = Vec::new();
        let given = [
            self.socket.as_slice(),
            self.models.as_slice(),
            self.state.as_slice(),
            self.log.as_slice(),
            self.default_model.as_slice(),
        ];
        for (given, (flag, variable, name)) in given.into_iter().zip(NAMES) {
            let Some(key) = keys::find("", name).filter(|_| !given.is_empty()) else { continue };
            let place = if as_flags { Place::Flag(flag) } else { Place::Environment(variable) };
            let texts = given.iter().map(|one| one.to_str().map(|text| Value::String(text.to_owned())));
            let value = match (key.kind, texts.collect::<Option<Vec<_>>>()) {
                (Kind::Paths, texts) => texts.map(Value::Array),
                (_, texts) => texts.and_then(|texts| texts.into_iter().next()),
            };
            match value.filter(|v| key.kind.accepts(v)) {
                Some(value) => values.set(key, value, place),
                None => faults.push(Fault {
                    place,
                    key: String::new(),
                    message: format!("expected {}, found {}", key.kind.expected(), shown(given)),
                }),
            }
        }
        if faults.is_empty() { Ok(values) } else { Err(ConfigError::Faults(faults)) }
    }
}

/// A list of paths as `PATH` has it.
fn split_list(list: OsString) -> Vec<OsString> {
    // A text that is no UTF-8 is refused by its key's rule, whole.
    match list.to_str() {
        Some(text) => text.split(':').filter(|path| !path.is_empty()).map(OsString::from).collect(),
        None => vec![list],
    }
}

fn shown(given: &[OsString]) -> String {
    let shown = |one: &OsString| match one.to_str() {
        Some(text) => format!("{:?}", without_login(text)),
        None => format!("{one:?}"),
    };
    given.iter().map(shown).collect::<Vec<_>>().join(", ")
}
