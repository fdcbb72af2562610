//! The power goes, or the process is killed, at every operation on a ledger, and what was not synced is lost in many ways: afterwards the ledger can be
//! read, each name that was answered is borne by who was answered it, and no name is borne by two. The last test takes away one sync after another,
//! and each must be missed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use linnet_proto::fleet::{ClaimOutcome, ClaimRefusal, Fingerprint};

use super::journal::{Journal, Place};
use super::ledger::ANSWER_KEY_FILE;
use super::tests::{claim, of, outcome_of, pattern, request, signed};
use super::*;
use crate::keys::{FileKey, new_pem};

/// Bytes that a medium writes at once.
const BLOCK: usize = 8;
/// Devices that the claim is for.
const USES: u8 = 3;
const NOW: u64 = 1_800_000_000;

/// What becomes of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    All,
    Nothing,
    /// The file has its name and its old content.
    Bytes,
    /// The file has its name and its length, and zeros for what was added.
    Zeros,
    /// Name, length and each block by chance.
    Random(u64),
}

/// Each way to lose, and by chance in so many.
fn losses(by_chance: u64) -> impl Iterator<Item = Loss> {
    [Loss::All, Loss::Nothing, Loss::Bytes, Loss::Zeros].into_iter().chain((1..=by_chance).map(Loss::Random))
}

/// Marsaglia's xorshift64*.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8) % end.max(1) as u64) as usize
    }
}

#[derive(Debug, Default, Clone)]
struct Model {
    /// What a program sees; none where there is no file.
    now: Option<Vec<u8>>,
    /// What the medium holds of its content, and whether it holds its name.
    durable: Vec<u8>,
    is_named: bool,
    operations: u64,
    cut_at: Option<u64>,
    ignored: Option<Ignored>,
    /// After how many operations each sync came that had something to do.
    syncs: Vec<u64>,
}

/// The syncs that do nothing: for the test that tests the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ignored {
    /// One of those that have something to do, from 0.
    One(usize),
    /// All by who has only read.
    Readings,
}

/// A disk with one file that forgets what was not synced; a clone is a second handle on it.
#[derive(Debug, Clone, Default)]
struct FaultyPlace(Arc<Mutex<Model>>);

struct FaultyJournal {
    place: FaultyPlace,
    has_only_read: bool,
}

impl FaultyPlace {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().expect("no panic")
    }

    fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.model().clone())))
    }

    fn cut_at(&self, operation: u64) {
        self.model().cut_at = Some(operation);
    }

    fn operations(&self) -> u64 {
        self.model().operations
    }

    /// The power comes back.
    fn restart(&self, loss: Loss) -> Self {
        let before = self.model().clone();
        let mut numbers = Numbers(if let Loss::Random(seed) = loss { seed.wrapping_mul(0x9e37_79b9) | 1 } else { 1 });
        let keeps_name = match loss {
            Loss::All => false,
            Loss::Nothing | Loss::Bytes | Loss::Zeros => true,
            Loss::Random(_) => numbers.below(2) == 0,
        };
        let Model { now: Some(now), durable, is_named, .. } = before else { return Self::default() };
        if !is_named && !keeps_name {
            return Self::default();
        }
        let left = left_of(&now, &durable, loss, &mut numbers);
        Self(Arc::new(Mutex::new(Model { now: Some(left.clone()), durable: left, is_named: true, ..Model::default() })))
    }
}

/// What the medium holds of a content that was not synced.
fn left_of(now: &[u8], durable: &[u8], loss: Loss, numbers: &mut Numbers) -> Vec<u8> {
    let of_length = |length: usize| {
        let mut left = durable[..durable.len().min(length)].to_vec();
        left.resize(length, 0);
        left
    };
    match loss {
        Loss::All | Loss::Bytes => durable.to_vec(),
        Loss::Nothing => now.to_vec(),
        Loss::Zeros => of_length(now.len()),
        Loss::Random(_) => {
            let (least, most) = (now.len().min(durable.len()), now.len().max(durable.len()));
            let mut left =
                of_length([now.len(), durable.len(), least + numbers.below(most - least + 1)][numbers.below(3)]);
            for at in (0..now.len().min(left.len())).step_by(BLOCK) {
                let end = (at + BLOCK).min(now.len()).min(left.len());
                if numbers.below(2) == 0 {
                    left[at..end].copy_from_slice(&now[at..end]);
                }
            }
            left
        }
    }
}

impl Model {
    fn operation(&mut self) -> io::Result<()> {
        if self.cut_at.is_some_and(|cut| self.operations >= cut) {
            return Err(io::Error::other("the power is gone"));
        }
        self.operations += 1;
        Ok(())
    }

    /// A sync that has something to do is asked for; whether it is done.
    fn syncs(&mut self, is_reading: bool) -> bool {
        self.syncs.push(self.operations);
        match self.ignored {
            None => true,
            Some(Ignored::One(number)) => number != self.syncs.len() - 1,
            Some(Ignored::Readings) => !is_reading,
        }
    }
}

