//! One device: what it keeps, what it does in a step of the state machine, and when it looks for metadata.

use std::sync::Arc;
use std::time::Duration;

use linnet_fleet::clock::VirtualClock;
use linnet_fleet::select::{Refused, choose};
use linnet_fleet::source::{self, DownloadError};
use linnet_fleet::trust::{Contents, Limits, TrustError, Trusted, refresh};
use linnet_fleet::waves::{Outcome as Standing, outcome};
use linnet_proto::fleet::{Attempt, DeviceFacts, Generation, Report, Rollout, Running};
use tokio::runtime::{Handle, Runtime};

use super::arguments::Break;
use super::believe::believe;
use super::bounds::{
    HINT_BYTES, HINT_JITTER, PROBE, PROBE_TAKES, REFRESH, REFRESH_JITTER_PERCENT, RESTARTS_ONE_OF, SOURCE_PAUSE,
    START_TAKES, SWITCH_TAKES, TRIAL, TRIAL_FAILS_AFTER, WATCH_EVERY,
};
use super::expected::{Nature, Seen};
use super::link::Link;
use super::mirror::Mirror;
use super::names::Names;
use super::operator::{BEGAN_SECS, Hint, NEW, OLD, Publication};
use super::reach::{Reach, Whose};
use super::traffic::Traffic;
use crate::push::bounds::{RETRY_FIRST, RETRY_MOST};
use crate::push::machine::{Serve, start};
use crate::push::{
    Action, Driver, Effects, Fault, Moment, Outcome, Persisted, Progress, ReportFacts, Settings, Step, Wanted, Watched,
    report,
};

/// Never.
pub(super) const NEVER: u64 = u64::MAX;

/// As in the daemon's configuration.
const SETTINGS: Settings = Settings { probe: PROBE, trial: TRIAL, watch_every: WATCH_EVERY };

/// Free storage that a device says it has, MiB.
const FREE_MIB: u64 = 1024;

/// What is outside of the devices, the same for all during one span of time.
#[derive(Debug, Clone)]
pub(super) struct World {
    /// The honest repository.
    pub(super) origin: Arc<Publication>,
    /// The malicious one.
    pub(super) mirror: Arc<Mirror>,
    pub(super) limits: Limits,
    pub(super) fault: Option<Break>,
    pub(super) names: Arc<Names>,
}

/// What a worker has for the devices that it plays.
pub(super) struct Bench {
    /// Runs what is asynchronous.
    pub(super) runtime: Waiter,
    pub(super) clock: VirtualClock,
    /// Reports that were sent.
    pub(super) heard: Vec<Heard>,
    /// Refusals of metadata, and of files, by their code.
    pub(super) refusals: std::collections::BTreeMap<&'static str, u64>,
}

/// Who waits for what is asynchronous.
pub(super) enum Waiter {
    /// The thread itself, where nothing ever waits.
    Alone(Runtime),
    /// The thread, for what others carry.
    Among(Handle),
}

impl Waiter {
    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        match self {
            Self::Alone(runtime) => runtime.block_on(future),
            Self::Among(runtime) => runtime.block_on(future),
        }
    }
}

/// A report on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Heard {
    /// When it arrives, milliseconds.
    pub(super) at_ms: u64,
    pub(super) device: u32,
    pub(super) said: Said,
}

/// What a report says of the push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Said {
    Nothing,
    Begun,
    Confirmed,
    Failed,
}

impl From<Said> for Standing {
    fn from(said: Said) -> Self {
        match said {
            Said::Nothing => Self::Silent,
            Said::Begun => Self::Working,
            Said::Confirmed => Self::Confirmed,
            Said::Failed => Self::Failed,
        }
    }
}

/// A device.
pub(super) struct Device<R> {
    body: Body<R>,
    /// None while the process restarts.
    driver: Option<Driver>,
    look: Option<Box<Look>>,
    failed_looks: u32,
    /// When each is due, milliseconds, or [`NEVER`].
    pub(super) look_at: u64,
    pub(super) looked_at: u64,
    pub(super) step_at: u64,
    pub(super) start_at: u64,
}

