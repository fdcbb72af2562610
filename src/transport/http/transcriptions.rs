//! `POST /v1/audio/transcriptions` and `/v1/audio/translations`: OpenAI's form, or the audio itself as the body with the options in the query.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, request};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use linnet_proto::error::unserializable;
use linnet_proto::format::render_as;
use linnet_proto::stream::StreamEvent;
use linnet_proto::{ErrorBody, ErrorCode, Transcript, WireError};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::answer::{Refusal, typed};
use super::bounds::{EVENT_KEEP_ALIVE, REPLY_SLACK};
use super::effects::{PRIORITY, naming};
use super::form::{self, Form};
use super::front::Ticket;
use super::state::{Live, Shared};
use super::upload::{Budget, Upload, while_it_counts};
use crate::job::{self, Answer, Origin, Part, Reply, TaskRequest, TranscribeRequest};
use crate::transport::ask::other_task;
use crate::transport::media::media_of_content_type;
use crate::transport::options::{Asked, Fields};
use linnet_proto::format::ResponseFormat;

/// Answers what was said; with `translate` in English, whatever was spoken.
pub(super) async fn hear(
    translate: bool,
    State(shared): State<Arc<Shared>>,
    Extension(ticket): Extension<Arc<Ticket>>,
    request: Request,
) -> Result<Response, Refusal> {
    let live = shared.live();
    let task = if translate { "translate-speech" } else { "transcribe" };
    let (head, body) = request.into_parts();
    let read = read(&shared, &head, body, &live).await;
    let (Form { audio, media, .. }, Asked { options, format, granularities, timeout, priority, mut without_effect }) =
        read.inspect_err(|e| shared.admit.turned_away(&ticket.id, Origin::Http, task, e))?;
    let timeout = timeout.unwrap_or(live.intake.default_timeout);
    let streams = options.stream;
    let reply = shared.admit.admit(job::Request {
        id: ticket.id.clone(),
        origin: Origin::Http,
        task: TaskRequest::Transcribe(TranscribeRequest { audio, media, options, translate }),
        timeout,
        priority,
    })?;
    without_effect.extend(reply.without_effect());
    let mut parts = Parts { reply, deadline: Instant::now() + timeout + REPLY_SLACK, timeout };
    if streams {
        let response = events(parts, ticket, format == ResponseFormat::LinnetJson).await?;
        return Ok(naming(&without_effect, response));
    }
    let transcript = loop {
        if let Part::Done(answer) = parts.next().await? {
            break transcript(answer)?;
        }
    };
    ticket.answered_by(&transcript.model);
    let body = render_as(&transcript, format, granularities, if translate { "translate" } else { "transcribe" })
        .map_err(|e| unserializable(&e))?;
    Ok(naming(&without_effect, typed(format.content_type(), body)))
}

/// The query's options, and the priority of the head.
fn of_head(head: &request::Parts) -> Result<Fields, WireError> {
    let mut fields = Fields::of_query(head.uri.query().unwrap_or_default())?;
    for value in head.headers.get_all(PRIORITY) {
        let value = String::from_utf8_lossy(value.as_bytes());
        fields.set("priority", &value).map_err(|e| e.with_param("Linnet-Priority"))?;
    }
    Ok(fields)
}

/// Everything that is checked before the job is admitted.
async fn read(shared: &Shared, head: &request::Parts, body: Body, live: &Live) -> Result<(Form, Asked), WireError> {
    let foreseen = shared.admit.foresee()?;
    let mut form = while_it_counts(foreseen, receive(head, body, live, &shared.budget)).await?;
    let asked = std::mem::take(&mut form.fields).finish(live.intake.max_timeout)?;
    if form.audio.is_empty() {
        let message = "the audio is empty: not one byte";
        return Err(WireError::new(ErrorCode::EmptyAudio, message).with_param("file"));
    }
    Ok((form, asked))
}

