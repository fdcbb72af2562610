//! The answer of a transcription as far as it is known.

use std::time::{Duration, Instant};

use linnet_proto::{Segment, Transcript, WireError, Word};

use super::punctuate::Punctuator;
use super::{secs, whole_millis};
use crate::job::Part;
use crate::task::TaskContext;

/// What was heard in a stretch of audio.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct HeardPiece {
    /// Words with times from the beginning of the audio.
    pub(super) words: Vec<Word>,
    /// The text as the model writes it; the words with single blanks between where it is none.
    pub(super) text: Option<String>,
    /// Mean log-probability of what makes the words.
    pub(super) avg_logprob: f32,
}

/// Segments in order, and how long the work on them took.
pub(super) struct Growing {
    segments: Vec<Segment>,
    punctuator: Option<Punctuator>,
    emitted: usize,
    began: Instant,
    /// Time in which a slow caller was waited for, which is no work.
    waited: Duration,
}

impl Growing {
    /// Begins now. `punctuate` names the language by whose rules words are written.
    pub(super) fn new(punctuate: Option<&str>) -> Self {
        Self {
            segments: Vec::new(),
            punctuator: punctuate.map(Punctuator::new),
            emitted: 0,
            began: Instant::now(),
            waited: Duration::ZERO,
        }
    }

    /// Adds what a piece holds, unless nothing was said in it. `ends_in_pause` says that a pause follows.
    pub(super) fn piece(&mut self, mut heard: HeardPiece, ends_in_pause: bool) {
        let (Some(first), Some(last)) = (heard.words.first(), heard.words.last()) else { return };
        let (start, end) = (first.start, last.end);
        if let Some(punctuator) = &mut self.punctuator {
            punctuator.segment(&mut heard.words, ends_in_pause);
        }
        let text = heard.text.unwrap_or_else(|| joined(heard.words.iter().map(|w| w.word.as_str())));
        let avg_logprob = heard.avg_logprob;
        self.push(Segment { start, end, text, avg_logprob, words: heard.words, ..Segment::default() });
    }

    /// Adds a segment, which gets its number here.
    pub(super) fn push(&mut self, segment: Segment) {
        let id = u32::try_from(self.segments.len()).unwrap_or(u32::MAX);
        self.segments.push(Segment { id, ..segment });
    }

    /// Hands out what was not yet.
    pub(super) fn emit(&mut self, ctx: &TaskContext) -> Result<(), WireError> {
        let began = Instant::now();
        while let Some(segment) = self.segments.get(self.emitted) {
            ctx.emit(Part::Segment(segment.clone()))?;
            self.emitted += 1;
        }
        self.waited += began.elapsed();
        Ok(())
    }

    /// The whole answer to audio of so many samples.
    pub(super) fn finish(self, model: &str, language: String, samples: u64, ctx: &TaskContext) -> Transcript {
        let duration_secs = secs(samples);
        let busy = self.began.elapsed().saturating_sub(self.waited);
        Transcript {
            text: text_of(&self.segments),
            words: self.segments.iter().flat_map(|s| s.words.iter().cloned()).collect(),
            segments: self.segments,
            model: model.to_owned(),
            language,
            duration_secs,
            rtf: if samples == 0 { 0.0 } else { busy.as_secs_f64() / duration_secs },
            queue_ms: ctx.queued().as_secs_f64() * 1000.0,
            inference_ms: busy.as_secs_f64() * 1000.0,
        }
    }
}

/// All segments' texts, parted as their language parts them.
fn text_of(segments: &[Segment]) -> String {
    let mut text = String::new();
    for segment in segments.iter().filter(|segment| !segment.text.is_empty()) {
        if !text.is_empty() {
            text.push_str(segment.blank());
        }
        text.push_str(&segment.text);
    }
    text
}

/// Gives words a share of a segment's time by their number of characters.
pub(super) fn spread(words: &mut [Word], start: f64, end: f64) {
    let chars: usize = words.iter().map(|word| word.word.chars().count()).sum();
    let mut before = 0;
    for word in words {
        let share =
            |chars_before: usize| whole_millis(start + (end - start) * chars_before as f64 / chars.max(1) as f64);
        word.start = share(before);
        before += word.word.chars().count();
        word.end = share(before);
        word.interpolated = true;
    }
}

fn joined<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}