/// A look that is under way.
struct Look {
    /// What is to be trusted, and what it says; a fault where no source could be used.
    found: Result<(Trusted, Contents), ()>,
    /// Which publication the honest repository held, where it was reached; and of which the signed rollouts came from it.
    reached: Option<u32>,
    seen: Option<u32>,
}

/// All of it that an action may change.
struct Body<R> {
    index: u32,
    bucket: u32,
    nature: Nature,
    reach: R,
    /// The mirror tells it of a forged generation, or shows it the past.
    is_lied_to: bool,
    /// The place in its list of the source that is asked first for files: 0 or 1; the mirror stands first where `index` says so.
    first: usize,
    restarts: bool,
    trusted: Trusted,
    /// Bytes of the generation that is offered.
    offered_bytes: u64,
    disk: Disk,
    serving: u64,
    work: Option<Box<Work>>,
    trial_began_ms: Option<u64>,
    trial_fails_after_ms: u64,
    last_heard_ms: u64,
    is_away: bool,
    /// The next look has another cause than the interval.
    is_called: bool,
    /// What the honest repository held when a look reached it last ([`Publication::number`]).
    current: Option<u32>,
    seen: Vec<Seen>,
    changes: Vec<(u64, u64)>,
    now_ms: u64,
}

/// What outlives a restart.
struct Disk {
    live: u64,
    good: u64,
    update: Option<Persisted>,
    refused: Vec<(String, Attempt)>,
    /// Digests of files that are there.
    files: Vec<String>,
}

/// What an update has under way.
#[derive(Default)]
struct Work {
    sha256: String,
    /// Files that lack; known once it was judged.
    files: Option<Vec<source::Wanted>>,
    progress: source::Progress,
    lies: u32,
    /// The action has taken the time that it takes.
    is_waited: bool,
}

impl<R: Reach> Device<R> {
    /// A device that runs the old generation. `files` are those of the old generation, `back_ms` is when it comes back if it is away.
    pub(super) fn new(
        index: u32,
        bucket: u32,
        nature: Nature,
        back_ms: Option<u64>,
        mut reach: R,
        trusted: &Trusted,
        files: &[String],
    ) -> Self {
        let random = reach.random();
        let (restarts, trial_fails_after_ms) = (random.below(RESTARTS_ONE_OF) == 0, random.millis(TRIAL_FAILS_AFTER));
        // Each began its hour at another time.
        let look_at = random.below(REFRESH.as_millis() as u64);
        let body = Body {
            index,
            bucket,
            nature,
            reach,
            is_lied_to: index.is_multiple_of(2),
            first: 0,
            restarts,
            trusted: trusted.clone(),
            offered_bytes: 0,
            disk: Disk { live: OLD, good: OLD, update: None, refused: Vec::new(), files: files.to_vec() },
            serving: OLD,
            work: None,
            trial_began_ms: None,
            trial_fails_after_ms,
            last_heard_ms: 0,
            is_away: back_ms.is_some(),
            is_called: false,
            current: None,
            seen: Vec::new(),
            changes: Vec::new(),
            now_ms: 0,
        };
        let driver = Some(Driver::new(None, SETTINGS, body.moment()));
        let (look_at, start_at) = match back_ms {
            Some(back_ms) => (NEVER, back_ms),
            None => (look_at, NEVER),
        };
        Self { body, driver, look: None, failed_looks: 0, look_at, looked_at: NEVER, step_at: NEVER, start_at }
    }

    /// Looks for metadata soon, for another reason than the interval.
    pub(super) fn look_soon(&mut self, now_ms: u64) {
        let jitter = self.body.reach.random().millis((Duration::ZERO, HINT_JITTER));
        self.look_at = self.look_at.min(now_ms + jitter);
        self.body.is_called = true;
    }

