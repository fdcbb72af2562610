//! What is told of devices that get no name. They ask again and again, for as long as they are switched on: so each reason of each device is told
//! once, and after that how often it was given.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use linnet_proto::fleet::Fingerprint;

/// How often repeats are counted at most: a device that waits asks six times in an hour.
const COUNTED_EVERY: Duration = Duration::from_secs(3_600);
/// Most refusals that are remembered; a batch under one claim is less. Those of further devices are counted.
const MAX_REMEMBERED: usize = 4_096;
/// Longest reason that is told, characters.
const MAX_REASON: usize = 400;
/// Most devices that a count names.
const MAX_NAMED: usize = 3;

/// Refusals that were told.
#[derive(Debug)]
pub(super) struct Refusals {
    told: BTreeMap<(Fingerprint, String), Told>,
    /// Those that there was no room for.
    others: u64,
    counted: Instant,
}

#[derive(Debug)]
struct Told {
    /// Repeats since the last count.
    again: u64,
    last: Instant,
}

impl Default for Refusals {
    fn default() -> Self {
        Self::new(Instant::now())
    }
}

impl Refusals {
    fn new(now: Instant) -> Self {
        Self { told: BTreeMap::new(), others: 0, counted: now }
    }

    /// A device was refused; the line for the operator, where he has not had it.
    pub(super) fn refused(&mut self, device: &Fingerprint, said: &str, now: Instant) -> Option<String> {
        let said: String = said.chars().take(MAX_REASON).collect();
        if let Some(told) = self.told.get_mut(&(device.clone(), said.clone())) {
            told.again += 1;
            told.last = now;
            return None;
        }
        if self.told.len() >= MAX_REMEMBERED {
            self.others += 1;
            return None;
        }
        self.told.insert((device.clone(), said.clone()), Told { again: 0, last: now });
        Some(said)
    }

    /// A device was refused when nothing more could be told; it is told when it asks again.
    pub(super) fn untold(&mut self) {
        self.others += 1;
    }

    /// A device was granted a name: what it is refused later is told anew.
    pub(super) fn granted(&mut self, device: &Fingerprint) {
        self.told.retain(|(refused, _), _| refused != device);
    }

    /// How often refusals were given again, once in a while, where any was. Those that were not given again are forgotten.
    pub(super) fn count(&mut self, now: Instant) -> Option<String> {
        if now.saturating_duration_since(self.counted) < COUNTED_EVERY {
            return None;
        }
        let since = std::mem::replace(&mut self.counted, now);
        self.told.retain(|_, told| told.last >= since);
        let mut again: BTreeMap<&Fingerprint, u64> = BTreeMap::new();
        for ((device, _), told) in &mut self.told {
            match std::mem::take(&mut told.again) {
                0 => {}
                times => *again.entry(device).or_default() += times,
            }
        }
        let (times, others) = (again.values().sum::<u64>(), std::mem::take(&mut self.others));
        let minutes = now.saturating_duration_since(since).as_secs() / 60;
        let mut parts = Vec::new();
        if times > 0 {
            let named = again.iter().take(MAX_NAMED).map(|(device, times)| format!("{device} {times} times"));
            let more = again.len().saturating_sub(MAX_NAMED);
            let more = (more > 0).then(|| format!("{more} more devices"));
            let named: Vec<_> = named.chain(more).collect();
            parts
                .push(format!("{times} requests for a name were refused again, as told before ({})", named.join(", ")));
        }
        if others > 0 {
            parts.push(format!("{others} requests of further devices were refused, too many to tell each"));
        }
        (!parts.is_empty()).then(|| format!("in the last {minutes} minutes {}", parts.join(", and ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(n: usize) -> Fingerprint {
        Fingerprint::new(format!("{n:032x}")).expect("a fingerprint")
    }

    #[test]
    fn a_reason_of_a_device_is_told_once_and_another_one_is_told_too() {
        let now = Instant::now();
        let mut refusals = Refusals::new(now);
        let mut told = |n: usize, said: &str| refusals.refused(&device(n), said, now).is_some();
        assert!(told(1, "used up") && told(2, "used up") && told(1, "revoked"));
        assert!(!told(1, "used up") && !told(2, "used up") && !told(1, "revoked"));
        refusals.granted(&device(1));
        assert!(refusals.refused(&device(1), "used up", now).is_some(), "it had a name meanwhile");
        assert!(refusals.refused(&device(2), "used up", now).is_none());
        let long = refusals.refused(&device(3), &"x".repeat(9_999), now).expect("told");
        assert_eq!(long.len(), MAX_REASON);
    }

    #[test]
    fn repeats_are_counted_once_in_a_while_and_silence_is_not() {
        let begin = Instant::now();
        let at = |minutes: u64| begin + Duration::from_secs(60 * minutes);
        let mut refusals = Refusals::new(begin);
        for n in 1..=5 {
            assert!(refusals.refused(&device(n), "used up", at(1)).is_some());
        }
        for minute in 2..60 {
            for n in 1..=5 {
                assert!(refusals.refused(&device(n), "used up", at(minute)).is_none());
            }
            assert_eq!(refusals.count(at(minute)), None, "minute {minute}");
        }
        let counted = refusals.count(at(60)).expect("an hour is over");
        assert!(
            counted.contains("in the last 60 minutes 290 requests") && counted.contains("2 more devices"),
            "{counted}"
        );
        assert!(counted.contains(&format!("{} 58 times", device(1))), "{counted}");
        assert_eq!(refusals.count(at(61)), None);
        assert_eq!(refusals.count(at(120)), None, "nobody asked");
        assert_eq!(refusals.told.len(), 0, "who has not asked for so long is forgotten");
        assert!(refusals.refused(&device(1), "used up", at(121)).is_some());
    }

    #[test]
    fn as_many_keys_as_somebody_can_make_take_no_more_room_and_no_more_lines_than_are_allowed() {
        let begin = Instant::now();
        let mut refusals = Refusals::new(begin);
        let told =
            (0..3 * MAX_REMEMBERED).filter(|n| refusals.refused(&device(*n), "unknown", begin).is_some()).count();
        assert_eq!((told, refusals.told.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
        let counted = refusals.count(begin + COUNTED_EVERY).expect("counted");
        assert!(counted.contains(&format!("{} requests of further devices", 2 * MAX_REMEMBERED)), "{counted}");
    }
}
