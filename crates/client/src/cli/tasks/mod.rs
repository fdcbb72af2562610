//! The commands that send text: what they share.

pub(super) mod chat;
mod explain;
pub(super) mod generate;
pub(super) mod labels;
mod lines;
pub(super) mod reading;
pub(super) mod translate;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use linnet_proto::Priority;
use linnet_proto::topic::DeviceName;
use serde_json::{Map, Value};
use tokio::io::AsyncReadExt;

use crate::cli::args::{Rank, seconds};
use crate::json_request::Daemon;
use crate::mqtt::{Broker, Remote};
use crate::{ClientError, Local, Terms};

/// Longest text that is read, bytes: what the daemon takes at most.
const MAX_TEXT_BYTES: u64 = 4 << 20;

/// Which model answers, and where.
#[derive(Debug, Clone, Args)]
pub struct Via {
    /// Model or alias [default: the daemon's own for the task]
    #[arg(long, env = "LINNET_MODEL", value_name = "NAME")]
    pub model: Option<String>,
    /// JSON as the daemon gives it, on one line
    #[arg(long)]
    pub json: bool,
    /// Give up after this many seconds [default: the daemon's own; 45 over MQTT]
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Who goes first when requests wait for a worker [default: normal]
    #[arg(long, value_enum, value_name = "WHO")]
    pub priority: Option<Rank>,
    /// Ask over this broker instead of the local socket: mqtt://user@host:1883 or mqtts://…; the password is taken from
    /// LINNET_MQTT_PASSWORD
    #[arg(long, value_name = "URL", requires = "device")]
    pub mqtt: Option<String>,
    /// The device whose linnetd is to answer
    #[arg(long, value_name = "NAME", requires = "mqtt", value_parser = |name: &str| DeviceName::new(name))]
    pub device: Option<DeviceName>,
    /// Password for the broker
    #[arg(long, env = "LINNET_MQTT_PASSWORD", hide_env_values = true, value_name = "PASSWORD", hide = true)]
    pub mqtt_password: Option<String>,
    /// Certificate that signed the broker's, PEM (mqtts://)
    #[arg(long, value_name = "FILE", requires = "mqtt")]
    pub ca_file: Option<PathBuf>,
}

impl Via {
    /// The daemon that is meant.
    pub(super) fn daemon(&self, local: &Local) -> Result<Daemon, ClientError> {
        match (&self.mqtt, &self.device) {
            (Some(url), Some(device)) => {
                let broker = Broker::parse(url, self.mqtt_password.clone(), self.ca_file.clone())?;
                Ok(Daemon::Remote(Remote::new(broker, device.clone())))
            }
            _ => Ok(Daemon::Local(local.clone())),
        }
    }

    /// How the request is to be treated.
    pub(super) fn terms(&self) -> Terms {
        Terms { timeout: self.timeout, priority: self.priority.map(Priority::from) }
    }

    /// A body that names the model, and `members`; those that are `null` are left out.
    pub(super) fn body<const N: usize>(&self, members: [(&str, Value); N]) -> Map<String, Value> {
        let model = ("model", Value::from(self.model.clone()));
        let all = [model].into_iter().chain(members);
        all.filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// A text of the command line: `-` is standard input, the name of a file is what stands in it, anything else is the text itself.
pub(super) async fn text_of(argument: &str) -> Result<String, ClientError> {
    let path = Path::new(argument);
    let (name, bytes) = if argument == "-" {
        ("standard input".to_owned(), read(tokio::io::stdin()).await)
    } else if path.is_file() {
        let read = async { read(tokio::fs::File::open(path).await?).await };
        (argument.to_owned(), read.await)
    } else {
        return Ok(argument.to_owned());
    };
    let bytes = bytes.map_err(|source| ClientError::Read { path: name.clone(), source })?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        let reason = format!("longer than {} MiB, which is all that linnetd takes at once", MAX_TEXT_BYTES >> 20);
        return Err(unfit(&name, &reason));
    }
    let text = String::from_utf8(bytes).map_err(|_| unfit(&name, "not UTF-8 text"))?;
    Ok(text.strip_suffix('\n').map_or(text.clone(), |text| text.strip_suffix('\r').unwrap_or(text).to_owned()))
}

async fn read(source: impl tokio::io::AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

fn unfit(name: &str, reason: &str) -> ClientError {
    let source = std::io::Error::new(std::io::ErrorKind::InvalidData, reason.to_owned());
    ClientError::Read { path: name.to_owned(), source }
}

/// The daemon's answer lacks what it must have.
pub(super) fn nonsense(what: &str) -> ClientError {
    ClientError::Broken(format!("there is no {what} in it"))
}

/// A switch as a member of a body: absent where it is off.
pub(super) fn on(switch: bool) -> Value {
    if switch { true.into() } else { Value::Null }
}

/// A number with as many digits as tell something.
pub(super) fn score(value: &Value) -> String {
    format!("{:.4}", value.as_f64().unwrap_or_default())
}
