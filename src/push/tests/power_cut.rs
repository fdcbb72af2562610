//! The power goes at every operation of an update in turn, and what was not synced is lost in many ways: afterwards generation N or N+1 serves,
//! whole, the update comes to its end, and nothing is left over. The last test takes away one sync after another, and each must be
//! missed: a test that could not fail would prove nothing.

use std::collections::BTreeMap;

use linnet_proto::fleet::{Generation, PushState};

use super::device::{Device, Fetched, Life, Source};
use crate::push::Persisted;
use crate::store::generations::faulty::{FaultyDisk, Loss, Numbers};
use crate::store::generations::{GenerationStore, Opened, Options, digest};

/// Small, so that a file of a test has several steps.
const OPTIONS: Options = Options { free_margin_bytes: 1000, sync_every_bytes: 16 };

const LOSSES: [Loss; 10] = [
    Loss::All,
    Loss::Nothing,
    Loss::Bytes,
    Loss::Names,
    Loss::Zeros,
    Loss::Random(1),
    Loss::Random(2),
    Loss::Random(3),
    Loss::Random(4),
    Loss::Random(5),
];

/// An update on a device that runs generation `from`.
struct Scenario {
    name: &'static str,
    source: Source,
    base: FaultyDisk,
    from: u64,
    to: u64,
    bad: Vec<u64>,
    /// The disk after the update, never cut.
    end: FaultyDisk,
    operations: u64,
}

impl Scenario {
    fn new(name: &'static str, from: u64, is_bad: bool, needs_restart: bool) -> Self {
        let to = from + 1;
        let mut source = Source::in_pieces_of(10);
        let both: &[u8] = b"what both generations hold, in three steps.";
        source.publish(
            1,
            &[(
                "speech",
                &[("model", b"the first model, which is longer than three steps."), ("onnx/deep/tokens", both)],
            )],
        );
        source.publish(
            2,
            &[
                (
                    "speech",
                    &[("model", b"the second model, which has more than three steps."), ("onnx/deep/tokens", both)],
                ),
                ("words", &[("config.json", b"{}"), ("empty", b"")]),
            ],
        );
        let bad = if is_bad { vec![to] } else { vec![] };
        let base = FaultyDisk::new();
        for before in 1..=from {
            let life = Device::live(&base, &source, OPTIONS, &[], before, &Fetched::default());
            assert_eq!(life.expect("nothing is cut").expect("it opens").device.serving, before);
        }
        let base = base.restart(Loss::All);
        source.needs_restart = needs_restart;
        let end = base.fork();
        let life = Device::live(&end, &source, OPTIONS, &bad, to, &Fetched::default());
        let life = life.expect("nothing is cut").expect("it opens");
        assert_eq!(life.update.expect("an update").state.is_failure(), is_bad);
        let operations = end.operations();
        assert!(operations > 60, "{name} has {operations} operations");
        Self { name, source, base, from, to, bad, end, operations }
    }

    fn all() -> [Self; 5] {
        [
            Self::new("a good update", 1, false, false),
            Self::new("a bad update", 1, true, false),
            Self::new("the first update", 0, false, false),
            Self::new("a good update that needs a restart", 1, false, true),
            Self::new("a bad update that needs a restart", 1, true, true),
        ]
    }

    fn live(&self, disk: &FaultyDisk, before: &Fetched) -> Result<Option<Life>, String> {
        Device::live(disk, &self.source, OPTIONS, &self.bad, self.to, before)
    }

    /// One life until `cut`, the loss, and the next life to the end: everything that must hold.
    fn cut(&self, disk: &FaultyDisk, cut: u64, loss: Loss) -> Result<(), String> {
        disk.cut_at(cut);
        let first = self.live(disk, &Fetched::default())?;
        let disk = disk.restart(loss);
        self.check_restarted(&disk, first.as_ref(), loss)?;
        let fetched = first.map(|life| life.device.fetched).unwrap_or_default();
        let life = self.live(&disk, &fetched)?.ok_or("the store does not open")?;
        self.check_end(&disk, &life, std::slice::from_ref(&self.end))
    }

