//! Probabilities as they are reported: of the model's own distribution, before anything was done to it.

use linnet_proto::generate::TokenLogprob;

use super::distribution::{entropy, top};
use super::vocabulary::Vocabulary;

/// What is reported of each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// How many of the likeliest.
    pub top: usize,
    /// Entropy and rule, too.
    pub explain: bool,
}

impl Report {
    /// The report on `id`, which was chosen by `rule` where `log_probs` are the logarithms of all probabilities.
    pub fn of(&self, vocabulary: &Vocabulary, log_probs: &[f32], id: u32, rule: Option<&str>) -> TokenLogprob {
        TokenLogprob {
            top: top(log_probs, self.top).into_iter().map(|(id, _)| one(vocabulary, log_probs, id as u32)).collect(),
            entropy: self.explain.then(|| entropy(log_probs)),
            rule: rule.filter(|_| self.explain).map(str::to_owned),
            ..one(vocabulary, log_probs, id)
        }
    }
}

fn one(vocabulary: &Vocabulary, log_probs: &[f32], id: u32) -> TokenLogprob {
    let bytes = vocabulary.piece(id).map(|piece| piece.bytes).unwrap_or_default();
    TokenLogprob {
        id,
        token: String::from_utf8_lossy(&bytes).into_owned(),
        bytes,
        // JSON has no infinity; nothing is less likely than this.
        logprob: log_probs.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY).max(-9999.0),
        ..TokenLogprob::default()
    }
}
