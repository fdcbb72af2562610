//! What systemd is told (`sd_notify(3)`). Without systemd every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

use super::clock;
use crate::limits::MIN_WATCHDOG_PAUSE;

/// Requests are taken from now on. `status` is one line for `systemctl status`.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is read again. [`ready`] ends it, whether it was applied or refused.
pub fn reloading() {
    let now = i128::from(clock::monotonic_usec());
    send(&[NotifyState::Reloading, NotifyState::MonotonicUsec(now), NotifyState::Status("reloading")]);
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
