//! Decoding as tokens come.

use std::ops::Deref;

use super::cleanup::CleanUp;
use super::fast_decode::FastDecoder;
use super::slow_decode::SlowDecoder;
use super::{Backend, TextTokenizer};

/// Text of ids that come one by one: whole characters only, and in sum what [`TextTokenizer::decode`] gives for all of them.
/// What later tokens may still change is kept back until it is certain. `T` borrows or shares the tokenizer; a clone goes its own way.
#[derive(Debug, Clone)]
pub struct StreamDecoder<T> {
    tokenizer: T,
    state: State,
    clean_up: Option<CleanUp>,
}

#[derive(Debug, Clone)]
enum State {
    Fast(FastDecoder),
    Slow(Box<SlowDecoder>),
}

impl<T: Deref<Target = TextTokenizer>> StreamDecoder<T> {
    /// Begins a text.
    pub fn new(tokenizer: T, skip_special: bool) -> Self {
        let state = match &tokenizer.backend {
            Backend::Fast(fast) => State::Fast(FastDecoder::new(fast, skip_special)),
            Backend::Slow(_) => State::Slow(Box::new(SlowDecoder::new(skip_special))),
        };
        let clean_up = tokenizer.cleans_up().then(CleanUp::default);
        Self { tokenizer, state, clean_up }
    }

    /// The text that became certain with this token; often empty.
    pub fn push(&mut self, id: u32) -> String {
        let mut text = String::new();
        if self.tokenizer.times.contains(&id) {
            return text;
        }
        match (&mut self.state, &self.tokenizer.backend) {
            (State::Fast(state), Backend::Fast(fast)) => state.push(fast, id, &mut text),
            (State::Slow(state), Backend::Slow(slow)) => state.push(slow, id, &mut text),
            _ => {}
        }
        match &mut self.clean_up {
            Some(rules) => {
                let mut out = String::new();
                rules.push(&text, &mut out);
                out
            }
            None => text,
        }
    }

    /// The rest of the text. Then the next one can begin.
    pub fn finish(&mut self) -> String {
        let mut text = String::new();
        match (&mut self.state, &self.tokenizer.backend) {
            (State::Fast(state), Backend::Fast(fast)) => state.finish(fast, &mut text),
            (State::Slow(state), Backend::Slow(slow)) => state.finish(slow, &mut text),
            _ => {}
        }
        match &mut self.clean_up {
            Some(rules) => {
                let mut out = String::new();
                rules.push(&text, &mut out);
                rules.finish(&mut out);
                out
            }
            None => text,
        }
    }
}
