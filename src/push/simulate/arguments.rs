//! The arguments of `linnetd simulate`, and what they come to.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use linnet_fleet::waves::{Rules, Share};

use super::bounds::{
    BROKER_DEVICES, DEVICES, MAX_BROKER_DEVICES, MAX_DEVICES, MAX_LOSS, MAX_SPEED, MAX_WAIT_SECS, SPEED,
};

/// Arguments of `linnetd simulate`.
#[derive(Debug, Clone, Args)]
pub struct SimulateArgs {
    /// Devices of the fleet [default: 1000; with --broker 200, at most 350].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DEVICES)))]
    pub devices: Option<u32>,
    /// What everything random comes from: the same seed gives the same result.
    #[arg(long, value_name = "S", default_value_t = 1, allow_negative_numbers = true)]
    pub seed: u64,
    /// Share of devices that the new generation fails on: half of them in the probe, half on trial.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    pub bad: Share,
    /// Share of devices that are away when the push begins, and come back within four hours.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    pub offline: Share,
    /// Share of messages that the simulated links lose.
    #[arg(long, value_name = "SHARE", default_value = "1%", conflicts_with = "broker")]
    pub loss: Share,
    /// Shares of the devices that the waves open for.
    #[arg(long, value_name = "SHARES", value_delimiter = ',', default_value = "1%,10%,100%")]
    pub waves: Vec<Share>,
    /// A larger share of failures among the reports halts the push [default: 2%].
    #[arg(long, value_name = "SHARE")]
    pub max_failed: Option<Share>,
    /// Share of a wave's devices that must have reported before the next wave opens [default: 70%].
    #[arg(long, value_name = "SHARE")]
    pub min_reported: Option<Share>,
    /// How long a wave's reports are waited for.
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = parse_wait)]
    pub wait: u64,
    /// However many devices fail or say nothing, the push goes on.
    #[arg(long, conflicts_with_all = ["max_failed", "min_reported"])]
    pub no_halt: bool,
    /// Put a fault into the devices, which the result must show.
    #[arg(long = "break", value_name = "RULE", value_enum)]
    pub fault: Option<Break>,
    /// One JSON object in the last line.
    #[arg(long)]
    pub json: bool,
    /// Play the devices as real clients of this broker, in scaled time: mqtt://host:1883, mqtts://host:8883, ws://host/mqtt or wss://host/mqtt.
    #[arg(long, value_name = "URL")]
    pub broker: Option<String>,
    /// Seconds of the simulation in a second; with --broker only.
    #[arg(long, value_name = "N", requires = "broker", default_value_t = SPEED, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SPEED)))]
    pub speed: u32,
    /// User name at the broker.
    #[arg(long, value_name = "NAME", requires = "broker")]
    pub user: Option<String>,
    /// File with the user's password.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// Authorities that the broker's certificate may come from.
    #[arg(long, value_name = "FILE", requires = "broker")]
    pub ca_file: Option<PathBuf>,
}

/// A fault of every device, to prove that the simulation would notice it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Break {
    /// Devices ignore how far a rollout is opened, and that it is paused.
    Halt,
    /// The way back from a generation that failed on trial does not restore the last one. Every bad device fails on trial.
    Rollback,
    /// Devices believe metadata without verifying them.
    Verify,
}

/// Arguments that make sense together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Devices.
    pub devices: u32,
    /// The seed.
    pub seed: u64,
    /// Share of devices that the new generation fails on.
    pub bad: Share,
    /// Share of devices that are away when the push begins.
    pub offline: Share,
    /// Share of messages that are lost.
    pub loss: Share,
    /// The push's rules.
    pub rules: Rules,
    /// A fault to put in.
    pub fault: Option<Break>,
    /// The broker that carries it; none in virtual time.
    pub broker: Option<Broker>,
}

/// A broker, and how fast time passes over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its URL.
    pub url: String,
    /// Who the clients are.
    pub user: Option<String>,
    /// See [`Broker::user`].
    pub password_file: Option<PathBuf>,
    /// Authorities of its certificate.
    pub ca_file: Option<PathBuf>,
    /// Seconds of the simulation in a second.
    pub speed: u32,
}

impl SimulateArgs {
    /// Checks what one argument alone does not tell; a fault is one sentence.
    pub fn plan(&self) -> Result<Plan, String> {
        let defaults = Rules::default();
        let (max_failed, min_reported) = match self.no_halt {
            true => (Share::ALL, Share::percent(0)),
            false => {
                (self.max_failed.unwrap_or(defaults.max_failed), self.min_reported.unwrap_or(defaults.min_reported))
            }
        };
        let rules = Rules { waves: self.waves.clone(), max_failed, min_reported, wait_secs: self.wait };
        rules.check().map_err(|e| format!("--waves: {e}"))?;
        if rules.waves.last() != Some(&Share::ALL) {
            return Err("--waves: the last wave must be 100%, or the push would have no end".to_owned());
        }
        if millionths(self.loss) > MAX_LOSS {
            return Err(format!(
                "--loss {}: at most {}%, above which nothing arrives within a device's patience",
                self.loss,
                MAX_LOSS / 10_000
            ));
        }
        let broker = self.broker.clone().map(|url| Broker {
            url,
            user: self.user.clone(),
            password_file: self.password_file.clone(),
            ca_file: self.ca_file.clone(),
            speed: self.speed,
        });
        let devices = self.devices.unwrap_or(if broker.is_some() { BROKER_DEVICES } else { DEVICES });
        if broker.is_some() && devices > MAX_BROKER_DEVICES {
            return Err(format!(
                "--devices {devices}: at most {MAX_BROKER_DEVICES} with --broker, since each is a real client; without it time is virtual and \
                 {MAX_DEVICES} are possible"
            ));
        }
        if self.fault == Some(Break::Rollback) && self.bad.of(devices as usize) == 0 {
            return Err(format!(
                "--break rollback: with --bad {} of {devices} devices nobody goes back, so that nothing breaks; say --bad 5%",
                self.bad
            ));
        }
        Ok(Plan {
            devices,
            seed: self.seed,
            bad: self.bad,
            offline: self.offline,
            loss: self.loss,
            rules,
            fault: self.fault,
            broker,
        })
    }
}

/// A share as millionths.
pub(super) fn millionths(share: Share) -> u64 {
    share.of(1_000_000) as u64
}

/// Reads `90s`, `30m`, `2h`; seconds.
fn parse_wait(text: &str) -> Result<u64, String> {
    let wrong = || format!("expected a time such as 90s, 30m or 2h, of at most {} days", MAX_WAIT_SECS / 86_400);
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|secs| *secs <= MAX_WAIT_SECS).ok_or_else(wrong)
}
