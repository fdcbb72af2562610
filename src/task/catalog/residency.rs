//! Which models are in memory: loaded when somebody needs them, let go when nobody does, within a limit.
//!
//! A [`Home`] is one model's place. The first request that needs it starts its load on a thread of its own, so that the worker goes on
//! giving signs of life and the request keeps its deadline; whoever comes meanwhile waits for the same load. The [`Budget`] is
//! shared by all: a model that would go over the limit has the least recently used ones make room, and is refused, with both
//! numbers, where what is pinned leaves too little.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use linnet_proto::{ErrorCode, WireError};

use super::Loader;
use crate::store::{Package, PackageError, Stamps};
use crate::task::Pipeline;

/// How often a worker that waits for a load shows that it lives, and looks at its deadline.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a model that failed to load is not tried again.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Whether a model's weights are in memory.
#[derive(Debug, Clone)]
enum State {
    Out,
    Loading,
    In { pipeline: Arc<dyn Pipeline>, used: Instant },
    Failed { reason: String, at: Instant },
}

/// What a model is doing, for status and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Loads on first use.
    Out,
    /// Being loaded.
    Loading,
    /// In memory, with this many bytes.
    In(u64),
    /// Did not load; why.
    Failed(String),
}

/// One model's place in memory.
pub struct Home {
    /// What is loaded, and by whom; absent for a model that cannot be loaded again (tests).
    source: Option<(Mutex<Package>, Loader)>,
    budget: Budget,
    pinned: bool,
    state: Mutex<State>,
    changed: Condvar,
    /// The marks of the files that were verified last, where they were.
    verified: Mutex<Option<Stamps>>,
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").field("pinned", &self.pinned).field("presence", &self.presence()).finish_non_exhaustive()
    }
}

impl Home {
    /// A place that is empty until its model is needed.
    pub fn empty(package: Package, loader: Loader, budget: Budget, pinned: bool) -> Arc<Self> {
        let home = Arc::new(Self {
            source: Some((Mutex::new(package), loader)),
            budget: budget.clone(),
            pinned,
            state: Mutex::new(State::Out),
            changed: Condvar::new(),
            verified: Mutex::default(),
        });
        budget.enter(&home);
        home
    }

