//! Lines that would come a hundred times: the first is written, the others are counted.

use std::time::{Duration, Instant};

/// Decides which of many equal lines is written.
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    last: Option<Instant>,
    /// Times since the last line.
    quiet: u64,
}

impl Seldom {
    /// At most one line in `every`.
    pub fn new(every: Duration) -> Self {
        Self { every, last: None, quiet: 0 }
    }

    /// It happened once more. Gives how often it has happened since the last line, this time included, when a line is due.
    pub fn count(&mut self, now: Instant) -> Option<u64> {
        self.quiet += 1;
        let due = self.last.is_none_or(|last| now.saturating_duration_since(last) >= self.every);
        due.then(|| {
            self.last = Some(now);
            std::mem::take(&mut self.quiet)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_comes_at_once_and_the_next_counts_what_was_in_between() {
        let start = Instant::now();
        let mut seldom = Seldom::new(Duration::from_secs(10));
        assert_eq!(seldom.count(start), Some(1));
        for second in 1..10 {
            assert_eq!(seldom.count(start + Duration::from_secs(second)), None);
        }
        assert_eq!(seldom.count(start + Duration::from_secs(10)), Some(10));
        assert_eq!(seldom.count(start + Duration::from_secs(40)), Some(1));
    }
}
