//! A generation from prompt to answers, one model run at a time, so that runs of several can take turns on one worker.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use linnet_proto::generate::{Choice, Delta, Overflow, TokenLogprob};
use linnet_proto::{ErrorCode, WireError};

use super::logprobs::Report;
use super::options::{Lengths, ResolvedOptions};
use super::prefix_cache::PrefixCache;
use super::process::{Process, build};
use super::runner::{Runner, failed, window};
use super::search::{Rules, Scoring, Search, Writing};
use super::vocabulary::Vocabulary;
use crate::task::TaskContext;
use crate::task::model::{LanguageModel, Logits, Sequences};

/// Says between two model runs whether to go on.
pub trait Checkpoint {
    /// The error is to be returned at once.
    fn checkpoint(&self) -> Result<(), WireError>;
}

impl Checkpoint for TaskContext {
    fn checkpoint(&self) -> Result<(), WireError> {
        TaskContext::checkpoint(self)
    }
}

/// Nobody interrupts: canaries and tests.
impl Checkpoint for () {
    fn checkpoint(&self) -> Result<(), WireError> {
        Ok(())
    }
}

/// What an answer is written behind.
#[derive(Debug, Clone, Default)]
pub struct Prompt {
    /// A decoder's prompt; for a sequence-to-sequence model what its decoder begins with (`decoder_start_token_id`, a forced
    /// prefix). Not empty.
    pub ids: Vec<u32>,
    /// What a sequence-to-sequence model's encoder heard.
    pub heard: Option<Vec<u32>>,
    /// First ids that a sliding context never forgets (the beginning of text, a system's instructions).
    pub protected: usize,
    /// The prompt's text for `echo`; spelled from the ids when absent.
    pub text: Option<String>,
}

/// What a generation needs of its model beside the model itself.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Tokens and their text.
    pub vocabulary: Arc<Vocabulary>,
    /// Where prefixes are kept; none for sequence-to-sequence models.
    pub prefixes: Option<Arc<PrefixCache>>,
    /// A family's own processors (Whisper's time stamps).
    pub processors: Vec<Arc<dyn Process>>,
}

/// What came of a generation.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The answers.
    pub choices: Vec<Choice>,
    /// On the prompt's ids, when `echo` and `logprobs` asked.
    pub prompt_logprobs: Vec<Option<TokenLogprob>>,
    /// Ids of the prompt that a kept prefix saved.
    pub cached_tokens: u64,
    /// Tokens written, over all answers.
    pub completion_tokens: u64,
    /// Time that the prompt took.
    pub prefill: Duration,
    /// Time that writing took.
    pub decode: Duration,
}

/// A generation that is under way.
#[derive(Debug)]
pub struct Generation {
    options: ResolvedOptions,
    setting: Setting,
    prompt: Prompt,
    lengths: Lengths,
    scoring: Scoring,
    search: Search,
    runner: Option<Runner>,
    /// The prompt alone, to be kept where the batch has several rows at the end.
    beginning: Option<Sequences>,
    context: Option<usize>,
    prompt_logprobs: Vec<Option<TokenLogprob>>,
    cached: usize,
    phase: Phase,
    prefill: Duration,
    decode: Duration,
    /// Until when it may write (`max_time`).
    until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Prefill,
    Decode,
    Done,
}

