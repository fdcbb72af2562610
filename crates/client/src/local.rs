//! The daemon on this machine, over its Unix socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use linnet_proto::models::{AddModel, AddedModel, RemovedModel};
use linnet_proto::status::Status;
use linnet_proto::stream::StreamEvent;
use linnet_proto::{ErrorBody, Segment, TranscribeOptions, Transcript};
use serde_json::{Map, Value};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::archive::Archive;
use crate::events::{EventParser, ServerEvent};
use crate::{Audio, ClientError, Terms, query};

/// Longest wait for the daemon to take the connection, and for an answer that needs no model.
const PROMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a reload may take, which may load models.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(130);
/// How long a change of the models may take: a little more than the daemon allows itself.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(16 * 60);
/// Longest silence in a stream: `linnetd` sends a sign of life every 15 s.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer that is not a stream, bytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The daemon on this machine. Each call is a connection of its own; dropping its future cancels the request.
#[derive(Debug, Clone)]
pub struct Local {
    socket: PathBuf,
}

/// An answer as it came.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    /// HTTP status.
    pub(crate) status: u16,
    /// Its `Date`.
    pub(crate) date: Option<String>,
    /// Its body.
    pub(crate) body: Bytes,
}

impl Local {
    /// A daemon behind `socket`; nothing is opened yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET path`, whatever it answers; at most `max_bytes` of it.
    pub(crate) async fn get(&self, path: &str, max_bytes: usize) -> Result<Got, ClientError> {
        let request = get(path)?;
        let exchange = async {
            let mut connection = self.connect().await?;
            let response = connection.send(request).await?;
            let date = response.headers().get("date").and_then(|date| date.to_str().ok()).map(ToOwned::to_owned);
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), max_bytes).collect().await;
            let body = body.map_err(|e| ClientError::Broken(e.to_string()))?.to_bytes();
            Ok(Got { status, date, body })
        };
        within(PROMPT_TIMEOUT, exchange).await
    }

    /// `GET /v1/status`.
    pub async fn status(&self) -> Result<Status, ClientError> {
        let request = get("/v1/status")?;
        let exchange = async {
            let mut connection = self.connect().await?;
            let response = connection.send(request).await?;
            read_json(response).await
        };
        within(PROMPT_TIMEOUT, exchange).await
    }

    /// `POST /v1/reload`: has the daemon read its configuration and its models again, and waits until it has.
    pub async fn reload(&self) -> Result<Status, ClientError> {
        let request = Request::post("/v1/reload").header("host", "localhost").body(Empty::<Bytes>::new());
        let request = request.map_err(|e| ClientError::Broken(e.to_string()))?;
        let exchange = async {
            let mut connection = self.connect().await?;
            let response = connection.send(request).await?;
            read_json(response).await
        };
        within(RELOAD_TIMEOUT, exchange).await
    }

    /// `POST /v1/models`: has the daemon add the model in a directory that it can read itself, prove it, and serve it.
    pub async fn add_model(&self, asked: &AddModel) -> Result<AddedModel, ClientError> {
        let body = serde_json::to_vec(asked).map_err(|e| ClientError::Broken(e.to_string()))?;
        let request =
            Request::post("/v1/models").header("host", "localhost").header("content-type", "application/json");
        self.change(request.body(Full::new(Bytes::from(body)))).await
    }

    /// The same with a model whose files are sent, as a tar.
    pub async fn send_model(&self, asked: &AddModel, archive: Archive) -> Result<AddedModel, ClientError> {
        let path = format!("/v1/models?{}", query::of_model(asked));
        let request = Request::post(path).header("host", "localhost").header("content-type", "application/x-tar");
        self.change(request.body(archive)).await
    }

    /// `DELETE /v1/models/{name}`: has the daemon let go of a model after what runs on it, and remove its files.
    pub async fn remove_model(&self, name: &str) -> Result<RemovedModel, ClientError> {
        let request = Request::delete(format!("/v1/models/{}", query::encoded(name))).header("host", "localhost");
        self.change(request.body(Empty::<Bytes>::new())).await
    }

    async fn change<T, B>(&self, request: Result<Request<B>, hyper::http::Error>) -> Result<T, ClientError>
    where
        T: serde::de::DeserializeOwned,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let request = request.map_err(|e| ClientError::Broken(e.to_string()))?;
        let exchange = async {
            let mut connection = self.connect().await?;
            let response = connection.send(request).await?;
            read_json(response).await
        };
        within(CHANGE_TIMEOUT, exchange).await
    }

    /// Sends `audio` and waits for its transcript; `each` sees every segment as soon as it is ready. Without a timeout the
    /// daemon is asked for the longest deadline that it allows.
    pub async fn transcribe(
        &self,
        audio: Audio,
        options: &TranscribeOptions,
        terms: Terms,
        mut each: impl FnMut(&Segment),
    ) -> Result<Transcript, ClientError> {
        let timeout = match terms.timeout {
            Some(timeout) => timeout,
            None => Duration::from_millis(self.status().await?.limits.max_deadline_ms.max(1)),
        };
        let path = format!(
            "/v1/audio/transcriptions?{}",
            query::of_options(options, Terms { timeout: Some(timeout), ..terms })
        );
        let request = Request::post(path)
            .header("host", "localhost")
            .header("content-type", "application/octet-stream")
            .body(audio)
            .map_err(|e| ClientError::Broken(e.to_string()))?;
        let mut connection = within(PROMPT_TIMEOUT, self.connect()).await?;
        let response = connection.send(request).await?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await);
        }
        let mut events = Events { body: response.into_body(), parser: EventParser::default() };
        loop {
            if let Some(transcript) = take(&events.next().await?, &mut each)? {
                return Ok(transcript);
            }
        }
    }

    /// Posts a JSON object and waits for the whole answer, as long as the daemon takes: it ends every request by its deadline.
    pub async fn post(&self, path: &str, body: &Map<String, Value>) -> Result<Value, ClientError> {
        let (_connection, response) = self.send_json(path, body).await?;
        read_json(response).await
    }

    /// Posts a JSON object and hands on the data of every event of the answer.
    pub async fn events(
        &self,
        path: &str,
        body: &Map<String, Value>,
        mut each: impl FnMut(Value) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let (_connection, response) = self.send_json(path, body).await?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await);
        }
        let mut events = Events { body: response.into_body(), parser: EventParser::default() };
        loop {
            let event = events.next().await?;
            if event.data == linnet_proto::openai::DONE {
                return Ok(());
            }
            if event.name == "error" {
                return Err(ClientError::of_body(0, event.data.as_bytes()));
            }
            let data = serde_json::from_str(&event.data);
            each(data.map_err(|e| ClientError::Broken(format!("an event of the stream: {e}")))?)?;
        }
    }

    async fn send_json(
        &self,
        path: &str,
        body: &Map<String, Value>,
    ) -> Result<(Connection<Full<Bytes>>, Response<Incoming>), ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| ClientError::Broken(e.to_string()))?;
        let request = Request::post(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| ClientError::Broken(e.to_string()))?;
        let mut connection = within(PROMPT_TIMEOUT, self.connect()).await?;
        let response = connection.send(request).await?;
        Ok((connection, response))
    }

    async fn connect<B>(&self) -> Result<Connection<B>, ClientError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| match source.kind() {
            ErrorKind::PermissionDenied => ClientError::NotAllowed { path: self.socket.clone() },
            _ => ClientError::NoDaemon { path: self.socket.clone(), source },
        })?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| ClientError::Broken(e.to_string()))?;
        let driver = tokio::spawn(async move {
            // What ends the connection is seen by the request's own future.
            let _ = connection.await;
        });
        Ok(Connection { sender, driver })
    }
}