    /// A place whose model is there and stays.
    pub fn of(pipeline: Arc<dyn Pipeline>) -> Arc<Self> {
        let state = State::In { pipeline, used: Instant::now() };
        Arc::new(Self {
            source: None,
            budget: Budget::default(),
            pinned: true,
            state: Mutex::new(state),
            changed: Condvar::new(),
            verified: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model, when it is in memory; does not count as use.
    pub fn peek(&self) -> Option<Arc<dyn Pipeline>> {
        match &*self.lock() {
            State::In { pipeline, .. } => Some(Arc::clone(pipeline)),
            _ => None,
        }
    }

    /// Whether it is never let go of.
    pub fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// What the model is doing.
    pub fn presence(&self) -> Presence {
        match &*self.lock() {
            State::Out => Presence::Out,
            State::Loading => Presence::Loading,
            State::In { pipeline, .. } => Presence::In(pipeline.memory_bytes()),
            State::Failed { reason, .. } => Presence::Failed(reason.clone()),
        }
    }

    /// The model; loaded now when it is not there. `wait` is called again and again meanwhile, and its error ends the wait, not
    /// the load.
    pub fn pipeline(
        self: &Arc<Self>,
        wait: &mut dyn FnMut() -> Result<(), WireError>,
    ) -> Result<Arc<dyn Pipeline>, WireError> {
        let mut state = self.lock();
        loop {
            match &mut *state {
                State::In { pipeline, used } => {
                    *used = Instant::now();
                    return Ok(Arc::clone(pipeline));
                }
                State::Failed { reason, at } if at.elapsed() < RETRY_AFTER => {
                    return Err(failed(&self.name(), reason));
                }
                State::Out | State::Failed { .. } => {
                    *state = State::Loading;
                    drop(state);
                    self.begin();
                    state = self.lock();
                }
                State::Loading => {
                    let (back, _) =
                        self.changed.wait_timeout(state, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner);
                    drop(back);
                    wait()?;
                    state = self.lock();
                }
            }
        }
    }

    fn name(&self) -> String {
        self.package().map(|package| package.manifest.name).unwrap_or_default()
    }

    /// Starts the load on a thread of its own.
    fn begin(self: &Arc<Self>) {
        let own = Arc::clone(self);
        let spawned = std::thread::Builder::new().name("linnet-load".to_owned()).spawn(move || own.load());
        if let Err(error) = spawned {
            self.settle(Err(format!("no thread to load it: {error}")));
        }
    }

    fn load(self: &Arc<Self>) {
        let loaded = match (&self.source, self.package()) {
            (Some((_, loader)), Some(package)) => {
                let needed = package.memory_bytes();
                self.budget.make_room(self, needed).and_then(|()| loader.bring_in(&package))
            }
            _ => Err("it cannot be loaded again".to_owned()),
        };
        let loaded = loaded.map(|(pipeline, stamps)| {
            self.verified_as(stamps);
            pipeline
        });
        self.settle(loaded);
    }

    fn settle(&self, loaded: Result<Arc<dyn Pipeline>, String>) {
        let next = match loaded {
            Ok(pipeline) => State::In { pipeline, used: Instant::now() },
            Err(reason) => State::Failed { reason, at: Instant::now() },
        };
        *self.lock() = next;
        self.changed.notify_all();
    }

    /// What is loaded.
    fn package(&self) -> Option<Package> {
        self.source.as_ref().map(|(package, _)| package.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Verifies `package`, whose content is this model's, unless its files bear the marks of those that were verified last.
    pub(super) fn look_at(&self, package: &Package) -> Result<(), PackageError> {
        let stamps = package.stamps()?;
        if self.verified.lock().unwrap_or_else(PoisonError::into_inner).as_ref() != Some(&stamps) {
            self.verified_as(package.verify()?);
        }
        Ok(())
    }

    fn verified_as(&self, stamps: Stamps) {
        *self.verified.lock().unwrap_or_else(PoisonError::into_inner) = Some(stamps);
    }

    /// Loads the same content from `dir` from now on, and what is in memory reads there what it still reads.
    pub(super) fn lies_in(&self, dir: &Path) {
        if let Some((package, _)) = &self.source {
            let mut package = package.lock().unwrap_or_else(PoisonError::into_inner);
            if package.dir != dir {
                dir.clone_into(&mut package.dir);
            }
        }
        if let Some(pipeline) = self.peek() {
            pipeline.lies_in(dir);
        }
    }

    /// Lets the model go, pinned or not, to be loaded again when it is needed. False when it is not there, or could not be loaded again.
    pub(super) fn put_down(&self) -> bool {
        if self.source.is_none() {
            return false;
        }
        let mut state = self.lock();
        if !matches!(*state, State::In { .. }) {
            return false;
        }
        let gone = std::mem::replace(&mut *state, State::Out);
        drop(state);
        drop(gone);
        true
    }

    /// Lets the model go, when it is there, may go, and was not used since `before`. Gives its bytes.
    fn leave(&self, before: Option<Instant>) -> Option<u64> {
        if self.pinned {
            return None;
        }
        let mut state = self.lock();
        let State::In { pipeline, used } = &*state else { return None };
        if before.is_some_and(|before| *used > before) {
            return None;
        }
        let bytes = pipeline.memory_bytes();
        let gone = std::mem::replace(&mut *state, State::Out);
        drop(state);
        drop(gone);
        log::info!(MODEL = self.name().as_str(); "{}: let go of {} MiB", self.name(), bytes >> 20);
        Some(bytes)
    }
}

fn failed(name: &str, reason: &str) -> WireError {
    let message = format!("the model {name} is there but does not serve: {reason}");
    WireError::new(ErrorCode::ModelFailed, message).with_param("model")
}

/// The memory that all models together may take. Clones are one.
#[derive(Clone, Default)]
pub struct Budget(Arc<BudgetState>);

#[derive(Default)]
struct BudgetState {
    /// Bytes; 0 is no limit.
    limit: std::sync::atomic::AtomicU64,
    homes: Mutex<Vec<Weak<Home>>>,
    /// One load makes room at a time.
    making_room: Mutex<()>,
    /// Told when a model was let go of, so that workers drop what they hold of it.
    on_leave: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Budget").field(&self.limit()).finish()
    }
}

impl Budget {
    /// The limit in bytes; 0 is none.
    pub fn limit(&self) -> u64 {
        self.0.limit.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Sets the limit for what comes from now on.
    pub fn set_limit(&self, bytes: u64) {
        self.0.limit.store(bytes, std::sync::atomic::Ordering::Relaxed);
    }

    /// Has `told` called whenever a model was let go of.
    pub fn on_leave(&self, told: impl Fn() + Send + Sync + 'static) {
        *self.0.on_leave.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(told));
    }

    fn enter(&self, home: &Arc<Home>) {
        let mut homes = self.0.homes.lock().unwrap_or_else(PoisonError::into_inner);
        homes.retain(|home| home.strong_count() > 0);
        homes.push(Arc::downgrade(home));
    }

    fn homes(&self) -> Vec<Arc<Home>> {
        self.0.homes.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }

    /// Lets go of every model that may go and was not used for `idle`.
    pub fn let_go_of_idle(&self, idle: Duration) {
        let Some(before) = Instant::now().checked_sub(idle) else { return };
        let left = self.homes().iter().filter_map(|home| home.leave(Some(before))).count();
        if left > 0 {
            self.tell();
        }
    }

    fn tell(&self) {
        let told = self.0.on_leave.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(told) = told {
            told();
        }
        linnet_kernels::allocator::give_back();
    }

    /// Makes room for `needed` bytes; the error is one sentence with both numbers.
    fn make_room(&self, asker: &Arc<Home>, needed: u64) -> Result<(), String> {
        let limit = self.limit();
        if limit == 0 {
            return Ok(());
        }
        let _turn = self.0.making_room.lock().unwrap_or_else(PoisonError::into_inner);
        let mut others: Vec<(Instant, u64, Arc<Home>)> = Vec::new();
        let (mut held, mut fixed) = (0, 0);
        for home in self.homes().into_iter().filter(|home| !Arc::ptr_eq(home, asker)) {
            let (used, bytes) = match &*home.lock() {
                State::In { pipeline, used } => (*used, pipeline.memory_bytes()),
                _ => continue,
            };
            held += bytes;
            if home.pinned {
                fixed += bytes;
            } else {
                others.push((used, bytes, home));
            }
        }
        if fixed + needed > limit {
            let pinned =
                if fixed == 0 { String::new() } else { format!(", of which pinned models hold {}", fixed >> 20) };
            return Err(format!(
                "it needs {} MiB, but all models together may take {} MiB (memory_limit_mib){pinned}; raise the limit, or choose a \
                 smaller dtype",
                needed.div_ceil(1 << 20),
                limit >> 20
            ));
        }
        others.sort_by_key(|(used, ..)| *used);
        let mut left = 0;
        for (_, bytes, home) in others {
            if held + needed <= limit {
                break;
            }
            if home.leave(None).is_some() {
                held = held.saturating_sub(bytes);
                left += 1;
            }
        }
        if left > 0 {
            self.tell();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::{FakeEngine, FakeModel, FakeRun};
    use crate::status::Events;
    use crate::task::catalog::Families;
    use crate::task::fake::{self, FakePipeline};

    const MIB: u64 = 1 << 20;

    fn pipeline() -> FakePipeline {
        FakePipeline::new(|_, _| Ok(fake::transcript("hello")))
    }

    fn loader(load: impl Fn() -> Result<Arc<dyn Pipeline>, String> + Send + Sync + 'static) -> Loader {
        let engine = FakeEngine(FakeModel::new(|_, _| FakeRun::Fail("no graph".into())));
        let families = Families::default().with("test", move |_, _, _| load());
        Loader { engine: Arc::new(engine), families, events: Events::default(), budget: Budget::default() }
    }

    fn home(name: &str, loader: &Loader, budget: &Budget, pinned: bool) -> Arc<Home> {
        let mut manifest = fake::manifest(name);
        manifest.memory_mib = 3;
        manifest.canary = None;
        manifest.family = "test".to_owned();
        let package = Package { dir: std::env::temp_dir(), manifest, unlisted: Vec::new() };
        Home::empty(package, loader.clone(), budget.clone(), pinned)
    }

    fn patient() -> Result<(), WireError> {
        Ok(())
    }

    #[test]
    fn a_model_loads_once_on_first_use_and_again_after_it_was_let_go_of() {
        let loads = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&loads);
        let loader = loader(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(Arc::new(pipeline()) as Arc<dyn Pipeline>)
        });
        let budget = Budget::default();
        let home = home("a", &loader, &budget, false);
        assert_eq!(home.presence(), Presence::Out);
        let (first, second) = (home.pipeline(&mut patient), home.pipeline(&mut patient));
        assert!(Arc::ptr_eq(&first.expect("it loads"), &second.expect("it is there")));
        assert_eq!(loads.load(std::sync::atomic::Ordering::SeqCst), 1);
        budget.let_go_of_idle(Duration::from_secs(3600));
        assert_eq!(home.presence(), Presence::In(3 * MIB), "it was used just now");
        budget.let_go_of_idle(Duration::ZERO);
        assert_eq!(home.presence(), Presence::Out);
        home.pipeline(&mut patient).expect("it loads again");
        assert_eq!(loads.load(std::sync::atomic::Ordering::SeqCst), 2);
    }

    #[test]
    fn the_least_recently_used_makes_room_and_the_pinned_stays() {
        let loader = loader(|| Ok(Arc::new(pipeline()) as Arc<dyn Pipeline>));
        let budget = Budget::default();
        budget.set_limit(9 * MIB);
        let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&told);
        budget.on_leave(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        });
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| home(name, &loader, &budget, name == "a"));
        for home in [&a, &b, &c] {
            home.pipeline(&mut patient).expect("there is room");
        }
        b.pipeline(&mut patient).expect("it is there");
        d.pipeline(&mut patient).expect("another makes room");
        let there = [&a, &b, &c, &d].map(|home| home.peek().is_some());
        assert_eq!(there, [true, true, false, true], "c was not used for the longest time, a is pinned");
        assert_eq!(told.load(std::sync::atomic::Ordering::SeqCst), 1);
    }

    #[test]
    fn what_can_never_fit_is_refused_with_both_numbers() {
        let loader = loader(|| Ok(Arc::new(pipeline()) as Arc<dyn Pipeline>));
        let budget = Budget::default();
        budget.set_limit(4 * MIB);
        let first = home("a", &loader, &budget, true);
        first.pipeline(&mut patient).expect("there is room");
        let owners = Arc::downgrade(&first);
        drop(first);
        // The thread that loaded it is an owner until it ends.
        while owners.strong_count() > 0 {
            std::thread::yield_now();
        }
        let kept = home("p", &loader, &budget, true);
        let error = kept.pipeline(&mut patient);
        assert!(error.is_ok(), "the first one is gone with its last owner");
        let error = home("b", &loader, &budget, false).pipeline(&mut patient).expect_err("it does not fit").message;
        assert!(
            error.contains("needs 3 MiB") && error.contains("may take 4 MiB") && error.contains("hold 3"),
            "{error}"
        );
    }

    #[test]
    fn a_load_that_fails_is_told_and_a_wait_that_ends_leaves_the_load_alone() {
        let gate = crate::engine::fake::Gate::default();
        let held = gate.clone();
        let loader = loader(move || {
            held.wait();
            Err("its graph is damaged".to_owned())
        });
        let home = home("a", &loader, &Budget::default(), false);
        let gone = home.pipeline(&mut || Err(WireError::new(ErrorCode::Cancelled, "the caller is gone")));
        assert_eq!(gone.expect_err("it does not wait").code, ErrorCode::Cancelled);
        assert_eq!(home.presence(), Presence::Loading);
        gate.open();
        let error = home.pipeline(&mut patient).expect_err("it fails");
        assert_eq!(error.code, ErrorCode::ModelFailed);
        assert!(error.message.contains("its graph is damaged"), "{error}");
    }
}