impl Generation {
    /// Checks prompt and options against the model, and compiles the constraint. Nothing is run yet.
    pub fn new(
        model: &dyn LanguageModel,
        setting: Setting,
        prompt: Prompt,
        options: ResolvedOptions,
    ) -> Result<Self, WireError> {
        check_prompt(&prompt, model.vocabulary())?;
        let context = model.context();
        let lengths = options.lengths(prompt.ids.len(), context)?;
        let vocabulary = &setting.vocabulary;
        let guide = match options.constraint() {
            None => None,
            Some(constraint) => {
                let grammars = vocabulary.grammars().map_err(|reason| {
                    let message = format!("this model's tokenizer cannot be constrained: {reason}");
                    WireError::new(ErrorCode::UnsupportedTask, message).with_param(constraint.name())
                })?;
                Some(grammars.compile(constraint)?)
            }
        };
        let request = &options.request;
        let explain = request.explain;
        let report = (request.logprobs.is_some() || explain)
            .then(|| Report { top: request.logprobs.unwrap_or(0) as usize, explain });
        let rules = Arc::new(Rules {
            vocabulary: Arc::clone(vocabulary),
            ends: [options.ends.as_slice(), &options.stop_tokens].concat(),
            stops: options.stops.clone(),
            most: lengths.most,
            least: usize::try_from(lengths.least).unwrap_or(usize::MAX),
            return_ids: request.return_token_ids,
        });
        let (spelling, echo) = opening_text(vocabulary, &prompt, request.echo, request.keep_special_tokens);
        let opening = Writing::new(&rules, &prompt.ids, spelling, guide, echo);
        let heard = prompt.heard.as_deref();
        let scoring = Scoring {
            processors: build::processors(&options, lengths, heard, vocabulary, &setting.processors),
            warpers: build::warpers(&options),
            report,
            repairs: options.config.remove_invalid_values,
        };
        Ok(Self {
            search: Search::new(&options, &opening, lengths.most),
            options,
            setting,
            prompt,
            lengths,
            scoring,
            runner: None,
            beginning: None,
            context,
            prompt_logprobs: Vec::new(),
            cached: 0,
            phase: Phase::Prefill,
            prefill: Duration::ZERO,
            decode: Duration::ZERO,
            until: None,
        })
    }

    /// Runs the model once: a piece of the prompt, or one token of each answer. What can be shown goes to `on_delta`. Says
    /// whether there is more to do.
    pub fn step(
        &mut self,
        model: &mut dyn LanguageModel,
        on_delta: &mut dyn FnMut(Delta) -> Result<(), WireError>,
    ) -> Result<bool, WireError> {
        let began = Instant::now();
        let phase = self.phase;
        match phase {
            Phase::Prefill => self.prefill(model)?,
            Phase::Decode => self.decode(model)?,
            Phase::Done => {}
        }
        match phase {
            Phase::Prefill => self.prefill += began.elapsed(),
            _ => self.decode += began.elapsed(),
        }
        for delta in self.search.deltas() {
            on_delta(delta)?;
        }
        Ok(self.phase != Phase::Done)
    }

    /// Runs to the end. `ctx` is asked before each run, so that others get in between and whoever leaves is noticed.
    pub fn run(
        mut self,
        model: &mut dyn LanguageModel,
        ctx: &dyn Checkpoint,
        on_delta: &mut dyn FnMut(Delta) -> Result<(), WireError>,
    ) -> Result<Outcome, WireError> {
        loop {
            let more = ctx.checkpoint().and_then(|()| self.step(model, on_delta));
            match more {
                Ok(true) => {}
                Ok(false) => return Ok(self.finish()),
                Err(error) => {
                    // Whoever asks again finds the work that was done.
                    self.keep_prefix();
                    return Err(error);
                }
            }
        }
    }

    /// Ends it, with what is written so far.
    pub fn finish(self) -> Outcome {
        self.keep_prefix();
        let (choices, completion_tokens) = self.search.finish();
        Outcome {
            choices,
            prompt_logprobs: self.prompt_logprobs,
            cached_tokens: self.cached as u64,
            completion_tokens,
            prefill: self.prefill,
            decode: self.decode,
        }
    }

    fn prefill(&mut self, model: &mut dyn LanguageModel) -> Result<(), WireError> {
        let request = &self.options.request;
        let report = self.scoring.report.filter(|_| request.echo && request.logprobs.is_some());
        if self.runner.is_none() {
            self.begin(model, report.is_some())?;
        }
        let Some(runner) = &mut self.runner else { return Ok(()) };
        let logits = match report {
            Some(report) => runner.step_reported(model, &self.setting.vocabulary, report, &mut self.prompt_logprobs)?,
            None => runner.step(model)?,
        };
        if let Some(logits) = logits {
            self.phase = Phase::Decode;
            self.until = self.options.config.max_time.map(|secs| Instant::now() + Duration::from_secs_f64(secs));
            if self.search.rows() > 1 && self.setting.prefixes.is_some() {
                self.beginning = Some(runner.sequences().fork());
            }
            self.advance(model, &logits)?;
        }
        Ok(())
    }

