//! A device with a disk that forgets, over a source that has everything: the real store, machine and driver.

use std::collections::BTreeMap;
use std::time::Duration;

use linnet_proto::fleet::{Generation, PackageFile, PackageList, PushState};

use crate::push::table::Action;
use crate::push::trial::Trial;
use crate::push::{
    Driver, Effects, Fault, Moment, Outcome, Persisted, Progress, Settings, Started, Step, Wanted, Watched, save,
    settle, start,
};
use crate::status::Tally;
use crate::store::generations::faulty::FaultyDisk;
use crate::store::generations::{GenerationStore, Opened, Options, StoreError, digest};

/// Steps of a trial: a few looks.
pub(super) const SETTINGS: Settings =
    Settings { probe: Duration::from_secs(60), trial: Duration::from_secs(30), watch_every: Duration::from_secs(10) };

/// A package's name, and path and content of each of its files but the manifest.
type Package<'a> = (&'a str, &'a [(&'a str, &'a [u8])]);

/// What an operator has published.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    documents: BTreeMap<u64, Vec<u8>>,
    contents: BTreeMap<String, Vec<u8>>,
    /// Bytes of one piece.
    piece: usize,
    /// Whether what it publishes cannot change live.
    pub(super) needs_restart: bool,
}

impl Source {
    pub(super) fn in_pieces_of(bytes: usize) -> Self {
        Self { piece: bytes, ..Self::default() }
    }

    /// Publishes a generation whose packages have these files; how many bytes its document has.
    pub(super) fn publish(&mut self, number: u64, packages: &[Package<'_>]) -> usize {
        let mut lists = Vec::new();
        for (name, files) in packages {
            let manifest = format!("name = \"{name}\"\n").into_bytes();
            let files = files.iter().copied().chain([("manifest.toml", &manifest[..])]);
            let mut list = PackageList { name: (*name).to_owned(), version: "1.0.0".to_owned(), files: Vec::new() };
            for (path, bytes) in files {
                let sha256 = digest(bytes);
                list.files.push(PackageFile { path: path.into(), bytes: bytes.len() as u64, sha256: sha256.clone() });
                self.contents.insert(sha256, bytes.to_owned());
            }
            lists.push(list);
        }
        let generation = Generation {
            config: format!("# generation {number}\n"),
            packages: lists,
            ..Generation::empty("home", number)
        };
        let document = serde_json::to_vec(&generation).expect("JSON");
        let bytes = document.len();
        self.documents.insert(number, document);
        bytes
    }

    pub(super) fn wanted(&self, generation: u64) -> Wanted {
        Wanted { generation, attempt: 1, sha256: digest(&self.documents[&generation]) }
    }
}

/// How a device is set, and what is wrong with what it is given.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) settings: Settings,
    /// Generations that fail their trial at the first look.
    pub(super) bad: Vec<u64>,
    /// Generations under which the process dies when they have served for so long, on trial or not.
    pub(super) deadly: BTreeMap<u64, Duration>,
    /// Generations under which each look finds one more worker lost, when they have served for so long.
    pub(super) loses_workers: BTreeMap<u64, Duration>,
}

impl Default for Run {
    fn default() -> Self {
        Self { settings: SETTINGS, bad: Vec::new(), deadly: BTreeMap::new(), loses_workers: BTreeMap::new() }
    }
}

/// Downloads as another life of the device left them.
#[derive(Debug, Clone, Default)]
pub(super) struct Fetched {
    /// Bytes of each file that were durable by the store's word.
    pub(super) synced: BTreeMap<String, u64>,
    /// Files that were whole.
    pub(super) finished: Vec<String>,
}

/// One run of the daemon, from its start to the power cut or the end of what there is to do.
pub(super) struct Device {
    pub(super) store: GenerationStore,
    disk: FaultyDisk,
    source: Source,
    options: Options,
    run: Run,
    /// What is opened.
    pub(super) serving: u64,
    /// Since when.
    opened: Duration,
    trial: Trial,
    tally: Tally,
    pub(super) fetched: Fetched,
    /// What it was told of an earlier life.
    before: Fetched,
    /// The trusted metadata that the store holds durable, by its word.
    pub(super) trusted: Option<Vec<u8>>,
    /// The document that the store holds durable, by its word.
    pub(super) kept: Option<String>,
    /// Its random name, where the power lasted until it was saved.
    pub(super) instance: Option<String>,
    pub(super) reports: Vec<(PushState, Option<String>)>,
    monotonic: Duration,
    /// A promise of the store that was broken.
    pub(super) broken: Option<String>,
}

