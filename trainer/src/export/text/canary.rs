//! The canary of a text model: a prompt of held-out text and what the model writes, greedily.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use linnet_proto::manifest::{CanaryStatus, TokensCanary};
use serde::Deserialize;

use super::judge::{Set, Sets, cpu};
use super::{Kind, TextModel};
use crate::error::{Failure, Result};
use crate::model::Bound;
use crate::train::{causal, seq2seq};

const SCRIPT: &str = include_str!("reference.py");
/// Difference of the mean log-probability that is accepted: much more than what rounding makes on other instruction sets, and
/// a fraction of what damage does.
const TOLERANCE: f64 = 2e-3;
/// Rows that are tried.
const MOST_TRIED: usize = 24;
/// Tokens that are written, beyond the end where it comes sooner: what the daemon writes when it proves a canary.
const WRITTEN: usize = 16;
/// Tokens of a document that are the prompt.
const PROMPT_TOKENS: usize = 12;
/// Distinct tokens of which a canary needs no more.
const MANY_DISTINCT: usize = 8;
/// Fewest tokens before the end that prove something.
const LEAST_WRITTEN: usize = 6;

/// Of the held-out texts that are tried, one with many distinct tokens, and of those the one where the distance between the best
/// and the second token is never small: another CPU's rounding must not change a word.
pub fn choose(packed: &TextModel, sets: &Sets) -> Result<TokensCanary> {
    let device = cpu()?;
    let bound = Bound::new(&packed.weights, &device);
    let set = sets.tests.first().map_or(&sets.valid, |(_, set)| set);
    let end = match &packed.kind {
        Kind::Seq2Seq(config) => config.eos,
        Kind::Causal(config) => config.eos,
    };
    let mut best: Option<(usize, f32, TokensCanary)> = None;
    for (prompt, written) in candidates(packed, &bound, set)? {
        let text = written.ids.iter().position(|id| *id == end).map_or(written.ids.len(), |place| place + 1);
        if text < LEAST_WRITTEN {
            continue;
        }
        let margin = written.margins[..text].iter().copied().fold(f32::INFINITY, f32::min);
        // What repeats itself would hide damage; beyond so many tokens the margin decides.
        let distinct = written.ids[..text].iter().collect::<HashSet<_>>().len().min(MANY_DISTINCT);
        if best.as_ref().is_none_or(|(most, least, _)| (distinct, margin) > (*most, *least)) {
            let logprob = written.logprobs.iter().map(|p| f64::from(*p)).sum::<f64>() / written.logprobs.len() as f64;
            let canary = TokensCanary {
                status: CanaryStatus::Recorded,
                prompt,
                tokens: written.ids,
                logprob,
                logprob_tolerance: TOLERANCE,
            };
            best = Some((distinct, margin, canary));
        }
    }
    let (_, margin, canary) = best.ok_or_else(|| {
        Failure::refused(format!(
            "the model writes fewer than {LEAST_WRITTEN} tokens after every prompt; train it longer"
        ))
    })?;
    eprintln!("canary: {} tokens after {}, by a margin of {margin:.2}", canary.tokens.len(), canary.prompt.len());
    Ok(canary)
}

/// What was written, with the log-probability of each token and its distance to the second best logit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Written {
    /// Tokens; the end may be among them.
    pub ids: Vec<u32>,
    /// Their log-probabilities.
    pub logprobs: Vec<f32>,
    /// Distance of each to the second best.
    pub margins: Vec<f32>,
}

impl Written {
    /// Takes the best of `logits`.
    pub fn take(&mut self, logits: &[f32]) -> u32 {
        let (mut best, mut second) = (0, f32::NEG_INFINITY);
        for (id, logit) in logits.iter().enumerate().skip(1) {
            if *logit > logits[best] {
                second = logits[best];
                best = id;
            } else if *logit > second {
                second = *logit;
            }
        }
        let mass: f64 = logits.iter().map(|logit| f64::from(logit - logits[best]).exp()).sum();
        self.ids.push(best as u32);
        self.logprobs.push(-mass.ln() as f32);
        self.margins.push(logits[best] - second);
        best as u32
    }
}