    /// Looks for metadata now, as the interval would ask for it; not while it is away or restarts, since it looks then by itself.
    pub(super) fn look_now(&mut self, now_ms: u64) {
        if self.driver.is_some() && !self.body.is_away {
            self.look_at = self.look_at.min(now_ms);
        }
    }

    /// Whether nobody can reach it.
    pub(super) fn is_away(&self) -> bool {
        self.body.is_away
    }

    /// Whether its process has ended and not begun again.
    pub(super) fn is_restarting(&self) -> bool {
        self.driver.is_none()
    }

    /// Whether it comes back, or its process begins.
    pub(super) fn is_due_to_start(&self, now_ms: u64) -> bool {
        self.start_at <= now_ms
    }

    /// Its way to the others.
    pub(super) fn reach(&self) -> &R {
        &self.body.reach
    }

    /// See [`Device::reach`].
    pub(super) fn reach_mut(&mut self) -> &mut R {
        &mut self.body.reach
    }

    /// When something is due.
    pub(super) fn due_ms(&self) -> u64 {
        self.look_at.min(self.looked_at).min(self.step_at).min(self.start_at)
    }

    /// Does what is due now.
    pub(super) fn wake(&mut self, now_ms: u64, world: &World, bench: &mut Bench) {
        self.body.now_ms = now_ms;
        if self.start_at <= now_ms {
            self.start_at = NEVER;
            self.begin(world, bench);
        }
        if self.looked_at <= now_ms {
            self.looked_at = NEVER;
            self.end_look(world, bench);
        }
        if self.look_at <= now_ms {
            match self.look {
                // One at a time.
                Some(_) => self.look_at = self.looked_at.saturating_add(1),
                None => self.begin_look(world, bench),
            }
        }
        if self.step_at <= now_ms {
            self.step_at = NEVER;
            self.step(world, bench);
        }
    }

    /// The link is there again, or the process has started.
    fn begin(&mut self, world: &World, bench: &mut Bench) {
        let body = &mut self.body;
        if std::mem::take(&mut body.is_away) {
            let update = body.disk.update.clone();
            body.say(world, bench, update.as_ref(), None);
            self.look_soon(self.body.now_ms);
            return;
        }
        let plan = start(body.disk.update.as_ref(), body.disk.live, body.disk.good, body.moment().since_epoch_secs);
        if plan.update != body.disk.update {
            body.disk.update.clone_from(&plan.update);
        }
        if plan.serve == Serve::Good {
            body.disk.live = body.disk.good;
        }
        body.serve(body.disk.live);
        self.driver = Some(Driver::new(plan.update, SETTINGS, body.moment()));
        self.step_at = body.now_ms;
        self.look_at = body.now_ms;
        body.is_called = true;
    }

    fn begin_look(&mut self, world: &World, bench: &mut Bench) {
        self.look_at = NEVER;
        if self.driver.is_none() || self.body.is_away {
            return;
        }
        let is_routine = !std::mem::take(&mut self.body.is_called);
        if is_routine {
            self.body.reach.count_routine_look();
        }
        let (look, spent_ms) = self.body.look(is_routine, world, bench);
        self.looked_at = self.body.now_ms + spent_ms;
        self.look = Some(Box::new(look));
    }

    fn end_look(&mut self, world: &World, bench: &mut Bench) {
        let body = &mut self.body;
        let (Some(look), Some(driver)) = (self.look.take(), &mut self.driver) else { return };
        if let Some(publication) = look.reached {
            body.current = Some(publication);
        }
        if let Some(publication) = look.seen {
            body.seen.push(Seen { at_ms: body.now_ms, publication });
        }
        let wait_ms = match look.found {
            Ok((trusted, contents)) => {
                self.failed_looks = 0;
                body.trusted = trusted;
                if let Some(wanted) = body.wanted(&contents, world) {
                    let mut acting = Acting { body, world, bench };
                    // What cannot be saved is offered again by the next look.
                    let _ = driver.offer(&wanted, &mut acting);
                    self.step_at = self.body.now_ms;
                }
                REFRESH.as_millis() as u64
            }
            Err(()) => {
                self.failed_looks += 1;
                RETRY_FIRST.saturating_mul(1 << self.failed_looks.min(12)).min(RETRY_MOST).as_millis() as u64
            }
        };
        let jitter = wait_ms * REFRESH_JITTER_PERCENT / 100;
        let wait_ms = wait_ms - jitter + self.body.reach.random().below(2 * jitter + 1);
        self.look_at = self.look_at.min(self.body.now_ms + wait_ms);
    }

