//! What a message asks, whatever its task: jobs, and how their answer is written. Speech comes as [`super::payload`] has it; every
//! other task takes the JSON object that HTTP takes.

use std::time::Duration;

use bytes::Bytes;
use linnet_proto::format::{Granularities, ResponseFormat, render_as};
use linnet_proto::openai::Head;
use linnet_proto::{ErrorCode, WireError, error, json};

use super::payload::{self, ParseLimits, Parsed};
use crate::job::{Answer, Priority, TaskRequest, TranscribeRequest};
use crate::transport::ask::{Asked, Kind, Shape, Terms, other_task};

/// Tasks that take speech.
const SPEECH: [&str; 2] = ["transcribe", "translate-speech"];

/// Every task that this daemon knows by name.
pub fn tasks() -> impl Iterator<Item = &'static str> {
    SPEECH.into_iter().chain(Kind::ALL.into_iter().map(Kind::task))
}

/// A message, read.
#[derive(Debug)]
pub struct Request {
    /// The jobs, run in turn; at least one.
    pub jobs: Vec<TaskRequest>,
    /// How their answer is written.
    pub form: Form,
    /// Deadline, where one is named.
    pub timeout: Option<Duration>,
    /// Who goes first.
    pub priority: Priority,
}

/// How an answer is written.
#[derive(Debug, Clone)]
pub enum Form {
    /// A transcript.
    Speech {
        /// `transcribe` or `translate`, as `verbose_json` says it.
        task: &'static str,
        /// Its format.
        format: ResponseFormat,
        /// What `verbose_json` holds.
        granularities: Granularities,
        /// Segments as they are ready.
        stream: bool,
    },
    /// The body that HTTP answers with.
    Json {
        /// Its shape.
        shape: Shape,
        /// Pieces as they are written.
        stream: bool,
    },
}

/// Reads a message for `task`, one of [`tasks`].
pub fn read(
    task: &str,
    content_type: Option<&str>,
    user_properties: &[(String, String)],
    payload: Bytes,
    limits: ParseLimits,
) -> Result<Request, WireError> {
    if SPEECH.contains(&task) {
        let Parsed { audio, media, asked } = payload::parse(content_type, user_properties, payload, limits)?;
        let translate = task != SPEECH[0];
        let form = Form::Speech {
            task: if translate { "translate" } else { "transcribe" },
            format: asked.format,
            granularities: asked.granularities,
            stream: asked.options.stream,
        };
        let job = TranscribeRequest { audio, media, options: asked.options, translate };
        let jobs = vec![TaskRequest::Transcribe(job)];
        return Ok(Request { jobs, form, timeout: asked.timeout, priority: asked.priority });
    }
    let Some(kind) = Kind::of_task(task) else {
        return Err(WireError::new(ErrorCode::NotFound, "this daemon knows no such task"));
    };
    if let Some((name, _)) = user_properties.iter().find(|(name, _)| !payload::is_foreign(name)) {
        let shown: String = name.chars().take(40).collect();
        let message =
            format!("the user property {shown:?} is no option of {task}; its options stand in the JSON payload");
        return Err(WireError::new(ErrorCode::InvalidOption, message).with_param(shown));
    }
    if payload.len() as u64 > limits.max_audio_bytes {
        let message = format!("the payload has {} bytes; at most {} are taken", payload.len(), limits.max_audio_bytes);
        return Err(WireError::new(ErrorCode::TooLarge, message));
    }
    let mut body = json::object(&payload)?;
    // Only generations have a member of that name; for the others it says how the answer is to come here.
    let stream = match body.get("stream").and_then(serde_json::Value::as_bool) {
        Some(stream) if !kind.generates() => {
            body.remove("stream");
            stream
        }
        _ => false,
    };
    let terms = Terms { max_timeout: limits.max_timeout, priority: Priority::default() };
    let Asked { jobs, shape, terms, .. } = Asked::read(kind, body, terms)?;
    let stream = stream || shape.streams();
    Ok(Request { jobs, form: Form::Json { shape, stream }, timeout: terms.timeout, priority: terms.priority })
}

impl Form {
    /// Whether pieces are wanted before the whole.
    pub fn streams(&self) -> bool {
        match self {
            Self::Speech { stream, .. } | Self::Json { stream, .. } => *stream,
        }
    }

    /// The whole answer and its content type.
    pub fn whole(&self, head: &Head, answers: Vec<Answer>) -> Result<(String, &'static str), WireError> {
        match self {
            Self::Speech { task, format, granularities, .. } => match answers.into_iter().next() {
                Some(Answer::Transcript(transcript)) => {
                    let text = render_as(&transcript, *format, *granularities, task);
                    Ok((text.map_err(|e| error::unserializable(&e))?, format.content_type()))
                }
                _ => Err(other_task()),
            },
            Self::Json { shape, .. } => Ok((shape.whole(head, answers)?, "application/json")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ParseLimits = ParseLimits { max_audio_bytes: 1 << 20, max_timeout: Duration::from_secs(60) };

    fn of(task: &str, payload: &str) -> Result<Request, WireError> {
        read(task, None, &[], Bytes::copy_from_slice(payload.as_bytes()), LIMITS)
    }

    #[test]
    fn every_task_takes_the_body_that_http_takes() {
        for (task, body) in [
            ("generate", r#"{"prompt": "x"}"#),
            ("chat", r#"{"messages": [{"role": "user", "content": "x"}]}"#),
            ("embed", r#"{"input": "x"}"#),
            ("translate", r#"{"q": "x", "target": "de"}"#),
            ("detect", r#"{"q": "x"}"#),
            ("fill", r#"{"input": "x"}"#),
            ("classify", r#"{"input": "x"}"#),
            ("tag", r#"{"input": "x"}"#),
            ("answer", r#"{"question": "x", "context": "y"}"#),
            ("intent", r#"{"input": "x"}"#),
            ("words", r#"{"positive": ["x"]}"#),
            ("summarize", r#"{"input": "x"}"#),
            ("raw", r#"{"inputs": {}}"#),
            ("transcribe", r#"{"audio": "UklGRg=="}"#),
            ("translate-speech", r#"{"audio": "UklGRg=="}"#),
        ] {
            let request = of(task, body).unwrap_or_else(|e| panic!("{task}: {e}"));
            assert_eq!(request.jobs[0].name(), task);
            assert!(tasks().any(|known| known == task));
            assert!(!request.form.streams(), "{task}");
            let streamed = format!("{}, \"stream\": true}}", body.trim_end_matches('}'));
            if task != "raw" {
                assert!(of(task, &streamed).unwrap_or_else(|e| panic!("{task}: {e}")).form.streams(), "{task}");
            }
        }
        assert_eq!(tasks().count(), 15);
    }

    #[test]
    fn a_user_property_that_is_no_option_is_refused_and_a_carriers_own_is_passed_over() {
        let with = |name: &str| {
            let properties = [(name.to_owned(), "1".to_owned())];
            read("fill", None, &properties, Bytes::from_static(b"{\"input\": \"x\"}"), LIMITS)
        };
        assert_eq!(with("top_k").expect_err("in the payload").param.as_deref(), Some("top_k"));
        for foreign in ["x-bridge", "$share", "traceparent"] {
            assert!(with(foreign).is_ok(), "{foreign}");
        }
    }
}
