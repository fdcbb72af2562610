//! From a model's logits to the scores that a token is chosen by.

use linnet_proto::generate::TokenLogprob;
use linnet_proto::{ErrorCode, WireError};

use super::super::distribution::log_softmax;
use super::super::logprobs::Report;
use super::super::process::{Chain, History, Process};
use super::super::vocabulary::Vocabulary;
use super::writing::Writing;

/// What one request does to scores.
#[derive(Debug, Default)]
pub struct Scoring {
    /// Biases, penalties, bans.
    pub processors: Chain,
    /// Temperature, top-k and their like.
    pub warpers: Chain,
    /// What is reported of each token.
    pub report: Option<Report>,
    /// Whether logits that are no numbers are replaced instead of refused.
    pub repairs: bool,
}

/// Scores of one sequence's next token.
#[derive(Debug)]
pub struct Scored {
    /// Minus infinity for what may not come.
    pub scores: Vec<f32>,
    /// Logarithms of the model's own probabilities, where they are reported.
    raw: Option<Vec<f32>>,
    /// Why there was one token to choose from, if there was.
    only: Option<&'static str>,
}

impl Scoring {
    /// Scores behind `writing`: of `logits` as they are, or (`logarithms`, for beams) of the logarithms of their probabilities.
    /// `None` when the constraint lets nothing follow but the end, for which the model has no token.
    pub fn score(&self, writing: &mut Writing, logits: &[f32], logarithms: bool) -> Result<Option<Scored>, WireError> {
        if !self.repairs && logits.iter().any(|logit| logit.is_nan()) {
            let message =
                "the model gave logits that are no numbers; its files, or the way it was quantized, are broken";
            return Err(WireError::new(ErrorCode::Internal, message));
        }
        let raw = (logarithms || self.report.is_some()).then(|| log_softmax(logits));
        let mut scores = match (&raw, logarithms) {
            (Some(raw), true) => raw.clone(),
            _ => logits.to_vec(),
        };
        let raw = raw.filter(|_| self.report.is_some());
        let mut only = None;
        let allowed = match writing.mask()? {
            Some(mask) => {
                mask.apply(&mut scores);
                only = (mask.count() == 1).then_some("constraint");
                Some(scores.clone())
            }
            None => None,
        };
        let history = History { ids: writing.ids(), prompt: writing.prompt() };
        self.processors.apply(&history, &mut scores);
        if possible(&scores) == 0 {
            match allowed {
                // Bans give way to the constraint: an answer that matches is what was asked for.
                Some(allowed) if possible(&allowed) > 0 => scores = allowed,
                Some(_) if writing.guide().is_some_and(|guide| guide.may_end()) => return Ok(None),
                _ => return Err(nothing_left()),
            }
        } else if only.is_none() && self.report.is_some_and(|report| report.explain) && possible(&scores) == 1 {
            only = Some("forced");
        }
        let history = History { ids: writing.ids(), prompt: writing.prompt() };
        self.warpers.apply(&history, &mut scores);
        Ok(Some(Scored { scores, raw, only }))
    }

    /// What is reported of `id`, which `rule` chose from `scored`.
    pub fn report(&self, vocabulary: &Vocabulary, scored: &Scored, id: u32, rule: &str) -> Option<TokenLogprob> {
        let (report, raw) = (self.report?, scored.raw.as_ref()?);
        Some(report.of(vocabulary, raw, id, Some(scored.only.unwrap_or(rule))))
    }
}

fn possible(scores: &[f32]) -> usize {
    scores.iter().filter(|score| **score > f32::NEG_INFINITY).count()
}

fn nothing_left() -> WireError {
    let message = "every token of the vocabulary is banned here (bad_words, logit_bias, no_repeat_ngram_size, or the model's \
                   own suppress_tokens); ban less";
    WireError::new(ErrorCode::InvalidOption, message).with_param("bad_words")
}
