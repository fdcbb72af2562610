//! One transcription on one worker: window by window, each from where the one before was understood.

use std::sync::Arc;

use linnet_features::audio::AudioReader;
use linnet_proto::{Segment, Transcript, WireError, Word};

use super::Shared;
use super::config::{FRAMES_PER_POSITION, Settings};
use super::plan::{Before, Plan};
use super::segments::{Cut, cut};
use super::window::{self, Written};
use super::windows::{Open, Windows};
use super::write::{self, Checkpoint, Prefix};
use super::{align, words};
use crate::engine::{Datum, EngineError, Session, Tensor, TensorData};
use crate::job::{Answer, Job, TaskRequest};
use crate::task::model::seq2seq::{Encoded, Seq2Seq};
use crate::task::transcribe::growing::{Growing, spread};
use crate::task::transcribe::{audio_error, secs, whole_millis};
use crate::task::{Execute, TaskContext};

/// Seconds of a mel frame.
const FRAME_SECS: f64 = 0.01;

/// A worker's half of the pipeline.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    encoder: Box<dyn Session>,
    pub(super) decoder: Seq2Seq,
}

impl Execute for Writer {
    fn execute(&mut self, job: &Job, ctx: &mut TaskContext) -> Result<Answer, WireError> {
        let TaskRequest::Transcribe(request) = &job.request.task else {
            return Err(crate::task::wrong_task(&job.request.task));
        };
        let Shared { name, settings, tokens, .. } = &*self.shared;
        let plan = Plan::new(&request.options, request.translate, name, settings, tokens)?;
        let limits = ctx.audio_limits().clone();
        let open = || AudioReader::open(request.audio.clone(), &request.media, &limits);
        // Refused before it is looked through.
        drop(open().map_err(audio_error)?);
        self.transcribe(&plan, &open, ctx).map(Answer::Transcript)
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, EngineError> {
        Ok(Self { encoder: shared.encoder.session()?, decoder: shared.decoder.open()?, shared })
    }

    /// Has the decoder listen to a window, `[mel bins, frames]`.
    pub(super) fn listen(&mut self, features: Vec<f32>) -> Result<(), EngineError> {
        let Settings { mel_bins, positions, .. } = self.shared.settings;
        let shape = vec![1, mel_bins, self.shared.settings.window()];
        let data = match self.shared.input.datum {
            Datum::F16 => TensorData::F16(features.into_iter().map(half::f16::from_f32).collect()),
            _ => TensorData::F32(features),
        };
        let outputs = self.encoder.run(&[(&self.shared.input.name, Tensor { shape, data })])?;
        let states = outputs.into_iter().next().map(|(_, states)| states);
        let states = states.ok_or_else(|| EngineError::Run("the encoder gave nothing".into()))?;
        if states.shape.len() != 3 || states.shape[..2] != [1, positions] {
            let reason = format!("the encoder gave {:?} instead of [1, {positions}, width]", states.shape);
            return Err(EngineError::Run(reason));
        }
        self.decoder.listen(Encoded { states, mask: vec![1; positions] });
        Ok(())
    }

    /// The language that is spoken in the window that the decoder listens to.
    pub(super) fn detect(&mut self, checkpoint: Checkpoint<'_>) -> Result<Option<String>, WireError> {
        let settings = &self.shared.settings;
        let begun = write::begin(&mut self.decoder, &Prefix { ids: vec![settings.start], start: 0 }, checkpoint)?;
        let logit = |id: &u32| begun.at_start.get(*id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        // Of equal ones the lowest id, as everywhere.
        let best = settings.languages.iter().max_by(|a, b| logit(a.1).total_cmp(&logit(b.1)).then(b.1.cmp(a.1)));
        Ok(best.map(|(tag, _)| tag.clone()))
    }

    /// Transcribes what `open` opens.
    pub(super) fn transcribe(
        &mut self,
        plan: &Plan,
        open: Open<'_>,
        ctx: &TaskContext,
    ) -> Result<Transcript, WireError> {
        self.transcribe_watched(plan, open, ctx, &mut |_, _, _| {})
    }

    /// As [`Writer::transcribe`]; `watch` sees each window as it is written, with its first frame and its frames.
    pub(super) fn transcribe_watched(
        &mut self,
        plan: &Plan,
        open: Open<'_>,
        ctx: &TaskContext,
        watch: &mut dyn FnMut(&Written, usize, usize),
    ) -> Result<Transcript, WireError> {
        let shared = Arc::clone(&self.shared);
        let settings = &shared.settings;
        let mut checkpoint = || ctx.checkpoint();
        let mut answer = Growing::new(None);
        let mut windows = Windows::look(open, settings.mel_bins, &mut checkpoint)?;
        let mut language = plan.language.clone();
        let mut before = Before::new(plan);
        let mut seek = 0;
        while seek < windows.total() {
            let frames = (windows.total() - seek).min(settings.window());
            let features = windows.window(seek, settings.window(), &mut checkpoint)?;
            self.listen(features)?;
            if settings.multilingual && language.is_none() {
                language = self.detect(&mut checkpoint)?;
            }
            let prefix = plan.prefix(settings, language.as_deref(), &before);
            let written = window::write(&mut self.decoder, settings, plan, &prefix, seek, &mut checkpoint)?;
            watch(&written, seek, frames);
            before.written_at(written.temperature);
            if written.skip {
                seek += frames;
                continue;
            }
            let tokens = written.text.text_tokens(settings.end);
            let (cuts, covered) = cut(tokens, settings.first_time().unwrap_or(u32::MAX), frames);
            let spoken = if plan.translate { "en" } else { language.as_deref().unwrap_or("en") };
            let told = Told::new(&shared, &written, seek, frames, windows.samples());
            for cut in &cuts {
                before.segment(&tokens[cut.tokens.clone()], settings);
                if let Some(segment) = told.segment(cut, spoken) {
                    answer.push(segment);
                }
            }
            answer.emit(ctx)?;
            seek += if covered == 0 { frames } else { covered };
        }
        let language = if plan.translate { Some("en".to_owned()) } else { language };
        let language = language.or_else(|| shared.languages.first().cloned()).unwrap_or_default();
        Ok(answer.finish(&shared.name, language, windows.samples(), ctx))
    }
}

/// A written window on its way to segments.
struct Told<'a> {
    shared: &'a Shared,
    written: &'a Written,
    tokens: &'a [u32],
    seek: usize,
    /// When each token ends, seconds from the window's beginning.
    ends: Option<Vec<f64>>,
    /// Length of the audio, seconds.
    duration: f64,
}

impl<'a> Told<'a> {
    fn new(shared: &'a Shared, written: &'a Written, seek: usize, frames: usize, samples: u64) -> Self {
        let tokens = written.text.text_tokens(shared.settings.end);
        let used = frames / FRAMES_PER_POSITION;
        let ends = align::token_ends(&written.text.attention, &shared.settings, used);
        Self { shared, written, tokens, seek, ends, duration: secs(samples) }
    }

