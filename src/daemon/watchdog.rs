//! The marks of life that systemd's watchdog wants.
//!
//! They come from a task of the transports' runtime and only while the scheduler lives, so that they stop when that
//! runtime stands still, when a second worker hangs, or when the supervisor is gone; systemd then restarts the daemon.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::scheduler::Scheduler;
use crate::sys::notify;

/// Marks life at half the watchdog's time until aborted; without a watchdog the task ends at once.
pub fn start(scheduler: Arc<Scheduler>) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Some(pause) = notify::watchdog_pause() {
            feed(pause, move || scheduler.is_live(), notify::alive).await;
        }
    })
}

async fn feed(pause: Duration, is_live: impl Fn() -> bool, alive: impl Fn()) {
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut starves = false;
    loop {
        ticks.tick().await;
        if is_live() {
            starves = false;
            alive();
        } else if !starves {
            starves = true;
            log::error!("the watchdog is no longer fed: the scheduler is not healthy; systemd will restart linnetd");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[tokio::test]
    async fn only_a_live_scheduler_is_reported_alive() {
        let (live, marks) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (asked, marked) = (Arc::clone(&live), Arc::clone(&marks));
        let fed = feed(
            Duration::from_millis(1),
            move || asked.load(Ordering::SeqCst),
            move || {
                marked.fetch_add(1, Ordering::SeqCst);
            },
        );
        let task = tokio::spawn(fed);
        while marks.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        live.store(false, Ordering::SeqCst);
        // One mark may have been under way.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let before = marks.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(marks.load(Ordering::SeqCst), before, "nothing is fed while it is not live");
        live.store(true, Ordering::SeqCst);
        while marks.load(Ordering::SeqCst) == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        task.abort();
    }
}
