//! A window's tokens to segments with times, and how far the window was understood.
//!
//! As `transformers`' `_retrieve_segment`: two timestamps in a row end a segment and begin another, what stands behind the last pair was
//! cut off by the window's end and is heard again.

use std::ops::Range;

use super::config::{FRAMES_PER_POSITION, TIME_PRECISION};

/// A segment of a window.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cut {
    /// Seconds from the window's beginning.
    pub(super) start: f64,
    /// Seconds from the window's beginning.
    pub(super) end: f64,
    /// Its tokens among the window's, timestamps included.
    pub(super) tokens: Range<usize>,
}

/// Cuts `tokens`, which hold no end, of a window of `frames` mel frames. Gives the segments and the frames that they cover, from where
/// on the next window begins.
pub(super) fn cut(tokens: &[u32], first_time: u32, frames: usize) -> (Vec<Cut>, usize) {
    let is_time = |id: &u32| *id >= first_time;
    let time = |id: u32| f64::from(id.saturating_sub(first_time)) * TIME_PRECISION;
    let n = tokens.len();
    let single_ending = n >= 2 && is_time(&tokens[n - 1]) && !is_time(&tokens[n - 2]);
    let mut ends: Vec<usize> = (1..n).filter(|i| is_time(&tokens[i - 1]) && is_time(&tokens[*i])).collect();
    let Some(last_pair) = ends.last_mut() else {
        // The whole window is one segment; its end is the last timestamp, where there is one that says something.
        let last = tokens.iter().rev().find(|id| is_time(id)).filter(|id| **id != first_time);
        let end = last.map_or((frames / FRAMES_PER_POSITION) as f64 * TIME_PRECISION, |id| time(*id));
        return (vec![Cut { start: 0.0, end, tokens: 0..n }], frames);
    };
    if !single_ending {
        // The last segment keeps the timestamp behind it.
        *last_pair += 1;
    }
    let understood = *last_pair;
    if single_ending {
        ends.push(n);
    }
    let mut cuts = Vec::with_capacity(ends.len());
    let mut from = 0;
    for (i, &to) in ends.iter().enumerate() {
        let is_last = i + 1 == ends.len();
        let end = if is_last && !single_ending { to - 2 } else { to - 1 };
        cuts.push(Cut { start: time(tokens[from]), end: time(tokens[end]), tokens: from..to });
        from = to;
    }
    let covered = if single_ending {
        // Nothing is said behind a timestamp that ends the text.
        frames
    } else {
        tokens[understood - 2].saturating_sub(first_time) as usize * FRAMES_PER_POSITION
    };
    (cuts, covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: u32 = 100;

    fn ranges(tokens: &[u32], frames: usize) -> (Vec<(f64, f64, Range<usize>)>, usize) {
        let (cuts, covered) = cut(tokens, TIME, frames);
        let whole = |secs: f64| (secs * 100.0).round() / 100.0;
        (cuts.into_iter().map(|c| (whole(c.start), whole(c.end), c.tokens)).collect(), covered)
    }

    #[test]
    fn a_pair_of_timestamps_ends_a_segment_and_what_is_behind_the_last_is_heard_again() {
        let tokens = [TIME, 1, 2, TIME + 50, TIME + 60, 3, TIME + 80, TIME + 90, 4];
        assert_eq!(ranges(&tokens, 300), (vec![(0.0, 1.0, 0..4), (1.2, 1.6, 4..8)], 160));
    }

    #[test]
    fn a_single_timestamp_at_the_end_says_that_silence_follows() {
        let tokens = [TIME, 1, TIME + 50, TIME + 60, 3, TIME + 80];
        assert_eq!(ranges(&tokens, 300), (vec![(0.0, 1.0, 0..3), (1.2, 1.6, 3..6)], 300));
    }

    #[test]
    fn without_a_pair_the_window_is_one_segment() {
        assert_eq!(ranges(&[TIME + 5, 1, 2], 300), (vec![(0.0, 0.1, 0..3)], 300));
        assert_eq!(ranges(&[TIME, 1, 2], 300), (vec![(0.0, 3.0, 0..3)], 300));
        assert_eq!(ranges(&[TIME, 1, 2, TIME + 70], 300), (vec![(0.0, 1.4, 0..4)], 300));
        assert_eq!(ranges(&[], 240), (vec![(0.0, 2.4, 0..0)], 240));
    }
}