impl Place for FaultyPlace {
    fn open(&self, make: bool) -> io::Result<Box<dyn Journal>> {
        let mut model = self.model();
        if model.now.is_none() {
            if !make {
                return Err(io::ErrorKind::NotFound.into());
            }
            model.operation()?;
            model.now = Some(Vec::new());
        }
        drop(model);
        Ok(Box::new(FaultyJournal { place: self.clone(), has_only_read: true }))
    }
}

impl Journal for FaultyJournal {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.place.model().now.as_ref().map_or(0, |now| now.len() as u64))
    }

    fn mode(&self) -> io::Result<u32> {
        Ok(0o600)
    }

    fn read_from(&mut self, offset: u64) -> io::Result<Vec<u8>> {
        let now = self.place.model().now.clone().unwrap_or_default();
        Ok(now.get(offset as usize..).unwrap_or_default().to_vec())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.has_only_read = false;
        let mut model = self.place.model();
        model.operation()?;
        model.now.get_or_insert_default().extend_from_slice(bytes);
        Ok(())
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        let mut model = self.place.model();
        model.operation()?;
        model.now.get_or_insert_default().truncate(bytes as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut model = self.place.model();
        model.operation()?;
        let now = model.now.clone().unwrap_or_default();
        if now != model.durable && model.syncs(self.has_only_read) {
            model.durable = now;
        }
        Ok(())
    }

    fn sync_name(&mut self) -> io::Result<()> {
        let mut model = self.place.model();
        model.operation()?;
        if !model.is_named && model.syncs(false) {
            model.is_named = true;
        }
        Ok(())
    }
}

/// What the operator's processes have said by their ends.
#[derive(Debug, Clone, Default)]
struct Told {
    /// That there is a claim.
    has_claim: bool,
    /// That a device has a name.
    names: Vec<(u8, String)>,
}

fn ledger(disk: &FaultyPlace) -> Ledger {
    Ledger::over(Box::new(disk.clone()), PathBuf::from("claims.jsonl"), "home")
}

/// The key of answers.
static KEY: LazyLock<String> = LazyLock::new(|| new_pem(Path::new(ANSWER_KEY_FILE), None).expect("a key").to_string());
/// What each device asks, signed.
static ASKED: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| (0..=USES + 1).map(|device| signed(&request(device), device)).collect());

/// One process of the operator's, which grants names.
struct Process {
    registrar: Registrar,
    operator: [u8; proof::KEY_BYTES],
}

impl Process {
    fn start(disk: &FaultyPlace) -> Self {
        let key = FileKey::from_pem(Path::new(ANSWER_KEY_FILE), KEY.as_bytes().to_vec(), &|_| unreachable!());
        let key = key.expect("a key");
        let operator = proof::public(key.pair());
        Self { registrar: Registrar::over(ledger(disk), key, "home"), operator }
    }

    /// Lets a device ask; its name, unless the power is gone.
    fn ask(&mut self, device: u8, told: &mut Told) -> Result<ClaimOutcome, String> {
        let asked = &ASKED[usize::from(device)];
        let answered = self.registrar.answer(&of(device), asked, NOW, &|_| false)?;
        let outcome = outcome_of(&answered, &self.operator);
        match &outcome {
            ClaimOutcome::Granted(grant) => told.names.push((device, grant.device.clone())),
            ClaimOutcome::Refused { code: ClaimRefusal::Unavailable, .. } => return Err(answered.said),
            ClaimOutcome::Refused { .. } => {}
        }
        Ok(outcome)
    }
}

/// The operator makes a claim, where there is none yet, and two of his processes give names by it; until the power goes.
fn live(disk: &FaultyPlace, told: &mut Told) -> Result<(), String> {
    let made = (|| {
        let mut ledger = ledger(disk);
        drop(ledger.hold(true)?);
        if ledger.claim("c1").is_none() {
            ledger.add(claim("c1", pattern(), u64::from(USES)))?;
        }
        Ok::<_, LedgerError>(())
    })();
    made.map_err(|e| e.to_string())?;
    told.has_claim = true;
    let (mut first, mut second) = (Process::start(disk), Process::start(disk));
    for device in 1..=USES {
        first.ask(device, told)?;
        // It lost the answer, and asks the other process.
        second.ask(device, told)?;
    }
    match second.ask(USES + 1, told)? {
        ClaimOutcome::Refused { code: ClaimRefusal::UsedUp, .. } => Ok(()),
        other => Err(format!("the claim is used up, and one more is told {other:?}")),
    }
}

