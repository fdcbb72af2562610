//! Forced alignment: the likeliest path of a known sequence of units through the frames (Viterbi).

use super::LogProbs;

/// Where a unit stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UnitSpan {
    /// The unit.
    pub unit: u32,
    /// Its first frame.
    pub start_frame: usize,
    /// The frame after its last.
    pub end_frame: usize,
    /// Its highest natural-log posterior within these frames.
    pub logprob: f32,
}

/// Step back in the lattice: from the same state, the one before, or two before.
const STAY: u8 = 0;
const ONE: u8 = 1;
const TWO: u8 = 2;

/// Aligns, with buffers that are used again.
#[derive(Debug, Default)]
pub struct Aligner {
    scores: Vec<f64>,
    previous: Vec<f64>,
    steps: Vec<u8>,
}

impl Aligner {
    /// Frames of `units`, in order. Empty when the units cannot be emitted in so few frames.
    pub fn align(&mut self, log_probs: LogProbs<'_>, units: &[u32], blank: u32) -> Vec<UnitSpan> {
        let frames = log_probs.frames();
        if units.is_empty() || frames == 0 {
            return Vec::new();
        }
        // States alternate: blank, unit 0, blank, unit 1, …, blank.
        let states = 2 * units.len() + 1;
        let unit_of = |state: usize| if state.is_multiple_of(2) { blank } else { units[state / 2] };
        self.steps.clear();
        self.steps.resize(frames * states, STAY);
        self.previous.clear();
        self.previous.resize(states, f64::NEG_INFINITY);
        self.scores.clear();
        self.scores.resize(states, f64::NEG_INFINITY);
        self.previous[0] = 0.0;
        for (index, frame) in log_probs.iter().enumerate() {
            for state in 0..states {
                let mut best = self.previous[state];
                let mut step = STAY;
                // Before the first frame only the first blank is reached, and unit 0 may follow at once.
                if state >= 1 && self.previous[state - 1] > best {
                    (best, step) = (self.previous[state - 1], ONE);
                }
                let skips = state >= 3 && state % 2 == 1 && units[state / 2] != units[state / 2 - 1];
                if skips && self.previous[state - 2] > best {
                    (best, step) = (self.previous[state - 2], TWO);
                }
                self.scores[state] = best + f64::from(frame[unit_of(state) as usize]);
                self.steps[index * states + state] = step;
            }
            std::mem::swap(&mut self.scores, &mut self.previous);
        }
        let ends_in_blank = self.previous[states - 1] > self.previous[states - 2];
        let last = if ends_in_blank { states - 1 } else { states - 2 };
        if self.previous[last] == f64::NEG_INFINITY {
            return Vec::new();
        }
        self.trace(log_probs, units, states, last)
    }

    /// Walks back from `state` at the last frame.
    fn trace(&self, log_probs: LogProbs<'_>, units: &[u32], states: usize, mut state: usize) -> Vec<UnitSpan> {
        let nowhere = |&unit: &u32| UnitSpan { unit, start_frame: 0, end_frame: 0, logprob: f32::NEG_INFINITY };
        let mut spans: Vec<UnitSpan> = units.iter().map(nowhere).collect();
        for index in (0..log_probs.frames()).rev() {
            if state % 2 == 1 {
                let span = &mut spans[state / 2];
                span.start_frame = index;
                span.end_frame = span.end_frame.max(index + 1);
                span.logprob = span.logprob.max(log_probs.frame(index)[span.unit as usize]);
            }
            state -= usize::from(self.steps[index * states + state]);
        }
        spans
    }
}
