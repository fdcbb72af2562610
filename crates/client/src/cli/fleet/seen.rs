//! The devices that have reported.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::ops::Range;
use std::path::Path;

use linnet_fleet::waves::{Outcome, PushRecord, Tally, outcome};
use linnet_fleet::{bucket, means};
use linnet_proto::fleet::{Report, Selector};
use linnet_proto::topic::DeviceName;

use crate::ClientError;

/// Most devices that are remembered.
const MAX_DEVICES: usize = 1_000_000;
/// Most devices under one name that are told apart.
const MAX_INSTANCES: usize = 4;

/// The newest report of each device, and of each that bears the same name.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// By name; the report that came last is last.
    devices: BTreeMap<String, Vec<Report>>,
    /// Reports that were not read, or not this fleet's.
    pub(super) passed_over: u64,
}

impl Seen {
    /// Takes a report of `fleet`; another's is passed over.
    pub(super) fn take(&mut self, fleet: &str, report: Report) {
        let known = self.devices.contains_key(&report.device);
        let named = DeviceName::new(report.device.as_str()).is_ok();
        if !named || report.fleet != fleet || (!known && self.devices.len() >= MAX_DEVICES) {
            self.passed_over += 1;
            return;
        }
        let reports = self.devices.entry(report.device.clone()).or_default();
        reports.retain(|earlier| earlier.instance != report.instance);
        if reports.len() >= MAX_INSTANCES {
            reports.remove(0);
        }
        reports.push(report);
    }

    /// Reads a file of reports, one on each line.
    pub(super) fn read(fleet: &str, file: &Path) -> Result<Self, ClientError> {
        let failed = |source| ClientError::Read { path: file.display().to_string(), source };
        let reader: Box<dyn BufRead> = match file.as_os_str() == "-" {
            true => Box::new(std::io::stdin().lock()),
            false => Box::new(std::io::BufReader::new(std::fs::File::open(file).map_err(failed)?)),
        };
        let mut seen = Self::default();
        for line in reader.lines() {
            let line = line.map_err(failed)?;
            match Report::parse(line.as_bytes()) {
                _ if line.trim().is_empty() => {}
                Ok(report) => seen.take(fleet, report),
                Err(_) => seen.passed_over += 1,
            }
        }
        Ok(seen)
    }

    /// The last report of each device, by name.
    pub(super) fn last(&self) -> impl Iterator<Item = &Report> {
        self.devices.values().filter_map(|reports| reports.last())
    }

    /// Names that more than one device bears, with the reports of each.
    pub(super) fn duplicates(&self) -> impl Iterator<Item = (&String, &Vec<Report>)> {
        self.devices.iter().filter(|(_, reports)| reports.len() > 1)
    }

    /// Whether a device has reported under this name.
    pub(super) fn bears(&self, name: &str) -> bool {
        self.devices.contains_key(name)
    }

    pub(super) fn len(&self) -> usize {
        self.devices.len()
    }

    /// Names of the devices that all of `selectors` mean and that can read as much.
    pub(super) fn meant(&self, selectors: &[&Selector]) -> BTreeSet<String> {
        self.named(selectors, |report| selectors.iter().all(|selector| report.wire >= selector.wire()))
    }

    /// Names of those that `selectors` would mean if their `linnetd` could read it: they pass over what they cannot read whole.
    pub(super) fn too_old(&self, selectors: &[&Selector]) -> BTreeSet<String> {
        self.named(selectors, |report| selectors.iter().any(|selector| report.wire < selector.wire()))
    }

    fn named(&self, selectors: &[&Selector], also: impl Fn(&Report) -> bool) -> BTreeSet<String> {
        let is_one = |report: &&Report| {
            let facts = report.facts();
            also(report) && selectors.iter().all(|selector| means(selector, &facts))
        };
        self.last().filter(is_one).map(|report| report.device.clone()).collect()
    }

