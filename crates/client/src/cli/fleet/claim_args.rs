//! The arguments of `linnet fleet claim`, with their help.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use linnet_fleet::claims::{GrantCommand, Registrar};

use super::args::DirArgs;
use super::new_keys::keys_dir;
use crate::ClientError;

/// What `linnet fleet claim` can do.
#[derive(Debug, Subcommand)]
pub enum ClaimCommand {
    /// Make a claim: a file that lets devices join the fleet and get their names by themselves
    #[command(
        after_help = "Examples:\n  linnet fleet claim create --dir home --mqtt mqtts://broker.example --ca-file ca.crt --name kitchen\n  \
        linnet fleet claim create --dir home --mqtt mqtt://10.0.0.2 --uses 10000 --pattern 'speaker-{n:05}' --group field -o /srv/image/etc/linnet/claim.toml"
    )]
    Create(Box<CreateArgs>),
    /// List the claims, and the devices that have a name by one
    #[command(after_help = "Example:\n  linnet fleet claim list --devices")]
    List(ListArgs),
    /// Take a claim back: no further device gets a name by it; those that have one keep it
    #[command(after_help = "Example:\n  linnet fleet claim revoke ff5c7e4d4f87ee6b")]
    Revoke(RevokeArgs),
    /// Free a name whose device is gone, so that another can be given it
    #[command(after_help = "Example:\n  linnet fleet claim release speaker-00017")]
    Release(ReleaseArgs),
}

/// Where claims are remembered.
#[derive(Debug, Clone, Args)]
pub struct LedgerArgs {
    /// Which repository.
    #[command(flatten)]
    pub dir: DirArgs,
    /// The directory of keys, where claims are remembered [default: the repository's name and `.keys`]
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
}

/// How devices that ask for a name are answered.
#[derive(Debug, Clone, Args)]
pub struct GrantArgs {
    /// The directory of keys, where claims are remembered [default: the repository's name and `.keys`]
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// A program that makes each new device's account at the broker, or signs its certificate (docs/protocol.md has its protocol); words are parted by spaces
    #[arg(long, value_name = "COMMAND", value_parser = GrantCommand::parse)]
    pub grant_command: Option<GrantCommand>,
}

/// Arguments of `linnet fleet claim create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Where claims are remembered.
    #[command(flatten)]
    pub ledger: LedgerArgs,
    /// The broker, as the devices reach it, without a user: mqtt://host:1883 or mqtts://…
    #[arg(long, env = "LINNET_MQTT_URL", value_name = "URL")]
    pub mqtt: String,
    /// User of the broker who may ask for names; the claim carries his password
    #[arg(long, value_name = "NAME", requires = "mqtt_password_file")]
    pub mqtt_user: Option<String>,
    /// File that holds that user's password
    #[arg(long, value_name = "FILE", requires = "mqtt_user")]
    pub mqtt_password_file: Option<PathBuf>,
    /// Certificate authority of an mqtts:// broker, PEM; the claim carries it
    #[arg(long, env = "LINNET_MQTT_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Certificate of all devices with this claim, for a broker that asks for one: a path on the device
    #[arg(long, value_name = "PATH", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// Its key: a path on the device
    #[arg(long, value_name = "PATH", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    /// Devices that the claim is for
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub uses: u64,
    /// Days that it is good for
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub days: u32,
    /// The name of its one device
    #[arg(long, conflicts_with = "pattern")]
    pub name: Option<String>,
    /// The names of its devices, counted: speaker-{n:04} [default: what each device's own file calls it, else FLEET-{n:04}]
    #[arg(long, value_name = "PATTERN")]
    pub pattern: Option<String>,
    /// A group of its devices; can be given several times
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,
    /// A label of its devices; can be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    pub label: Vec<(String, String)>,
    /// Where it is written, which must not be there yet; `-` is standard output
    #[arg(long, short, value_name = "FILE", default_value = "claim.toml")]
    pub output: PathBuf,
}

/// Arguments of `linnet fleet claim list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Where claims are remembered.
    #[command(flatten)]
    pub ledger: LedgerArgs,
    /// The devices that have a name by a claim, too
    #[arg(long)]
    pub devices: bool,
    /// One JSON object on one line, with the devices
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `linnet fleet claim revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The claim's id
    pub claim: String,
    /// Where claims are remembered.
    #[command(flatten)]
    pub ledger: LedgerArgs,
}

/// Arguments of `linnet fleet claim release`.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// The device's name
    pub name: String,
    /// Where claims are remembered.
    #[command(flatten)]
    pub ledger: LedgerArgs,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must be NAME=VALUE".into()),
    }
}

impl GrantArgs {
    /// Who answers for the repository in `dir`.
    pub(super) fn registrar(&self, dir: &Path, fleet: &str) -> Result<Registrar, ClientError> {
        Ok(Registrar::new(&keys_dir(dir, self.keys.as_deref())?, fleet, self.grant_command.clone()))
    }
}
