//! What is told of a wave while its reports are waited for, where no bar can be shown.

use std::time::{Duration, Instant};

use linnet_fleet::waves::Tally;

/// Least time between two lines on one wave: what stands in a log is read later, and ten thousand devices report at once.
const EVERY: Duration = Duration::from_secs(60);

/// What was told last.
#[derive(Default)]
pub(super) struct Pulse {
    wave: usize,
    told: Tally,
    /// When; never since the wave was opened.
    at: Option<Instant>,
}

impl Pulse {
    /// A line on wave `wave` of so many where its numbers have changed and the last line was long enough ago; `left` seconds are left to wait.
    pub(super) fn line(&mut self, wave: (usize, usize), now_stands: Tally, left: u64, now: Instant) -> Option<String> {
        if self.wave != wave.0 {
            // That it is open was told, and that nobody has reported then.
            let silent = now_stands.devices();
            *self = Self { wave: wave.0, told: Tally { silent, ..Tally::default() }, at: None };
        }
        let is_due = self.at.is_none_or(|at| now.duration_since(at) >= EVERY);
        if !is_due || now_stands == self.told {
            return None;
        }
        self.told = now_stands;
        self.at = Some(now);
        let Tally { confirmed, failed, working, silent, .. } = now_stands;
        Some(format!(
            "wave {} of {}: {} of {} have ended ({confirmed} confirmed, {failed} failed), {working} at work, {silent} silent; {} left",
            wave.0,
            wave.1,
            now_stands.reported(),
            now_stands.devices(),
            time_left(left)
        ))
    }
}

/// A time that people can take in: `40 s`, `12 min`, `5 h`, `3 d`; what it leaves out is less than what it says.
pub(super) fn time_left(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs} s"),
        120..7_200 => format!("{} min", secs / 60),
        7_200..172_800 => format!("{} h", secs / 3_600),
        _ => format!("{} d", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(confirmed: usize, working: usize, silent: usize) -> Tally {
        Tally { confirmed, working, silent, ..Tally::default() }
    }

    #[test]
    fn numbers_that_change_all_the_time_are_told_at_a_bounded_rate_and_the_same_ones_once() {
        let (begin, mut pulse) = (Instant::now(), Pulse::default());
        let mut at =
            |secs: u64, wave, stands| pulse.line((wave, 2), stands, 1_800 - secs, begin + Duration::from_secs(secs));
        assert_eq!(at(0, 1, of(0, 0, 9)), None, "that it is open was told");
        let first = at(1, 1, of(0, 1, 8)).expect("the first change");
        assert_eq!(first, "wave 1 of 2: 0 of 9 have ended (0 confirmed, 0 failed), 1 at work, 8 silent; 29 min left");
        let lines = (2..=601).filter_map(|secs| at(secs, 1, of((secs % 9) as usize, 0, 9 - (secs % 9) as usize)));
        assert_eq!(lines.count(), 10, "one a minute");
        assert!(at(700, 1, of(3, 3, 3)).is_some());
        assert!((701..1_700).all(|secs| at(secs, 1, of(3, 3, 3)).is_none()), "nothing has changed");
        // The next wave's first change is not held back by the last one's line.
        assert!(at(1_700, 1, of(4, 2, 3)).is_some());
        assert_eq!(at(1_701, 2, of(0, 0, 9)), None);
        assert!(at(1_702, 2, of(1, 0, 8)).is_some_and(|line| line.starts_with("wave 2 of 2: 1 of 9 have ended")));
    }

    #[test]
    fn a_time_that_is_left_is_short() {
        let shown = [0, 119, 120, 1_799, 7_200, 172_800].map(time_left);
        assert_eq!(shown, ["0 s", "119 s", "2 min", "29 min", "2 h", "2 d"]);
    }
}
