//! Greedy search: the likeliest unit of each frame.

use super::LogProbs;
use super::align::UnitSpan;

/// The likeliest unit of a frame; of equal ones the lowest.
fn likeliest(frame: &[f32]) -> (u32, f32) {
    let (mut best, mut best_logprob) = (0, f32::NEG_INFINITY);
    for (unit, &logprob) in frame.iter().enumerate() {
        if logprob > best_logprob {
            (best, best_logprob) = (unit as u32, logprob);
        }
    }
    (best, best_logprob)
}

/// The smallest distance between the likeliest unit of a frame and one whose place there would change the units that are
/// heard; infinite for no frames.
pub fn margin(log_probs: LogProbs<'_>, blank: u32) -> f64 {
    let path: Vec<(u32, f32)> = log_probs.iter().map(likeliest).collect();
    let at = |index: Option<usize>| index.and_then(|i| path.get(i)).map_or(blank, |(unit, _)| *unit);
    // What a frame and the next one add to the units, given the frame before: no other addition depends on the frame.
    let adds = |before: u32, here: u32, next: u32| {
        let heard = |unit: u32, last: u32| (unit != blank && unit != last).then_some(unit);
        [heard(here, before), heard(next, here)].into_iter().flatten().collect::<Vec<_>>()
    };
    let mut least = f64::INFINITY;
    for (index, (&(best, best_logprob), frame)) in path.iter().zip(log_probs.iter()).enumerate() {
        let (before, next) = (at(index.checked_sub(1)), at(Some(index + 1)));
        let whole = adds(before, best, next);
        for (unit, &logprob) in (0u32..).zip(frame) {
            let distance = f64::from(best_logprob) - f64::from(logprob);
            if distance < least && unit != best && adds(before, unit, next) != whole {
                least = distance;
            }
        }
    }
    least
}

/// The units of the best path, repeats joined and blanks left out, with their frames. Of equal units the lower id wins.
pub fn search(log_probs: LogProbs<'_>, blank: u32) -> Vec<UnitSpan> {
    let mut spans: Vec<UnitSpan> = Vec::new();
    let mut last = blank;
    for (index, frame) in log_probs.iter().enumerate() {
        let (best, best_logprob) = likeliest(frame);
        if best != blank {
            match spans.last_mut() {
                Some(span) if best == last => {
                    span.end_frame = index + 1;
                    span.logprob = span.logprob.max(best_logprob);
                }
                _ => {
                    spans.push(UnitSpan { unit: best, start_frame: index, end_frame: index + 1, logprob: best_logprob })
                }
            }
        }
        last = best;
    }
    spans
}