/// What a life came to.
pub(super) struct Life {
    pub(super) device: Device,
    /// The update as it stood at the end.
    pub(super) update: Option<Persisted>,
    /// What the start had to say; empty where the power went.
    pub(super) said: Vec<String>,
    /// How long what serves had served when the process died; none where it did not.
    pub(super) died: Option<Duration>,
}

impl Device {
    /// Starts the daemon on `disk`, offers it `generation`, and drives it to the end of what there is to do, or until the power goes. `None` where
    /// that was before the store was open.
    pub(super) fn live(
        disk: &FaultyDisk,
        source: &Source,
        options: Options,
        bad: &[u64],
        generation: u64,
        before: &Fetched,
    ) -> Result<Option<Life>, String> {
        let run = Run { bad: bad.to_owned(), ..Run::default() };
        Self::live_so(disk, source, options, run, generation, before)
    }

    /// The same, with everything that can be wrong.
    pub(super) fn live_so(
        disk: &FaultyDisk,
        source: &Source,
        options: Options,
        run: Run,
        generation: u64,
        before: &Fetched,
    ) -> Result<Option<Life>, String> {
        let opened = GenerationStore::open(Box::new(disk.clone()), options);
        let Opened { mut store, mut said } = match opened {
            Ok(opened) => opened,
            Err(_) if disk.is_cut() => return Ok(None),
            Err(e) => return Err(format!("the store does not open: {e}")),
        };
        let instance = (!disk.is_cut()).then(|| store.instance().to_owned());
        let Started { serve, update, said: more } = start(&mut store, 1000);
        said.extend(more);
        if disk.is_cut() {
            said.clear();
        }
        let mut device = Self {
            instance,
            kept: None,
            trusted: store.trust().ok().flatten(),
            store,
            disk: disk.clone(),
            source: source.clone(),
            options,
            serving: serve,
            opened: Duration::ZERO,
            trial: Trial::default(),
            tally: Tally::default(),
            fetched: Fetched::default(),
            before: before.clone(),
            reports: Vec::new(),
            monotonic: Duration::ZERO,
            broken: None,
            run,
        };
        let now = device.now();
        let mut driver = Driver::new(update, device.run.settings, now);
        let mut died = None;
        let mut wanted = Some(source.wanted(generation));
        for _ in 0..10_000 {
            let step = driver.step(&mut device);
            if disk.is_cut() || device.broken.is_some() {
                break;
            }
            match step {
                Step::Restart if source.needs_restart => {
                    let Started { serve, update, said: more } = start(&mut device.store, 1000);
                    if !disk.is_cut() {
                        said.extend(more);
                    }
                    device.serving = serve;
                    driver = Driver::new(update, device.run.settings, now);
                }
                Step::Restart => return Err("nothing here needs a restart".to_owned()),
                Step::Again(pause) => {
                    died = device.dies_within(pause);
                    if died.is_some() {
                        break;
                    }
                    device.monotonic += pause;
                }
                Step::Idle => match wanted.take() {
                    Some(wanted) => drop(driver.offer(&wanted, &mut device)),
                    None => break,
                },
            }
        }
        if let Some(broken) = device.broken.take() {
            return Err(broken);
        }
        let update = driver.update().cloned();
        // With nothing left to do it serves, until it dies.
        died = died.or_else(|| device.dies_within(Duration::MAX));
        if !disk.is_cut() && died.is_none() && !update.as_ref().is_some_and(|update| update.state.is_end()) {
            return Err(format!("the update does not come to an end: {update:?}, waits for {:?}", driver.waiting()));
        }
        Ok(Some(Life { device, update, said, died }))
    }

    /// How long what serves has served when the process dies of it, if that is within `pause`.
    fn dies_within(&self, pause: Duration) -> Option<Duration> {
        let after = *self.run.deadly.get(&self.serving)?;
        (self.served() + pause.min(Duration::from_secs(1 << 30)) >= after).then_some(after)
    }

    fn served(&self) -> Duration {
        self.monotonic - self.opened
    }

    fn waits(fault: impl Into<Fault>) -> Progress {
        Progress::Waiting(fault.into(), Duration::from_secs(1))
    }

