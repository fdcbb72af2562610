//! What systemd is told (`sd_notify(3)`). Without systemd every call does nothing.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

use super::clock;
use crate::limits::{LOADING_EXTENDED_BY, LOADING_TOLD_EVERY, MAX_LOADING, MIN_WATCHDOG_PAUSE};

/// Requests are taken from now on. `status` is one line for `systemctl status`.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is read again. [`ready`] ends it, whether it was applied or refused.
pub fn reloading() {
    let now = i128::from(clock::monotonic_usec());
    send(&[NotifyState::Reloading, NotifyState::MonotonicUsec(now), NotifyState::Status("reloading")]);
}

/// No new request is taken; running ones end, and then the same process begins anew. To systemd that is a reload, which the next
/// [`ready`] ends; how long it takes is told on the way.
pub fn restarting() {
    let now = i128::from(clock::monotonic_usec());
    let micros = u32::try_from(LOADING_EXTENDED_BY.as_micros()).unwrap_or(u32::MAX);
    send(&[
        NotifyState::Reloading,
        NotifyState::MonotonicUsec(now),
        NotifyState::ExtendTimeoutUsec(micros),
        NotifyState::Status("restarting"),
    ]);
}

/// Awaits `loading`, and asks systemd for more time as long as that takes, but for no more than [`MAX_LOADING`]: from then on
/// the unit's own `TimeoutStartSec` counts. How long large models take depends on the machine, and no unit can know it.
/// `at_start` nobody else gives marks of life yet, and a process that has begun anew is watched from its first moment on.
pub async fn while_loading<T>(at_start: bool, loading: impl Future<Output = T>) -> T {
    let micros = u32::try_from(LOADING_EXTENDED_BY.as_micros()).unwrap_or(u32::MAX);
    extending(loading, LOADING_TOLD_EVERY, MAX_LOADING, |since| {
        let status = format!("loading models, for {} s so far", since.as_secs());
        send(&[NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status(&status)]);
        if at_start {
            alive();
        }
    })
    .await
}

/// Awaits `loading` and calls `tell` with the time that it has taken: at once, then `every` so often, until `most` is over.
async fn extending<T>(loading: impl Future<Output = T>, every: Duration, most: Duration, tell: impl Fn(Duration)) -> T {
    let mut loading = pin!(loading);
    let began = Instant::now();
    while began.elapsed() < most {
        tell(began.elapsed());
        if let Ok(loaded) = tokio::time::timeout(every, loading.as_mut()).await {
            return loaded;
        }
    }
    log::warn!(
        "models have been loading for {} s; from now on systemd waits no longer than the unit's TimeoutStartSec says",
        began.elapsed().as_secs()
    );
    loading.await
}

/// No new request is taken; running ones end.
pub fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// A mark of life.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// Within which time systemd wants [`alive`]; `None` without a watchdog.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|time| !time.is_zero())
}

/// How often [`alive`] is called for a watchdog of `time`: twice in it, so that one late mark does no harm.
pub fn watchdog_pause(time: Duration) -> Duration {
    (time / 2).max(MIN_WATCHDOG_PAUSE)
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        log::warn!("systemd's notification socket cannot be written: {e}");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const EVERY: Duration = Duration::from_millis(20);
    const MOST: Duration = Duration::from_millis(100);

    async fn told(takes: Duration) -> Vec<Duration> {
        let told = RefCell::new(Vec::new());
        extending(tokio::time::sleep(takes), EVERY, MOST, |since| told.borrow_mut().push(since)).await;
        told.into_inner()
    }

    #[tokio::test]
    async fn systemd_is_asked_for_more_time_while_models_load_and_not_for_ever() {
        assert_eq!(told(Duration::ZERO).await.len(), 1, "at once: a unit may allow less than the first pause");
        let told = told(MOST * 3).await;
        assert!((2..=5).contains(&told.len()), "{told:?}");
        assert!(told.last() < Some(&MOST), "{told:?}");
    }

    #[test]
    fn two_late_marks_cost_no_start() {
        assert!(LOADING_EXTENDED_BY >= LOADING_TOLD_EVERY * 3);
    }
}
