//! Greedy and modified beam search, at most one token for each frame, as sherpa-onnx has them
//! (`offline-transducer-greedy-search-decoder.cc`, `offline-transducer-modified-beam-search-decoder.cc`).

use std::sync::Arc;

use crate::task::decode::ctc::align::UnitSpan;

/// Id of the blank.
const BLANK: u32 = 0;

/// Gives log-probabilities of all tokens at a frame, behind each of several texts, of which it sees the last tokens.
pub(super) trait Joins {
    /// What went wrong.
    type Error;

    /// `[contexts, tokens]`, row-major.
    fn log_probs(&mut self, frame: usize, contexts: &[Context]) -> Result<Vec<f32>, Self::Error>;
}

/// The last tokens of a text; −1 stands before its beginning.
pub(super) type Context = Arc<[i64]>;

/// The context of a text in which nothing was written.
pub(super) fn beginning(size: usize) -> Context {
    let mut context = vec![-1; size];
    if let Some(last) = context.last_mut() {
        *last = i64::from(BLANK);
    }
    context.into()
}

pub(super) fn behind(context: &Context, token: u32) -> Context {
    context.iter().skip(1).copied().chain(std::iter::once(i64::from(token))).collect()
}

fn span(token: u32, frame: usize, logprob: f32) -> UnitSpan {
    UnitSpan { unit: token, start_frame: frame, end_frame: frame + 1, logprob }
}

/// The likeliest token of each frame.
pub(super) fn greedy<J: Joins>(
    joiner: &mut J,
    frames: usize,
    context: usize,
    unknown: Option<u32>,
) -> Result<Vec<UnitSpan>, J::Error> {
    let (mut written, mut context) = (Vec::new(), beginning(context));
    for frame in 0..frames {
        let scores = joiner.log_probs(frame, std::slice::from_ref(&context))?;
        let Some((token, logprob)) = best(&scores) else { continue };
        if token != BLANK && Some(token) != unknown {
            written.push(span(token, frame, logprob));
            context = behind(&context, token);
        }
    }
    Ok(written)
}

fn best(scores: &[f32]) -> Option<(u32, f32)> {
    let better = |best: (u32, f32), next: (u32, f32)| if next.1 > best.1 { next } else { best };
    scores.iter().zip(0u32..).map(|(score, token)| (token, *score)).reduce(better)
}

/// A text that is kept.
#[derive(Debug, Clone)]
struct Hypothesis {
    written: Vec<UnitSpan>,
    context: Context,
    log_prob: f64,
}

impl Hypothesis {
    fn same_text(&self, other: &Self) -> bool {
        let units = |h: &Self| h.written.iter().map(|s| s.unit).collect::<Vec<_>>();
        self.written.len() == other.written.len() && units(self) == units(other)
    }

    /// Log-probability by length, the context before the beginning counted.
    fn score(&self) -> f64 {
        self.log_prob / (self.written.len() + self.context.len()) as f64
    }
}

/// The best of `width` texts that are kept at each frame; equal texts are one, whatever their times.
pub(super) fn beam<J: Joins>(
    joiner: &mut J,
    frames: usize,
    context: usize,
    unknown: Option<u32>,
    width: usize,
) -> Result<Vec<UnitSpan>, J::Error> {
    let mut kept = vec![Hypothesis { written: Vec::new(), context: beginning(context), log_prob: 0.0 }];
    for frame in 0..frames {
        let contexts: Vec<Context> = kept.iter().map(|h| Arc::clone(&h.context)).collect();
        let scores = joiner.log_probs(frame, &contexts)?;
        let tokens = scores.len() / kept.len().max(1);
        let total = |place: usize| kept[place / tokens].log_prob + f64::from(scores[place]);
        let mut places: Vec<usize> = (0..scores.len()).collect();
        let better = |a: &usize, b: &usize| total(*b).total_cmp(&total(*a)).then(a.cmp(b));
        if places.len() > width {
            places.select_nth_unstable_by(width - 1, better);
            places.truncate(width);
        }
        places.sort_unstable_by(better);
        let mut next: Vec<Hypothesis> = Vec::with_capacity(width);
        for place in places {
            let token = (place % tokens) as u32;
            let mut hypothesis = kept[place / tokens].clone();
            hypothesis.log_prob = total(place);
            if token != BLANK && Some(token) != unknown {
                hypothesis.written.push(span(token, frame, scores[place]));
                hypothesis.context = behind(&hypothesis.context, token);
            }
            match next.iter_mut().find(|other| other.same_text(&hypothesis)) {
                Some(other) => other.log_prob = log_add(other.log_prob, hypothesis.log_prob),
                None => next.push(hypothesis),
            }
        }
        kept = next;
    }
    let best = kept.into_iter().reduce(|best, next| if next.score() > best.score() { next } else { best });
    Ok(best.map(|best| best.written).unwrap_or_default())
}

fn log_add(a: f64, b: f64) -> f64 {
    let (most, least) = if a > b { (a, b) } else { (b, a) };
    if least == f64::NEG_INFINITY { most } else { most + (least - most).exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores by frame and last token.
    struct Table(fn(usize, i64) -> [f32; 4]);

    impl Joins for Table {
        type Error = std::convert::Infallible;

        fn log_probs(&mut self, frame: usize, contexts: &[Context]) -> Result<Vec<f32>, Self::Error> {
            let row = |context: &Context| self.0(frame, *context.last().expect("a context"));
            Ok(contexts.iter().flat_map(row).map(f32::ln).collect())
        }
    }

    fn units(spans: Vec<UnitSpan>) -> Vec<(u32, usize)> {
        spans.into_iter().map(|s| (s.unit, s.start_frame)).collect()
    }

    #[test]
    fn greedy_writes_the_likeliest_of_each_frame_and_no_unknown() {
        let mut table = Table(|frame, last| match (frame, last) {
            (0, 0) => [0.1, 0.7, 0.1, 0.1],
            (1, 1) => [0.1, 0.1, 0.1, 0.7],
            (2, 1) => [0.1, 0.1, 0.7, 0.1],
            _ => [0.7, 0.1, 0.1, 0.1],
        });
        let Ok(written) = greedy(&mut table, 5, 2, Some(3));
        assert_eq!(units(written), [(1, 0), (2, 2)], "the unknown token changes nothing, not even the context");
    }

    #[test]
    fn a_beam_adds_up_the_ways_to_one_text() {
        // Greedily nothing is written twice; over both frames the text [1] has 0.6·0.4 + 0.4·0.6, nothing only 0.36.
        let mut table = Table(|_, last| if last == 0 { [0.6, 0.4, 0.0, 0.0] } else { [1.0, 0.0, 0.0, 0.0] });
        let Ok(written) = greedy(&mut table, 2, 1, None);
        assert_eq!(units(written), []);
        let Ok(written) = beam(&mut table, 2, 1, None, 4);
        assert_eq!(written.iter().map(|s| s.unit).collect::<Vec<_>>(), [1]);
    }
}