    /// One piece of one file, or the installation.
    fn fetch_step(&mut self, update: &Persisted) -> Result<Progress, StoreError> {
        let document = self.source.documents[&update.generation].clone();
        let generation = Generation::parse(&document).expect("it was published");
        let Some(file) = self.store.missing_files(&generation)?.first().map(|file| (*file).clone()) else {
            self.store.install(&document, &generation)?;
            return Ok(Progress::Ended(Outcome::Done));
        };
        if self.before.finished.contains(&file.sha256) {
            self.broken = Some(format!("the file {} was whole and must be fetched again", file.sha256));
        }
        let have = self.store.have(&file.sha256)?;
        let durable = self.before.synced.remove(&file.sha256).unwrap_or(0);
        if have + self.options.sync_every_bytes < durable {
            self.broken = Some(format!("{durable} bytes of {} were durable, {have} are left", file.sha256));
        }
        let content = &self.source.contents[&file.sha256];
        let end = content.len().min(have as usize + self.source.piece);
        self.store.put_piece(&file.sha256, have, &content[have as usize..end])?;
        let step = self.options.sync_every_bytes;
        self.fetched.synced.insert(file.sha256.clone(), (end as u64).saturating_sub(1) / step * step);
        if end == content.len() {
            let finished = self.store.finish_file(&file.sha256, file.bytes);
            if let Err(e @ StoreError::Digest { .. }) = &finished {
                // The source is honest.
                self.broken = Some(format!("what was believed to be there was not: {e}"));
            }
            finished?;
            self.fetched.synced.remove(&file.sha256);
            self.fetched.finished.push(file.sha256);
        }
        Ok(Progress::Working(Duration::ZERO))
    }
}

impl Effects for Device {
    fn now(&mut self) -> Moment {
        Moment { since_epoch_secs: 1000 + self.monotonic.as_secs(), monotonic: self.monotonic }
    }

    fn save(&mut self, update: &Persisted) -> Result<(), Fault> {
        save(&mut self.store, update)
    }

    fn is_refused(&mut self, wanted: &Wanted) -> bool {
        self.store.is_refused(&wanted.sha256, wanted.attempt)
    }

    fn live(&mut self) -> u64 {
        self.store.live()
    }

    fn judge(&mut self, update: &Persisted) -> Progress {
        let document = self.source.documents[&update.generation].clone();
        let generation = Generation::parse(&document).expect("it was published");
        let judged = (|| {
            self.store.collect_garbage(Some(&update.sha256))?;
            let trusted = format!("roles that sign {}", update.generation).into_bytes();
            self.store.commit_trust(&trusted)?;
            self.trusted = Some(trusted);
            self.store.reserve(&generation)?;
            self.store.keep_document(&document)
        })();
        match judged {
            Ok(sha256) => {
                self.kept = Some(sha256);
                Progress::Ended(Outcome::Done)
            }
            Err(e @ StoreError::NoSpace { .. }) => Progress::Ended(Outcome::Failed(e.into())),
            Err(e) => Self::waits(e),
        }
    }

    fn fetch(&mut self, update: &Persisted) -> Progress {
        self.fetch_step(update).unwrap_or_else(Self::waits)
    }

    fn probe(&mut self, _: &Persisted) -> Progress {
        Progress::Ended(Outcome::Done)
    }

    fn activate(&mut self, update: &Persisted) -> Progress {
        if let Err(e) = self.store.set_live(update.generation) {
            return Self::waits(e);
        }
        if self.source.needs_restart && self.serving != update.generation {
            return Progress::Ended(Outcome::ByRestart);
        }
        self.serving = update.generation;
        self.opened = self.monotonic;
        self.trial.begin(self.tally);
        Progress::Ended(Outcome::Done)
    }

    fn watch(&mut self, update: &Persisted) -> Watched {
        if self.serving != update.generation {
            self.broken = Some(format!("generation {} is watched while {} serves", update.generation, self.serving));
        }
        if self.run.bad.contains(&update.generation) {
            return Watched::Badly(Fault::new("errors", "more requests fail than before"));
        }
        if self.run.loses_workers.get(&update.generation).is_some_and(|after| self.served() >= *after) {
            self.tally.lost_workers += 1;
        }
        self.trial.judge(self.tally)
    }

    fn confirm(&mut self, update: &Persisted) -> Progress {
        settle(&mut self.store, update).map_or_else(Self::waits, |()| Progress::Ended(Outcome::Done))
    }

    fn discard(&mut self, update: &Persisted) -> Progress {
        self.confirm(update)
    }

    fn roll_back(&mut self, update: &Persisted) -> Progress {
        if self.source.needs_restart && self.serving != self.store.good() {
            return Progress::Ended(Outcome::Failed(Fault::new("restart", "it cannot change live")));
        }
        self.serving = self.store.good();
        self.confirm(update)
    }

    fn give_up(&mut self, action: Action) {
        self.broken = Some(format!("{action:?} was given up"));
    }

    fn report(&mut self, update: &Persisted, waiting: Option<&Fault>) {
        if !self.disk.is_cut() {
            self.reports.push((update.state, waiting.map(|fault| fault.code.clone())));
        }
    }
}