/// The events of an answer that comes.
struct Events {
    body: Incoming,
    parser: EventParser,
}

impl Events {
    /// The next event; the end before the last one is an error.
    async fn next(&mut self) -> Result<ServerEvent, ClientError> {
        loop {
            if let Some(event) = self.parser.next()? {
                return Ok(event);
            }
            let frame = tokio::time::timeout(SILENCE_TIMEOUT, self.body.frame()).await;
            let frame = frame.map_err(|_| ClientError::TimedOut(SILENCE_TIMEOUT))?;
            let Some(frame) = frame else {
                return Err(ClientError::Broken("the stream ended before the last event".into()));
            };
            let frame = frame.map_err(|e| ClientError::Broken(e.to_string()))?;
            if let Some(data) = frame.data_ref() {
                self.parser.push(data)?;
            }
        }
    }
}

/// One connection; closed when dropped, which is what cancels a request.
struct Connection<B> {
    sender: http1::SendRequest<B>,
    driver: JoinHandle<()>,
}

impl<B> Drop for Connection<B> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl<B> Connection<B>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, ClientError> {
        self.sender.send_request(request).await.map_err(|e| match std::error::Error::source(&e) {
            // The file that is being sent could not be read on.
            Some(cause) if e.is_user() => ClientError::Broken(format!("the audio could not be read on: {cause}")),
            _ => ClientError::Broken(e.to_string()),
        })
    }
}

fn get(path: &str) -> Result<Request<Empty<Bytes>>, ClientError> {
    let request = Request::get(path).header("host", "localhost").body(Empty::new());
    request.map_err(|e| ClientError::Broken(e.to_string()))
}

async fn within<T>(limit: Duration, future: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    tokio::time::timeout(limit, future).await.map_err(|_| ClientError::TimedOut(limit))?
}

async fn read_body(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
    body.collect().await.map(|b| b.to_bytes()).map_err(|e| ClientError::Broken(e.to_string()))
}

async fn read_json<T: serde::de::DeserializeOwned>(response: Response<Incoming>) -> Result<T, ClientError> {
    if response.status() != StatusCode::OK {
        return Err(refusal(response).await);
    }
    let body = read_body(response).await?;
    serde_json::from_slice(&body).map_err(|e| ClientError::Broken(e.to_string()))
}

async fn refusal(response: Response<Incoming>) -> ClientError {
    let status = response.status().as_u16();
    match within(PROMPT_TIMEOUT, read_body(response)).await {
        Ok(body) => ClientError::of_body(status, &body),
        Err(e) => e,
    }
}

/// Reads one event: the transcript when it is the last one.
fn take(event: &ServerEvent, each: &mut impl FnMut(&Segment)) -> Result<Option<Transcript>, ClientError> {
    let broken = |e: serde_json::Error| ClientError::Broken(format!("an event of the stream: {e}"));
    if event.name == "error" {
        return Err(ClientError::of_error_body(serde_json::from_str::<ErrorBody>(&event.data).map_err(broken)?));
    }
    match serde_json::from_str(&event.data).map_err(broken)? {
        StreamEvent::Delta { segment, .. } => {
            if let Some(segment) = &segment {
                each(segment);
            }
            Ok(None)
        }
        StreamEvent::Done { transcript: Some(transcript), .. } => Ok(Some(transcript)),
        StreamEvent::Done { transcript: None, .. } => {
            Err(ClientError::Broken("the last event holds no transcript; linnetd is older than linnet".into()))
        }
    }
}
