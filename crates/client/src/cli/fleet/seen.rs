//! The devices that have reported.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};
use std::ops::Range;
use std::path::Path;

use linnet_fleet::waves::{Outcome, PushRecord, Tally, outcome};
use linnet_fleet::{bucket, means};
use linnet_proto::fleet::{Report, Selector};
use linnet_proto::topic::DeviceName;
use linnet_proto::words::shortened;

use crate::ClientError;

/// Most devices that are remembered.
const MAX_DEVICES: usize = 1_000_000;
/// Most devices under one name that are told apart.
const MAX_INSTANCES: usize = 4;
/// Most memory that all reports take together, bytes: a million of usual ones. Whoever may write reports at the broker decides how long they are.
const MAX_BYTES: usize = 1 << 30;
/// What a string or an entry of a collection takes beside its bytes, bytes.
const OF_EACH: usize = 48;

/// Longest reason that is repeated in a sentence, characters.
const MAX_REASON_CHARS: usize = 200;

/// The newest report of each device, and of each that bears the same name.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// By name; the report that came last is last.
    devices: BTreeMap<String, Vec<Report>>,
    /// What they take, about.
    bytes: usize,
    /// Reports that were not read, or not this fleet's.
    pub(super) passed_over: u64,
    /// Reports for which there was no room.
    pub(super) left_out: u64,
}

impl Seen {
    /// Takes a report of `fleet`; another's is passed over, and one for which there is no room left out.
    pub(super) fn take(&mut self, fleet: &str, report: Report) {
        self.take_within(fleet, report, MAX_DEVICES, MAX_BYTES);
    }

    fn take_within(&mut self, fleet: &str, mut report: Report, most_devices: usize, most_bytes: usize) {
        let named = DeviceName::new(report.device.as_str()).is_ok();
        if !named || report.fleet != fleet {
            self.passed_over += 1;
            return;
        }
        if !self.devices.contains_key(&report.device) && self.devices.len() >= most_devices {
            self.left_out += 1;
            return;
        }
        let mut reports = self.devices.remove(&report.device).unwrap_or_default();
        self.bytes -= reports.iter().map(weight).sum::<usize>();
        reports.retain(|earlier| earlier.instance != report.instance);
        if reports.len() >= MAX_INSTANCES {
            reports.remove(0);
        }
        if self.bytes + reports.iter().map(weight).sum::<usize>() + weight(&report) > most_bytes {
            // First what only people read, then the others of this name, of which none is counted.
            (report.reason, report.took, report.local_packages) = (None, Vec::new(), Vec::new());
            reports.clear();
        }
        if self.bytes + weight(&report) > most_bytes {
            // What it said before is out of date: nobody counts it.
            self.left_out += 1;
            return;
        }
        reports.push(report);
        self.bytes += reports.iter().map(weight).sum::<usize>();
        if let Some(newest) = reports.last() {
            self.devices.insert(newest.device.clone(), reports);
        }
    }

    /// That there was no room for all, for people.
    pub(super) fn left_out_said(&self) -> Option<String> {
        (self.left_out > 0).then(|| {
            format!(
                "{} reports: those of {MAX_DEVICES} devices, of {} MiB together, are remembered, and nobody else's counted; look whether the broker \
                 lets devices write under names that are not theirs",
                self.left_out,
                MAX_BYTES >> 20
            )
        })
    }

