//! The arguments of `linnet fleet`, with their help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use linnet_fleet::repository::Role;
use linnet_fleet::waves::Share;
use linnet_proto::fleet::Selector;

use super::claim_args::{ClaimCommand, GrantArgs};

/// Arguments of `linnet fleet`.
#[derive(Debug, Args)]
pub struct FleetArgs {
    /// The option of the other commands: these here speak to no daemon.
    #[arg(long, global = true, hide = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: FleetCommand,
}

/// What `linnet fleet` can do.
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// Make a fleet: its keys, and a repository that devices are to trust
    #[command(
        after_help = "Examples:\n  linnet fleet init home --name home\n  linnet fleet init /srv/home --name home --count root=3 --threshold root=2 --passphrase"
    )]
    Init(InitArgs),
    /// Sign configuration and packages as the next generation; no device begins with it before it is pushed
    #[command(
        after_help = "Example:\n  linnet fleet publish --dir home --config fleet.toml --package models/stt-en-small --notes 'the kitchen hears better'"
    )]
    Publish(PublishArgs),
    /// Open a generation wave by wave as reports come, and serve its files meanwhile
    #[command(
        after_help = "Example:\n  linnet fleet push --dir home --mqtt mqtt://localhost --to all --waves 1%,10%,100% --max-failed 2% --wait 30m\n\n\
        Exit codes: 0 every wave is open and has reported; 70 halted by failures; 75 paused, because too few reported or somebody paused it."
    )]
    Push(PushArgs),
    /// Say how the devices stand
    #[command(
        after_help = "Examples:\n  linnet fleet status --watch\n  linnet fleet status --json | jq '.devices[] | select(.state == \"rejected\")'\n  ./newest.sh reports.db | linnet fleet status --reports -"
    )]
    Status(StatusArgs),
    /// Let no further device begin; whoever has begun goes on
    #[command(after_help = "Example:\n  linnet fleet pause")]
    Pause(ChangeArgs),
    /// Open the next wave, or a paused one, without waiting for reports
    #[command(after_help = "Examples:\n  linnet fleet promote\n  linnet fleet promote --all")]
    Promote(PromoteArgs),
    /// Publish an earlier generation's content under the next number, and pause the one that was newest
    #[command(
        after_help = "Example:\n  linnet fleet rollback --notes 'the new model is deaf' && linnet fleet push --to all --waves 100%"
    )]
    Rollback(RollbackArgs),
    /// Sign anew before what is signed expires
    #[command(after_help = "Examples:\n  linnet fleet refresh --within 21d\n  linnet fleet refresh --role releases")]
    Refresh(RefreshArgs),
    /// Give roles new keys
    #[command(
        after_help = "Examples:\n  linnet fleet rotate-key online --dir home\n  linnet fleet rotate-key releases --dir home --key releases=/media/stick/releases-2.pem"
    )]
    RotateKey(RotateArgs),
    /// Copy what devices read to a directory, for a stick or a web server
    #[command(after_help = "Example:\n  linnet fleet export /media/stick/home")]
    Export(ExportArgs),
    /// Publish metadata over MQTT, serve files and answer devices that ask for a name, until Ctrl-C
    #[command(
        after_help = "Example:\n  linnet fleet serve --dir home --mqtt mqtts://operator@broker.local:8883 --ca-file ca.crt"
    )]
    Serve(ServeArgs),
    /// Let devices join the fleet by themselves: files to put on them, and what became of these
    #[command(subcommand)]
    Claim(ClaimCommand),
    /// List the devices that have reported, and names that two devices bear
    #[command(after_help = "Example:\n  linnet fleet devices --json | jq -r '.devices[].device'")]
    Devices(DevicesArgs),
    /// Run a push over simulated devices, in virtual time or over a real broker; needs linnetd beside linnet
    #[command(
        after_help = "Examples:\n  linnet fleet simulate --devices 10000 --seed 1 --bad 5% --offline 20% --json\n  linnet fleet simulate --broker mqtt://localhost --bad 5% --no-halt"
    )]
    Simulate {
        /// Arguments of `linnetd simulate`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
        arguments: Vec<OsString>,
    },
}

/// `<role>=<value>`.
#[derive(Debug, Clone)]
pub struct OfRole<T> {
    /// The role.
    pub role: Role,
    /// The value.
    pub value: T,
}

fn of_role<T: std::str::FromStr>(text: &str) -> Result<OfRole<T>, String> {
    let (role, value) = text.split_once('=').ok_or("it must be ROLE=VALUE")?;
    let value = value.parse().map_err(|_| format!("`{value}` does not fit"))?;
    Ok(OfRole { role: role.parse()?, value })
}

