//! The learning rate: a linear climb, then half a cosine down to its end (Loshchilov and Hutter 2017).

/// Shape of the rate over a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Highest rate.
    pub peak: f64,
    /// Steps of the climb.
    pub warmup_steps: u64,
    /// Rate at the end, as a share of the highest.
    pub last: f64,
}

impl Schedule {
    /// Rate of the step number `step` (from 0) when `done`, 0 to 1, of the run lies behind it.
    ///
    /// `done` is measured in whatever bounds the run: time, steps or epochs. So the rate ends low however slow the machine is.
    pub fn rate(&self, step: u64, done: f64) -> f64 {
        let climb = ((step + 1) as f64 / self.warmup_steps.max(1) as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done.clamp(0.0, 1.0)).cos());
        self.peak * climb * (self.last + (1.0 - self.last) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_climbs_and_ends_at_its_share() {
        let schedule = Schedule { peak: 1e-3, warmup_steps: 100, last: 0.05 };
        assert!((schedule.rate(0, 0.0) - 1e-5).abs() < 1e-12);
        assert!((schedule.rate(99, 0.0) - 1e-3).abs() < 1e-12);
        assert!((schedule.rate(1000, 0.5) - 0.525e-3).abs() < 1e-12);
        assert!((schedule.rate(2000, 1.0) - 0.05e-3).abs() < 1e-12);
        assert_eq!(schedule.rate(2000, 7.0), schedule.rate(2000, 1.0));
    }
}