    fn step(&mut self, world: &World, bench: &mut Bench) {
        let Some(driver) = &mut self.driver else { return };
        let mut acting = Acting { body: &mut self.body, world, bench };
        match driver.step(&mut acting) {
            Step::Idle => {}
            Step::Again(pause) => self.step_at = self.body.now_ms + pause.as_millis() as u64,
            Step::Restart => {
                (self.driver, self.look) = (None, None);
                (self.look_at, self.looked_at) = (NEVER, NEVER);
                self.body.work = None;
                self.start_at = self.body.now_ms + self.body.reach.random().millis(START_TAKES);
            }
        }
    }

    /// Which publication the honest repository held when it was reached last, where nothing is under way.
    pub(super) fn settled(&self) -> Option<u32> {
        let is_settled =
            self.driver.is_some() && !self.body.is_away && self.looked_at == NEVER && self.step_at == NEVER;
        self.body.current.filter(|_| is_settled)
    }

    /// Whether it has reached the honest repository since this was published, and nothing is under way.
    pub(super) fn is_at_rest(&self, publication: u32) -> bool {
        let is_current = self.body.current == Some(publication);
        is_current && self.driver.is_some() && !self.body.is_away && self.step_at == NEVER
    }

    /// What is left to judge.
    pub(super) fn remains(&self) -> Remains<'_> {
        let body = &self.body;
        Remains {
            index: body.index,
            nature: body.nature,
            serving: body.serving,
            seen: &body.seen,
            changes: &body.changes,
            update: body.disk.update.as_ref(),
            traffic: body.reach.traffic(),
        }
    }
}

/// A device at the end.
pub(super) struct Remains<'a> {
    pub(super) index: u32,
    pub(super) nature: Nature,
    pub(super) serving: u64,
    pub(super) seen: &'a [Seen],
    /// Since when what served, beginning with the first change.
    pub(super) changes: &'a [(u64, u64)],
    pub(super) update: Option<&'a Persisted>,
    pub(super) traffic: Traffic,
}

impl Device<Link> {
    /// Hears over its link that it should look, if it is there and is meant.
    pub(super) fn hint(&mut self, now_ms: u64, hint: &Hint) {
        if !self.body.is_away && hint.is_for(self.body.index, self.body.bucket) {
            let arrives = now_ms + self.body.reach.deliver(HINT_BYTES as usize);
            self.look_soon(arrives);
        }
    }
}

impl<R: Reach> Body<R> {
    fn moment(&self) -> Moment {
        Moment { since_epoch_secs: BEGAN_SECS + self.now_ms / 1000, monotonic: Duration::from_millis(self.now_ms) }
    }

    fn serve(&mut self, generation: u64) {
        if self.serving != generation {
            self.serving = generation;
            self.changes.push((self.now_ms, generation));
        }
        self.trial_began_ms = None;
    }