/// Reads the audio and the options by what the content type says that the body is.
async fn receive(head: &request::Parts, body: Body, live: &Live, budget: &Budget) -> Result<Form, WireError> {
    let fields = of_head(head)?;
    let content_type = head.headers.get(CONTENT_TYPE).ok_or_else(|| {
        let message = "the request has no Content-Type; send multipart/form-data with a field `file`, or the audio itself as \
                       audio/wav, audio/flac, audio/l16;rate=16000 …";
        WireError::new(ErrorCode::UnsupportedMedia, message)
    })?;
    let shown = content_type
        .to_str()
        .map_err(|_| WireError::new(ErrorCode::UnsupportedMedia, "the Content-Type is not visible ASCII"))?;
    let is_form = shown.trim_start().get(..20).is_some_and(|t| t.eq_ignore_ascii_case("multipart/form-data;"))
        || shown.trim().eq_ignore_ascii_case("multipart/form-data");
    // A type that is refused is refused before the body is read.
    let media = if is_form { None } else { Some(media_of_content_type(shown)?) };
    let upload = Upload::open(body, live.intake.max_upload_bytes, live.http.idle_timeout, budget)?;
    match media {
        None => form::read(content_type, upload, fields).await,
        Some(media) => Ok(Form { audio: upload.collect().await?, media, fields }),
    }
}

fn transcript(answer: Answer) -> Result<Transcript, WireError> {
    match answer {
        Answer::Transcript(transcript) => Ok(transcript),
        _ => Err(other_task()),
    }
}

/// The parts of an answer, each awaited until a deadline just behind the job's own.
struct Parts {
    reply: Reply,
    deadline: Instant,
    timeout: Duration,
}

impl Parts {
    async fn next(&mut self) -> Result<Part, WireError> {
        match timeout_at(self.deadline, self.reply.next()).await {
            Ok(Some(part)) => part,
            Ok(None) => Err(WireError::new(ErrorCode::Internal, "the job ended without an answer; the log says why")),
            Err(_) => Err(WireError::new(
                ErrorCode::DeadlineExceeded,
                format!("no answer within {} ms; ask for less, or name a longer timeout_ms", self.timeout.as_millis()),
            )),
        }
    }
}

/// An event stream on its way out.
struct Events {
    parts: Parts,
    /// The part that has come already.
    ready: Option<Part>,
    /// Whether a delta with text has gone out.
    begun: bool,
    /// Whether the last event holds the whole transcript.
    whole: bool,
    ticket: Arc<Ticket>,
    ended: bool,
}

/// Answers with server-sent events. The first part is awaited before the head goes out, so that a refusal or failure
/// before it still has its HTTP status.
async fn events(mut parts: Parts, ticket: Arc<Ticket>, whole: bool) -> Result<Response, Refusal> {
    let ready = Some(parts.next().await?);
    ticket.goes_on();
    let events = Events { parts, ready, begun: false, whole, ticket, ended: false };
    let sse = Sse::new(stream::unfold(events, |events| async {
        let mut events = events;
        if events.ended {
            return None;
        }
        let event = events.next().await;
        Some((Ok::<_, Infallible>(event), events))
    }));
    let mut response = sse.keep_alive(KeepAlive::new().interval(EVENT_KEEP_ALIVE)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

impl Events {
    async fn next(&mut self) -> Event {
        let part = match self.ready.take() {
            Some(part) => Ok(part),
            None => self.parts.next().await,
        };
        let written = match part {
            Ok(Part::Segment(segment)) => {
                let first = !self.begun;
                self.begun |= !segment.text.is_empty();
                data(&StreamEvent::delta(segment, first))
            }
            Ok(Part::Done(answer)) => transcript(answer).and_then(|transcript| {
                self.ended = true;
                self.ticket.answered_by(&transcript.model);
                self.ticket.settle(200);
                data(&StreamEvent::done(transcript, self.whole))
            }),
            Ok(_) => Err(other_task()),
            Err(error) => Err(error),
        };
        written.unwrap_or_else(|error| {
            self.ended = true;
            self.ticket.settle(error.code.http_status());
            // An error object always serializes; without one the event would still be named `error`.
            let body = serde_json::to_string(&ErrorBody::from(error)).unwrap_or_default();
            Event::default().event("error").data(body)
        })
    }
}

fn data(value: &impl Serialize) -> Result<Event, WireError> {
    serde_json::to_string(value).map(|json| Event::default().data(json)).map_err(|e| unserializable(&e))
}
