//! Endpoints that take JSON and run a model: OpenAI's, LibreTranslate's and Ollama's, and Linnet's own tasks.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, request};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use linnet_proto::generate::{Content, GenerateInput};
use linnet_proto::libretranslate::{self, PlainError};
use linnet_proto::openai::Head;
use linnet_proto::{ErrorBody, ErrorCode, WireError, json};
use serde_json::Value;

use super::answer::{self, Refusal, plain};
use super::bounds::{EVENT_KEEP_ALIVE, MAX_JSON_BYTES, MAX_UNADMITTED_JSON_BYTES, REPLY_SLACK};
use super::effects::{naming, priority_of};
use super::front::Ticket;
use super::state::{Live, Shared};
use super::upload::{Share, Upload, while_it_counts};
use crate::job::{self, Offers, Origin, Part, TaskRequest};
use crate::sys::clock;
use crate::transport::ask::{Asked, Kind, Shape, Step, Terms, Turns, Writer, other_task};
use crate::transport::options::MAX_FIELDS;

/// Answers a request of `kind`.
pub(super) async fn ask(
    kind: Kind,
    State(shared): State<Arc<Shared>>,
    Extension(ticket): Extension<Arc<Ticket>>,
    request: Request,
) -> Response {
    let answered = answer(kind, &shared, ticket, request).await;
    answered.unwrap_or_else(|error| if kind.is_plain() { plain(error) } else { Refusal(error).into_response() })
}

async fn answer(
    kind: Kind,
    shared: &Arc<Shared>,
    ticket: Arc<Ticket>,
    request: Request,
) -> Result<Response, WireError> {
    let live = shared.live();
    let (head, body) = request.into_parts();
    let read = read(kind, shared, &ticket, &head, body, &live).await;
    let (mut asked, share) =
        read.inspect_err(|e| shared.admit.turned_away(&ticket.id, Origin::Http, kind.task(), e))?;
    if kind == Kind::OllamaGenerate {
        asked.jobs.iter_mut().for_each(|job| continue_where_nothing_chats(job, &shared.admit.offers()));
    }
    let timeout = asked.terms.timeout.unwrap_or(live.intake.default_timeout);
    let mut jobs = asked.jobs.into_iter();
    let first = job::Request {
        id: ticket.id.clone(),
        origin: Origin::Http,
        task: jobs.next().ok_or_else(other_task)?,
        timeout,
        priority: asked.terms.priority,
    };
    let turns = Turns::begin(Arc::clone(&shared.admit), first, jobs, REPLY_SLACK, None)?;
    let head = Head { id: ticket.id.clone(), created: clock::since_epoch().as_secs() };
    let running = Running { turns, ticket, _share: share };
    let response = match asked.shape.writer(head.clone()).filter(|_| asked.shape.streams()) {
        Some(writer) => running.streamed(writer).await?,
        None => running.whole(&asked.shape, &head).await?,
    };
    Ok(naming(&asked.without_effect, response))
}

/// Everything that is checked before a job is admitted.
async fn read(
    kind: Kind,
    shared: &Shared,
    ticket: &Ticket,
    head: &request::Parts,
    body: Body,
    live: &Live,
) -> Result<(Asked, Share), WireError> {
    let foreseen = shared.admit.foresee()?;
    let terms = Terms { max_timeout: live.intake.max_timeout, priority: priority_of(&head.headers)? };
    let content_type = head.headers.get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    if content_type.starts_with(b"multipart/") {
        let message = "the body is a form; send JSON, with Content-Type: application/json";
        return Err(WireError::new(ErrorCode::UnsupportedMedia, message));
    }
    let admitted = ticket.admitted || kind.is_libretranslate() && live.knows_key_of_query(head.uri.query());
    let most = if admitted { MAX_JSON_BYTES } else { MAX_UNADMITTED_JSON_BYTES };
    let upload = Upload::open(body, live.intake.max_upload_bytes.min(most), live.http.idle_timeout, &shared.budget)?;
    let share = upload.share();
    let bytes = while_it_counts(foreseen, upload.collect()).await?;
    let is_form = kind.is_libretranslate() && content_type.starts_with(b"application/x-www-form-urlencoded");
    let body = if is_form && bytes.trim_ascii_start().first() != Some(&b'{') {
        libretranslate::of_form(form_urlencoded::parse(&bytes).into_owned().take(MAX_FIELDS).collect())?
    } else {
        json::object(&bytes)?
    };
    if !admitted && !body.get("api_key").and_then(Value::as_str).is_some_and(|key| live.knows_key(key)) {
        let message = "TCP needs the bearer token of http.token_file: send `Authorization: Bearer …`, or it as api_key";
        return Err(WireError::new(ErrorCode::Unauthorized, message).with_param("api_key"));
    }
    Ok((Asked::read(kind, body, terms)?, share))
}

