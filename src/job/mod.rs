//! Admission: a request becomes a [`Job`] with a deadline, a priority and a place for its answer, or is refused at once.

pub mod chain;
pub mod offers;
mod place;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use linnet_features::audio::Media;
pub use linnet_proto::Priority;
use linnet_proto::generate::{Delta, GenerateInput, GenerateRequest, Generated};
use linnet_proto::text::{
    AnswerRequest, ClassifyRequest, EmbedRequest, Embedded, FillCandidate, FillRequest, Intent, IntentRequest, Label,
    Nested, RawAnswer, RawRequest, Results, SpanAnswer, SummarizeRequest, Summary, TagRequest, Tagged, WordsRequest,
};
use linnet_proto::translate::{DetectRequest, Detected, TranslateRequest, Translated, Translation};
use linnet_proto::{Segment, TranscribeOptions, Transcript, WireError};
use tokio::sync::mpsc;

pub use offers::{Offer, Offers};
pub use place::place;

/// Where a request came from; a label of metrics and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// HTTP over the Unix socket or TCP.
    Http,
    /// MQTT.
    Mqtt,
    /// The Wyoming protocol.
    Wyoming,
    /// The daemon itself: warm-up, canary, bench.
    Internal,
}

impl Origin {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Mqtt => "mqtt",
            Self::Wyoming => "wyoming",
            Self::Internal => "internal",
        }
    }
}

/// A request as every transport hands it over.
#[derive(Debug, Clone)]
pub struct Request {
    /// Unique within the daemon's run; appears in logs as `REQUEST_ID`.
    pub id: String,
    /// Where it came from.
    pub origin: Origin,
    /// What is asked.
    pub task: TaskRequest,
    /// How long the caller waits, counted from admission.
    pub timeout: Duration,
    /// Who goes first.
    pub priority: Priority,
}

/// What is asked, one variant per task.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one for each request, and it is moved a few times")]
pub enum TaskRequest {
    /// Speech to text.
    Transcribe(TranscribeRequest),
    /// Text from a prompt.
    Generate(GenerateRequest),
    /// Text to another language.
    Translate(TranslateRequest),
    /// Which language a text is in.
    Detect(DetectRequest),
    /// Words for masks.
    Fill(FillRequest),
    /// Labels of a text.
    Classify(ClassifyRequest),
    /// Entities in a text.
    Tag(TagRequest),
    /// An answer from a text.
    Answer(AnswerRequest),
    /// What somebody wants.
    Intent(IntentRequest),
    /// Vectors of texts.
    Embed(EmbedRequest),
    /// Neighbours of words.
    Words(WordsRequest),
    /// A shorter text.
    Summarize(SummarizeRequest),
    /// Tensors through a graph.
    Raw(RawRequest),
}

/// Runs `$body` with `$request` bound to whatever the variant holds.
macro_rules! each_request {
    ($task:expr, $request:ident => $body:expr) => {
        match $task {
            TaskRequest::Generate($request) => $body,
            TaskRequest::Translate($request) => $body,
            TaskRequest::Detect($request) => $body,
            TaskRequest::Fill($request) => $body,
            TaskRequest::Classify($request) => $body,
            TaskRequest::Tag($request) => $body,
            TaskRequest::Answer($request) => $body,
            TaskRequest::Intent($request) => $body,
            TaskRequest::Embed($request) => $body,
            TaskRequest::Words($request) => $body,
            TaskRequest::Summarize($request) => $body,
            TaskRequest::Raw($request) => $body,
            TaskRequest::Transcribe(TranscribeRequest { options: $request, .. }) => $body,
        }
    };
}

impl TaskRequest {
    /// The task's name in manifests, topics, metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Transcribe(request) if request.translate => "translate-speech",
            Self::Transcribe(_) => "transcribe",
            Self::Generate(GenerateRequest { input: GenerateInput::Chat(_), .. }) => "chat",
            Self::Generate(_) => "generate",
            Self::Translate(_) => "translate",
            Self::Detect(_) => "detect",
            Self::Fill(_) => "fill",
            Self::Classify(_) => "classify",
            Self::Tag(_) => "tag",
            Self::Answer(_) => "answer",
            Self::Intent(_) => "intent",
            Self::Embed(_) => "embed",
            Self::Words(_) => "words",
            Self::Summarize(_) => "summarize",
            Self::Raw(_) => "raw",
        }
    }

    /// Whether segments are wanted before the whole answer.
    pub fn streams_segments(&self) -> bool {
        matches!(self, Self::Transcribe(request) if request.options.stream)
    }

    /// The model that is asked for by name or alias.
    pub fn model(&self) -> Option<&str> {
        each_request!(self, request => request.model.as_deref())
    }

    /// Asks for another model.
    pub fn set_model(&mut self, model: Option<String>) {
        each_request!(self, request => request.model = model);
    }
}

