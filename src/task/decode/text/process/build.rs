//! The processors of one request, in `transformers`' order.

use std::sync::Arc;

use super::super::options::{Lengths, ResolvedOptions};
use super::super::vocabulary::Vocabulary;
use super::bad_texts::BadTexts;
use super::bias::SequenceBias;
use super::ends::{ExponentialDecay, ForcedBos, ForcedEos, MinLength, MinNewTokens};
use super::penalties::{EncoderRepetitionPenalty, RepetitionPenalty, WrittenPenalty};
use super::repeats::{NoRepeat, NoRepeatOfEncoder};
use super::suppress::{Normalize, RemoveInvalid, Suppress, SuppressAtBegin};
use super::warp::{Epsilon, Eta, MinP, Temperature, TopK, TopP, Typical};
use super::{Chain, Process};

/// What comes before sampling: biases, penalties, bans, and what is forced. `heard` are the encoder's ids; `extra` are a
/// family's own, which come where `transformers` merges those of a caller.
pub fn processors(
    options: &ResolvedOptions,
    lengths: Lengths,
    heard: Option<&[u32]>,
    vocabulary: &Arc<Vocabulary>,
    extra: &[Arc<dyn Process>],
) -> Chain {
    let (config, request) = (&options.config, &options.request);
    let ends = [options.ends.as_slice(), &options.stop_tokens].concat();
    let biases = request.logit_bias.iter().map(|(id, bias)| (vec![*id], *bias));
    let mut chain = Chain::default();
    chain.push_some(SequenceBias::new(config.sequence_bias.iter().cloned().chain(biases)));
    chain.push_some(EncoderRepetitionPenalty::new(config.encoder_repetition_penalty, heard));
    chain.push_some(RepetitionPenalty::new(config.repetition_penalty));
    chain.push_some(WrittenPenalty::new(
        request.frequency_penalty.unwrap_or(0.0),
        request.presence_penalty.unwrap_or(0.0),
    ));
    chain.push_some(NoRepeat::new(config.no_repeat_ngram_size));
    chain.push_some(NoRepeatOfEncoder::new(config.encoder_no_repeat_ngram_size, heard));
    chain.push_some(SequenceBias::bad_words(&config.bad_words_ids, &config.eos_token_id));
    chain.push_some(BadTexts::new(vocabulary, &request.bad_words));
    chain.push_some(MinLength::new(config.min_length, &ends));
    chain.push_some(MinNewTokens::new(lengths.least, &ends));
    chain.push_some(config.forced_bos_token_id.map(ForcedBos));
    chain.push_some(ForcedEos::new(lengths.most, &config.forced_eos_token_id));
    chain.push_some(config.remove_invalid_values.then_some(RemoveInvalid));
    let decay = config.exponential_decay_length_penalty;
    chain.push_some(decay.and_then(|(start, factor)| ExponentialDecay::new(start, factor, &options.ends)));
    chain.push_some((!config.suppress_tokens.is_empty()).then(|| Suppress(config.suppress_tokens.clone())));
    chain.push_some(SuppressAtBegin::new(&config.begin_suppress_tokens, config.forced_bos_token_id.is_some()));
    extra.iter().for_each(|process| chain.push(Arc::clone(process)));
    chain
}

/// What makes sampling narrower, and the normalisation behind all.
pub fn warpers(options: &ResolvedOptions) -> Chain {
    let config = &options.config;
    let mut chain = Chain::default();
    if options.is_sampled() {
        // A beam search needs a way on beside the end tokens.
        let keep = match (options.beams > 1, options.ends.len()) {
            (false, _) => 1,
            (true, 0) => 2,
            (true, ends) => ends + 1,
        };
        chain.push_some((config.temperature != 1.0).then_some(Temperature(config.temperature as f32)));
        chain.push_some((config.top_k != 0).then(|| TopK { count: (config.top_k as usize).max(keep) }));
        chain.push_some((config.top_p < 1.0).then_some(TopP { mass: config.top_p, keep }));
        chain.push_some(config.min_p.map(|share| MinP { share, keep }));
        chain.push_some((config.typical_p < 1.0).then_some(Typical { mass: config.typical_p, keep }));
        let within = |cutoff: f64| cutoff > 0.0 && cutoff < 1.0;
        chain.push_some(within(config.epsilon_cutoff).then_some(Epsilon { least: config.epsilon_cutoff, keep }));
        chain.push_some(within(config.eta_cutoff).then_some(Eta { least: config.eta_cutoff, keep }));
    }
    chain.push_some(config.renormalize_logits.then_some(Normalize));
    chain
}
