//! One piece of audio to words: filter banks, the encoder, the search.

use std::collections::HashMap;
use std::sync::Arc;

use linnet_features::audio::SAMPLE_RATE;
use linnet_features::logmel::{FbankOptions, HOP_SAMPLES, KaldiFbank, MEL_BINS};
use linnet_proto::{TranscribeOptions, WireError, Word};

use super::Shared;
use super::search::{self, Context, Joins};
use crate::engine::{Datum, EngineError, Port, Session, Tensor, TensorData};
use crate::task::decode::ctc::align::UnitSpan;
use crate::task::decode::ctc::words::assemble;
use crate::task::decode::text::distribution::log_softmax;
use crate::task::transcribe::canary::{Recite, Recited};
use crate::task::transcribe::growing::HeardPiece;
use crate::task::transcribe::language;
use crate::task::transcribe::pieces::{Hear, Spoken, clock};
use crate::task::transcribe::splitter::Piece;

/// Longest piece, seconds: exports hold a table of positions for twenty.
const MAX_SEGMENT_SECS: f64 = 18.0;
/// Mel frames of a longest piece, and a few more: frames are centred, and pieces are cut at whole hops.
pub(super) const MAX_FRAMES: usize = (MAX_SEGMENT_SECS * 100.0) as usize + 10;
/// Mel frames of an output frame, as sherpa-onnx counts them whatever the model.
const SUBSAMPLING: usize = 4;
/// Fewest mel frames that the encoder's convolutions take.
pub(super) const MIN_FRAMES: usize = 16;
/// Contexts whose decoder output is remembered.
const MAX_REMEMBERED: usize = 4096;
/// Output frames between two looks at the checkpoint.
const FRAMES_PER_LOOK: usize = 16;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::task::transcribe) struct Plan {
    language: String,
    /// Texts that are kept at each frame; 1 is greedy.
    beams: usize,
}

impl Spoken for Plan {
    fn language(&self) -> &str {
        &self.language
    }
}

/// A worker's half of the pipeline.
pub(in crate::task::transcribe) struct Listener {
    shared: Arc<Shared>,
    encoder: Box<dyn Session>,
    decoder: Box<dyn Session>,
    joiner: Box<dyn Session>,
    fbank: KaldiFbank,
    /// What the decoder gave for a context: it depends on nothing else.
    remembered: HashMap<Context, Vec<f32>>,
}

impl Listener {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, EngineError> {
        Ok(Self {
            encoder: shared.encoder.session()?,
            decoder: shared.decoder.session()?,
            joiner: shared.joiner.session()?,
            fbank: KaldiFbank::with(FbankOptions::icefall()),
            remembered: HashMap::new(),
            shared,
        })
    }

    /// Runs all three graphs on a short silence.
    pub(super) fn try_out(&mut self) -> Result<(), EngineError> {
        let heard = self.encode(&vec![0.0; SAMPLE_RATE as usize / 2])?;
        let context = search::beginning(self.shared.context);
        Joiner { listener: self, heard: &heard, looks: &mut || Ok::<(), EngineError>(()) }
            .log_probs(0, &[context])
            .map(drop)
    }

    /// What the encoder makes of a piece.
    fn encode(&mut self, samples: &[f32]) -> Result<Frames, EngineError> {
        let mut features = Vec::new();
        self.fbank.reset();
        self.fbank.push(samples, &mut features);
        self.fbank.finish(&mut features);
        let frames = features.len() / MEL_BINS;
        if frames < MIN_FRAMES {
            return Ok(Frames { data: Vec::new(), width: 1 });
        }
        let ports = self.shared.encoder.inputs();
        let mut features = Some(features);
        let inputs = ports.iter().map(|port| {
            // The sound has three axes, its length one.
            let tensor = match (port.shape.len(), features.take()) {
                (3, Some(data)) => float(port, vec![1, frames, MEL_BINS], data),
                (_, rest) => {
                    features = rest;
                    integers(port, vec![1], vec![frames as i64])
                }
            };
            (port.name.as_str(), tensor)
        });
        let inputs: Vec<_> = inputs.collect();
        let mut outputs = self.encoder.run(&inputs)?.into_iter().map(|(_, tensor)| tensor);
        let missing = || EngineError::Run("the encoder gave no frames of floats, [1, frames, width]".into());
        let heard = outputs.next().ok_or_else(missing)?;
        let ([1, count, width], TensorData::F32(mut data)) = (&heard.shape[..], heard.data) else {
            return Err(missing());
        };
        let (count, width) = (*count, *width);
        // Of the frames that it gives only so many count, where it says so.
        let count = match outputs.next().map(|lens| lens.data) {
            Some(TensorData::I64(lens)) => lens.first().map_or(count, |n| usize::try_from(*n).unwrap_or(0).min(count)),
            _ => count,
        };
        data.truncate(count * width);
        Ok(Frames { data, width })
    }