    /// Reads a file of reports, one on each line.
    pub(super) fn read(fleet: &str, file: &Path) -> Result<Self, ClientError> {
        let failed = |source| ClientError::Read { path: file.display().to_string(), source };
        let mut reader: Box<dyn BufRead> = match file.as_os_str() == "-" {
            true => Box::new(std::io::stdin().lock()),
            false => Box::new(std::io::BufReader::new(std::fs::File::open(file).map_err(failed)?)),
        };
        let mut seen = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            // One byte for the end of the line, one to see that it is too long.
            let most = Report::MAX_BYTES as u64 + 2;
            if reader.by_ref().take(most).read_until(b'\n', &mut line).map_err(failed)? == 0 {
                return Ok(seen);
            }
            if line.len() as u64 == most && line.last() != Some(&b'\n') {
                skip_line(&mut reader).map_err(failed)?;
                seen.passed_over += 1;
                continue;
            }
            match Report::parse(line.trim_ascii()) {
                _ if line.trim_ascii().is_empty() => {}
                Ok(report) => seen.take(fleet, report),
                Err(_) => seen.passed_over += 1,
            }
        }
    }

    /// The reports under each name, the last one last.
    pub(super) fn by_name(&self) -> impl Iterator<Item = &[Report]> {
        self.devices.values().map(Vec::as_slice)
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

    /// The devices of a push's open waves that failed, each with what it says of that, and how many more than `most` there are.
    pub(super) fn failed(&self, push: &PushRecord, meant: &BTreeSet<String>, most: usize) -> (Vec<String>, usize) {
        let has_failed = |report: &&Report| {
            meant.contains(&report.device)
                && bucket(&push.salt, &report.device) < push.opened()
                && outcome(report, push.number, push.attempt) == Outcome::Failed
        };
        let mut failed = self.last().filter(has_failed);
        let told = |report: &Report| {
            let why = report
                .reason
                .as_ref()
                .map_or_else(|| "no reason given".to_owned(), |why| shortened(why, MAX_REASON_CHARS));
            format!("{} ({}: {why})", report.device, report.state.as_str())
        };
        let named = failed.by_ref().take(most).map(told).collect();
        (named, failed.count())
    }

    /// How the devices of a push's open waves stand: those of the newest wave, and all; and the names of those that have not ended in
    /// the newest wave.
    pub(super) fn tally(&self, push: &PushRecord, meant: &BTreeSet<String>) -> (Tally, Tally, Vec<String>) {
        let (before, now) = (push.opened_by(push.wave.saturating_sub(1)), push.opened());
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

/// What a report takes in memory, bytes; no less than it does.
fn weight(report: &Report) -> usize {
    let text = |text: &String| OF_EACH + text.len();
    let maybe = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let groups: usize = report.groups.iter().map(text).sum();
    let labels: usize = report.labels.iter().map(|(label, value)| text(label) + text(value)).sum();
    let packages: usize = report.local_packages.iter().map(text).sum();
    // Its name is the key, too.
    let own = 2 * text(&report.device) + report.fleet.len() + report.linnetd.len() + report.instance.len();
    let took = std::mem::size_of_val(report.took.as_slice());
    size_of::<Report>() + own + maybe(&report.reason) + maybe(&report.code) + groups + labels + packages + took
}

/// Reads on to the end of the line, and keeps nothing of it.
fn skip_line(reader: &mut dyn BufRead) -> std::io::Result<()> {
    loop {
        let there = reader.fill_buf()?;
        let (read, is_end) = match there.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (there.len(), there.is_empty()),
        };
        reader.consume(read);
        if is_end {
            return Ok(());
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use linnet_fleet::waves::{PushStanding, Rules, Share, Wave};
    use linnet_proto::fleet::{PushState, Rollout, Running};

    use super::*;

    pub fn report(device: &str, generation: u64, state: PushState) -> Report {
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
    fn who_failed_in_what_is_open_is_named_with_the_reason_and_the_rest_counted() {
        let mut seen = Seen::default();
        for (device, state) in [
            ("attic", PushState::Rejected),
            ("bath", PushState::Confirmed),
            ("cellar", PushState::RolledBack),
            ("porch", PushState::Rejected),
        ] {
            let reason = (device == "attic").then(|| format!("\u{1b}[2Jdeaf{}", "!".repeat(300)));
            seen.take("home", Report { reason, ..report(device, 2, state) });
        }
        let push = |opened| PushRecord {
            number: 2,
            attempt: 1,
            to: Selector::default(),
            salt: "salt".into(),
            rules: Rules::default(),
            waves: vec![Wave { share: Share::ALL, opened, devices: 3 }],
            wave: 1,
            opened_at_secs: 0,
            state: PushStanding::Running,
        };
        let meant: BTreeSet<String> = ["attic", "bath", "cellar"].map(str::to_owned).into();
        let (named, more) = seen.failed(&push(Rollout::BUCKETS), &meant, 3);
        assert_eq!((named.len(), more), (2, 0), "{named:?}");
        assert!(named[0].starts_with("attic (rejected: [2Jdeaf!!") && named[0].ends_with("!…)"), "{named:?}");
        assert_eq!(named[1], "cellar (rolled_back: no reason given)");
        assert_eq!(seen.failed(&push(Rollout::BUCKETS), &meant, 1).1, 1);
        assert_eq!(seen.failed(&push(0), &meant, 3), (Vec::new(), 0), "nobody of a wave that is not open");
    }

    #[test]
    fn a_report_that_is_heard_again_is_one_device() {
        let mut seen = Seen::default();
        for _ in 0..3 {
            seen.take("home", report("hall", 1, PushState::Rejected));
        }
        assert_eq!((seen.len(), seen.duplicates().count(), seen.last().count()), (1, 0, 1));
    }

    #[test]
    fn however_many_devices_report_however_much_no_more_is_remembered_than_has_room() {
        let long = |device: &str, bytes: usize| {
            let labels = BTreeMap::from([("board".to_owned(), "x".repeat(bytes))]);
            Report { labels, reason: Some("y".repeat(bytes)), ..report(device, 1, PushState::Rejected) }
        };
        let most = 100 * weight(&report("device-00", 1, PushState::Rejected));
        let mut seen = Seen::default();
        for n in 0..1_000 {
            seen.take_within("home", long(&format!("device-{n}"), 2_000), 500, most);
            let held: usize = seen.by_name().flatten().map(weight).sum();
            assert!(held == seen.bytes && held <= most, "{held} of {most} after {n}");
        }
        assert!(seen.len() > 5 && seen.left_out_said().is_some_and(|said| said.contains("1024 MiB")));
        let mut seen = Seen::default();
        for n in 0..1_000 {
            seen.take_within("home", report(&format!("device-{n}"), 1, PushState::Rejected), 30, most);
        }
        assert_eq!((seen.len(), seen.left_out, seen.passed_over), (30, 970, 0));
        // A device that is known is heard all the same, and what it says no more is counted no more.
        seen.take_within("home", report("device-3", 1, PushState::Confirmed), 30, most);
        assert!(seen.last().any(|report| report.device == "device-3" && report.state == PushState::Confirmed));
        seen.take_within("home", long("device-3", most), 30, most);
        assert!(!seen.bears("device-3"));
    }

    #[test]
    fn a_line_without_an_end_costs_no_memory_and_no_line_after_it() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let one = serde_json::to_string(&report("hall", 1, PushState::Confirmed)).expect("JSON");
        let padded = format!("{one}{}", " ".repeat(Report::MAX_BYTES - one.len()));
        let porch = serde_json::to_string(&report("porch", 1, PushState::Confirmed)).expect("JSON");
        let content = format!("{}\n{padded}\n\n{porch}", "z".repeat(3 * Report::MAX_BYTES));
        std::io::Write::write_all(&mut file, content.as_bytes()).expect("written");
        let seen = Seen::read("home", file.path()).expect("reads");
        assert_eq!((seen.len(), seen.passed_over), (2, 1));
    }
}
