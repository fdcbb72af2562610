//! One answer while it is written: its ids, its text, and whether it is at its end.

use std::sync::Arc;

use linnet_proto::WireError;
use linnet_proto::generate::{Choice, Delta, FinishReason, TokenLogprob};

use super::super::constraint::{Guide, Mask};
use super::super::stop::{Scanned, StopScanner};
use super::super::vocabulary::{Spelling, Vocabulary};

/// What all answers of a request have in common.
#[derive(Debug)]
pub struct Rules {
    /// Tokens and their text.
    pub vocabulary: Arc<Vocabulary>,
    /// Tokens that end an answer.
    pub ends: Vec<u32>,
    /// Texts that end an answer.
    pub stops: Vec<String>,
    /// Most tokens to write.
    pub most: usize,
    /// Fewest tokens before a text may end an answer.
    pub least: usize,
    /// Report ids.
    pub return_ids: bool,
}

/// One answer.
#[derive(Debug)]
pub struct Writing {
    rules: Arc<Rules>,
    ids: Vec<u32>,
    prompt: usize,
    spelling: Box<dyn Spelling>,
    scanner: StopScanner,
    guide: Option<Guide>,
    /// The constraint before the first token.
    opening: Option<Guide>,
    text: String,
    /// Bytes of the text that are the prompt's.
    echoed: usize,
    logprobs: Vec<TokenLogprob>,
    finish: Option<FinishReason>,
    /// Bytes of the text, and ids, that were handed out as deltas.
    sent: (usize, usize),
    ended: bool,
}

impl Clone for Writing {
    fn clone(&self) -> Self {
        Self {
            rules: Arc::clone(&self.rules),
            ids: self.ids.clone(),
            prompt: self.prompt,
            spelling: self.spelling.fork(),
            scanner: self.scanner.clone(),
            guide: self.guide.clone(),
            opening: self.opening.clone(),
            text: self.text.clone(),
            echoed: self.echoed,
            logprobs: self.logprobs.clone(),
            finish: self.finish,
            sent: self.sent,
            ended: self.ended,
        }
    }
}

impl Writing {
    /// An answer behind `prompt`, whose text begins with `echo`.
    pub fn new(
        rules: &Arc<Rules>,
        prompt: &[u32],
        spelling: Box<dyn Spelling>,
        guide: Option<Guide>,
        echo: String,
    ) -> Self {
        let mut writing = Self {
            ids: prompt.to_vec(),
            prompt: prompt.len(),
            spelling,
            scanner: StopScanner::new(&rules.stops),
            opening: guide.clone().filter(|_| !rules.stops.is_empty()),
            guide,
            echoed: echo.len(),
            text: echo,
            logprobs: Vec::new(),
            finish: None,
            sent: (0, 0),
            ended: false,
            rules: Arc::clone(rules),
        };
        if rules.most == 0 {
            writing.end(FinishReason::Length);
        }
        writing
    }

    /// The prompt, then what was written.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// What was written.
    pub fn written(&self) -> &[u32] {
        &self.ids[self.prompt..]
    }

    /// How many of [`Writing::ids`] are the prompt.
    pub fn prompt(&self) -> usize {
        self.prompt
    }

    /// The constraint at this point.
    pub fn guide(&mut self) -> Option<&mut Guide> {
        self.guide.as_mut()
    }

    /// What the constraint allows next; `None` without one.
    pub fn mask(&mut self) -> Result<Option<Mask>, WireError> {
        self.guide.as_mut().map(|guide| guide.mask(&self.rules.vocabulary)).transpose()
    }

    /// Why it ended; `None` while it goes on.
    pub fn finish(&self) -> Option<FinishReason> {
        self.finish
    }

    /// Takes the next token; `logprob` is kept where probabilities are reported.
    pub fn take(&mut self, id: u32, logprob: Option<TokenLogprob>) -> Result<(), WireError> {
        self.ids.push(id);
        self.logprobs.extend(logprob);
        if let Some(guide) = &mut self.guide {
            guide.take(id, &self.rules.vocabulary)?;
        }
        if self.rules.ends.contains(&id) {
            self.end(FinishReason::Stop);
            return Ok(());
        }
        let text = self.spelling.push(id);
        self.scan(&text);
        if self.finish.is_some() {
            return Ok(());
        }
        if self.guide.as_ref().is_some_and(Guide::is_complete) {
            self.end(FinishReason::Stop);
        } else if self.written().len() >= self.rules.most {
            self.end(FinishReason::Length);
        }
        Ok(())
    }

    /// Ends it by itself, without a token: a model may have none for it.
    pub fn close(&mut self) {
        self.end(FinishReason::Stop);
    }

    /// Ends it where it is, because there is no more time.
    pub fn cut(&mut self) {
        if self.finish.is_none() {
            self.end(FinishReason::Length);
        }
    }

    fn scan(&mut self, text: &str) {
        // As vLLM: texts are looked for only behind the fewest tokens.
        let armed = self.rules.least == 0 || self.written().len() > self.rules.least;
        if self.scanner.is_idle() || !armed {
            self.text.push_str(text);
            return;
        }
        match self.scanner.push(text) {
            Scanned::Send(text) => self.text.push_str(&text),
            Scanned::Stopped { before, rest } => {
                self.text.push_str(&before);
                // Under a constraint a text ends the answer only where the answer is whole.
                if self.opening.as_ref().is_none_or(|opening| opening.accepts(&self.text[self.echoed..])) {
                    self.finish = Some(FinishReason::Stop);
                } else {
                    self.text.push_str(&rest);
                }
            }
        }
    }

    /// Ends it, with all text that waited.
    fn end(&mut self, reason: FinishReason) {
        let rest = self.spelling.finish();
        self.scan(&rest);
        let held = self.scanner.finish();
        if self.finish.is_none() {
            self.text.push_str(&held);
        }
        self.finish.get_or_insert(reason);
    }

    /// What was written since the last call; `None` while there is nothing to show. Tokens without text come with the next one.
    pub fn delta(&mut self, index: u32) -> Option<Delta> {
        let ends = self.finish.is_some() && !self.ended;
        if self.sent.0 == self.text.len() && !ends {
            return None;
        }
        let (text, id) = self.sent;
        let written = &self.ids[self.prompt..];
        let delta = Delta {
            index,
            text: self.text[text..].to_owned(),
            token_ids: if self.rules.return_ids { written[id..].to_vec() } else { Vec::new() },
            logprobs: self.logprobs.get(id..).unwrap_or_default().to_vec(),
            finish_reason: self.finish,
        };
        self.sent = (self.text.len(), written.len());
        self.ended = self.finish.is_some();
        Some(delta)
    }

    /// The answer, ended or not.
    pub fn choice(&self, index: u32, score: Option<f32>) -> Choice {
        Choice {
            index,
            text: self.text.clone(),
            token_ids: self.rules.return_ids.then(|| self.written().to_vec()),
            finish_reason: self.finish.unwrap_or(FinishReason::Length),
            logprobs: self.logprobs.clone(),
            tool_calls: Vec::new(),
            score,
        }
    }
}
