//! A programmable stand-in for a pipeline, for tests of everything that hands jobs to one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use linnet_proto::manifest::{Canary, CanarySearch, CanaryStatus, MANIFEST_VERSION, Manifest, SpeechCanary};
use linnet_proto::{Transcript, WireError};

use super::catalog::{Home, Served};
use super::{Execute, Pipeline, TaskContext};
use crate::job::{Answer, Job};

type Script = dyn Fn(&Job, &mut TaskContext) -> Result<Answer, WireError> + Send + Sync;

/// A pipeline whose jobs follow a script. Clones are one.
#[derive(Clone)]
pub struct FakePipeline {
    script: Arc<Script>,
    made: Arc<AtomicUsize>,
    alive: Arc<AtomicUsize>,
    canary: Result<(), String>,
}

impl fmt::Debug for FakePipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakePipeline").field("made", &self.made()).field("alive", &self.alive()).finish()
    }
}

impl FakePipeline {
    /// A pipeline that answers each job as `script` does; its canary passes.
    pub fn new(script: impl Fn(&Job, &mut TaskContext) -> Result<Answer, WireError> + Send + Sync + 'static) -> Self {
        Self { script: Arc::new(script), made: Arc::default(), alive: Arc::default(), canary: Ok(()) }
    }

    /// The same with another outcome of its canary.
    #[must_use]
    pub fn with_canary(mut self, canary: Result<(), String>) -> Self {
        self.canary = canary;
        self
    }

    /// Executors made so far.
    pub fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// Executors that workers hold now.
    pub fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }

    /// The pipeline as a model named `name` that transcribes English.
    pub fn served(&self, name: &str) -> Arc<Served> {
        self.serving(name, &["transcribe"], &["en"])
    }

    /// The pipeline as a model named `name` that does `tasks` in `languages`.
    pub fn serving(&self, name: &str, tasks: &[&str], languages: &[&str]) -> Arc<Served> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Arc::new(Served {
            name: name.to_owned(),
            aliases: Vec::new(),
            dir: name.into(),
            manifest: Manifest { tasks: owned(tasks), languages: owned(languages), ..manifest(name) },
            home: Home::of(Arc::new(self.clone())),
        })
    }
}

impl Pipeline for FakePipeline {
    fn memory_bytes(&self) -> u64 {
        3 << 20
    }

    fn executor(&self) -> Result<Box<dyn Execute>, WireError> {
        self.made.fetch_add(1, Ordering::SeqCst);
        self.alive.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(FakeExecutor(self.clone())))
    }

    fn prove(&self, _canary: &Canary) -> Result<(), String> {
        self.canary.clone()
    }
}

struct FakeExecutor(FakePipeline);

impl Execute for FakeExecutor {
    fn execute(&mut self, job: &Job, ctx: &mut TaskContext) -> Result<Answer, WireError> {
        (self.0.script)(job, ctx)
    }
}

impl Drop for FakeExecutor {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An answer that says `text`.
pub fn transcript(text: &str) -> Answer {
    Answer::Transcript(Transcript {
        text: text.to_owned(),
        words: Vec::new(),
        segments: Vec::new(),
        model: "fake".to_owned(),
        language: "en".to_owned(),
        duration_secs: 2.0,
        rtf: 0.05,
        queue_ms: 0.0,
        inference_ms: 100.0,
    })
}

/// A manifest that lists no files, of a model that transcribes English.
pub fn manifest(name: &str) -> Manifest {
    Manifest {
        manifest_version: MANIFEST_VERSION,
        name: name.to_owned(),
        version: "1.2.3".to_owned(),
        aliases: Vec::new(),
        tasks: vec!["transcribe".to_owned()],
        languages: vec!["en".to_owned()],
        pairs: Vec::new(),
        license: "MIT OR Apache-2.0".to_owned(),
        description: "A model that follows a script.".to_owned(),
        family: crate::store::CTC_FAMILY.to_owned(),
        memory_mib: 1,
        files: Default::default(),
        dtype: None,
        canary: Some(Canary::Speech(SpeechCanary {
            status: CanaryStatus::Recorded,
            audio: "canary.wav".to_owned(),
            text: "hello".to_owned(),
            search: CanarySearch::Greedy,
            logprob: -0.1,
            logprob_tolerance: 0.01,
        })),
    }
}
