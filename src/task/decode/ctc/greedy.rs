//! Greedy search: the likeliest unit of each frame.

use super::LogProbs;
use super::align::UnitSpan;

/// The units of the best path, repeats joined and blanks left out, with their frames. Of equal units the lower id wins.
pub fn search(log_probs: LogProbs<'_>, blank: u32) -> Vec<UnitSpan> {
    let mut spans: Vec<UnitSpan> = Vec::new();
    let mut last = blank;
    for (index, frame) in log_probs.iter().enumerate() {
        let (mut best, mut best_logprob) = (0, f32::NEG_INFINITY);
        for (unit, &logprob) in frame.iter().enumerate() {
            if logprob > best_logprob {
                (best, best_logprob) = (unit as u32, logprob);
            }
        }
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