    /// Finds what was run before, and queues the rest of the prompt.
    fn begin(&mut self, model: &mut dyn LanguageModel, all_logits: bool) -> Result<(), WireError> {
        let mut ids = self.prompt.ids.clone();
        if let (Overflow::Slide, Some(context)) = (self.options.request.overflow, self.context) {
            ids = window(&ids, self.prompt.protected, context);
        }
        let prefixes = self.setting.prefixes.as_ref().filter(|_| !all_logits);
        let sequences = match prefixes.and_then(|prefixes| prefixes.find(&ids)) {
            Some(sequences) => sequences,
            None => model.begin().map_err(failed)?,
        };
        self.cached = sequences.len();
        let rest = ids.split_off(self.cached);
        let mut runner = Runner::new(sequences);
        runner.queue(vec![rest]);
        self.runner = Some(runner);
        Ok(())
    }

    fn decode(&mut self, model: &mut dyn LanguageModel) -> Result<(), WireError> {
        let Some(runner) = &mut self.runner else { return Ok(()) };
        if let Some(logits) = runner.step(model)? {
            self.advance(model, &logits)?;
        }
        Ok(())
    }

    /// Chooses tokens by `logits` and queues them.
    fn advance(&mut self, model: &mut dyn LanguageModel, logits: &Logits) -> Result<(), WireError> {
        let Some(next) = self.search.advance(logits, &self.scoring, &self.setting.vocabulary)? else {
            self.phase = Phase::Done;
            return Ok(());
        };
        if self.until.is_some_and(|until| Instant::now() >= until) {
            self.search.cut();
            self.phase = Phase::Done;
            return Ok(());
        }
        let Some(runner) = &mut self.runner else { return Ok(()) };
        if let Some(context) = self.context.filter(|context| runner.sequences().len() >= *context) {
            // Only a sliding window comes here: without one, answers end at the context's end.
            let windows = (0..next.ids.len()).map(|row| window(self.search.ids(row), self.prompt.protected, context));
            let windows = same_length(windows.collect());
            return runner.restart(model, windows);
        }
        let rows: Vec<usize> = match logits.rows() {
            // Behind the prompt there is one row still, for all answers.
            1 => vec![0; next.rows.len()],
            _ => next.rows,
        };
        runner.select(&rows)?;
        runner.queue(next.ids.into_iter().map(|id| vec![id]).collect());
        Ok(())
    }

    fn keep_prefix(&self) {
        let Some(prefixes) = &self.setting.prefixes else { return };
        let sequences = self.beginning.as_ref().or_else(|| self.runner.as_ref().map(Runner::sequences));
        if let Some(sequences) = sequences {
            prefixes.keep(sequences);
        }
    }

    /// How long the answers may be.
    pub fn lengths(&self) -> Lengths {
        self.lengths
    }
}

/// Rows of a batch have one length: all answers have written the same number of tokens, so that their windows differ in nothing
/// but ids.
fn same_length(windows: Vec<Vec<u32>>) -> Vec<Vec<u32>> {
    debug_assert!(windows.windows(2).all(|pair| pair[0].len() == pair[1].len()));
    windows
}

fn check_prompt(prompt: &Prompt, vocabulary: usize) -> Result<(), WireError> {
    let refuse = |message: String| Err(WireError::new(ErrorCode::InvalidRequest, message).with_param("prompt"));
    if prompt.ids.is_empty() {
        return refuse("the prompt holds no token, and the model has none to begin with; write something".into());
    }
    match prompt.ids.iter().find(|id| **id as usize >= vocabulary) {
        Some(id) => {
            refuse(format!("the prompt holds the token {id}, but the model's vocabulary ends at {}", vocabulary - 1))
        }
        None => Ok(()),
    }
}

/// The text that answers go on from, and what of it they begin with.
fn opening_text(
    vocabulary: &Vocabulary,
    prompt: &Prompt,
    echo: bool,
    keep_special: bool,
) -> (Box<dyn super::vocabulary::Spelling>, String) {
    match (echo, &prompt.text) {
        (false, _) => (vocabulary.begin(&prompt.ids, keep_special), String::new()),
        (true, Some(text)) => (vocabulary.begin(&prompt.ids, keep_special), text.clone()),
        (true, None) => {
            let mut spelling = vocabulary.begin(&[], keep_special);
            let text = prompt.ids.iter().map(|id| spelling.push(*id)).collect();
            (spelling, text)
        }
    }
}