    /// Asks every source, one after the other: one that answers may be the one that hides what is new.
    fn look(&mut self, is_routine: bool, world: &World, bench: &mut Bench) -> (Look, u64) {
        bench.clock.set(BEGAN_SECS + self.now_ms / 1000);
        let mut spent_ms = 0;
        let mut look = Look { found: Err(()), reached: None, seen: None };
        for place in 0..2 {
            let far = self.reach.visit(self.whose(place), is_routine, world);
            let trusted = look.found.as_ref().map_or(&self.trusted, |(trusted, _)| trusted);
            let found = if world.fault == Some(Break::Verify) {
                let believed = bench.runtime.block_on(believe(&far));
                believed
                    .map(|contents| (trusted.clone(), contents))
                    .map_err(|fault| TrustError::Unreachable(fault.to_string()))
            } else {
                let refreshed = bench.runtime.block_on(refresh(trusted, &far, &bench.clock, &world.limits));
                refreshed.map(|refreshed| (refreshed.trusted, refreshed.contents))
            };
            let passage = R::end(far);
            spent_ms += passage.spent_ms;
            look.reached = look.reached.or(passage.reached);
            look.seen = look.seen.or(passage.seen);
            match (found, &mut look.found) {
                // Who believes everything believes all that anybody says.
                (Ok((_, more)), Ok((_, contents))) if world.fault == Some(Break::Verify) => {
                    contents.generations.extend(more.generations);
                    contents.rollouts.extend(more.rollouts);
                }
                (Ok(found), _) => look.found = Ok(found),
                (Err(e), _) => *bench.refusals.entry(e.code()).or_default() += 1,
            }
        }
        (look, spent_ms)
    }

    /// Whose the source is at a place of its list.
    fn whose(&self, place: usize) -> Whose {
        let is_mirror_first = self.index % 4 < 2;
        match ((place == 0) != is_mirror_first, self.is_lied_to) {
            (true, _) => Whose::Operator,
            (false, true) => Whose::Forger,
            (false, false) => Whose::Hider,
        }
    }

    fn wanted(&mut self, contents: &Contents, world: &World) -> Option<Wanted> {
        let facts = DeviceFacts { name: world.names.device(self.index), free_mib: FREE_MIB, ..DeviceFacts::default() };
        let refused =
            self.disk.refused.iter().map(|(sha256, attempt)| Refused { sha256: sha256.clone(), attempt: *attempt });
        let refused: Vec<Refused> = refused.collect();
        let opened;
        let contents = if world.fault == Some(Break::Halt) {
            let mut all = contents.clone();
            for rollout in all.rollouts.iter_mut().filter_map(|entry| entry.rollout.as_mut().ok()) {
                (rollout.opened, rollout.paused) = (Rollout::BUCKETS, false);
            }
            opened = all;
            &opened
        } else {
            contents
        };
        let begin = choose(contents, world.names.fleet(), &facts, self.disk.good, &refused).begin?;
        self.offered_bytes = begin.bytes;
        Some(Wanted { generation: begin.number, attempt: begin.attempt, sha256: begin.sha256 })
    }

    fn say(&mut self, world: &World, bench: &mut Bench, update: Option<&Persisted>, waiting: Option<&Fault>) {
        let running = Running { generation: self.serving, confirmed: self.serving == self.disk.good };
        let report = self.report(&world.names, running, update, waiting);
        let Some(takes_ms) = self.reach.report(serde_json::to_vec(&report).unwrap_or_default()) else { return };
        let said = match outcome(&report, NEW, 1) {
            Standing::Silent => Said::Nothing,
            Standing::Working => Said::Begun,
            Standing::Confirmed => Said::Confirmed,
            Standing::Failed => Said::Failed,
        };
        // One after the other: a later report does not overtake.
        self.last_heard_ms = self.last_heard_ms.max(self.now_ms + takes_ms) + 1;
        bench.heard.push(Heard { at_ms: self.last_heard_ms, device: self.index, said });
    }

    fn report(&self, names: &Names, running: Running, update: Option<&Persisted>, waiting: Option<&Fault>) -> Report {
        let facts = ReportFacts {
            device: names.device(self.index),
            fleet: names.fleet().to_owned(),
            running,
            clock_trusted: true,
            linnetd: env!("CARGO_PKG_VERSION").to_owned(),
            groups: Default::default(),
            labels: Default::default(),
            free_mib: FREE_MIB,
            local_packages: Vec::new(),
            metadata: self.trusted.versions().reported(),
            instance: format!("{:016x}", self.index),
        };
        report(update, waiting, &facts)
    }