/// The ledger as it is found, and what it must hold.
fn check(disk: &FaultyPlace, told: &Told) -> Result<(), String> {
    let disk = disk.fork();
    disk.model().cut_at = None;
    let mut ledger = ledger(&disk);
    match ledger.hold(false) {
        Ok(held) => drop(held),
        Err(LedgerError::Missing { .. }) if !told.has_claim => return Ok(()),
        Err(e) => return Err(format!("a power cut looks like damage: {e}")),
    }
    if told.has_claim && ledger.claim("c1").is_none() {
        return Err("the claim was made, and is not there".into());
    }
    let mut bearers = BTreeMap::<&str, u8>::new();
    for (device, name) in &told.names {
        if *bearers.entry(name).or_insert(*device) != *device {
            return Err(format!("{name} was granted twice"));
        }
        let key: Fingerprint = of(*device);
        if ledger.of_key(&key).is_none_or(|granted| granted.device != *name) {
            return Err(format!("{name} was granted to device {device}, and is not its own"));
        }
    }
    Ok(())
}

/// The next life to its end: all that must hold.
fn check_end(disk: &FaultyPlace, mut told: Told) -> Result<(), String> {
    check(disk, &told)?;
    live(disk, &mut told)?;
    check(disk, &told)?;
    let named: BTreeMap<u8, String> = told.names.iter().cloned().collect();
    let used = {
        let mut ledger = ledger(disk);
        drop(ledger.hold(false));
        ledger.claim("c1").map(|claim| claim.used)
    };
    if named.len() == usize::from(USES) && used == Some(u64::from(USES)) {
        return Ok(());
    }
    Err(format!("{named:?} have names, and {used:?} uses are counted"))
}

/// A life that is cut off, the loss, and the next one.
fn cut(disk: &FaultyPlace, at: u64, loss: Loss) -> Result<(), String> {
    let mut told = Told::default();
    disk.cut_at(at);
    // The power went, or that life came to its end.
    let _ = live(disk, &mut told);
    check_end(&disk.restart(loss), told)
}

/// A life that is killed, the machine going on; a second one, in which the power goes; and a third.
fn killed_and_cut(disk: &FaultyPlace, killed: u64, at: u64, loss: Loss) -> Result<(), String> {
    let mut told = Told::default();
    disk.cut_at(killed);
    let _ = live(disk, &mut told);
    check(disk, &told)?;
    disk.cut_at(killed + at);
    let _ = live(disk, &mut told);
    check_end(&disk.restart(loss), told)
}

fn whole() -> FaultyPlace {
    let disk = FaultyPlace::default();
    live(&disk, &mut Told::default()).expect("nothing is cut");
    disk
}

#[test]
fn after_a_cut_at_any_operation_no_name_that_was_answered_is_lost_and_none_is_given_twice() {
    let operations = whole().operations();
    assert!(operations > 20, "{operations} operations");
    for at in 0..=operations {
        for loss in losses(12) {
            if let Err(e) = cut(&FaultyPlace::default(), at, loss) {
                panic!("cut at operation {at} of {operations}, {loss:?}: {e}");
            }
        }
    }
}

/// The reading, and with it the healing, is in the first operations of a life.
const HEALED: u64 = 12;

#[test]
fn what_a_killed_process_left_to_the_kernel_is_durable_before_it_is_acted_upon() {
    let mut is_missed = false;
    for killed in 0..=whole().operations() {
        for at in 0..=HEALED {
            for loss in [Loss::All, Loss::Bytes, Loss::Random(killed * 31 + at)] {
                if let Err(e) = killed_and_cut(&FaultyPlace::default(), killed, at, loss) {
                    panic!("killed at operation {killed}, cut {at} after it, {loss:?}: {e}");
                }
                let careless = FaultyPlace::default();
                careless.model().ignored = Some(Ignored::Readings);
                is_missed = is_missed || killed_and_cut(&careless, killed, at, loss).is_err();
            }
        }
    }
    assert!(is_missed, "nobody misses the sync of what others have written");
}

#[test]
fn each_single_sync_is_missed_where_it_is_left_out() {
    let whole = whole();
    let operations = whole.operations();
    let syncs = whole.model().syncs.clone();
    // The file's name; the ledger's own line, the claim's and those of the grants, with two each.
    assert_eq!(syncs.len(), 1 + 2 * (2 + usize::from(USES)));
    for (number, after) in syncs.iter().enumerate() {
        // The line feed of the first line is durable with the next line, before which nothing is promised.
        if number == 2 {
            continue;
        }
        let is_missed = (*after..=operations).any(|at| {
            losses(60).any(|loss| {
                let disk = FaultyPlace::default();
                disk.model().ignored = Some(Ignored::One(number));
                cut(&disk, at, loss).is_err()
            })
        });
        assert!(is_missed, "nobody misses sync {number} of {}, after operation {after}", syncs.len());
    }
}

#[test]
fn a_key_that_is_being_made_is_there_whole_or_not_at_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(ANSWER_KEY_FILE);
    // What a killed process has left of an earlier one stands in nobody's way.
    std::fs::write(dir.path().join(".new-key-1"), &new_pem(&path, None).expect("made").as_bytes()[..20])
        .expect("written");
    crate::keys::generate(&path, None).expect("made");
    FileKey::open(&path, &|_| unreachable!()).expect("whole");
}
