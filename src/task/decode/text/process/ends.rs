//! When an answer may, must or should begin and end.

use super::{History, Process, ban, force};

/// Bans the end while a sequence, the prompt counted, is shorter than `min_length`.
#[derive(Debug)]
pub struct MinLength {
    min_length: usize,
    ends: Vec<u32>,
}

impl MinLength {
    /// `None` where nothing is banned.
    pub fn new(min_length: u64, ends: &[u32]) -> Option<Self> {
        let min_length = usize::try_from(min_length).unwrap_or(usize::MAX);
        (min_length > 0 && !ends.is_empty()).then(|| Self { min_length, ends: ends.to_vec() })
    }
}

impl Process for MinLength {
    fn apply(&self, history: &History<'_>, scores: &mut [f32]) {
        if history.ids.len() < self.min_length {
            ban(scores, self.ends.iter().copied());
        }
    }
}

/// Bans the end while fewer than `min_new_tokens` are written.
#[derive(Debug)]
pub struct MinNewTokens {
    min_new_tokens: usize,
    ends: Vec<u32>,
}

impl MinNewTokens {
    /// `None` where nothing is banned.
    pub fn new(min_new_tokens: u64, ends: &[u32]) -> Option<Self> {
        let min_new_tokens = usize::try_from(min_new_tokens).unwrap_or(usize::MAX);
        (min_new_tokens > 0 && !ends.is_empty()).then(|| Self { min_new_tokens, ends: ends.to_vec() })
    }
}

impl Process for MinNewTokens {
    fn apply(&self, history: &History<'_>, scores: &mut [f32]) {
        if history.written().len() < self.min_new_tokens {
            ban(scores, self.ends.iter().copied());
        }
    }
}

/// Forces the token behind a sequence's first one (mBART's language).
#[derive(Debug)]
pub struct ForcedBos(pub u32);

impl Process for ForcedBos {
    fn apply(&self, history: &History<'_>, scores: &mut [f32]) {
        if history.ids.len() == 1 {
            force(scores, &[self.0]);
        }
    }
}

/// Forces the end as the last token that there is room for.
#[derive(Debug)]
pub struct ForcedEos {
    max_new_tokens: usize,
    ends: Vec<u32>,
}

impl ForcedEos {
    /// `None` where nothing is forced.
    pub fn new(max_new_tokens: usize, ends: &[u32]) -> Option<Self> {
        (!ends.is_empty()).then(|| Self { max_new_tokens, ends: ends.to_vec() })
    }
}

impl Process for ForcedEos {
    fn apply(&self, history: &History<'_>, scores: &mut [f32]) {
        if history.written().len() + 1 == self.max_new_tokens {
            force(scores, &self.ends);
        }
    }
}

/// Makes the end likelier with each token beyond `start` written ones.
#[derive(Debug)]
pub struct ExponentialDecay {
    start: usize,
    factor: f64,
    ends: Vec<u32>,
}

impl ExponentialDecay {
    /// `None` where there is no end to make likelier.
    pub fn new(start: u64, factor: f64, ends: &[u32]) -> Option<Self> {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        (!ends.is_empty()).then(|| Self { start, factor, ends: ends.to_vec() })
    }
}

impl Process for ExponentialDecay {
    fn apply(&self, history: &History<'_>, scores: &mut [f32]) {
        let beyond = history.written().len().saturating_sub(self.start);
        if beyond == 0 {
            return;
        }
        let grown = (self.factor.powi(i32::try_from(beyond).unwrap_or(i32::MAX)) - 1.0) as f32;
        for end in &self.ends {
            // A banned end stays banned; the reference makes it not-a-number.
            if let Some(score) = scores.get_mut(*end as usize).filter(|score| score.is_finite()) {
                *score += score.abs() * grown;
            }
        }
    }
}