    fn time(&self, in_window: f64) -> f64 {
        whole_millis(self.seek as f64 * FRAME_SECS + in_window).min(self.duration)
    }

    /// The segment, unless nothing was said in it.
    fn segment(&self, cut: &Cut, language: &str) -> Option<Segment> {
        let Shared { settings, tokens, .. } = self.shared;
        // Places of tokens that are text, and no control or timestamp.
        let places: Vec<usize> = cut.tokens.clone().filter(|place| self.tokens[*place] < settings.end).collect();
        let ids: Vec<u32> = places.iter().map(|place| self.tokens[*place]).collect();
        let text = tokens.decode(&ids, true).trim().to_owned();
        let (start, end) = (self.time(cut.start), self.time(cut.end));
        if text.is_empty() || end <= start {
            return None;
        }
        let mut own: Vec<Word> = Vec::new();
        for word in words::split(tokens, &ids, language) {
            let text = word.text.trim();
            if text.is_empty() {
                continue;
            }
            let places = &places[word.tokens];
            let sum: f32 = places.iter().map(|place| self.written.text.logprobs[*place].min(0.0)).sum();
            let confidence = (sum / places.len() as f32).exp();
            let (start, end) = self.word_times(places, start, end);
            own.push(Word { word: text.to_owned(), start, end, confidence, interpolated: false });
        }
        if self.ends.is_none() {
            spread(&mut own, start, end);
        }
        let logprobs = &self.written.text.logprobs[cut.tokens.clone()];
        let avg_logprob = logprobs.iter().sum::<f32>() / logprobs.len().max(1) as f32;
        Some(Segment {
            id: 0,
            start,
            end,
            avg_logprob,
            words: own,
            unspaced: words::is_unspaced(language),
            written: Some(linnet_proto::Written {
                seek: self.seek as u64,
                tokens: self.tokens[cut.tokens.clone()].to_vec(),
                temperature: self.written.temperature,
                compression_ratio: window::ratio(text.as_bytes()),
                no_speech_prob: self.written.no_speech,
            }),
            text,
        })
    }

    /// From the end of the token before to the end of the last; within the segment.
    fn word_times(&self, places: &[usize], start: f64, end: f64) -> (f64, f64) {
        let (Some(ends), [first, ..], [.., last]) = (&self.ends, places, places) else { return (start, end) };
        let at = |place: usize| ends.get(place).map_or(end, |secs| self.time(*secs).clamp(start, end));
        let from = first.checked_sub(1).map_or(start, at);
        (from, at(*last).max(from))
    }
}
