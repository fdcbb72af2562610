//! The marks of life that systemd's watchdog wants, and a line in the log about whatever stands still.
//!
//! They come from a thread of its own, which asks the scheduler and every watched loop ([`Loops`]), the transports' runtime
//! among them. While one of them stands still no mark is given, and systemd restarts the daemon.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::logging::message_id;
use crate::scheduler::Scheduler;
use crate::sys::liveness::{Loops, Watch};
use crate::sys::notify;

/// Feeds the watchdog as long as it lives.
pub struct Watchdog {
    /// Its end is the thread's end.
    _stop: SyncSender<()>,
    runtime: JoinHandle<()>,
    _watch: Watch,
}

impl Watchdog {
    /// Looks after `loops` and `scheduler` from now on, also where no watchdog wants to be fed: then only the log hears of
    /// it. Must be called on the transports' runtime.
    pub fn start(loops: Loops, scheduler: Arc<Scheduler>) -> io::Result<Self> {
        let watchdog = notify::watchdog();
        let pause = watchdog.map_or(loops.bound() / 2, notify::watchdog_pause);
        let (stop, stopped) = sync_channel(1);
        // Timers of the runtime come late, or not at all, when its threads are blocked.
        let watch = loops.watch("the transports' runtime");
        let beat = watch.beat();
        let runtime = tokio::spawn(async move { beat.keep(std::future::pending()).await });
        std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            let mut feeder = Feeder { fed: watchdog.is_some(), ailing: Vec::new() };
            loop {
                feeder.turn(ailments(&loops, &scheduler), notify::alive);
                if !matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
                    return;
                }
            }
        })?;
        Ok(Self { _stop: stop, runtime, _watch: watch })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.runtime.abort();
    }
}

/// Something that is not as it should be: what, and for how long where that is known.
#[derive(Debug, PartialEq, Eq)]
struct Ailment {
    what: String,
    silent: Option<Duration>,
}

fn ailments(loops: &Loops, scheduler: &Scheduler) -> Vec<Ailment> {
    let still = loops.standing_still().into_iter();
    let still = still.map(|still| Ailment { what: still.name.to_owned(), silent: Some(still.silent) });
    let of_scheduler = scheduler.ailment(loops.bound()).map(|(what, silent)| Ailment { what: what.to_owned(), silent });
    of_scheduler.into_iter().chain(still).collect()
}

/// Decides whether a mark is given, and says each change once.
struct Feeder {
    /// A watchdog wants marks.
    fed: bool,
    /// What was wrong at the last turn.
    ailing: Vec<Ailment>,
}

impl Feeder {
    fn turn(&mut self, ailing: Vec<Ailment>, alive: impl Fn()) {
        let known = |ailment: &Ailment| self.ailing.iter().any(|a| a.what == ailment.what);
        for new in ailing.iter().filter(|ailment| !known(ailment)) {
            let what = match new.silent {
                Some(silent) => format!("{} stands still: no sign of life for {:.1} s", new.what, silent.as_secs_f64()),
                None => new.what.clone(),
            };
            let then = if self.fed {
                "the watchdog is no longer fed, and systemd will restart linnetd"
            } else {
                "restart linnetd"
            };
            log::error!(MESSAGE_ID = message_id::STANDS_STILL, LOOP = new.what.as_str(); "{what}; {then}");
        }
        if ailing.is_empty() {
            if !self.ailing.is_empty() {
                log::warn!(MESSAGE_ID = message_id::LIVES_AGAIN; "everything lives again");
            }
            if self.fed {
                alive();
            }
        }
        self.ailing = ailing;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Instant;

    use super::*;
    use crate::scheduler::SchedulerSettings;
    use crate::status::Events;
    use crate::task::catalog::{Catalog, CatalogHandle};

    #[tokio::test]
    async fn one_stopped_loop_starves_the_watchdog_until_it_lives_again() {
        let loops = Loops::new(Duration::from_millis(5), Duration::from_secs(1));
        let catalog = CatalogHandle::new(Arc::new(Catalog::new(Vec::new(), None)));
        let scheduler = Scheduler::start(SchedulerSettings::default(), catalog, Events::default()).expect("threads");
        let (works, stops) = (loops.watch("works"), loops.watch("stops"));
        let (working, stopping) = (works.beat(), stops.beat());
        let _works = tokio::spawn(async move { working.keep(std::future::pending::<()>()).await });
        let stopped = tokio::spawn(async move { stopping.keep(std::future::pending::<()>()).await });

        let fed = Cell::new(0);
        let mut feeder = Feeder { fed: true, ailing: Vec::new() };
        let mut turn = || {
            let before = fed.get();
            feeder.turn(ailments(&loops, &scheduler), || fed.set(fed.get() + 1));
            fed.get() > before
        };
        assert!(turn() && turn(), "all is well");
        stopped.abort();
        let until = Instant::now() + Duration::from_secs(30);
        while turn() {
            assert!(Instant::now() < until, "it is fed although a loop stands still");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!turn() && !turn());
        let named = ailments(&loops, &scheduler);
        assert_eq!((named.len(), named[0].what.as_str()), (1, "stops"));
        stops.beat().give();
        assert!(turn(), "it lives again");
    }

    #[test]
    fn without_a_watchdog_nothing_is_fed() {
        let mut feeder = Feeder { fed: false, ailing: Vec::new() };
        feeder.turn(Vec::new(), || panic!("nobody asked for it"));
    }
}