    /// The disk as it comes back, before anything heals it: it is sound by itself.
    fn check_restarted(&self, disk: &FaultyDisk, first: Option<&Life>, loss: Loss) -> Result<(), String> {
        let fork = disk.fork();
        let Opened { store, said } =
            GenerationStore::open(Box::new(fork.clone()), OPTIONS).map_err(|e| e.to_string())?;
        if !said.is_empty() {
            return Err(format!("a power cut looks like damage: {said:?}"));
        }
        for generation in [store.live(), store.good()] {
            self.check_serves(&fork, generation)?;
        }
        if let Some(first) = first.filter(|_| loss == Loss::All) {
            // What the store had said was durable is all there.
            let before = &first.device.store;
            if (store.pointers(), store.update()) != (before.pointers(), before.update()) {
                return Err("what was saved is not there".to_owned());
            }
            if first.device.instance.as_ref().is_some_and(|instance| instance != store.instance()) {
                return Err("the instance was durable and is another".to_owned());
            }
            let wanted = self.source.wanted(self.to);
            if store.is_refused(&wanted.sha256, 1) != before.is_refused(&wanted.sha256, 1) {
                return Err("what was refused is forgotten".to_owned());
            }
            let has_failed = first.update.as_ref().is_some_and(|update| update.state.is_failure());
            if first.device.kept.as_ref().is_some_and(|kept| store.document(kept).is_none()) && !has_failed {
                return Err("the document was kept and is gone".to_owned());
            }
            if store.trust().ok() != Some(first.device.trusted.clone()) {
                return Err("the trusted metadata are others".to_owned());
            }
        }
        // And should the pointers be lost, too, what was confirmed is found again.
        if disk.tree().contains_key("pointers") {
            let lost = disk.fork();
            lost.uproot("pointers");
            let Opened { store: found, .. } =
                GenerationStore::open(Box::new(lost), OPTIONS).map_err(|e| e.to_string())?;
            let update = store.update().and_then(|update| Persisted::parse(update).ok());
            let confirming = update.is_some_and(|update| update.state == PushState::Confirmed);
            let fits = found.live() == store.good() || (confirming && found.live() == self.to);
            if !fits || found.live() != found.good() {
                return Err(format!("without pointers {} serves where {} was good", found.live(), store.good()));
            }
        }
        Ok(())
    }

    /// Whether a generation is N or N+1, and whole by the digests of all that it holds.
    fn check_serves(&self, disk: &FaultyDisk, generation: u64) -> Result<(), String> {
        if generation == 0 && self.from == 0 {
            return Ok(());
        }
        if generation != self.from && generation != self.to {
            return Err(format!("generation {generation} serves"));
        }
        let tree = disk.tree();
        let at = |path: &str| tree.get(&format!("generations/{generation}/{path}")).and_then(Option::as_ref);
        let document = at("generation.json").ok_or_else(|| format!("generation {generation} has no document"))?;
        if digest(document) != self.source.wanted(generation).sha256 {
            return Err(format!("the document of generation {generation} is another"));
        }
        for package in &Generation::parse(document).map_err(|e| e.to_string())?.packages {
            for file in &package.files {
                let content = at(&format!("packages/{}/{}", package.name, file.path));
                if content.is_none_or(|content| digest(content) != file.sha256) {
                    return Err(format!("{} of generation {generation} is not what was signed", file.path));
                }
            }
        }
        Ok(())
    }

    /// The end of a life that was not cut: where it must be, and not one name more than without a cut.
    fn check_end(&self, disk: &FaultyDisk, life: &Life, ends: &[FaultyDisk]) -> Result<(), String> {
        if !life.said.is_empty() {
            return Err(format!("a power cut looks like damage: {:?}", life.said));
        }
        self.check_serves(disk, life.device.serving)?;
        if life.device.serving != life.device.store.live() || life.device.store.live() != life.device.store.good() {
            return Err("the update has ended, and what serves is not what is good".to_owned());
        }
        let found = content(disk);
        if ends.iter().any(|end| content(end) == found) {
            return Ok(());
        }
        let names = |content: &BTreeMap<String, Option<Vec<u8>>>| content.keys().cloned().collect::<Vec<_>>();
        Err(format!("the disk holds {:?} instead of {:?}", names(&found), names(&content(&ends[0]))))
    }
}

