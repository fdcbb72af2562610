//! What one request decodes by: its own options over the model's `generation_config.json`, and that over `transformers`'
//! defaults.

use linnet_proto::generate::{Constraint, DecodeOptions, Overflow};
use linnet_proto::{ErrorCode, WireError};

use super::bounds::{DEFAULT_NEW_TOKENS, MAX_CONFIG_BEAMS};
use super::config::{EarlyStopping, GenerationConfig};
use super::distribution::as_written;

/// Below this a temperature counts as 0: scores divided by less overflow.
const LEAST_TEMPERATURE: f64 = 1e-5;

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choosing {
    /// The likeliest token.
    Greedy,
    /// By chance, from this seed.
    Sampled {
        /// The same seed gives the same text.
        seed: u64,
    },
}

/// Options of one request, with nothing left open but what depends on the prompt's length.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedOptions {
    /// The model's configuration; scores are processed by it except where a field below says otherwise.
    pub config: GenerationConfig,
    /// What the request itself asked for.
    pub request: DecodeOptions,
    /// How tokens are chosen.
    pub choosing: Choosing,
    /// Answers.
    pub choices: usize,
    /// Beams; 1 is no beam search.
    pub beams: usize,
    /// When a beam search ends.
    pub early_stopping: EarlyStopping,
    /// Exponent of a beam's length.
    pub length_penalty: f64,
    /// Tokens that end an answer, as the model's own.
    pub ends: Vec<u32>,
    /// Tokens that end an answer because the request says so.
    pub stop_tokens: Vec<u32>,
    /// Texts that end an answer.
    pub stops: Vec<String>,
}

/// How long an answer may and must be, given the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// Most tokens to write.
    pub most: usize,
    /// Fewest tokens to write.
    pub least: u64,
}

impl ResolvedOptions {
    /// Puts `request` over `config`. `vocabulary` is the model's number of logits.
    ///
    /// A request without `temperature` follows the model's `do_sample`; with 0 it is greedy; above, it samples.
    pub fn resolve(config: &GenerationConfig, request: &DecodeOptions, vocabulary: usize) -> Result<Self, WireError> {
        request.check()?;
        let mut own = config.clone();
        let sampled = match request.temperature {
            None => own.do_sample,
            Some(temperature) => {
                own.temperature = as_written(temperature);
                own.temperature > 0.0
            }
        };
        let sampled = sampled && own.temperature >= LEAST_TEMPERATURE;
        own.do_sample = sampled;
        replace(&mut own.top_k, request.top_k);
        replace(&mut own.top_p, request.top_p.map(as_written));
        replace(&mut own.typical_p, request.typical_p.map(as_written));
        own.min_p = request.min_p.map(as_written).or(own.min_p);
        replace(&mut own.repetition_penalty, request.repetition_penalty.map(as_written));
        replace(&mut own.no_repeat_ngram_size, request.no_repeat_ngram_size);
        if request.max_tokens.is_some() {
            own.max_new_tokens = request.max_tokens;
        }
        if request.min_tokens.is_some() {
            own.min_new_tokens = request.min_tokens;
            own.min_length = 0;
        }
        for id in request.logit_bias.keys().chain(&request.stop_token_ids) {
            if *id as usize >= vocabulary {
                let message = format!("the token {id} is outside the model's vocabulary of {vocabulary} tokens");
                return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("logit_bias"));
            }
        }
        let beams = request.num_beams.unwrap_or(own.num_beams.min(MAX_CONFIG_BEAMS)) as usize;
        let choices = request.n.unwrap_or(1) as usize;
        if beams > 1 && choices > beams {
            let message =
                format!("n is {choices}, but a search with {beams} beams has only so many answers; raise num_beams");
            return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("n"));
        }
        let within = |ids: &[u32]| ids.iter().copied().filter(|id| (*id as usize) < vocabulary).collect::<Vec<_>>();
        // A constraint says itself where an answer may end, and says it by the end token.
        let ignore_eos = request.ignore_eos && request.constraint.is_none();
        Ok(Self {
            choosing: match sampled {
                true => Choosing::Sampled { seed: request.seed.unwrap_or_else(rand::random) },
                false => Choosing::Greedy,
            },
            choices,
            beams,
            early_stopping: match request.early_stopping {
                None => own.early_stopping,
                Some(true) => EarlyStopping::WhenFull,
                Some(false) => EarlyStopping::Heuristic,
            },
            length_penalty: request.length_penalty.map_or(own.length_penalty, as_written),
            ends: if ignore_eos { Vec::new() } else { within(&own.eos_token_id) },
            stop_tokens: request.stop_token_ids.clone(),
            stops: request.stop.iter().chain(&own.stop_strings).cloned().collect(),
            config: own,
            request: request.clone(),
        })
    }

    /// How long an answer may be behind a prompt of `prompt` tokens in a model that holds `context`.
    pub fn lengths(&self, prompt: usize, context: Option<usize>) -> Result<Lengths, WireError> {
        let most = match (self.config.max_new_tokens, self.config.max_length) {
            (Some(most), _) => most,
            (None, Some(length)) => match length.checked_sub(prompt as u64) {
                Some(most) if most > 0 => most,
                _ => return Err(longer_than_config(prompt, length)),
            },
            (None, None) => DEFAULT_NEW_TOKENS,
        };
        let mut most = usize::try_from(most).unwrap_or(usize::MAX);
        if let (Some(context), Overflow::Refuse) = (context, self.request.overflow) {
            if prompt >= context && (most > 0 || prompt > context) {
                return Err(too_long(prompt, context));
            }
            most = most.min(context - prompt);
        }
        Ok(Lengths { most, least: self.config.min_new_tokens.unwrap_or(0) })
    }

    /// Whether tokens are chosen by chance.
    pub fn is_sampled(&self) -> bool {
        matches!(self.choosing, Choosing::Sampled { .. })
    }

    /// What the answer must match.
    pub fn constraint(&self) -> Option<&Constraint> {
        self.request.constraint.as_ref()
    }
}

fn replace<T>(value: &mut T, by: Option<T>) {
    if let Some(by) = by {
        *value = by;
    }
}

/// The refusal of a prompt that leaves no room in the model's context.
pub fn too_long(prompt: usize, context: usize) -> WireError {
    let message = format!(
        "the prompt has {prompt} tokens, but the model's context holds {context}, the answer counted; shorten it, or let the \
         oldest be forgotten (overflow: slide)"
    );
    WireError::new(ErrorCode::ContextLengthExceeded, message).with_param("prompt")
}

fn longer_than_config(prompt: usize, length: u64) -> WireError {
    let message = format!(
        "the prompt has {prompt} tokens, but the model's generation_config.json sets max_length to {length}, the answer \
         counted; give max_tokens"
    );
    WireError::new(ErrorCode::ContextLengthExceeded, message).with_param("max_tokens")
}