/// The whole of a body that says little: of a request that runs nothing, or whose sender is not known yet.
pub(super) async fn little(shared: &Shared, body: Body) -> Result<Bytes, WireError> {
    let live = shared.live();
    Upload::open(body, MAX_UNADMITTED_JSON_BYTES, live.http.idle_timeout, &shared.budget)?.collect().await
}

/// Ollama's prompt is a message, laid out by the model's template. A model without one continues the prompt instead.
fn continue_where_nothing_chats(job: &mut TaskRequest, offers: &Offers) {
    let TaskRequest::Generate(request) = job else { return };
    let GenerateInput::Chat(chat) = &request.input else { return };
    let model = request.model.as_deref();
    if offers.pick("chat", model).is_some() || offers.pick("generate", model).is_none() {
        return;
    }
    let texts = chat.messages.iter().filter_map(|message| match &message.content {
        Content::Text(text) => Some(text.as_str()),
        Content::Parts(_) | Content::Empty => None,
    });
    request.input = GenerateInput::Text(texts.collect::<Vec<_>>().join("\n"));
}

/// A request whose first job is admitted.
struct Running {
    turns: Turns,
    ticket: Arc<Ticket>,
    /// What was read stays in memory as long as the jobs.
    _share: Share,
}

impl Running {
    /// Waits for all answers.
    async fn whole(mut self, shape: &Shape, head: &Head) -> Result<Response, WireError> {
        let mut answers = Vec::new();
        loop {
            match self.turns.next().await? {
                Step::Part(_) => {}
                Step::Answer(answer) => {
                    self.ticket.answered_by(answer.model());
                    answers.push(answer);
                }
                Step::End => return shape.whole(head, answers).map(answer::json),
            }
        }
    }

    /// Answers with server-sent events, or Ollama's lines. The first part is awaited before the head goes out, so that a refusal
    /// or failure before it still has its HTTP status.
    async fn streamed(self, writer: Writer) -> Result<Response, WireError> {
        let ticket = Arc::clone(&self.ticket);
        let lines = matches!(writer, Writer::Lines(_));
        let mut stream = Pieces { running: self, writer, begun: false, ready: VecDeque::new(), ended: false };
        stream.fill().await?;
        ticket.goes_on();
        if lines {
            let body = Body::from_stream(stream::unfold(stream, |stream| async {
                let mut stream = stream;
                stream.next().await.map(|piece| (Ok::<_, Infallible>(line(piece)), stream))
            }));
            let mut response = Response::new(body);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
            return Ok(response);
        }
        let sse = Sse::new(stream::unfold(stream, |stream| async {
            let mut stream = stream;
            stream.next().await.map(|piece| (Ok::<_, Infallible>(event(piece)), stream))
        }));
        let mut response = sse.keep_alive(KeepAlive::new().interval(EVENT_KEEP_ALIVE)).into_response();
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Ok(response)
    }
}

/// One piece of a streamed answer: JSON, or what ended it before its time.
type Piece = Result<String, WireError>;

fn event(piece: Piece) -> Event {
    match piece {
        Ok(data) => Event::default().data(data),
        Err(error) => {
            // An error object always serializes; without one the event would still be named `error`.
            let body = serde_json::to_string(&ErrorBody::from(error)).unwrap_or_default();
            Event::default().event("error").data(body)
        }
    }
}

fn line(piece: Piece) -> Bytes {
    let mut line = piece.unwrap_or_else(|error| serde_json::to_string(&PlainError::from(error)).unwrap_or_default());
    line.push('\n');
    Bytes::from(line)
}

/// A streamed answer on its way out.
struct Pieces {
    running: Running,
    writer: Writer,
    /// Whether the job that runs is told to the writer.
    begun: bool,
    ready: VecDeque<String>,
    ended: bool,
}

impl Pieces {
    async fn next(&mut self) -> Option<Piece> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Some(Ok(data));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.fill().await {
                self.ended = true;
                self.running.ticket.settle(error.code.http_status());
                return Some(Err(error));
            }
        }
    }

    /// Waits until something is ready, or all has ended.
    async fn fill(&mut self) -> Result<(), WireError> {
        while self.ready.is_empty() && !self.ended {
            let step = self.running.turns.next().await?;
            if !self.begun && !matches!(step, Step::End) {
                self.writer.begin(self.running.turns.model());
                self.begun = true;
            }
            match step {
                Step::Part(Part::Delta(delta)) => self.ready.extend(self.writer.delta(delta)?),
                Step::Part(_) => {}
                Step::Answer(job::Answer::Generated(answer)) => {
                    self.begun = false;
                    self.running.ticket.answered_by(&answer.model);
                    self.ready.extend(self.writer.done(answer)?);
                }
                Step::Answer(_) => return Err(other_task()),
                Step::End => {
                    self.ended = true;
                    self.running.ticket.settle(200);
                    self.ready.extend(self.writer.end()?);
                }
            }
        }
        Ok(())
    }
}