    fn search(
        &mut self,
        heard: &Frames,
        beams: usize,
        looks: &mut dyn FnMut() -> Result<(), WireError>,
    ) -> Result<Vec<UnitSpan>, WireError> {
        let (context, unknown) = (self.shared.context, self.shared.unknown);
        let mut joiner = Joiner { listener: self, heard, looks };
        match beams {
            0 | 1 => search::greedy(&mut joiner, heard.count(), context, unknown),
            width => search::beam(&mut joiner, heard.count(), context, unknown, width),
        }
    }

    /// What the decoder expects behind a context.
    fn expect(&mut self, context: &Context) -> Result<&[f32], EngineError> {
        if !self.remembered.contains_key(context) {
            if self.remembered.len() >= MAX_REMEMBERED {
                self.remembered.clear();
            }
            let shared = Arc::clone(&self.shared);
            let port = shared.decoder.inputs().first();
            let port = port.ok_or_else(|| EngineError::Run("the decoder takes no tokens".into()))?;
            let tokens = integers(port, vec![1, context.len()], context.to_vec());
            let outputs = self.decoder.run(&[(port.name.as_str(), tokens)])?;
            let TensorData::F32(expected) = first(outputs)?.data else {
                return Err(EngineError::Run("the decoder gave no floats".into()));
            };
            self.remembered.insert(context.clone(), expected);
        }
        Ok(self.remembered.get(context).map_or(&[], Vec::as_slice))
    }
}

/// What an encoder gave: `[frames, width]`.
struct Frames {
    data: Vec<f32>,
    width: usize,
}

impl Frames {
    fn count(&self) -> usize {
        self.data.len() / self.width
    }
}

/// A search's view of decoder and joiner.
struct Joiner<'a, E> {
    listener: &'a mut Listener,
    heard: &'a Frames,
    looks: &'a mut dyn FnMut() -> Result<(), E>,
}

impl<E: From<EngineError>> Joins for Joiner<'_, E> {
    type Error = E;

    fn log_probs(&mut self, frame: usize, contexts: &[Context]) -> Result<Vec<f32>, E> {
        if frame.is_multiple_of(FRAMES_PER_LOOK) {
            (self.looks)()?;
        }
        let width = self.heard.width;
        let heard = &self.heard.data[frame * width..(frame + 1) * width];
        let mut expected = Vec::with_capacity(contexts.len() * width);
        for context in contexts {
            expected.extend_from_slice(self.listener.expect(context)?);
        }
        let rows = contexts.len();
        let shared = Arc::clone(&self.listener.shared);
        let [first_port, second] = shared.joiner.inputs() else {
            return Err(EngineError::Run("the joiner takes two inputs".into()).into());
        };
        let own = expected.len() / rows.max(1);
        let inputs = [
            (first_port.name.as_str(), float(first_port, vec![rows, width], heard.repeat(rows))),
            (second.name.as_str(), float(second, vec![rows, own], expected)),
        ];
        let logits = first(self.listener.joiner.run(&inputs)?)?;
        let units = shared.units.len();
        match logits.data {
            TensorData::F32(data) if data.len() == rows * units => {
                Ok(data.chunks_exact(units).flat_map(log_softmax).collect())
            }
            _ => {
                let reason = format!("the joiner gave {:?} instead of [{rows}, {units}] floats", logits.shape);
                Err(EngineError::Run(reason).into())
            }
        }
    }
}

fn first(outputs: Vec<(String, Tensor)>) -> Result<Tensor, EngineError> {
    outputs
        .into_iter()
        .next()
        .map(|(_, tensor)| tensor)
        .ok_or_else(|| EngineError::Run("the graph gave nothing".into()))
}

