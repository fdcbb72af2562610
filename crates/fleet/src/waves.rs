//! What decides how far a push opens: pure, so that `linnet fleet push` and a simulation decide alike.
//!
//! A wave opens only when who pushes signs it, after the reports of the wave before: devices never open one themselves.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use linnet_proto::fleet::{Report, Rollout, Selector, millionths_of_percent, percent_of_millionths};
use serde::{Deserialize, Serialize};

use crate::bucket;

/// Most waves of a push.
pub const MAX_WAVES: usize = 32;

/// A share from 0 % to 100 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share {
    millionths: u32,
}

impl Share {
    /// Everything.
    pub const ALL: Self = Self { millionths: 1_000_000 };

    /// A whole number of per cent, at most 100.
    pub const fn percent(percent: u32) -> Self {
        let percent = if percent > 100 { 100 } else { percent };
        Self { millionths: percent * 10_000 }
    }

    /// How many of `n` that is, rounded up.
    pub fn of(self, n: usize) -> usize {
        (n as u128 * u128::from(self.millionths)).div_ceil(1_000_000) as usize
    }

    /// Whether `part` of `whole` is more than this share.
    fn is_exceeded_by(self, part: usize, whole: usize) -> bool {
        part as u128 * 1_000_000 > whole as u128 * u128::from(self.millionths)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no share; expected a number from 0% to 100%, such as 1% or 0.5%");
        let millionths = millionths_of_percent(text).filter(|_| text.trim().ends_with('%'));
        millionths.map(|millionths| Self { millionths }).ok_or_else(wrong)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", percent_of_millionths(self.millionths))
    }
}

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

/// The rules of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Shares of the devices that are meant, rising.
    pub waves: Vec<Share>,
    /// A larger share of failures among reports stops the push; 100% never does.
    pub max_failed: Share,
    /// Share of a wave's devices that must have reported an end before the next wave opens.
    pub min_reported: Share,
    /// How long a wave's reports are waited for, seconds. A wave of which all have reported is not waited for any longer.
    pub wait_secs: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            waves: vec![Share::percent(1), Share::percent(10), Share::ALL],
            max_failed: Share::percent(2),
            min_reported: Share::percent(70),
            wait_secs: 30 * 60,
        }
    }
}

impl Rules {
    /// What must hold before anything is opened.
    pub fn check(&self) -> Result<(), String> {
        let rising = self.waves.windows(2).all(|two| two[0] < two[1]);
        if self.waves.is_empty() || self.waves.len() > MAX_WAVES || !rising || self.waves[0].millionths == 0 {
            return Err(format!("waves are 1 to {MAX_WAVES} rising shares above 0%, such as 1%,10%,100%"));
        }
        Ok(())
    }
}

/// One wave as it will be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// The share that was asked for.
    pub share: Share,
    /// Buckets below this may begin ([`Rollout::opened`]).
    pub opened: u32,
    /// How many of the known devices these are, those of the waves before included.
    pub devices: usize,
}

/// The waves over the known devices that are meant. Each wave but the last holds at least one device more than the one before, so that
/// few devices need few waves; the last of 100 % opens for devices, too, that are not known yet.
pub fn waves(rules: &Rules, salt: &str, devices: &BTreeSet<String>) -> Vec<Wave> {
    let mut buckets: Vec<u32> = devices.iter().map(|device| bucket(salt, device)).collect();
    buckets.sort_unstable();
    let mut waves: Vec<Wave> = Vec::new();
    for share in &rules.waves {
        let before = waves.last().map_or(0, |wave| wave.devices);
        let wave = if *share == Share::ALL {
            Wave { share: *share, opened: Rollout::BUCKETS, devices: buckets.len() }
        } else if buckets.is_empty() {
            Wave { share: *share, opened: share.millionths.min(Rollout::BUCKETS), devices: 0 }
        } else {
            let wanted = share.of(buckets.len()).max(before + 1).min(buckets.len());
            let opened = buckets[wanted - 1] + 1;
            let devices = buckets.partition_point(|bucket| *bucket < opened);
            if devices == before {
                continue;
            }
            Wave { share: *share, opened, devices }
        };
        waves.push(wave);
    }
    waves
}

/// How a device stands with a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has said nothing of this generation.
    Silent,
    /// It has begun.
    Working,
    /// It runs it and stays with it.
    Confirmed,
    /// It refused it, or went back.
    Failed,
}

/// What a report says of attempt `attempt` at generation `number`.
pub fn outcome(report: &Report, number: u64, attempt: u32) -> Outcome {
    if report.running.generation == number && report.running.confirmed {
        return Outcome::Confirmed;
    }
    if report.generation != number || report.attempt != attempt {
        return Outcome::Silent;
    }
    match report.state {
        state if state.is_failure() => Outcome::Failed,
        state if state.is_end() => Outcome::Confirmed,
        _ => Outcome::Working,
    }
}

