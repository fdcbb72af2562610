//! One transcription on one worker by a family that hears a piece at a time: read, split, hear, answer.

use linnet_features::audio::AudioReader;
use linnet_proto::{TranscribeOptions, Transcript, WireError};

use super::growing::{Growing, HeardPiece};
use super::splitter::{Piece, Splitter};
use super::{Source, audio_error, secs, whole_millis};
use crate::job::{Answer, Job, TaskRequest};
use crate::task::{Execute, TaskContext};

/// How a family hears one piece; one per worker.
pub(super) trait Hear: Send {
    /// What one request asks for, on top of the model's defaults.
    type Plan;

    /// Name of the model.
    fn name(&self) -> &str;

    /// Longest piece, seconds.
    fn max_secs(&self) -> f64;

    /// Reads a request's options, or refuses them.
    fn plan(&self, options: &TranscribeOptions) -> Result<Self::Plan, WireError>;

    /// Hears a piece, with a look at `checkpoint` between the steps of the work; its error is returned at once.
    fn hear(
        &mut self,
        piece: &Piece,
        plan: &Self::Plan,
        checkpoint: &mut dyn FnMut() -> Result<(), WireError>,
    ) -> Result<HeardPiece, WireError>;
}

/// What every plan says.
pub(super) trait Spoken {
    /// The language of the answer, a primary tag.
    fn language(&self) -> &str;

    /// Whether words are written by the rules of casing and punctuation.
    fn punctuates(&self) -> bool {
        false
    }
}

/// A worker's half of a pipeline.
#[derive(Debug)]
pub(super) struct Transcriber<H> {
    hear: H,
    chunk: Vec<f32>,
}

impl<H: Hear<Plan: Spoken>> Execute for Transcriber<H> {
    fn execute(&mut self, job: &Job, ctx: &mut TaskContext) -> Result<Answer, WireError> {
        let TaskRequest::Transcribe(request) = &job.request.task else {
            return Err(crate::task::wrong_task(&job.request.task));
        };
        if request.translate {
            return Err(crate::task::wrong_task(&job.request.task));
        }
        let plan = self.hear.plan(&request.options)?;
        let mut reader =
            AudioReader::open(request.audio.clone(), &request.media, ctx.audio_limits()).map_err(audio_error)?;
        self.transcribe(&plan, &mut |out| reader.read(out), ctx).map(Answer::Transcript)
    }
}

impl<H: Hear<Plan: Spoken>> Transcriber<H> {
    pub(super) fn new(hear: H) -> Self {
        Self { hear, chunk: Vec::new() }
    }

    /// Transcribes what `read` gives. The audio is never held whole.
    pub(super) fn transcribe(
        &mut self,
        plan: &H::Plan,
        read: Source<'_>,
        ctx: &TaskContext,
    ) -> Result<Transcript, WireError> {
        let mut splitter = Splitter::new(self.hear.max_secs());
        let mut answer = Growing::new(plan.punctuates().then(|| plan.language()));
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
                let heard = self.hear.hear(&piece, plan, &mut || ctx.checkpoint())?;
                answer.piece(heard, piece.ends_in_pause);
                answer.emit(ctx)?;
            }
            if !more {
                break;
            }
        }
        Ok(answer.finish(self.hear.name(), plan.language().to_owned(), samples, ctx))
    }
}

/// Seconds from a piece's beginning to seconds of the audio, never beyond the piece: the last output frame may stand for fewer
/// samples than a whole one.
pub(super) fn clock(piece: &Piece) -> impl Fn(f64) -> f64 + Copy {
    let (begin, end) = (secs(piece.start), secs(piece.end()));
    move |secs| whole_millis(begin + secs).min(end)
}
