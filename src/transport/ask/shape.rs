//! The answer of a model in the shape that its request wants.

use linnet_proto::generate::Generated;
use linnet_proto::libretranslate::{Layout, TranslateAnswer, detect_answer};
use linnet_proto::ollama::{EmbedAnswer, Lines};
use linnet_proto::openai::embeddings::Embeddings;
use linnet_proto::openai::{ChatCompletion, Completion, Delivery, Events, Head};
use linnet_proto::text::Embedded;
use linnet_proto::{ErrorCode, WireError, error};
use serde::Serialize;

use super::Writer;
use super::writer::now;
use crate::job::Answer;

/// How answers become one body.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Linnet's own JSON.
    Own,
    /// OpenAI's completion.
    Completion {
        /// How it goes out.
        delivery: Delivery,
        /// Answers to each prompt.
        n: u32,
    },
    /// OpenAI's chat.
    Chat {
        /// How it goes out.
        delivery: Delivery,
    },
    /// OpenAI's embeddings.
    Embeddings {
        /// Vectors as base64.
        base64: bool,
    },
    /// LibreTranslate's translation.
    Translation(Layout),
    /// LibreTranslate's detection.
    Detection(Layout),
    /// Ollama's generation or chat.
    Ollama {
        /// `/api/chat`.
        chat: bool,
        /// Line by line.
        stream: bool,
    },
    /// Ollama's vectors.
    OllamaEmbed {
        /// The older `/api/embeddings`, of one text.
        single: bool,
    },
}

impl Shape {
    /// Whether the answer is wanted piece by piece.
    pub fn streams(&self) -> bool {
        match self {
            Self::Completion { delivery, .. } | Self::Chat { delivery } => delivery.stream,
            Self::Ollama { stream, .. } => *stream,
            Self::Own
            | Self::Embeddings { .. }
            | Self::Translation(_)
            | Self::Detection(_)
            | Self::OllamaEmbed { .. } => false,
        }
    }

    /// What writes a generation piece by piece, where this is of one.
    pub fn writer(&self, head: Head) -> Option<Writer> {
        match self {
            Self::Completion { delivery, n } => Some(Writer::Events(Events::of_completion(head, *delivery, *n))),
            Self::Chat { delivery } => Some(Writer::Events(Events::of_chat(head, *delivery))),
            Self::Ollama { chat, .. } => Some(Writer::Lines(Lines::new(*chat))),
            Self::Own
            | Self::Embeddings { .. }
            | Self::Translation(_)
            | Self::Detection(_)
            | Self::OllamaEmbed { .. } => None,
        }
    }

    /// The whole body, JSON. `answers` are those of the jobs, in order.
    pub fn whole(&self, head: &Head, answers: Vec<Answer>) -> Result<String, WireError> {
        match self {
            Self::Own => own(single(answers)?),
            Self::Completion { delivery, n } => {
                let answers = answers.into_iter().map(generated).collect::<Result<_, _>>()?;
                json(&Completion::of(head, *delivery, *n, answers))
            }
            Self::Chat { delivery } => json(&ChatCompletion::of(head, *delivery, generated(single(answers)?)?)),
            Self::Embeddings { base64 } => match single(answers)? {
                Answer::Embedded(answer) => json(&Embeddings::of(answer, *base64)),
                _ => Err(other_task()),
            },
            Self::Ollama { chat, .. } => {
                let answer = generated(single(answers)?)?;
                json(&Lines::new(*chat).done(&answer, now()))
            }
            Self::OllamaEmbed { single: one } => match single(answers)? {
                Answer::Embedded(Embedded { mut vectors, .. }) if *one => {
                    json(&serde_json::json!({"embedding": vectors.pop().unwrap_or_default()}))
                }
                Answer::Embedded(Embedded { vectors, tokens, model }) => {
                    json(&EmbedAnswer { model, embeddings: vectors, prompt_eval_count: tokens })
                }
                _ => Err(other_task()),
            },
            Self::Translation(layout) => match single(answers)? {
                Answer::Translated(answer) => json(&TranslateAnswer::of(answer, *layout).ok_or_else(other_task)?),
                _ => Err(other_task()),
            },
            Self::Detection(layout) => match single(answers)? {
                Answer::Detected(answer) => json(&detect_answer(answer, *layout)),
                _ => Err(other_task()),
            },
        }
    }
}

/// The answer as it is.
fn own(answer: Answer) -> Result<String, WireError> {
    match answer {
        Answer::Transcript(a) => json(&a),
        Answer::Generated(a) => json(&a),
        Answer::Translated(a) => json(&a),
        Answer::Detected(a) => json(&a),
        Answer::Filled(a) => json(&a),
        Answer::Classified(a) => json(&a),
        Answer::Tagged(a) => json(&a),
        Answer::Answered(a) => json(&a),
        Answer::Intent(a) => json(&a),
        Answer::Embedded(a) => json(&a),
        Answer::Words(a) => json(&a),
        Answer::Summary(a) => json(&a),
        Answer::Raw(a) => json(&a),
    }
}

/// The answer of a generation.
pub(super) fn generated(answer: Answer) -> Result<Generated, WireError> {
    match answer {
        Answer::Generated(generated) => Ok(generated),
        _ => Err(other_task()),
    }
}

fn single(answers: Vec<Answer>) -> Result<Answer, WireError> {
    answers.into_iter().next().ok_or_else(other_task)
}

/// A pipeline that does not keep to its task.
pub fn other_task() -> WireError {
    WireError::new(ErrorCode::Internal, "the model answered another task than the one that was asked")
}

fn json(value: &impl Serialize) -> Result<String, WireError> {
    serde_json::to_string(value).map_err(|e| error::unserializable(&e))
}