/// How many devices stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Nothing was said.
    pub silent: usize,
    /// Begun.
    pub working: usize,
    /// Ended well.
    pub confirmed: usize,
    /// Ended badly.
    pub failed: usize,
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Silent => self.silent += 1,
            Outcome::Working => self.working += 1,
            Outcome::Confirmed => self.confirmed += 1,
            Outcome::Failed => self.failed += 1,
        }
    }

    /// Of how many.
    pub fn devices(&self) -> usize {
        self.silent + self.working + self.reported()
    }

    /// How many have ended.
    pub fn reported(&self) -> usize {
        self.confirmed + self.failed
    }
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Wait for reports.
    Wait,
    /// Open the next wave.
    Open,
    /// Sign that nobody else begins.
    Pause(Why),
    /// Every wave is open, and enough have reported.
    Done,
}

/// Why a push stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Too many failures among reports.
    Failures {
        /// How many failed.
        failed: usize,
        /// Of how many that have reported.
        reported: usize,
    },
    /// Too few have reported in time.
    Silent {
        /// How many have reported.
        reported: usize,
        /// Of how many.
        devices: usize,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures { failed, reported } => write!(f, "{failed} of {reported} reports are failures"),
            Self::Silent { reported, devices } => {
                write!(f, "only {reported} of {devices} devices of the wave have reported an end in time")
            }
        }
    }
}

/// Decides. `newest` counts the devices that the newest wave has added, `all` those of every open wave, `waited_secs` is how long the
/// newest wave has been open, `is_last` whether no further one follows.
pub fn decide(rules: &Rules, newest: &Tally, all: &Tally, waited_secs: u64, is_last: bool) -> Decision {
    let failures = |tally: &Tally| Decision::Pause(Why::Failures { failed: tally.failed, reported: tally.reported() });
    // However the others end: nobody waits to see more of them fail.
    if let Some(tally) = [newest, all].into_iter().find(|t| rules.max_failed.is_exceeded_by(t.failed, t.devices())) {
        return failures(tally);
    }
    if newest.reported() < newest.devices() && waited_secs < rules.wait_secs {
        return Decision::Wait;
    }
    if let Some(tally) = [newest, all].into_iter().find(|t| rules.max_failed.is_exceeded_by(t.failed, t.reported())) {
        return failures(tally);
    }
    if newest.reported() < rules.min_reported.of(newest.devices()) {
        return Decision::Pause(Why::Silent { reported: newest.reported(), devices: newest.devices() });
    }
    if is_last { Decision::Done } else { Decision::Open }
}

/// What the operator's side remembers of a push, so that it can be taken up again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushRecord {
    /// The generation.
    pub number: u64,
    /// Which attempt at it.
    pub attempt: u32,
    /// Which devices are meant.
    pub to: Selector,
    /// What buckets are salted with.
    pub salt: String,
    /// Its rules.
    pub rules: Rules,
    /// Its waves.
    pub waves: Vec<Wave>,
    /// How many of them are open.
    pub wave: usize,
    /// When the newest was opened, seconds since 1970-01-01 UTC.
    pub opened_at_secs: u64,
    /// How it stands.
    pub state: PushStanding,
}

impl PushRecord {
    /// Wave `nth`, counted from 1; none before the first.
    pub fn nth_wave(&self, nth: usize) -> Option<&Wave> {
        self.waves.get(nth.checked_sub(1)?)
    }

    /// Buckets below this may begin once wave `nth` is open; 0 before the first.
    pub fn opened_by(&self, nth: usize) -> u32 {
        self.nth_wave(nth).map_or(0, |wave| wave.opened)
    }

    /// Buckets below this may begin.
    pub fn opened(&self) -> u32 {
        self.opened_by(self.wave)
    }
}

