//! Time that passes faster than it does.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The simulation's time, from the push's beginning on.
#[derive(Debug)]
pub(super) struct ScaledClock {
    began: OnceLock<Instant>,
    speed: u32,
}

impl ScaledClock {
    /// One in which `speed` seconds pass in each, once it has begun.
    pub(super) fn new(speed: u32) -> Self {
        Self { began: OnceLock::new(), speed }
    }

    /// Begins, if it has not begun; since when it runs.
    pub(super) fn begin(&self) -> Instant {
        *self.began.get_or_init(Instant::now)
    }

    /// Milliseconds since it began; 0 before.
    pub(super) fn now_ms(&self) -> u64 {
        self.began.get().map_or(0, |began| self.scaled_ms(began.elapsed()))
    }

    /// As much of the simulation's time as passes in `real`, milliseconds.
    pub(super) fn scaled_ms(&self, real: Duration) -> u64 {
        u64::try_from(real.as_micros() * u128::from(self.speed) / 1000).unwrap_or(u64::MAX)
    }

    /// When it is so late; none where that is never, and before it began.
    pub(super) fn when(&self, at_ms: u64) -> Option<Instant> {
        // Rounded up: who wakes then finds it that late.
        let micros = at_ms.checked_mul(1000)?.div_ceil(u64::from(self.speed)) + 1;
        self.began.get()?.checked_add(Duration::from_micros(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_as_much_faster_as_was_asked_for() {
        let clock = ScaledClock::new(60);
        assert_eq!((clock.now_ms(), clock.when(1)), (0, None));
        let began = clock.begin();
        assert_eq!(clock.scaled_ms(Duration::from_millis(1500)), 90_000);
        let at = clock.when(90_000).expect("some time");
        let real = at.duration_since(began);
        assert!((1500..=1501).contains(&real.as_millis()) && clock.scaled_ms(real) >= 90_000, "{real:?}");
        assert_eq!(clock.when(u64::MAX), None);
    }
}
