//! One transcription on one worker: read, split, hear, answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use linnet_features::audio::{AudioError, AudioReader, SAMPLE_RATE};
use linnet_proto::{ErrorCode, Segment, Transcript, WireError, Word};

use super::Shared;
use super::options::Plan;
use super::punctuate::Punctuator;
use super::recognizer::Recognizer;
use super::splitter::{Piece, Splitter};
use crate::engine::EngineError;
use crate::job::{Answer, Job, Part, TaskRequest};
use crate::task::{Execute, TaskContext};

/// A worker's half of the pipeline.
#[derive(Debug)]
pub(super) struct Transcriber {
    shared: Arc<Shared>,
    recognizer: Recognizer,
    chunk: Vec<f32>,
}

/// Appends the next samples; `false` at the end.
type Source<'a> = &'a mut dyn FnMut(&mut Vec<f32>) -> Result<bool, AudioError>;

impl Execute for Transcriber {
    fn execute(&mut self, job: &Job, ctx: &mut TaskContext) -> Result<Answer, WireError> {
        let TaskRequest::Transcribe(request) = &job.request.task else {
            return Err(crate::task::wrong_task(&job.request.task));
        };
        let plan =
            Plan::new(&request.options, &self.shared.config.decoding, &self.shared.name, &self.shared.languages)?;
        let mut reader =
            AudioReader::open(request.audio.clone(), &request.media, ctx.audio_limits()).map_err(audio_error)?;
        self.transcribe(&plan, &mut |out| reader.read(out), ctx).map(Answer::Transcript)
    }
}

impl Transcriber {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, EngineError> {
        let recognizer = Recognizer::new(Arc::clone(&shared))?;
        Ok(Self { shared, recognizer, chunk: Vec::new() })
    }

    /// Transcribes what `read` gives. The audio is never held whole.
    pub(super) fn transcribe(
        &mut self,
        plan: &Plan,
        read: Source<'_>,
        ctx: &TaskContext,
    ) -> Result<Transcript, WireError> {
        let began = Instant::now();
        let mut splitter = Splitter::new(self.shared.config.max_segment_secs);
        let mut answer = Growing::new(plan);
        let mut samples = 0u64;
        loop {
            ctx.checkpoint()?;
            self.chunk.clear();
            let more = read(&mut self.chunk).map_err(audio_error)?;
            samples += self.chunk.len() as u64;
            splitter.push(&self.chunk);
            if !more {
                splitter.finish();
            }
            while let Some(piece) = splitter.next() {
                ctx.checkpoint()?;
                self.hear(&piece, plan, ctx, &mut answer)?;
                answer.emit(ctx)?;
            }
            if !more {
                break;
            }
        }
        let duration_secs = secs(samples);
        let busy = began.elapsed().saturating_sub(answer.waited);
        Ok(Transcript {
            text: text_of(answer.segments.iter().map(|s| s.text.as_str())),
            words: answer.segments.iter().flat_map(|s| s.words.iter().cloned()).collect(),
            segments: answer.segments,
            model: self.shared.name.clone(),
            language: plan.language.clone(),
            duration_secs,
            rtf: if samples == 0 { 0.0 } else { busy.as_secs_f64() / duration_secs },
            queue_ms: ctx.queued().as_secs_f64() * 1000.0,
            inference_ms: busy.as_secs_f64() * 1000.0,
        })
    }

    fn hear(&mut self, piece: &Piece, plan: &Plan, ctx: &TaskContext, answer: &mut Growing) -> Result<(), WireError> {
        let mut search = plan.search.clone();
        // A piece that is cut within speech ends in the middle of a sentence.
        search.sentence_ends = piece.ends_in_pause;
        let mut checkpoint = || ctx.checkpoint();
        let heard = self.recognizer.hear_while(&piece.samples, &search, &plan.hot_words, &mut checkpoint)?;
        let (begin, end) = (secs(piece.start), secs(piece.end()));
        let frame_secs = self.recognizer.frame_secs();
        // The last output frame may stand for fewer samples than a whole one.
        let time = |frame: usize| whole_millis(begin + frame as f64 * frame_secs).min(end);
        let words = heard.decoded.words.into_iter().map(|word| Word {
            start: time(word.start_frame),
            end: time(word.end_frame),
            word: word.text,
            confidence: word.confidence,
        });
        answer.segment(words.collect(), heard.decoded.avg_logprob, piece.ends_in_pause);
        Ok(())
    }
}

/// Whole milliseconds, so that an answer reads 1.4 and not 1.4000000000000001.
fn whole_millis(secs: f64) -> f64 {
    (secs * 1000.0).round() / 1000.0
}

/// The answer as far as it is known.
struct Growing {
    segments: Vec<Segment>,
    punctuator: Option<Punctuator>,
    emitted: usize,
    /// Time in which a slow caller was waited for, which is no work.
    waited: Duration,
}

impl Growing {
    fn new(plan: &Plan) -> Self {
        let punctuator = plan.punctuate.then(|| Punctuator::new(&plan.language));
        Self { segments: Vec::new(), punctuator, emitted: 0, waited: Duration::ZERO }
    }

    /// Adds a segment, unless nothing was said in it.
    fn segment(&mut self, mut words: Vec<Word>, avg_logprob: f32, ends_in_pause: bool) {
        let (Some(start), Some(end)) = (words.first().map(|w| w.start), words.last().map(|w| w.end)) else { return };
        if let Some(punctuator) = &mut self.punctuator {
            punctuator.segment(&mut words, ends_in_pause);
        }
        let text = text_of(words.iter().map(|w| w.word.as_str()));
        let id = u32::try_from(self.segments.len()).unwrap_or(u32::MAX);
        self.segments.push(Segment { id, start, end, text, avg_logprob, words });
    }

    /// Hands out what was not yet.
    fn emit(&mut self, ctx: &TaskContext) -> Result<(), WireError> {
        let began = Instant::now();
        while let Some(segment) = self.segments.get(self.emitted) {
            ctx.emit(Part::Segment(segment.clone()))?;
            self.emitted += 1;
        }
        self.waited += began.elapsed();
        Ok(())
    }
}

fn text_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

fn secs(samples: u64) -> f64 {
    samples as f64 / f64::from(SAMPLE_RATE)
}

/// Where each refusal of audio belongs on the wire.
fn audio_error(error: AudioError) -> WireError {
    let code = match error {
        AudioError::Unsupported(_) => ErrorCode::UnsupportedMedia,
        AudioError::Malformed(_) | AudioError::OutOfRange(_) => ErrorCode::InvalidAudio,
        AudioError::Empty => ErrorCode::EmptyAudio,
        AudioError::TooLarge(_) => ErrorCode::TooLarge,
    };
    WireError::new(code, error.to_string())
}

impl From<EngineError> for WireError {
    fn from(error: EngineError) -> Self {
        Self::new(ErrorCode::Internal, error.to_string())
    }
}
