//! Beam search over a window's text, as `transformers`' `_beam_search` with a length penalty of 1 and no early stop.

use std::sync::Arc;

use linnet_proto::WireError;

use super::config::Settings;
use super::rules::{Rules, log_sum_exp};
use super::write::{Begun, Checkpoint, Hypothesis, attention};
use crate::engine::Positions;
use crate::task::model::LanguageModel;

/// A text that goes on.
#[derive(Clone)]
struct Beam {
    written: Hypothesis,
    /// Sum of log-probabilities, which the rules leave as they are.
    score: f32,
}

/// One more token for a beam.
struct Next {
    beam: usize,
    token: u32,
    score: f32,
    /// Log-probability among what the rules allow.
    logprob: f32,
}

/// The best text of a search that keeps `width` of them.
pub(super) fn search(
    model: &mut dyn LanguageModel,
    begun: &Begun,
    settings: &Settings,
    rules: &Rules<'_>,
    width: usize,
    checkpoint: Checkpoint<'_>,
) -> Result<Hypothesis, WireError> {
    let most = settings.max_length.saturating_sub(begun.prefix);
    let mut sequences = begun.sequences.fork();
    let mut beams = vec![Beam { written: Hypothesis::default(), score: 0.0 }];
    let mut logits = vec![begun.logits.clone()];
    let mut finished: Vec<(f32, Hypothesis)> = Vec::new();
    for length in 1..=most {
        checkpoint()?;
        let candidates = candidates(&beams, &mut logits, rules, 2 * width);
        let ends = |next: &Next| next.token == settings.end || length == most;
        // Only the best may end; the others are there so that enough go on.
        for next in candidates.iter().take(width).filter(|next| ends(next)) {
            let score = next.score / length as f32;
            let place = finished.partition_point(|(other, _)| *other >= score);
            if place < width {
                finished.insert(place, (score, extended(&beams[next.beam].written, next, None)));
                finished.truncate(width);
            }
        }
        let going: Vec<Next> = candidates.into_iter().filter(|next| !ends(next)).take(width).collect();
        let Some(first) = going.first() else { break };
        let worst = finished.last().filter(|_| finished.len() == width).map(|(score, _)| *score);
        if worst.is_some_and(|worst| first.score / length as f32 <= worst) {
            break;
        }
        let parents: Vec<usize> = going.iter().map(|next| next.beam).collect();
        sequences.select(&parents)?;
        let fed: Vec<Vec<u32>> = going.iter().map(|next| vec![next.token]).collect();
        let stepped = model.step(&mut sequences, &fed, Positions::Last)?;
        logits = (0..going.len()).map(|row| stepped.last(row).to_vec()).collect();
        beams = going
            .iter()
            .enumerate()
            .map(|(row, next)| Beam {
                written: extended(&beams[next.beam].written, next, attention(model.attention(), settings, row)),
                score: next.score,
            })
            .collect();
    }
    let best = finished.into_iter().next().map(|(_, written)| written);
    Ok(best.or_else(|| beams.into_iter().next().map(|beam| beam.written)).unwrap_or_default())
}

/// The `most` best continuations of all beams.
fn candidates(beams: &[Beam], logits: &mut [Vec<f32>], rules: &Rules<'_>, most: usize) -> Vec<Next> {
    let mut all = Vec::new();
    for (beam, (held, scores)) in beams.iter().zip(logits).enumerate() {
        // Log-probabilities of all tokens; what the rules forbid is lost, not shared out.
        let total = log_sum_exp(scores);
        rules.apply(scores, &held.written.tokens);
        let allowed = log_sum_exp(scores);
        let mut of_beam: Vec<(f32, u32)> =
            scores.iter().copied().zip(0u32..).filter(|(score, _)| *score > f32::NEG_INFINITY).collect();
        if of_beam.len() > most {
            of_beam.select_nth_unstable_by(most - 1, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            of_beam.truncate(most);
        }
        all.extend(of_beam.into_iter().map(|(score, token)| Next {
            beam,
            token,
            score: held.score + (score - total),
            logprob: score - allowed,
        }));
    }
    let better = |a: &Next, b: &Next| b.score.total_cmp(&a.score).then((a.beam, a.token).cmp(&(b.beam, b.token)));
    all.sort_unstable_by(better);
    all.truncate(most);
    all
}

fn extended(written: &Hypothesis, next: &Next, listened: Option<Arc<[f32]>>) -> Hypothesis {
    let mut written = written.clone();
    written.tokens.push(next.token);
    written.logprobs.push(next.logprob);
    written.attention.extend(listened);
    written
}