/// Which repository.
#[derive(Debug, Clone, Args)]
pub struct DirArgs {
    /// The fleet's repository
    #[arg(long, env = "LINNET_FLEET_DIR", value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// Which broker.
#[derive(Debug, Clone, Args)]
pub struct BrokerArgs {
    /// The broker that the devices reach, too: mqtt://user@host:1883 or mqtts://…; the password is taken from LINNET_MQTT_PASSWORD
    #[arg(long, env = "LINNET_MQTT_URL", value_name = "URL")]
    pub mqtt: Option<String>,
    /// The broker's password.
    #[arg(long, env = "LINNET_MQTT_PASSWORD", hide = true, hide_env_values = true)]
    pub mqtt_password: Option<String>,
    /// Certificate authority of an mqtts:// broker, PEM
    #[arg(long, env = "LINNET_MQTT_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// New keys.
#[derive(Debug, Clone, Args)]
pub struct KeyArgs {
    /// Where new keys are made, outside of the repository [default: the repository's name and `.keys`]
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// Keys of a role that are made; can be given for each role [default: 1]
    #[arg(long, value_name = "ROLE=N", value_parser = of_role::<u32>)]
    pub count: Vec<OfRole<u32>>,
    /// How many of a role's keys must sign [default: 1]
    #[arg(long, value_name = "ROLE=N", value_parser = of_role::<u32>)]
    pub threshold: Vec<OfRole<u32>>,
    /// A key that is there already, as a file; can be given several times
    #[arg(long, value_name = "ROLE=FILE", value_parser = of_role::<PathBuf>)]
    pub key: Vec<OfRole<PathBuf>>,
    /// A key behind a command (docs/protocol.md has its protocol); words are parted by spaces
    #[arg(long, value_name = "ROLE=COMMAND", value_parser = of_role::<String>)]
    pub key_command: Vec<OfRole<String>>,
    /// Put new keys of root, targets and releases under a passphrase, which is asked for, or read from LINNET_FLEET_PASSPHRASE_FILE
    #[arg(long)]
    pub passphrase: bool,
}

/// Arguments of `linnet fleet init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The repository, a new or empty directory
    pub dir: PathBuf,
    /// The fleet's name [default: the directory's]
    #[arg(long)]
    pub name: Option<String>,
    /// The keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Days that a role's signature is good for [default: root 3650, targets and releases 365, the others 30]
    #[arg(long, value_name = "ROLE=N", value_parser = of_role::<u32>)]
    pub days: Vec<OfRole<u32>>,
    /// Generations that stay in the repository
    #[arg(long, value_name = "N", default_value_t = linnet_fleet::repository::KEEP_GENERATIONS)]
    pub keep: usize,
}

/// Arguments of `linnet fleet publish`.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// Which repository.
    #[command(flatten)]
    pub dir: DirArgs,
    /// The configuration, in the form of linnet.toml [default: that of the newest generation]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A package to add, or to put in the place of the one that has its name; the newest generation's others are taken along
    #[arg(long, value_name = "DIR")]
    pub package: Vec<PathBuf>,
    /// A package of the newest generation to leave out
    #[arg(long, value_name = "NAME")]
    pub without: Vec<String>,
    /// Which devices it may ever be pushed to, as --to of push
    #[arg(long, value_name = "SELECTOR", default_value = "all", value_parser = Selector::parse)]
    pub audience: Selector,
    /// Oldest linnetd that can run it
    #[arg(long, value_name = "VERSION")]
    pub min_linnetd: Option<String>,
    /// Newest linnetd that can run it
    #[arg(long, value_name = "VERSION")]
    pub max_linnetd: Option<String>,
    /// Publish it although the linnetd beside linnet is none of those that can run it
    #[arg(long)]
    pub any_linnetd: bool,
    /// After so many days no device begins with it
    #[arg(long, value_name = "N", default_value_t = 365)]
    pub days: u32,
    /// What changed, for people: `linnet fleet status` shows it
    #[arg(long, default_value = "", hide_default_value = true)]
    pub notes: String,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Check, show what would change, and sign nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not have the linnetd beside linnet check the configuration
    #[arg(long)]
    pub no_check: bool,
}

/// Arguments of `linnet fleet push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// Which repository.
    #[command(flatten)]
    pub dir: DirArgs,
    /// Which broker.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// Devices that ask for a name meanwhile.
    #[command(flatten)]
    pub grants: GrantArgs,
    /// The generation [default: the newest]
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    pub generation: Option<u64>,
    /// Which devices: `all`, or device=NAME, group=NAME, label:NAME=VALUE, not=NAME, free=MIB, percent=NUMBER, joined by commas
    #[arg(long, value_name = "SELECTOR", value_parser = Selector::parse, required_unless_present = "resume", conflicts_with = "resume")]
    pub to: Option<Selector>,
    /// Shares of the devices, rising; each wave holds at least one device
    #[arg(long, value_name = "SHARES", value_delimiter = ',', default_value = "1%,10%,100%")]
    pub waves: Vec<Share>,
    /// A larger share of failures among a wave's reports halts the push
    #[arg(long, value_name = "SHARE", default_value_t = linnet_fleet::waves::Rules::default().max_failed)]
    pub max_failed: Share,
    /// Share of a wave's devices that must report an end before the next wave opens
    #[arg(long, value_name = "SHARE", default_value_t = linnet_fleet::waves::Rules::default().min_reported)]
    pub min_reported: Share,
    /// How long a wave's reports are waited for: 90s, 30m, 12h, 2d
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = duration_secs)]
    pub wait: u64,
    /// Go on with the push that was left or paused, by its own rules
    #[arg(long)]
    pub resume: bool,
    /// Have devices that rejected this generation, or went back, try again
    #[arg(long)]
    pub retry: bool,
    /// One JSON object on the last line
    #[arg(long)]
    pub json: bool,
}

