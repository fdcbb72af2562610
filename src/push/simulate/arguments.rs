//! The arguments of `linnetd simulate`, and what they come to.

use clap::{Args, ValueEnum};
use linnet_fleet::waves::{Rules, Share};

use super::bounds::{MAX_DEVICES, MAX_LOSS, MAX_WAIT_SECS};

/// Arguments of `linnetd simulate`.
#[derive(Debug, Clone, Args)]
pub struct SimulateArgs {
    /// Devices of the fleet.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DEVICES)))]
    pub devices: u32,
    /// What everything random comes from: the same seed gives the same result.
    #[arg(long, value_name = "S", default_value_t = 1, allow_negative_numbers = true)]
    pub seed: u64,
    /// Share of devices that the new generation fails on: half of them in the probe, half on trial.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    pub bad: Share,
    /// Share of devices that are away when the push begins, and come back within four hours.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    pub offline: Share,
    /// Share of messages that the links lose.
    #[arg(long, value_name = "SHARE", default_value = "1%")]
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
        Ok(Plan {
            devices: self.devices,
            seed: self.seed,
            bad: self.bad,
            offline: self.offline,
            loss: self.loss,
            rules,
            fault: self.fault,
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
