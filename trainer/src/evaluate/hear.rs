//! A whole manifest through a package's pipeline, on several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use linnet::job::{Answer, Job, Origin, Priority, Reply, Request, TaskRequest, TranscribeRequest};
use linnet::task::transcribe::TranscribePipeline;
use linnet::task::{Execute, Heartbeat, Pipeline, TaskContext};
use linnet_features::audio::{AudioLimits, Media};
use linnet_proto::{TranscribeOptions, Transcript, WireError};

use crate::bad::{BadRows, Fault};
use crate::error::{Failure, Result};
use crate::interrupt;
use crate::manifest::{Manifest, Utterance};
use crate::progress;
use crate::text;

/// Longest time for one recording.
const TIMEOUT: Duration = Duration::from_secs(3600);
/// Segments of one recording that may wait to be read, which nobody does: the answer has them all.
const MOST_SEGMENTS: usize = 1 << 16;

/// How to hear.
#[derive(Debug, Clone, Default)]
pub struct HearOptions {
    /// Beam width instead of the package's own.
    pub beam_width: Option<u32>,
    /// Weight of the language model instead of the package's own.
    pub lm_weight: Option<f32>,
    /// Threads, at least 1.
    pub threads: usize,
}

impl HearOptions {
    fn transcribe(&self) -> TranscribeOptions {
        TranscribeOptions {
            beam_width: self.beam_width,
            lm_weight: self.lm_weight,
            punctuate: Some(false),
            ..TranscribeOptions::default()
        }
    }

    /// Refuses what the daemon would refuse.
    pub fn check(&self) -> Result<()> {
        self.transcribe().check().map_err(|e| Failure::usage(e.message))
    }
}

/// One recording, what was said and what was heard.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Its row.
    pub utterance: Utterance,
    /// What was heard, normalised as the reference is.
    pub text: String,
    /// Work of one thread, seconds.
    pub busy_secs: f64,
    /// Length of the audio, seconds.
    pub audio_secs: f64,
}

/// Hears every row of `set`, in its order. Rows that cannot be heard go to `bad`.
pub fn hear_all(
    pipeline: &TranscribePipeline,
    set: &Manifest,
    options: &HearOptions,
    bad: &mut BadRows,
) -> Result<Vec<Heard>> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results: Vec<Mutex<Option<std::result::Result<Transcript, Fault>>>> =
        set.utterances.iter().map(|_| Mutex::new(None)).collect();
    let store = |place: usize, result| {
        // A thread that panicked holds no lock: it is taken for a store alone.
        if let Ok(mut slot) = results[place].lock() {
            *slot = Some(result);
        }
        done.fetch_add(1, Ordering::Relaxed);
    };
    let work = |mut executor: Box<dyn Execute>| {
        while !interrupt::requested() {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(utterance) = set.utterances.get(place) else { return };
            store(place, hear(&mut *executor, utterance, options));
        }
    };
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..options.threads.clamp(1, set.utterances.len().max(1)) {
            let executor = pipeline.executor().map_err(|e| Failure::software(e.message))?;
            workers.push(scope.spawn(|| work(executor)));
        }
        watch(&done, set, || workers.iter().all(std::thread::ScopedJoinHandle::is_finished));
        Ok::<(), Failure>(())
    })?;
    if interrupt::requested() {
        return Err(Failure::new(crate::error::Kind::Interrupted, "stopped; nothing was written"));
    }
    let mut heard = Vec::with_capacity(set.utterances.len());
    for (slot, utterance) in results.into_iter().zip(&set.utterances) {
        match slot.into_inner().ok().flatten() {
            Some(Ok(transcript)) => heard.push(Heard {
                utterance: utterance.clone(),
                text: text::normalize(&transcript.text),
                busy_secs: transcript.inference_ms / 1e3,
                audio_secs: transcript.duration_secs,
            }),
            Some(Err(fault)) => bad.report(&set.path, utterance.line, &fault)?,
            None => return Err(Failure::software(format!("{}: a thread died", utterance.audio.display()))),
        }
    }
    Ok(heard)
}

/// Shows the progress until all threads are at their end.
fn watch(done: &AtomicUsize, set: &Manifest, ended: impl Fn() -> bool) {
    let (began, all) = (Instant::now(), set.utterances.len());
    let mut line = progress::Line::new();
    let text = |done: usize| {
        let left = began.elapsed().as_secs_f64() * (all - done.min(all)) as f64 / done.max(1) as f64;
        format!("{}: {done} of {all} heard, {} left", set.path.display(), progress::clock(left))
    };
    while !ended() {
        std::thread::sleep(Duration::from_millis(20));
        if began.elapsed() > Duration::from_secs(2) {
            line.show(|| text(done.load(Ordering::Relaxed)));
        }
    }
}

fn hear(
    executor: &mut dyn Execute,
    utterance: &Utterance,
    options: &HearOptions,
) -> std::result::Result<Transcript, Fault> {
    let path = &utterance.audio;
    let bytes = std::fs::read(path).map_err(|e| Fault::MissingAudio(path.clone(), e.to_string()))?;
    let (parts, cancel, _reply) = Reply::channel(MOST_SEGMENTS);
    let now = Instant::now();
    let task = TaskRequest::Transcribe(TranscribeRequest {
        audio: bytes.into(),
        media: Media::Detect,
        options: options.transcribe(),
        translate: false,
    });
    let request = Request {
        id: path.display().to_string(),
        origin: Origin::Internal,
        task,
        timeout: TIMEOUT,
        priority: Priority::Low,
    };
    let job = Job { request, admitted: now, deadline: now + TIMEOUT, cancel, parts };
    let mut context = TaskContext::new(&job, Heartbeat::default(), AudioLimits::default());
    match executor.execute(&job, &mut context) {
        Ok(Answer::Transcript(transcript)) => Ok(transcript),
        Ok(_) => Err(Fault::Audio(path.clone(), "it was answered with something else than a transcript".into())),
        Err(WireError { message, .. }) => Err(Fault::Audio(path.clone(), message)),
    }
}