fn candidates(packed: &TextModel, bound: &Bound, set: &Set) -> Result<Vec<(Vec<u32>, Written)>> {
    match (&packed.kind, set) {
        (Kind::Seq2Seq(config), Set::Pairs(pairs)) => {
            let sources: Vec<&str> = pairs.iter().take(MOST_TRIED).map(|pair| pair.source.as_str()).collect();
            let ids = packed.vocabulary.encode(sources)?;
            let prompts = ids.iter().map(|ids| ids.iter().copied().chain([config.eos]).collect::<Vec<u32>>());
            Ok(prompts
                .map(|prompt| {
                    let written = seq2seq::write(config, bound, &prompt, WRITTEN);
                    (prompt, written)
                })
                .collect())
        }
        (Kind::Causal(config), Set::Documents(documents)) => {
            let ids = causal::tokens(config, &packed.vocabulary, documents)?;
            let prompts =
                ids.iter().take(MOST_TRIED).map(|ids| ids.iter().copied().take(PROMPT_TOKENS).collect::<Vec<u32>>());
            Ok(prompts
                .map(|prompt| {
                    let written = causal::write(config, bound, &prompt, WRITTEN);
                    (prompt, written)
                })
                .collect())
        }
        _ => Err(Failure::software("a set of another kind than the model")),
    }
}

#[derive(Deserialize)]
struct Answer {
    ids: Vec<u32>,
    logprob: f64,
}

/// Has ONNX Runtime, in the user's Python, run the package's graphs on the canary's prompt; refuses unless it writes the same.
pub fn agree(python: &Path, dir: &Path, canary: &TokensCanary) -> Result<()> {
    let temporary = tempfile::tempdir().map_err(|e| Failure::write(&std::env::temp_dir(), e))?;
    let script = temporary.path().join("reference.py");
    std::fs::write(&script, SCRIPT).map_err(|e| Failure::write(&script, e))?;
    let asked = serde_json::json!({ "prompt": canary.prompt, "most": canary.tokens.len() }).to_string();
    let ran = Command::new(python).arg(&script).arg(dir).arg(asked).output();
    let ran = ran.map_err(|e| {
        let python = python.display();
        Failure::unavailable(format!("{python}: {e}; --reference names a Python that has numpy and onnxruntime"))
    })?;
    if !ran.status.success() {
        let last = String::from_utf8_lossy(&ran.stderr).lines().last().unwrap_or("it said nothing").to_owned();
        return Err(Failure::unavailable(format!(
            "{} cannot run the graphs ({last}); does it have numpy and onnxruntime? {0} -m pip install numpy onnxruntime",
            python.display()
        )));
    }
    let answer: Answer = serde_json::from_slice(&ran.stdout)
        .map_err(|error| Failure::unavailable(format!("{}: its answer is no JSON: {error}", python.display())))?;
    let shared = answer.ids.iter().zip(&canary.tokens).take_while(|(a, b)| a == b).count();
    if 2 * shared < canary.tokens.len() {
        let (ours, theirs) = (&canary.tokens, &answer.ids);
        return Err(Failure::refused(format!("ONNX Runtime writes {theirs:?} where the weights write {ours:?}")));
    }
    if (answer.logprob - canary.logprob).abs() > canary.logprob_tolerance / 2.0 {
        return Err(Failure::refused(format!(
            "ONNX Runtime's mean log-probability of the canary is {:.6} instead of {:.6}",
            answer.logprob, canary.logprob
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_taken_with_its_probability_and_its_margin() {
        let mut written = Written::default();
        assert_eq!(written.take(&[0.0, 3.0, 1.0, 2.5]), 1);
        assert_eq!(written.take(&[5.0, 3.0]), 0);
        assert_eq!(written.margins, [0.5, 2.0]);
        let mass = 1.0 + (-3f64).exp() + (-2f64).exp() + (-0.5f64).exp();
        assert!((f64::from(written.logprobs[0]) + mass.ln()).abs() < 1e-6);
    }
}
