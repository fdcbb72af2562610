//! When the reports that a broker retains have all been heard.
//!
//! MQTT sends what is retained once a subscription is answered, and does not say when that was all of it. So it is over when none has come for a
//! while. What devices report meanwhile is told apart from it, so that a fleet that never falls silent holds nobody up.

use std::time::Duration;

use tokio::time::Instant;

use super::devices_text;

/// How long none must have come: brokers that send a limited number in each second pause for up to one.
pub(super) const QUIET: Duration = Duration::from_millis(1_500);
/// How long they are listened to at most. A broker that sends a thousand in a second has sent those of 100,000 devices in a third of it.
pub(super) const LONGEST: Duration = Duration::from_secs(300);

/// What has come over one connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hearing {
    /// When the broker had answered every subscription.
    subscribed: Option<Instant>,
    /// When the last retained report came; the first may come before that answer.
    last: Option<Instant>,
}

/// What is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// There is no connection, or no answer to a subscription yet.
    Unsubscribed,
    /// Nothing that comes ends it sooner.
    Wait(Duration),
    /// It took so long, after which none has come, or others still come.
    Over { took: Duration, is_whole: bool },
}

impl Hearing {
    /// The broker has answered every subscription.
    pub(super) fn subscribed(&mut self, now: Instant) {
        self.subscribed = Some(now);
    }

    /// A retained report came.
    pub(super) fn retained(&mut self, now: Instant) {
        self.last = Some(now);
    }

    /// What is left of it, of at most `longest`.
    pub(super) fn left(&self, now: Instant, longest: Duration) -> Left {
        let Some(subscribed) = self.subscribed else { return Left::Unsubscribed };
        let last = self.last.map_or(subscribed, |last| last.max(subscribed));
        let (quiet, end) = (last + QUIET, subscribed + longest);
        if now >= quiet {
            Left::Over { took: last - subscribed, is_whole: true }
        } else if now >= end {
            Left::Over { took: longest, is_whole: false }
        } else {
            Left::Wait(quiet.min(end) - now)
        }
    }
}

/// What was heard over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeardOut {
    /// The connection's number.
    pub(super) connection: u64,
    /// Devices that are known now, from earlier connections too.
    pub(super) devices: usize,
    pub(super) took: Duration,
    /// Whether it was listened to its end.
    pub(super) is_whole: bool,
}

impl HeardOut {
    /// For the operator.
    pub(super) fn said(&self) -> String {
        let devices = devices_text(self.devices);
        match self {
            Self { is_whole: false, took, .. } => format!(
                "reports of devices still come after {} s ({devices} so far): from now on waves are counted, and names granted, without those that \
                 have not come yet",
                took.as_secs()
            ),
            Self { devices: 0, .. } => "no device has reported yet".to_owned(),
            Self { took, .. } => format!("the reports of {devices} were heard, in {:.1} s", took.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(400);

    #[test]
    fn where_nothing_is_retained_it_is_over_as_soon_as_it_was_quiet() {
        let begin = Instant::now();
        let mut hearing = Hearing::default();
        assert_eq!(
            hearing.left(begin + LONGEST, LONGEST),
            Left::Unsubscribed,
            "whoever is not subscribed hears nothing"
        );
        hearing.subscribed(begin);
        assert_eq!(hearing.left(begin, LONGEST), Left::Wait(QUIET));
        let over = Left::Over { took: Duration::ZERO, is_whole: true };
        assert_eq!(hearing.left(begin + QUIET, LONGEST), over);
    }

    #[test]
    fn as_long_as_retained_reports_come_it_is_not_over() {
        let begin = Instant::now();
        let mut hearing = Hearing::default();
        // The first may come before the answer to the subscription.
        hearing.retained(begin);
        hearing.subscribed(begin + STEP);
        let mut last = begin;
        for n in 1..=100 {
            last = begin + STEP * n;
            assert!(matches!(hearing.left(last, LONGEST), Left::Wait(_)), "{n}");
            hearing.retained(last);
        }
        assert_eq!(hearing.left(last + QUIET / 2, LONGEST), Left::Wait(QUIET / 2));
        let over = Left::Over { took: STEP * 99, is_whole: true };
        assert_eq!(hearing.left(last + QUIET, LONGEST), over);
    }

    #[test]
    fn a_stream_without_end_is_left_at_the_longest_and_that_is_told() {
        let begin = Instant::now();
        let mut hearing = Hearing::default();
        hearing.subscribed(begin);
        let mut now = begin;
        let over = loop {
            match hearing.left(now, LONGEST) {
                Left::Over { took, is_whole } => break (took, is_whole),
                Left::Wait(wait) => assert!(wait <= QUIET && now < begin + LONGEST),
                Left::Unsubscribed => panic!("it was subscribed"),
            }
            now += STEP;
            hearing.retained(now);
        };
        assert_eq!(over, (LONGEST, false));
        assert!(now < begin + LONGEST + STEP);
    }
}