    /// The work of this update; that of another is given up.
    fn work(&mut self, update: &Persisted) -> &mut Work {
        let is_this = self.work.as_ref().is_some_and(|work| work.sha256 == update.sha256);
        if !is_this {
            self.work = Some(Box::new(Work { sha256: update.sha256.clone(), ..Work::default() }));
        }
        self.work.get_or_insert_default()
    }

    /// False on the first call of an action, which then takes its time; true on the second.
    fn is_waited(&mut self, update: &Persisted) -> bool {
        let work = self.work(update);
        work.is_waited = !work.is_waited;
        !work.is_waited
    }

    fn takes(&mut self, range: (Duration, Duration)) -> Progress {
        Progress::Working(Duration::from_millis(self.reach.random().millis(range)))
    }

    /// Fetches one file from the source whose turn it is; what it took, milliseconds.
    fn fetch(
        &mut self,
        wanted: &source::Wanted,
        progress: &mut source::Progress,
        sink: &mut Vec<u8>,
        world: &World,
        bench: &mut Bench,
    ) -> (Result<(), DownloadError>, u64) {
        let far = self.reach.visit(self.whose(self.first), false, world);
        let fetched = bench.runtime.block_on(source::download(&far, wanted, progress, sink, &world.limits.pace));
        let spent_ms = R::end(far).spent_ms;
        if let Err(e) = &fetched {
            self.first = 1 - self.first;
            if !matches!(e, DownloadError::Source { .. }) {
                *bench.refusals.entry(e.code()).or_default() += 1;
                *progress = source::Progress::new();
            }
        }
        (fetched, spent_ms)
    }

    /// A source that could not be used, or lied, is waited for.
    fn wait_for_source(&mut self, e: &DownloadError, spent_ms: u64) -> Progress {
        let most = SOURCE_PAUSE.as_millis() as u64;
        let pause_ms = spent_ms + most / 2 + self.reach.random().below(most);
        Progress::Waiting(Fault::new(e.code(), e.to_string()), Duration::from_millis(pause_ms))
    }

    /// As the daemon's store does at an update's end.
    fn settle(&mut self, update: &Persisted) {
        if update.state.is_failure() {
            self.disk.live = self.disk.good;
            self.disk.refused.push((update.sha256.clone(), update.attempt));
        } else {
            self.disk.good = self.disk.live;
        }
        self.work = None;
    }
}

/// A device in a step.
struct Acting<'a, R> {
    body: &'a mut Body<R>,
    world: &'a World,
    bench: &'a mut Bench,
}