/// How a push stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushStanding {
    /// Waves are being opened, or would be if somebody resumed it.
    Running,
    /// Nobody else begins; why.
    Paused(String),
    /// Every wave is open.
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> BTreeSet<String> {
        (0..n).map(|n| format!("device-{n}")).collect()
    }

    #[test]
    fn a_share_reads_as_it_is_written() {
        for (text, millionths) in
            [("1%", 10_000), ("100%", 1_000_000), ("0.5%", 5_000), ("0%", 0), ("12.3456%", 123_456)]
        {
            let share: Share = text.parse().expect(text);
            assert_eq!((share.millionths, share.to_string().as_str()), (millionths, text));
            assert_eq!(
                serde_json::from_str::<Share>(&serde_json::to_string(&share).expect("JSON")).expect("reads"),
                share
            );
        }
        for text in ["", "1", "%", "101%", "-1%", "1e1%", "100.0001%", ".5%", "1.23456%", "99999999999%"] {
            assert!(text.parse::<Share>().expect_err(text).contains("0.5%"), "{text}");
        }
        assert_eq!((Share::percent(1).of(1), Share::percent(1).of(101), Share::ALL.of(7)), (1, 2, 7));
    }

    #[test]
    fn each_wave_holds_the_one_before_and_at_least_one_device_more() {
        for n in [1, 2, 3, 5, 10, 99, 100, 1000] {
            let devices = names(n);
            let waves = waves(&Rules::default(), "salt", &devices);
            let mut before = 0;
            for (at, wave) in waves.iter().enumerate() {
                let holds = devices.iter().filter(|device| bucket("salt", device) < wave.opened).count();
                assert_eq!(wave.devices, holds, "{n} devices, wave {at}");
                assert!(holds > before || at + 1 == waves.len(), "{n} devices, wave {at} adds nobody");
                before = holds;
            }
            assert_eq!(before, n);
            assert_eq!(waves.last().map(|wave| wave.opened), Some(Rollout::BUCKETS));
        }
        let thousand = waves(&Rules::default(), "salt", &names(1000));
        let sizes: Vec<usize> = thousand.iter().map(|wave| wave.devices).collect();
        assert!(sizes[0] >= 10 && sizes[0] < 15 && sizes[1] >= 100 && sizes[1] < 110, "{sizes:?}");
    }

    #[test]
    fn without_known_devices_waves_are_shares_of_the_buckets() {
        let waves = waves(&Rules::default(), "salt", &BTreeSet::new());
        let opened: Vec<u32> = waves.iter().map(|wave| wave.opened).collect();
        assert_eq!(opened, [10_000, 100_000, 1_000_000]);
    }

    #[test]
    fn a_push_waits_opens_pauses_and_ends_by_its_rules() {
        let rules = Rules::default();
        let tally = |silent, working, confirmed, failed| Tally { silent, working, confirmed, failed };
        let failures = |failed, reported| Decision::Pause(Why::Failures { failed, reported });
        let silent = |reported, devices| Decision::Pause(Why::Silent { reported, devices });
        let over = rules.wait_secs;
        // Newest wave, waited, whether it is the last, and what follows.
        for (newest, waited, is_last, decision) in [
            (tally(1, 0, 0, 0), 0, false, Decision::Wait),
            (tally(0, 1, 0, 0), over - 1, false, Decision::Wait),
            (tally(0, 0, 1, 0), 0, false, Decision::Open),
            (tally(0, 0, 1, 0), 0, true, Decision::Done),
            // One device that fails is more than 2 % of one.
            (tally(0, 0, 0, 1), 0, false, failures(1, 1)),
            // At once, though nearly nobody has reported.
            (tally(98, 0, 0, 3), 0, true, failures(3, 3)),
            // 2 of 100 may fail, and they are not judged before the others had their time.
            (tally(90, 8, 0, 2), 0, true, Decision::Wait),
            (tally(0, 0, 98, 2), 0, true, Decision::Done),
            // A share of reports, not of devices: 2 of 80.
            (tally(20, 0, 78, 2), over, true, failures(2, 80)),
            // 70 of 100 are enough when the time is over, 69 are not.
            (tally(30, 0, 70, 0), over - 1, false, Decision::Wait),
            (tally(30, 0, 70, 0), over, false, Decision::Open),
            (tally(20, 11, 69, 0), over, false, silent(69, 100)),
            (tally(1, 0, 0, 0), over, true, silent(0, 1)),
            // A wave that adds nobody (the last, when all are in already) is no reason to wait.
            (tally(0, 0, 0, 0), 0, true, Decision::Done),
        ] {
            assert_eq!(decide(&rules, &newest, &newest, waited, is_last), decision, "{newest:?} after {waited} s");
        }
        // Late failures of an earlier wave count.
        let all = tally(0, 0, 7, 3);
        assert_eq!(decide(&rules, &tally(0, 0, 5, 0), &all, 0, false), failures(3, 10));
        // Nobody halts what may fail altogether.
        let never = Rules { max_failed: Share::ALL, ..rules };
        assert_eq!(decide(&never, &tally(0, 0, 0, 9), &tally(0, 0, 0, 9), 0, false), Decision::Open);
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        let with =
            |waves: &[u32]| Rules { waves: waves.iter().map(|p| Share::percent(*p)).collect(), ..Rules::default() };
        for waves in [&[][..], &[0, 10], &[10, 10], &[50, 10]] {
            assert!(with(waves).check().is_err(), "{waves:?}");
        }
        assert_eq!(with(&[5]).check(), Ok(()));
        assert_eq!(Rules::default().check(), Ok(()));
    }
}