/// What lies on a disk, but for the times and counts of an update and the random instance.
fn content(disk: &FaultyDisk) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut tree = disk.tree();
    tree.insert("update.json".to_owned(), None);
    tree.insert("instance".to_owned(), None);
    tree
}

#[test]
fn after_a_cut_at_any_operation_n_or_n_plus_1_serves_and_the_update_ends_as_without() {
    for scenario in Scenario::all() {
        for cut in 0..=scenario.operations {
            for loss in LOSSES {
                if let Err(e) = scenario.cut(&scenario.base.fork(), cut, loss) {
                    panic!("{}, cut at operation {cut} of {}, {loss:?}: {e}", scenario.name, scenario.operations);
                }
            }
        }
    }
}

#[test]
fn a_second_cut_while_the_first_is_healed_changes_nothing() {
    for scenario in Scenario::all() {
        for cut in 0..=scenario.operations {
            for loss in [Loss::All, Loss::Random(cut)] {
                let disk = scenario.base.fork();
                disk.cut_at(cut);
                drop(scenario.live(&disk, &Fetched::default()).expect("no promise is broken"));
                let disk = disk.restart(loss);
                // The healing is in the first operations of the next life.
                for second in 0..12 {
                    if let Err(e) = scenario.cut(&disk.fork(), second, Loss::Random(cut * 31 + second)) {
                        panic!("{}, cut at operation {cut}, {loss:?}, then at {second}: {e}", scenario.name);
                    }
                }
            }
        }
    }
}

#[test]
fn however_often_the_power_goes_nothing_piles_up() {
    for scenario in Scenario::all() {
        // Three cuts in a trial look like a generation that takes the daemon down: then the good one is given up, too.
        let given_up = Scenario::new(scenario.name, scenario.from, true, scenario.source.needs_restart);
        let most = [scenario.base.tree().len(), scenario.end.tree().len(), given_up.end.tree().len()];
        let most = most.iter().sum::<usize>();
        for seed in 0..40 {
            let mut numbers = Numbers::new(seed);
            let mut disk = scenario.base.fork();
            for _ in 0..40 {
                disk.cut_at(numbers.below(scenario.operations));
                drop(scenario.live(&disk, &Fetched::default()).expect("no promise is broken"));
                disk = disk.restart(Loss::Random(numbers.next()));
                scenario.check_restarted(&disk, None, Loss::Random(0)).expect("it is sound");
                assert!(disk.tree().len() <= most, "{} names: {:?}", disk.tree().len(), disk.tree().keys());
            }
            let life = scenario.live(&disk, &Fetched::default()).expect("no promise is broken").expect("it opens");
            let ends = [scenario.end.clone(), given_up.end.clone()];
            if let Err(e) = scenario.check_end(&disk, &life, &ends) {
                panic!("{}, seed {seed}: {e}", scenario.name);
            }
        }
    }
}

#[test]
fn each_single_sync_is_missed_where_it_is_left_out() {
    let scenarios = Scenario::all();
    let mut kinds: Vec<String> =
        scenarios.iter().flat_map(|scenario| scenario.end.syncs()).map(|sync| sync.1).collect();
    kinds.sort();
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "file: .new-instance",
            "file: .new-pointers",
            "file: .new-refused.json",
            "file: .new-trust.json",
            "file: .new-update.json",
            "file: document",
            "file: download",
            "names: files",
            "names: generations",
            "names: inside of a generation",
            "names: inside of a new generation",
            "names: of instance",
            "names: of pointers",
            "names: of refused.json",
            "names: of trust.json",
            "names: of update.json",
            "names: partial",
        ]
    );
    for scenario in &scenarios {
        for (number, (after, kind)) in scenario.end.syncs().iter().enumerate() {
            let is_missed = (*after..=scenario.operations).any(|cut| {
                LOSSES.iter().any(|&loss| {
                    let disk = scenario.base.fork();
                    disk.ignore_sync(number);
                    scenario.cut(&disk, cut, loss).is_err()
                })
            });
            // One that nothing misses would only wear the flash.
            assert!(is_missed, "{}: nobody misses sync {number}, \"{kind}\"", scenario.name);
        }
    }
}