/// Speech to text.
#[derive(Debug, Clone)]
pub struct TranscribeRequest {
    /// The encoded audio, whole. Cheap to clone.
    pub audio: Bytes,
    /// What the audio is.
    pub media: Media,
    /// Options.
    pub options: TranscribeOptions,
    /// Whether the words are to come in English, whatever was spoken (Whisper's own translation).
    pub translate: bool,
}

/// One part of an answer. A task answers with any number of parts, the last of which is [`Part::Done`].
#[derive(Debug, Clone)]
pub enum Part {
    /// A finished segment of a transcription (in order); the whole comes again in `Done`.
    Segment(Segment),
    /// Text of a generation that was just written; the whole comes again in `Done`.
    Delta(Delta),
    /// One text's translation, in order; the whole comes again in `Done`.
    Translation(Translation),
    /// The answer; nothing follows.
    Done(Answer),
}

/// The final answer, one variant per task.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Speech to text.
    Transcript(Transcript),
    /// Text from a prompt.
    Generated(Generated),
    /// Text in another language.
    Translated(Translated),
    /// Languages.
    Detected(Detected),
    /// Words for masks.
    Filled(Results<Nested<FillCandidate>>),
    /// Labels; a list of lists for several inputs.
    Classified(Results<Nested<Label>>),
    /// Entities; a list of lists for several inputs.
    Tagged(Results<Nested<Tagged>>),
    /// Answers from a text, best first.
    Answered(Results<Vec<SpanAnswer>>),
    /// What somebody wants.
    Intent(Intent),
    /// Vectors.
    Embedded(Embedded),
    /// Words and their similarity, best first.
    Words(Results<Vec<Label>>),
    /// A shorter text.
    Summary(Summary),
    /// Tensors.
    Raw(RawAnswer),
}

impl Answer {
    /// The model that answered; the last one where several worked.
    pub fn model(&self) -> &str {
        match self {
            Self::Transcript(a) => &a.model,
            Self::Generated(a) => &a.model,
            Self::Translated(a) => a.models.last().map_or("", String::as_str),
            Self::Detected(a) => &a.model,
            Self::Filled(a) => &a.model,
            Self::Classified(a) => &a.model,
            Self::Tagged(a) => &a.model,
            Self::Answered(a) => &a.model,
            Self::Intent(a) => &a.model,
            Self::Embedded(a) => &a.model,
            Self::Words(a) => &a.model,
            Self::Summary(a) => &a.model,
            Self::Raw(a) => &a.model,
        }
    }
}

/// Tells a job that nobody waits for it any more. Cheap to clone, checked between chunks and decode steps.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<CancelState>);

#[derive(Default)]
struct CancelState {
    cancelled: AtomicBool,
    hook: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl CancelToken {
    /// Asks the job to stop.
    pub fn cancel(&self) {
        let first = !self.0.cancelled.swap(true, Ordering::AcqRel);
        if first && let Some(hook) = self.0.hook.get() {
            hook();
        }
    }

    /// Whether the job should stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Has `hook` called by the first [`CancelToken::cancel`], on that caller's thread: the scheduler frees the job's
    /// place in the queue at once. To be set before the token is shared; only the first hook counts.
    pub fn on_cancel(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.0.hook.get_or_init(|| Box::new(hook));
    }
}

impl std::fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CancelToken").field(&self.is_cancelled()).finish()
    }
}

/// The caller's end of an admitted job. Dropping it cancels the job.
#[derive(Debug)]
pub struct Reply {
    parts: mpsc::Receiver<Result<Part, WireError>>,
    cancel: CancelToken,
    ended: bool,
    model: String,
    without_effect: Vec<&'static str>,
}

impl Reply {
    /// A reply and the job's end of it. `capacity` bounds the parts that may wait for a slow reader.
    pub fn channel(capacity: usize) -> (mpsc::Sender<Result<Part, WireError>>, CancelToken, Self) {
        let (sender, parts) = mpsc::channel(capacity);
        let cancel = CancelToken::default();
        (sender, cancel.clone(), Self { parts, cancel, ended: false, model: String::new(), without_effect: Vec::new() })
    }