    /// Names of the devices in these buckets that have not ended with an attempt at a generation: who has nothing to gain from a look is not told.
    pub(super) fn open(
        &self,
        (number, attempt): (u64, u32),
        salt: &str,
        meant: &BTreeSet<String>,
        buckets: Range<u32>,
    ) -> Vec<String> {
        let is_open = |report: &&Report| {
            meant.contains(&report.device)
                && buckets.contains(&bucket(salt, &report.device))
                && matches!(outcome(report, number, attempt), Outcome::Silent | Outcome::Working)
        };
        self.last().filter(is_open).map(|report| report.device.clone()).collect()
    }

    /// How the devices of a push's open waves stand: those of the newest wave, and all; and the names of those that have not ended in
    /// the newest wave.
    pub(super) fn tally(&self, push: &PushRecord, meant: &BTreeSet<String>) -> (Tally, Tally, Vec<String>) {
        let opened = |wave: usize| wave.checked_sub(1).and_then(|at| push.waves.get(at)).map_or(0, |wave| wave.opened);
        let (before, now) = (opened(push.wave.saturating_sub(1)), opened(push.wave));
        let (mut newest, mut all, mut open) = (Tally::default(), Tally::default(), Vec::new());
        for report in self.last().filter(|report| meant.contains(&report.device)) {
            let bucket = bucket(&push.salt, &report.device);
            if bucket >= now {
                continue;
            }
            let outcome = outcome(report, push.number, push.attempt);
            all.add(outcome);
            if bucket >= before {
                newest.add(outcome);
                if matches!(outcome, Outcome::Silent | Outcome::Working) {
                    open.push(report.device.clone());
                }
            }
        }
        (newest, all, open)
    }
}

#[cfg(test)]
mod tests {
    use linnet_proto::fleet::{PushState, Rollout, Running};

    use super::*;

    fn report(device: &str, generation: u64, state: PushState) -> Report {
        Report {
            wire: 1,
            device: device.into(),
            fleet: "home".into(),
            running: Running { generation: 0, confirmed: true },
            generation,
            attempt: 1,
            state,
            reason: None,
            code: None,
            since_secs: 1,
            clock_trusted: true,
            took: Vec::new(),
            linnetd: "0.1.0".into(),
            groups: BTreeSet::new(),
            labels: BTreeMap::new(),
            free_mib: 100,
            local_packages: Vec::new(),
            metadata: [1, 1, 1],
            instance: device.into(),
            contested: false,
        }
    }

    #[test]
    fn who_has_ended_is_meant_or_not_and_in_which_bucket_decides_who_is_told() {
        let mut seen = Seen::default();
        let devices = [("new", 0, PushState::Confirmed), ("at-work", 2, PushState::Staged)];
        let ended = [("confirmed", 2, PushState::Confirmed), ("rejected", 2, PushState::Rejected)];
        for (device, generation, state) in devices.into_iter().chain(ended).chain([("other", 0, PushState::Confirmed)])
        {
            let mut report = report(device, generation, state);
            if device == "confirmed" {
                report.running.generation = generation;
            }
            seen.take("home", report);
        }
        let meant: BTreeSet<String> = ["new", "at-work", "confirmed", "rejected"].map(str::to_owned).into();
        assert_eq!(seen.open((2, 1), "salt", &meant, 0..Rollout::BUCKETS), ["at-work", "new"]);
        let again = seen.open((2, 2), "salt", &meant, 0..Rollout::BUCKETS);
        assert!(again.contains(&"rejected".to_owned()), "another attempt is for who rejected the first: {again:?}");
        let from = bucket("salt", "new") + 1;
        assert!(!seen.open((2, 1), "salt", &meant, from..Rollout::BUCKETS).contains(&"new".to_owned()));
    }

    #[test]
    fn a_report_that_is_heard_again_is_one_device() {
        let mut seen = Seen::default();
        for _ in 0..3 {
            seen.take("home", report("hall", 1, PushState::Rejected));
        }
        assert_eq!((seen.len(), seen.duplicates().count(), seen.last().count()), (1, 0, 1));
    }
}
