//! A canary for writing models: a made prompt, the ids that a greedy search writes behind it, and how likely they were.

use linnet_proto::generate::DecodeOptions;
use linnet_proto::manifest::{Canary, CanaryStatus, TokensCanary};

use super::writer::{Asked, Writer};

/// Ids of the prompt.
const PROMPT: u32 = 8;
/// Ids that are written.
const WRITTEN: u64 = 16;
/// Largest difference of the mean log-probability that is accepted.
const TOLERANCE: f64 = 0.01;

/// What the model writes behind `prompt`, and the mean log-probability of it.
fn write(writer: &mut Writer, prompt: &[u32]) -> Result<(Vec<u32>, f64), String> {
    let options = DecodeOptions {
        max_tokens: Some(WRITTEN),
        temperature: Some(0.0),
        num_beams: Some(1),
        ignore_eos: true,
        return_token_ids: true,
        logprobs: Some(0),
        ..DecodeOptions::default()
    };
    let outcome = writer.write(prompt, Asked::with(&options), &(), &mut |_| Ok(())).map_err(|e| e.message)?;
    let choice = outcome.choices.into_iter().next().ok_or("it wrote nothing")?;
    let ids = choice.token_ids.unwrap_or_default();
    if ids.is_empty() || choice.logprobs.is_empty() {
        return Err("it wrote nothing".into());
    }
    let mean = choice.logprobs.iter().map(|token| f64::from(token.logprob)).sum::<f64>() / choice.logprobs.len() as f64;
    Ok((ids, mean))
}

pub(super) fn record(writer: &mut Writer) -> Result<Canary, String> {
    let vocabulary = writer.shared.config.vocabulary as u32;
    // All over the vocabulary, the same on every machine.
    let prompt: Vec<u32> = (0..PROMPT).map(|i| (i * 7919 + 11) % vocabulary).collect();
    let (tokens, logprob) = write(writer, &prompt)?;
    if !logprob.is_finite() {
        return Err(format!("the mean log-probability of what it writes is {logprob}"));
    }
    let logprob = logprob.min(0.0);
    Ok(Canary::Tokens(TokensCanary {
        status: CanaryStatus::Recorded,
        prompt,
        tokens,
        logprob,
        logprob_tolerance: TOLERANCE,
    }))
}

pub(super) fn prove(writer: &mut Writer, canary: &Canary) -> Result<(), String> {
    let Canary::Tokens(canary) = canary else {
        return Err("its canary is not one of tokens, which a model of its family needs".into());
    };
    let (tokens, logprob) = write(writer, &canary.prompt)?;
    let damaged = "the weights are damaged, or this machine computes otherwise";
    let shared = tokens.iter().zip(&canary.tokens).take_while(|(a, b)| a == b).count();
    // Two likeliest tokens that lie within the tolerance of each other may change places; what follows then differs.
    let off = (logprob - canary.logprob).abs();
    if off.is_nan() || off > canary.logprob_tolerance {
        return Err(format!(
            "its canary was answered with a mean log-probability of {logprob:.5} instead of {:.5} (within {}); {damaged}",
            canary.logprob, canary.logprob_tolerance
        ));
    }
    if shared == 0 || shared * 2 < canary.tokens.len() {
        return Err(format!("its canary was answered by other tokens from place {shared} on; {damaged}"));
    }
    Ok(())
}