fn float(port: &Port, shape: Vec<usize>, data: Vec<f32>) -> Tensor {
    let data = match port.datum {
        Datum::F16 => TensorData::F16(data.into_iter().map(half::f16::from_f32).collect()),
        _ => TensorData::F32(data),
    };
    Tensor { shape, data }
}

fn integers(port: &Port, shape: Vec<usize>, data: Vec<i64>) -> Tensor {
    let data = match port.datum {
        Datum::I32 => TensorData::I32(data.into_iter().map(|v| v as i32).collect()),
        _ => TensorData::I64(data),
    };
    Tensor { shape, data }
}

impl Hear for Listener {
    type Plan = Plan;

    fn name(&self) -> &str {
        &self.shared.name
    }

    fn max_secs(&self) -> f64 {
        MAX_SEGMENT_SECS
    }

    fn plan(&self, options: &TranscribeOptions) -> Result<Plan, WireError> {
        options.check()?;
        let language = language(options.language.as_deref(), &self.shared.name, &self.shared.languages)?;
        Ok(Plan { language, beams: options.beam_width.map_or(1, |width| width as usize) })
    }

    fn hear(
        &mut self,
        piece: &Piece,
        plan: &Plan,
        checkpoint: &mut dyn FnMut() -> Result<(), WireError>,
    ) -> Result<HeardPiece, WireError> {
        let heard = self.encode(&piece.samples)?;
        let spans = self.search(&heard, plan.beams, checkpoint)?;
        let decoded = assemble(&spans, &self.shared.units);
        let time = clock(piece);
        let frame_secs = (SUBSAMPLING * HOP_SAMPLES) as f64 / f64::from(SAMPLE_RATE);
        let words = decoded.words.into_iter().map(|word| Word {
            start: time(word.start_frame as f64 * frame_secs),
            end: time(word.end_frame as f64 * frame_secs),
            word: word.text,
            confidence: word.confidence,
            interpolated: false,
        });
        Ok(HeardPiece { words: words.collect(), text: None, avg_logprob: decoded.avg_logprob })
    }
}

impl Recite for Listener {
    fn recite(&mut self, sound: &[f32]) -> Result<Recited, String> {
        let heard = self.encode(sound).map_err(|e| e.to_string())?;
        let spans = self.search(&heard, 1, &mut || Ok(())).map_err(|e| e.message)?;
        let (logprobs, margin) = self.path(&heard, &spans)?;
        Ok(Recited {
            margins: vec![margin; spans.len() + 1],
            tokens: spans.into_iter().map(|span| span.unit).collect(),
            logprobs,
        })
    }

    /// Of every frame along the greedy path: that it is the same path is for [`Recited::tokens`] to tell.
    fn logprobs(&mut self, sound: &[f32], _tokens: &[u32]) -> Result<Vec<f32>, String> {
        Ok(self.recite(sound)?.logprobs)
    }
}

impl Listener {
    /// Log-probability of the likeliest token at each frame, and the least distance to another.
    fn path(&mut self, heard: &Frames, spans: &[UnitSpan]) -> Result<(Vec<f32>, f32), String> {
        let mut context = search::beginning(self.shared.context);
        let (mut logprobs, mut margin) = (Vec::new(), f32::INFINITY);
        let mut written = spans.iter().peekable();
        for frame in 0..heard.count() {
            let mut joiner = Joiner { listener: self, heard, looks: &mut || Ok::<(), EngineError>(()) };
            let mut scores = joiner.log_probs(frame, std::slice::from_ref(&context)).map_err(|e| e.to_string())?;
            scores.sort_unstable_by(|a, b| b.total_cmp(a));
            if let [first, second, ..] = scores[..] {
                logprobs.push(first);
                margin = margin.min(first - second);
            }
            if let Some(span) = written.next_if(|span| span.start_frame == frame) {
                context = search::behind(&context, span.unit);
            }
        }
        Ok((logprobs, margin))
    }
}

#[cfg(test)]
impl Listener {
    /// Tokens with their first frames, of a whole clip as one piece.
    pub(super) fn hear_whole(&mut self, samples: &[f32], beams: usize) -> Result<Vec<(u32, usize)>, WireError> {
        let heard = self.encode(samples)?;
        let spans = self.search(&heard, beams, &mut || Ok(()))?;
        Ok(spans.into_iter().map(|span| (span.unit, span.start_frame)).collect())
    }
}
