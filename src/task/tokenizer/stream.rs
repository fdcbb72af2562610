//! Decoding as tokens come.

use super::cleanup::CleanUp;
use super::fast_decode::FastDecoder;
use super::slow_decode::SlowDecoder;
use super::{Backend, TextTokenizer};

/// Text of ids that come one by one: whole characters only, and in sum what [`TextTokenizer::decode`] gives for all of them.
/// What later tokens may still change is kept back until it is certain.
#[derive(Debug)]
pub struct StreamDecoder<'a> {
    tokenizer: &'a TextTokenizer,
    state: State,
    clean_up: Option<CleanUp>,
}

#[derive(Debug)]
enum State {
    Fast(FastDecoder),
    Slow(Box<SlowDecoder>),
}

impl<'a> StreamDecoder<'a> {
    pub(super) fn new(tokenizer: &'a TextTokenizer, skip_special: bool) -> Self {
        let state = match &tokenizer.backend {
            Backend::Fast(fast) => State::Fast(FastDecoder::new(fast, skip_special)),
            Backend::Slow(_) => State::Slow(Box::new(SlowDecoder::new(skip_special))),
        };
        Self { tokenizer, state, clean_up: tokenizer.cleans_up().then(CleanUp::default) }
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