/// Arguments of commands that change a repository and need nothing else.
#[derive(Debug, Args)]
pub struct ChangeArgs {
    /// Which repository.
    #[command(flatten)]
    pub dir: DirArgs,
    /// Which broker.
    #[command(flatten)]
    pub broker: BrokerArgs,
}

/// Arguments of `linnet fleet promote`.
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// Repository and broker.
    #[command(flatten)]
    pub change: ChangeArgs,
    /// Open every wave
    #[arg(long)]
    pub all: bool,
}

/// Arguments of `linnet fleet rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The generation to go back to [default: the one before the newest]
    pub generation: Option<u64>,
    /// Repository and broker.
    #[command(flatten)]
    pub change: ChangeArgs,
    /// Why, for people: `linnet fleet status` shows it
    #[arg(long, default_value = "", hide_default_value = true)]
    pub notes: String,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// Arguments of `linnet fleet refresh`.
#[derive(Debug, Args)]
pub struct RefreshArgs {
    /// Repository and broker.
    #[command(flatten)]
    pub change: ChangeArgs,
    /// Only where something expires within this time: 14d
    #[arg(long, value_name = "TIME", value_parser = duration_secs)]
    pub within: Option<u64>,
    /// Further roles to sign anew, whose keys must be at hand
    #[arg(long, value_name = "ROLE")]
    pub role: Vec<Role>,
}

/// Arguments of `linnet fleet rotate-key`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Roles: root, targets, releases, rollouts, snapshot, timestamp, or `online` for the last three
    #[arg(required = true, value_name = "ROLE", value_parser = roles)]
    pub roles: Vec<Vec<Role>>,
    /// Repository and broker.
    #[command(flatten)]
    pub change: ChangeArgs,
    /// The new keys.
    #[command(flatten)]
    pub keys: KeyArgs,
}

fn roles(text: &str) -> Result<Vec<Role>, String> {
    match text {
        "online" => Ok(Role::ONLINE.to_vec()),
        role => Ok(vec![role.parse()?]),
    }
}

/// Arguments of `linnet fleet export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Where to; what is there already is not copied again
    pub to: PathBuf,
    /// Which repository.
    #[command(flatten)]
    pub dir: DirArgs,
}

/// Arguments of `linnet fleet serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Which repository.
    #[command(flatten)]
    pub dir: DirArgs,
    /// Which broker.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// Devices that ask for a name.
    #[command(flatten)]
    pub grants: GrantArgs,
}

/// Where reports come from.
#[derive(Debug, Clone, Args)]
pub struct ReportsArgs {
    /// Which broker.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// Read reports from a file instead of a broker, one JSON object on each line (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    pub reports: Option<PathBuf>,
    /// How long the reports that the broker has are waited for at most; it ends as soon as all have come
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration_secs)]
    pub listen: u64,
}

/// Arguments of `linnet fleet status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Which repository.
    #[command(flatten)]
    pub dir: DirArgs,
    /// Where reports come from.
    #[command(flatten)]
    pub reports: ReportsArgs,
    /// Show it anew as reports come, until Ctrl-C
    #[arg(long, conflicts_with_all = ["json", "reports"])]
    pub watch: bool,
    /// One JSON object on one line
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `linnet fleet devices`.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Which repository.
    #[command(flatten)]
    pub dir: DirArgs,
    /// Where reports come from.
    #[command(flatten)]
    pub reports: ReportsArgs,
    /// One JSON object on one line
    #[arg(long)]
    pub json: bool,
}

/// `90s`, `30m`, `12h`, `2d`, in seconds.
pub(super) fn duration_secs(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no time; expected a whole number and s, m, h or d, such as 30m");
    let unit = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|secs| *secs <= 366 * 86_400).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, secs) in [("90s", 90), ("30m", 1800), ("12h", 43_200), ("2d", 172_800), ("0s", 0)] {
            assert_eq!(duration_secs(text), Ok(secs));
        }
        for text in ["", "m", "30", "1.5h", "-1s", "9999999999999999999d", "1w"] {
            assert!(duration_secs(text).expect_err(text).contains("30m"), "{text}");
        }
    }

    #[test]
    fn the_waves_that_the_help_shows_are_the_defaults() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            push: PushArgs,
        }
        let cli: Cli = clap::Parser::try_parse_from(["push", "--to", "all"]).expect("fits");
        assert_eq!(cli.push.waves, linnet_fleet::waves::Rules::default().waves);
    }

    #[test]
    fn a_value_of_a_role_names_both() {
        let OfRole { role, value } = of_role::<u32>("root=3").expect("fits");
        assert_eq!((role, value), (Role::Root, 3));
        for text in ["root", "boss=1", "root=x"] {
            of_role::<u32>(text).expect_err(text);
        }
        assert_eq!(roles("online"), Ok(Role::ONLINE.to_vec()));
        assert!(roles("boss").is_err());
    }
}