impl<R: Reach> Effects for Acting<'_, R> {
    fn now(&mut self) -> Moment {
        self.body.moment()
    }

    fn save(&mut self, update: &Persisted) -> Result<(), Fault> {
        self.body.disk.update = Some(update.clone());
        Ok(())
    }

    fn is_refused(&mut self, wanted: &Wanted) -> bool {
        let of_it = |(sha256, attempt): &(String, Attempt)| *sha256 == wanted.sha256 && *attempt >= wanted.attempt;
        self.body.disk.refused.iter().any(of_it)
    }

    fn live(&mut self) -> u64 {
        self.body.disk.live
    }

    fn judge(&mut self, update: &Persisted) -> Progress {
        if self.body.work(update).files.is_some() {
            return Progress::Ended(Outcome::Done);
        }
        let number = update.generation;
        let wanted = source::Wanted {
            path: format!("generations/{}.{number}.json", update.sha256),
            bytes: self.body.offered_bytes,
            sha256: update.sha256.clone(),
        };
        let mut document = Vec::new();
        let (fetched, spent_ms) =
            self.body.fetch(&wanted, &mut source::Progress::new(), &mut document, self.world, self.bench);
        if let Err(e) = fetched {
            return self.body.wait_for_source(&e, spent_ms);
        }
        let generation = match Generation::parse(&document) {
            Ok(generation) if generation.number == number && generation.fleet == self.world.names.fleet() => generation,
            Ok(_) => {
                return Progress::Ended(Outcome::Failed(Fault::new("other_generation", "it is another generation")));
            }
            Err(e) => return Progress::Ended(Outcome::Failed(Fault::new("generation", e.to_string()))),
        };
        let lack = generation.files().into_iter().filter(|file| !self.body.disk.files.contains(&file.sha256));
        let files = lack.map(|file| source::Wanted {
            path: format!("files/{}", file.sha256),
            bytes: file.bytes,
            sha256: file.sha256.clone(),
        });
        let files: Vec<_> = files.collect();
        self.body.work(update).files = Some(files);
        Progress::Working(Duration::from_millis(spent_ms))
    }

    fn fetch(&mut self, update: &Persisted) -> Progress {
        let work = self.body.work(update);
        let Some(files) = &mut work.files else {
            return Progress::Ended(Outcome::Failed(Fault::new("damaged", "what was judged is not there any more")));
        };
        let Some(wanted) = files.last().cloned() else { return Progress::Ended(Outcome::Done) };
        let mut progress = std::mem::take(&mut work.progress);
        let (fetched, spent_ms) = self.body.fetch(&wanted, &mut progress, &mut Vec::new(), self.world, self.bench);
        let work = self.body.work(update);
        match fetched {
            Ok(()) => {
                work.files.as_mut().and_then(Vec::pop);
                self.body.disk.files.push(wanted.sha256);
                Progress::Working(Duration::from_millis(spent_ms))
            }
            Err(e) => {
                work.progress = progress;
                work.lies += u32::from(!matches!(e, DownloadError::Source { .. }));
                if work.lies > 4 {
                    return Progress::Ended(Outcome::Failed(Fault::new(e.code(), e.to_string())));
                }
                self.body.wait_for_source(&e, spent_ms)
            }
        }
    }

    fn probe(&mut self, update: &Persisted) -> Progress {
        if !self.body.is_waited(update) {
            return self.body.takes(PROBE_TAKES);
        }
        match self.body.nature {
            Nature::FailsProbe => {
                Progress::Ended(Outcome::Failed(Fault::new("canary", "the canary of `speech` failed")))
            }
            Nature::Sound | Nature::FailsOnTrial => Progress::Ended(Outcome::Done),
        }
    }

    fn activate(&mut self, update: &Persisted) -> Progress {
        self.body.disk.live = update.generation;
        if self.body.restarts {
            return Progress::Ended(Outcome::ByRestart);
        }
        if !self.body.is_waited(update) {
            return self.body.takes(SWITCH_TAKES);
        }
        self.body.serve(update.generation);
        Progress::Ended(Outcome::Done)
    }

    fn watch(&mut self, _: &Persisted) -> Watched {
        let body = &mut *self.body;
        let began_ms = *body.trial_began_ms.get_or_insert(body.now_ms);
        if body.nature == Nature::FailsOnTrial && body.now_ms - began_ms >= body.trial_fails_after_ms {
            return Watched::Badly(Fault::new("errors", "more requests fail than before"));
        }
        Watched::Well
    }

    fn confirm(&mut self, update: &Persisted) -> Progress {
        self.body.settle(update);
        self.body.say(self.world, self.bench, Some(update), None);
        Progress::Ended(Outcome::Done)
    }

    fn discard(&mut self, update: &Persisted) -> Progress {
        self.body.settle(update);
        Progress::Ended(Outcome::Done)
    }

    fn roll_back(&mut self, update: &Persisted) -> Progress {
        if !self.body.is_waited(update) {
            return self.body.takes(SWITCH_TAKES);
        }
        if self.world.fault != Some(Break::Rollback) {
            self.body.serve(self.body.disk.good);
        }
        self.body.settle(update);
        self.body.say(self.world, self.bench, Some(update), None);
        Progress::Ended(Outcome::Done)
    }

    fn give_up(&mut self, _: Action) {
        self.body.work = None;
    }

    fn report(&mut self, update: &Persisted, waiting: Option<&Fault>) {
        self.body.say(self.world, self.bench, Some(update), waiting);
    }
}
