//! The one place where the wall clock enters. Durations and deadlines use `std::time::Instant`, which no administrator
//! and no time server can move.

use std::time::{Duration, SystemTime};

/// The wall clock: for logs and for what must outlive a restart, never for measuring a duration.
#[allow(clippy::disallowed_methods)] // This is the one clock.
pub fn wall_now() -> SystemTime {
    SystemTime::now()
}

/// Time since 1970-01-01 UTC; zero on a machine whose clock stands before that.
pub fn since_epoch() -> Duration {
    wall_now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Time since boot as `CLOCK_MONOTONIC` counts it, microseconds: what systemd compares `MONOTONIC_USEC` with.
pub fn monotonic_usec() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}

/// `2026-07-31T08:15:00.123Z` of a time since the epoch (proleptic Gregorian, leap seconds left out, as POSIX counts).
pub fn rfc3339(since_epoch: Duration) -> String {
    let secs = since_epoch.as_secs();
    let (day, second) = (secs / 86_400, secs % 86_400);
    let (year, month, day) = civil_from_days(day);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since_epoch.subsec_millis()
    )
}

/// Year, month and day of a day count since 1970-01-01, after Howard Hinnant's `civil_from_days`.
pub(crate) fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (secs, wanted) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(secs)), wanted);
        }
    }

    #[test]
    fn the_monotonic_clock_goes_forward() {
        let first = monotonic_usec();
        std::thread::sleep(Duration::from_millis(2));
        assert!(monotonic_usec() >= first + 2000);
    }
}
