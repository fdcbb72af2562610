//! Signs of life of the loops that must never stand still.
//!
//! Whoever starts a loop holds its [`Watch`] for as long as the loop must live; the loop itself holds a [`Beat`] and gives
//! it at least every [`Loops::every`], also while it waits ([`Beat::keep`]). A loop that blocks, or whose task is gone after
//! a panic, gives none: after [`Loops::bound`] it is named, whoever asks.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::limits::{BEAT_EVERY, MIN_STANDSTILL, STANDSTILL};

/// All loops that are watched. Clones are one.
#[derive(Debug, Clone)]
pub struct Loops(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rhythm: Rhythm,
    bound: Duration,
    watched: Mutex<Vec<Weak<Pulse>>>,
}

#[derive(Debug)]
struct Pulse {
    name: &'static str,
    began: Instant,
    /// Milliseconds from `began` to the last sign of life.
    last_ms: AtomicU64,
}

/// When signs of life are due: all loops give theirs at the same moments, so that an idle daemon wakes once for all of them.
#[derive(Debug, Clone, Copy)]
struct Rhythm {
    began: Instant,
    every: Duration,
}

impl Rhythm {
    /// The time until the next sign is due.
    fn pause(self) -> Duration {
        if self.every.is_zero() {
            return Duration::ZERO;
        }
        let into = self.began.elapsed().as_nanos() % self.every.as_nanos();
        self.every - Duration::from_nanos(u64::try_from(into).unwrap_or(0))
    }
}

/// The loop is watched as long as this lives. Its owner holds it, not the loop: one that ends by a panic is still missed.
#[derive(Debug)]
pub struct Watch {
    pulse: Arc<Pulse>,
    rhythm: Rhythm,
}

/// The loop's own end. Worth nothing once its [`Watch`] is gone.
#[derive(Debug, Clone)]
pub struct Beat {
    pulse: Weak<Pulse>,
    rhythm: Rhythm,
}

/// A loop that stands still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Still {
    /// Its name.
    pub name: &'static str,
    /// Time since its last sign of life.
    pub silent: Duration,
}

impl Default for Loops {
    fn default() -> Self {
        Self::new(BEAT_EVERY, STANDSTILL)
    }
}

impl Loops {
    /// Loops that give a sign of life at least `every`, and stand still when none came for `bound`.
    pub fn new(every: Duration, bound: Duration) -> Self {
        let rhythm = Rhythm { began: Instant::now(), every };
        Self(Arc::new(Inner { rhythm, bound, watched: Mutex::default() }))
    }

    /// Loops under systemd's watchdog: one that is silent for longer than the service manager would wait for the whole
    /// daemon stands still, and without a watchdog one that is silent for [`STANDSTILL`].
    pub fn under(watchdog: Option<Duration>) -> Self {
        let bound = watchdog.unwrap_or(STANDSTILL).clamp(MIN_STANDSTILL, STANDSTILL);
        Self::new(BEAT_EVERY.min(bound / 3), bound)
    }

    /// Watches a loop from now on.
    pub fn watch(&self, name: &'static str) -> Watch {
        let pulse = Arc::new(Pulse { name, began: Instant::now(), last_ms: AtomicU64::new(0) });
        let mut watched = self.0.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|pulse| pulse.strong_count() > 0);
        watched.push(Arc::downgrade(&pulse));
        Watch { pulse, rhythm: self.0.rhythm }
    }

    /// The longest time between two signs of life of a loop that is well.
    pub fn every(&self) -> Duration {
        self.0.rhythm.every
    }

    /// After so much silence a loop stands still.
    pub fn bound(&self) -> Duration {
        self.0.bound
    }

    /// The loops that stand still now, in the order in which they began.
    pub fn standing_still(&self) -> Vec<Still> {
        let watched = self.0.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let pulses = watched.iter().filter_map(Weak::upgrade);
        let silences = pulses.map(|pulse| Still { name: pulse.name, silent: pulse.silent() });
        silences.filter(|still| still.silent >= self.0.bound).collect()
    }
}

impl Watch {
    /// The loop's end of it.
    pub fn beat(&self) -> Beat {
        Beat { pulse: Arc::downgrade(&self.pulse), rhythm: self.rhythm }
    }
}

impl Pulse {
    fn silent(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)))
    }
}

impl Beat {
    /// Gives a sign of life.
    pub fn give(&self) {
        if let Some(pulse) = self.pulse.upgrade() {
            let ms = u64::try_from(pulse.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            pulse.last_ms.store(ms, Ordering::Relaxed);
        }
    }

    /// Gives signs of life as long as `work` is waited for, which may be for ever: waiting is no standstill.
    pub async fn keep<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        loop {
            self.give();
            tokio::select! {
                biased;
                done = work.as_mut() => return done,
                () = tokio::time::sleep(self.rhythm.pause()) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(5);
    const BOUND: Duration = Duration::from_secs(1);

    fn names(loops: &Loops) -> Vec<&'static str> {
        loops.standing_still().into_iter().map(|still| still.name).collect()
    }

    async fn until(holds: impl Fn() -> bool) {
        while !holds() {
            tokio::time::sleep(EVERY).await;
        }
    }

    #[tokio::test]
    async fn a_loop_that_waits_lives_and_one_that_is_gone_is_named() {
        let loops = Loops::new(EVERY, BOUND);
        let (waits, gone) = (loops.watch("waits"), loops.watch("gone"));
        let (waiting, dying) = (waits.beat(), gone.beat());
        let task = tokio::spawn(async move { waiting.keep(std::future::pending::<()>()).await });
        let died = tokio::spawn(async move {
            dying.give();
            std::panic::resume_unwind(Box::new("it dies"));
        });
        assert!(died.await.is_err());
        until(|| names(&loops) == ["gone"]).await;
        assert!(loops.standing_still()[0].silent >= BOUND);
        task.abort();
        until(|| names(&loops) == ["waits", "gone"]).await;
        waits.beat().give();
        assert_eq!(names(&loops), ["gone"], "it is back");
        drop(gone);
        assert!(names(&loops).is_empty(), "nobody wants it any more");
    }

    #[tokio::test]
    async fn a_blocked_thread_stops_every_loop_on_it() {
        let loops = Loops::new(EVERY, BOUND);
        let watch = loops.watch("blocked");
        let beat = watch.beat();
        let _task = tokio::spawn(async move { beat.keep(std::future::pending::<()>()).await });
        tokio::time::sleep(EVERY * 4).await;
        assert!(names(&loops).is_empty());
        // This test's runtime has one thread.
        std::thread::sleep(BOUND);
        assert_eq!(names(&loops), ["blocked"]);
        until(|| names(&loops).is_empty()).await;
    }

    #[tokio::test]
    async fn what_is_waited_for_comes_through() {
        let watch = Loops::default().watch("works");
        assert_eq!(watch.beat().keep(async { 7 }).await, 7);
    }

    #[test]
    fn the_bound_is_systemds_within_reason() {
        let under = |secs| Loops::under(Some(Duration::from_secs_f64(secs))).bound();
        assert_eq!(Loops::under(None).bound(), STANDSTILL);
        assert_eq!((under(0.01), under(4.0), under(900.0)), (MIN_STANDSTILL, Duration::from_secs(4), STANDSTILL));
        assert!(Loops::under(Some(Duration::from_millis(10))).every() <= MIN_STANDSTILL / 3);
    }
}
