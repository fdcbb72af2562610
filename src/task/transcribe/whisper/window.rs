//! One window: written, looked at, and written again at a higher temperature where the text is doubtful.

use linnet_proto::WireError;
use miniz_oxide::deflate::CompressionLevel;
use miniz_oxide::deflate::core::{
    CompressionStrategy, CompressorOxide, TDEFLFlush, compress, create_comp_flags_from_zip_params,
};

use super::beam;
use super::config::Settings;
use super::plan::Plan;
use super::rules::{Rules, log_sum_exp};
use super::write::{self, Begun, Checkpoint, Choice, Hypothesis, Prefix};
use crate::task::decode::text::dice::Dice;
use crate::task::model::LanguageModel;

/// A window's text and what it is worth.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Written {
    pub(super) text: Hypothesis,
    /// At which it was written.
    pub(super) temperature: f32,
    pub(super) avg_logprob: f32,
    pub(super) no_speech: f32,
    /// It is silence: nothing of it counts.
    pub(super) skip: bool,
}

/// Writes the window that `model` listens to. `number` tells windows apart where chance decides.
pub(super) fn write(
    model: &mut dyn LanguageModel,
    settings: &Settings,
    plan: &Plan,
    prefix: &Prefix,
    number: usize,
    checkpoint: Checkpoint<'_>,
) -> Result<Written, WireError> {
    let begun = write::begin(model, prefix, checkpoint)?;
    let rules = Rules::new(settings, true);
    let no_speech = settings.no_speech.map_or(0.0, |id| probability(&begun, id));
    let mut best = None;
    for (attempt, temperature) in plan.temperatures.iter().copied().enumerate() {
        let text = if temperature > 0.0 {
            let choice =
                Choice::Sampled { temperature, dice: Dice::new(plan.seed, (number as u64) << 8 | attempt as u64) };
            write::write(model, &begun, settings, &rules, choice, checkpoint)?
        } else if plan.beams > 1 {
            beam::search(model, &begun, settings, &rules, plan.beams, checkpoint)?
        } else {
            write::write(model, &begun, settings, &rules, Choice::Greedy, checkpoint)?
        };
        let (doubtful, skip) = judge(&text, no_speech, settings, plan);
        let avg_logprob = text.avg_logprob();
        best = Some(Written { text, temperature, avg_logprob, no_speech, skip });
        if !doubtful {
            break;
        }
    }
    // A plan has a temperature at least; without one nothing would be written.
    Ok(best.unwrap_or(Written {
        text: Hypothesis::default(),
        temperature: 0.0,
        avg_logprob: 0.0,
        no_speech,
        skip: true,
    }))
}

/// Whether a text is to be written again, and whether it is silence.
fn judge(text: &Hypothesis, no_speech: f32, settings: &Settings, plan: &Plan) -> (bool, bool) {
    let thresholds = &plan.thresholds;
    let repeats =
        thresholds.compression_ratio.is_some_and(|most| token_ratio(&text.tokens, settings.vocabulary) > most);
    let unlikely = thresholds.logprob.is_some_and(|least| text.avg_logprob() < least);
    let skip = unlikely && thresholds.no_speech.is_some_and(|most| no_speech > most);
    ((repeats || unlikely) && !skip, skip)
}

/// Probability of `id` behind the start of the transcript.
fn probability(begun: &Begun, id: u32) -> f32 {
    begun.at_start.get(id as usize).map_or(0.0, |logit| (logit - log_sum_exp(&begun.at_start)).exp())
}

/// Bytes of tokens by the same bytes compressed (zlib), as `transformers` measures it.
pub(super) fn token_ratio(tokens: &[u32], vocabulary: usize) -> f32 {
    let length = vocabulary.max(2).ilog2() as usize / 8 + 1;
    let bytes: Vec<u8> = tokens.iter().flat_map(|id| id.to_le_bytes().into_iter().take(length)).collect();
    ratio(&bytes)
}

/// Bytes by the same bytes compressed (zlib). As zlib, it takes the shorter of fixed and own codes, which matters where text is short.
pub(super) fn ratio(bytes: &[u8]) -> f32 {
    let strategies = [CompressionStrategy::Default, CompressionStrategy::Fixed];
    let shortest = strategies.into_iter().map(|strategy| compressed(bytes, strategy)).min().unwrap_or(bytes.len());
    bytes.len() as f32 / shortest.max(1) as f32
}

/// Bytes that zlib's default level makes of `bytes`, its head and sum included.
fn compressed(bytes: &[u8], strategy: CompressionStrategy) -> usize {
    let mut compressor = CompressorOxide::new(create_comp_flags_from_zip_params(
        CompressionLevel::DefaultLevel as i32,
        15,
        strategy as i32,
    ));
    // Incompressible bytes are stored, with five more for each block.
    let mut out = vec![0; bytes.len() + bytes.len() / 1024 + 128];
    let (_, _, written) = compress(&mut compressor, bytes, &mut out, TDEFLFlush::Finish);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_repeats_itself_has_a_high_ratio() {
        // Python: len(b) / len(zlib.compress(b)) of 40 tokens of two bytes each.
        let varied: Vec<u32> = (0..40u32).map(|i| i * 7919 % 50_000).collect();
        let repeated: Vec<u32> = (0..40u32).map(|i| 1000 + i % 4).collect();
        assert!(token_ratio(&varied, 51_865) < 1.0, "{}", token_ratio(&varied, 51_865));
        assert!(token_ratio(&repeated, 51_865) > 3.0, "{}", token_ratio(&repeated, 51_865));
        assert!(ratio(&[]) < 1e-6);
    }
}
