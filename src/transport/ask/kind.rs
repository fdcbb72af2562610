//! Which body is which task's.

use linnet_proto::openai::{chat, completions, embeddings};
use linnet_proto::text::{
    AnswerRequest, ClassifyRequest, FillRequest, IntentRequest, RawRequest, SummarizeRequest, TagRequest, WordsRequest,
};
use linnet_proto::{WireError, libretranslate, ollama, own};
use serde_json::{Map, Value};

use super::Shape;
use crate::job::TaskRequest;

/// Every kind of JSON request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// OpenAI's `/v1/completions`.
    Completion,
    /// OpenAI's `/v1/chat/completions`.
    Chat,
    /// OpenAI's `/v1/embeddings`.
    Embeddings,
    /// `/v1/fill-mask`.
    Fill,
    /// `/v1/classify`.
    Classify,
    /// `/v1/tag`.
    Tag,
    /// `/v1/answer`.
    Answer,
    /// `/v1/intent`.
    Intent,
    /// `/v1/words`.
    Words,
    /// `/v1/summarize`.
    Summarize,
    /// `/v1/raw`.
    Raw,
    /// LibreTranslate's `/translate`.
    Translate,
    /// LibreTranslate's `/detect`.
    Detect,
    /// Ollama's `/api/generate`.
    OllamaGenerate,
    /// Ollama's `/api/chat`.
    OllamaChat,
    /// Ollama's `/api/embed`.
    OllamaEmbed,
    /// Ollama's older `/api/embeddings`.
    OllamaEmbeddings,
}

/// Jobs, the shape of their answer, and the members that did nothing.
type Read = (Vec<TaskRequest>, Shape, Vec<&'static str>);

impl Kind {
    /// Every kind that a task's name means: one for each task.
    pub const ALL: [Self; 13] = [
        Self::Completion,
        Self::Chat,
        Self::Embeddings,
        Self::Fill,
        Self::Classify,
        Self::Tag,
        Self::Answer,
        Self::Intent,
        Self::Words,
        Self::Summarize,
        Self::Raw,
        Self::Translate,
        Self::Detect,
    ];

    /// The task's name in manifests, topics, metrics and logs.
    pub fn task(self) -> &'static str {
        match self {
            Self::Completion | Self::OllamaGenerate => "generate",
            Self::Chat | Self::OllamaChat => "chat",
            Self::Embeddings | Self::OllamaEmbed | Self::OllamaEmbeddings => "embed",
            Self::Fill => "fill",
            Self::Classify => "classify",
            Self::Tag => "tag",
            Self::Answer => "answer",
            Self::Intent => "intent",
            Self::Words => "words",
            Self::Summarize => "summarize",
            Self::Raw => "raw",
            Self::Translate => "translate",
            Self::Detect => "detect",
        }
    }

    /// The kind of a task that is asked by its name.
    pub fn of_task(task: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.task() == task)
    }

    /// Whether it writes text, and its body says itself whether that is wanted as it is written.
    pub fn generates(self) -> bool {
        matches!(self, Self::Completion | Self::Chat | Self::OllamaGenerate | Self::OllamaChat)
    }

    /// Whether refusals are a text under `error`, as LibreTranslate and Ollama have them.
    pub fn is_plain(self) -> bool {
        matches!(
            self,
            Self::Translate
                | Self::Detect
                | Self::OllamaGenerate
                | Self::OllamaChat
                | Self::OllamaEmbed
                | Self::OllamaEmbeddings
        )
    }

    /// Whether a body may be a form, and the token a member of it, as LibreTranslate has it.
    pub fn is_libretranslate(self) -> bool {
        matches!(self, Self::Translate | Self::Detect)
    }

    pub(super) fn read(self, body: Map<String, Value>) -> Result<Read, WireError> {
        /// A request of Linnet's own shape: read, checked, made a job.
        macro_rules! own {
            ($request:ty, $variant:ident) => {{
                let request: $request = own::read(body)?;
                request.check()?;
                Ok((vec![TaskRequest::$variant(request)], Shape::Own, Vec::new()))
            }};
        }
        match self {
            Self::Completion => {
                let read = completions::read(body)?;
                let jobs = read.jobs.into_iter().map(TaskRequest::Generate).collect();
                Ok((jobs, Shape::Completion { delivery: read.delivery, n: read.n }, read.without_effect))
            }
            Self::Chat => {
                let read = chat::read(body)?;
                let shape = Shape::Chat { delivery: read.delivery };
                Ok((vec![TaskRequest::Generate(read.job)], shape, read.without_effect))
            }
            Self::Embeddings => {
                let read = embeddings::read(body)?;
                let shape = Shape::Embeddings { base64: read.base64 };
                Ok((vec![TaskRequest::Embed(read.job)], shape, read.without_effect))
            }
            Self::Fill => own!(FillRequest, Fill),
            Self::Classify => own!(ClassifyRequest, Classify),
            Self::Tag => own!(TagRequest, Tag),
            Self::Answer => own!(AnswerRequest, Answer),
            Self::Intent => own!(IntentRequest, Intent),
            Self::Words => own!(WordsRequest, Words),
            Self::Summarize => own!(SummarizeRequest, Summarize),
            Self::Raw => own!(RawRequest, Raw),
            Self::Translate => {
                let (request, layout, without_effect) = libretranslate::read_translate(body)?;
                Ok((vec![TaskRequest::Translate(request)], Shape::Translation(layout), without_effect))
            }
            Self::OllamaGenerate | Self::OllamaChat => {
                let chat = self == Self::OllamaChat;
                let read = if chat { ollama::read_chat(body)? } else { ollama::read_generate(body)? };
                let shape = Shape::Ollama { chat, stream: read.stream };
                Ok((vec![TaskRequest::Generate(read.job)], shape, read.without_effect))
            }
            Self::OllamaEmbed | Self::OllamaEmbeddings => {
                let (job, without_effect) = ollama::read_embed(body)?;
                let shape = Shape::OllamaEmbed { single: self == Self::OllamaEmbeddings };
                Ok((vec![TaskRequest::Embed(job)], shape, without_effect))
            }
            Self::Detect => {
                let (request, layout) = libretranslate::read_detect(body)?;
                Ok((vec![TaskRequest::Detect(request)], Shape::Detection(layout), Vec::new()))
            }
        }
    }
}
