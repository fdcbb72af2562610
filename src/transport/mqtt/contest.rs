//! Another client under this device's client id. The broker lets only one of them have the session; two that come back at once would take it from each
//! other for ever, and neither would serve.
//!
//! A broker may say so (MQTT 5, reason 0x8E). Mosquitto 2.0 says nothing: it drops the connection a moment after it took it, and takes the next one at
//! once. That again and again, without a failed attempt in between, is what a contest looks like; a broker that restarts and a network that is lost
//! refuse attempts.

use std::time::{Duration, Instant};

use super::bounds::{CONTEST_DROPS, CONTEST_PAUSE, CONTEST_QUICK, CONTEST_WINDOW};

/// What speaks for another client.
#[derive(Debug, Default)]
pub(super) struct Contest {
    /// Connections that were dropped as a contest drops them, in a row; where the broker says so, each counts for two.
    drops: u32,
    last: Option<Instant>,
}

impl Contest {
    /// The broker said that another client took the session over. Whether there is a contest.
    pub(super) fn taken(&mut self, now: Instant) -> bool {
        self.count(2, now)
    }

    /// The broker dropped a connection that had been up for `up`, without a word. Whether there is a contest.
    pub(super) fn dropped(&mut self, up: Duration, now: Instant) -> bool {
        // Once it is one, the other holds the session for minutes.
        if up >= CONTEST_QUICK && !self.is_on(now) {
            self.drops = 0;
            return false;
        }
        self.count(1, now)
    }

    /// An attempt failed, which is no other client's doing.
    pub(super) fn failed(&mut self, now: Instant) {
        if !self.is_on(now) {
            self.drops = 0;
        }
    }

    /// How long to wait before the session is taken back. `jitter`, from 0 to 1, takes up to half of it away, so that the two are not in step.
    pub(super) fn pause(jitter: f64) -> Duration {
        CONTEST_PAUSE.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }

    fn count(&mut self, drops: u32, now: Instant) -> bool {
        if !self.is_recent(now) {
            self.drops = 0;
        }
        self.drops = self.drops.saturating_add(drops);
        self.last = Some(now);
        self.is_on(now)
    }

    fn is_recent(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now.saturating_duration_since(last) < CONTEST_WINDOW)
    }

    fn is_on(&self, now: Instant) -> bool {
        self.drops >= CONTEST_DROPS && self.is_recent(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_secs(1);

    #[test]
    fn a_broker_that_says_so_twice_within_the_window_has_two_clients() {
        let (mut contest, began) = (Contest::default(), Instant::now());
        assert!(!contest.taken(began), "once may be somebody's mistake");
        assert!(!contest.taken(began + CONTEST_WINDOW), "the other was gone for long");
        assert!(contest.taken(began + CONTEST_WINDOW + QUICK));
    }

    #[test]
    fn a_connection_that_is_dropped_right_away_again_and_again_has_two_clients() {
        let (mut contest, began) = (Contest::default(), Instant::now());
        for _ in 1..CONTEST_DROPS {
            assert!(!contest.dropped(QUICK, began));
        }
        assert!(contest.dropped(QUICK, began));
        assert!(contest.dropped(CONTEST_PAUSE, began + CONTEST_PAUSE), "the other came back after its pause");
        contest.failed(began + CONTEST_PAUSE);
        assert!(
            contest.dropped(CONTEST_PAUSE, began + CONTEST_PAUSE * 2),
            "a failed attempt does not end what is known"
        );
        assert!(!contest.dropped(CONTEST_PAUSE, began + CONTEST_WINDOW * 2), "it was long ago");
    }

    #[test]
    fn a_broker_that_restarts_and_a_connection_that_held_are_no_contest() {
        let (mut contest, now) = (Contest::default(), Instant::now());
        for _ in 0..CONTEST_DROPS * 2 {
            assert!(!contest.dropped(QUICK, now));
            contest.failed(now);
        }
        for _ in 0..CONTEST_DROPS * 2 {
            assert!(!contest.dropped(CONTEST_QUICK, now));
        }
    }

    #[test]
    fn the_pause_is_of_minutes_and_never_in_step() {
        assert_eq!((Contest::pause(0.0), Contest::pause(1.0)), (CONTEST_PAUSE, CONTEST_PAUSE / 2));
    }
}