    /// Says which model answers.
    #[must_use]
    pub fn by(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// The model that answers, where the admission told it; else empty.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Takes note of the options of the request that do nothing in the model that will answer.
    #[must_use]
    pub fn naming(mut self, without_effect: Vec<&'static str>) -> Self {
        self.without_effect = without_effect;
        self
    }

    /// The options of the request that do nothing in the model that will answer, for transports that can say so.
    pub fn without_effect(&self) -> &[&'static str] {
        &self.without_effect
    }

    /// The next part; `None` after the last one, which is [`Part::Done`] or an error.
    pub async fn next(&mut self) -> Option<Result<Part, WireError>> {
        if self.ended {
            return None;
        }
        let part = self.parts.recv().await;
        self.ended = !matches!(part, Some(Ok(Part::Segment(_) | Part::Delta(_) | Part::Translation(_))));
        part
    }

    /// Waits for the final answer, passing over intermediate parts.
    pub async fn answer(mut self) -> Result<Answer, WireError> {
        loop {
            match self.next().await {
                Some(Ok(Part::Done(answer))) => return Ok(answer),
                Some(Ok(_)) => {}
                Some(Err(e)) => return Err(e),
                None => {
                    return Err(WireError::new(
                        linnet_proto::ErrorCode::Internal,
                        "the job ended without an answer; the log says why",
                    ));
                }
            }
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Called once by the worker's thread right before it begins to run a job, so that a transport can keep a durable mark
/// of what was running when the daemon died. It may block for a short write; it must not panic.
#[derive(Clone)]
pub struct OnStart(Arc<dyn Fn() + Send + Sync>);

impl OnStart {
    /// Wraps `mark`.
    pub fn new(mark: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(mark))
    }

    /// Marks the job as running.
    pub fn call(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for OnStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnStart")
    }
}

/// An admitted request on its way to a worker.
#[derive(Debug)]
pub struct Job {
    /// What was asked.
    pub request: Request,
    /// When it was admitted.
    pub admitted: Instant,
    /// After this nobody wants the answer.
    pub deadline: Instant,
    /// Set when the caller is gone.
    pub cancel: CancelToken,
    /// Where parts go. A worker uses `blocking_send` (with the deadline in mind); the channel is bounded.
    pub parts: mpsc::Sender<Result<Part, WireError>>,
}

/// A place that a request counts on which is still being read. Dropping it lets others count on it.
#[derive(Debug, Default)]
pub struct Foreseen(Option<Arc<AtomicUsize>>);

impl Foreseen {
    /// One more of `counted`, until it is dropped.
    pub fn of(counted: &Arc<AtomicUsize>) -> Self {
        counted.fetch_add(1, Ordering::AcqRel);
        Self(Some(Arc::clone(counted)))
    }
}

impl Drop for Foreseen {
    fn drop(&mut self) {
        if let Some(counted) = &self.0 {
            counted.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// What transports see of the daemon: a permit or an immediate refusal. Implemented by the scheduler; a fake stands
/// in for it in the transports' own tests.
pub trait Admit: Send + Sync + 'static {
    /// Admits `request` or refuses it at once; never waits.
    fn admit(&self, request: Request) -> Result<Reply, WireError>;

    /// As [`Admit::admit`], with `on_start` called on the worker's thread right before the job begins to run, and never
    /// for a job that ends in the queue. This default calls it at admission: safe, but whatever waits counts as running.
    fn admit_marked(&self, request: Request, on_start: OnStart) -> Result<Reply, WireError> {
        on_start.call();
        self.admit(request)
    }

    /// Refuses ahead of the body: a transport asks before it reads an upload that [`Admit::admit`] would only turn away. As
    /// long as the answer is held, others are refused who would need the same place; it promises nothing all the same,
    /// since [`Admit::admit`] does not look at it.
    fn foresee(&self) -> Result<Foreseen, WireError> {
        Ok(Foreseen::default())
    }

    /// Takes note of a request that the transport itself turned away before [`Admit::admit`], so that every request is
    /// counted once, wherever it ends. `task` is one that the daemon knows, or `unknown`.
    fn turned_away(&self, _id: &str, _origin: Origin, _task: &'static str, _error: &WireError) {}

    /// What the models that serve do.
    fn offers(&self) -> Arc<Offers> {
        Arc::default()
    }
}
