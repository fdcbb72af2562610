//! What happens to every request before and after its endpoint: id, token, panic guard, log line.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, EXPECT};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::{Router, http};
use futures_util::FutureExt;
use hyper::body::Incoming;
use linnet_proto::{ErrorCode, WireError};
use tower::ServiceExt;

use super::answer::Refusal;
use super::bounds::MAX_REQUEST_ID_BYTES;
use super::lingering::Lingering;
use super::routes;
use super::state::Shared;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The status of a request whose client is gone (nginx's number).
const CLIENT_GONE: u16 = 499;

/// By which way a client came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// The Unix socket: file mode and group have admitted it.
    Unix,
    /// TCP: the token has to.
    Tcp,
}

/// One request's record. It is logged when its last holder is gone, which for an event stream is the stream's end.
pub(super) struct Ticket {
    /// Unique in this run.
    pub(super) id: String,
    pub(super) peer: Peer,
    /// The local socket's rights or TCP's token have let it in. Where not, it came to an endpoint that looks for the token itself.
    pub(super) admitted: bool,
    endpoint: &'static str,
    model: OnceLock<String>,
    began: Instant,
    /// 0 until the answer is complete.
    status: AtomicU16,
    /// The answer goes on after its head.
    streams: OnceLock<()>,
}

impl Ticket {
    /// The model that answered; the log names it.
    pub(super) fn answered_by(&self, model: &str) {
        self.model.get_or_init(|| model.to_owned());
    }

    /// From now on [`Ticket::settle`] is the stream's to call.
    pub(super) fn goes_on(&self) {
        self.streams.get_or_init(|| ());
    }

    /// The request ended with `status`.
    pub(super) fn settle(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let status = match self.status.load(Ordering::Relaxed) {
            0 => CLIENT_GONE,
            status => status,
        };
        // What became of a task's request is told once, by the scheduler's events.
        let quiet = status < 400 || routes::is_task(self.endpoint);
        let level = if quiet { log::Level::Debug } else { log::Level::Info };
        let ms = self.began.elapsed().as_secs_f64() * 1000.0;
        let model = self.model.get().map_or("", String::as_str);
        log::log!(
            level,
            REQUEST_ID = self.id.as_str(), TASK = self.endpoint, MODEL = model, MS = ms, STATUS = status;
            "http {} {status} in {ms:.1} ms", self.endpoint
        );
    }
}

/// Serves one request. Dropping the future (the client is gone) drops the job's reply and so cancels the job.
pub(super) async fn serve(
    shared: Arc<Shared>,
    router: Router,
    peer: Peer,
    request: http::Request<Incoming>,
) -> Result<Response, Infallible> {
    let given = given_id(request.headers());
    let endpoint = routes::endpoint(request.uri().path());
    let admitted = may_pass(&shared, peer, endpoint, request.headers());
    let ticket = Arc::new(Ticket {
        id: shared.request_id(given.as_ref().and_then(|v| v.to_str().ok())),
        peer,
        admitted,
        endpoint,
        model: OnceLock::new(),
        began: Instant::now(),
        status: AtomicU16::new(0),
        streams: OnceLock::new(),
    });
    let expects_continue = request.headers().contains_key(EXPECT);
    let mut request = request.map(|body| Body::new(Lingering::new(body, expects_continue)));
    let mut response = if admitted || routes::looks_for_token(endpoint) {
        request.extensions_mut().insert(Arc::clone(&ticket));
        let answer = AssertUnwindSafe(router.oneshot(request)).catch_unwind().await;
        match answer {
            Ok(Ok(response)) => response,
            Err(_) => {
                log::error!(REQUEST_ID = ticket.id.as_str(); "a panic in the endpoint {}", ticket.endpoint);
                Refusal(WireError::new(ErrorCode::Internal, "the daemon failed; its log says where")).into_response()
            }
        }
    } else {
        let message = "TCP needs the bearer token of http.token_file: send `Authorization: Bearer …`";
        Refusal(WireError::new(ErrorCode::Unauthorized, message)).into_response()
    };
    if ticket.streams.get().is_none() {
        ticket.settle(response.status().as_u16());
    }
    let id = given.or_else(|| HeaderValue::from_str(&ticket.id).ok());
    if let Some(id) = id {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    Ok(response)
}

/// The caller's own id, when it is short and plain enough for a log.
fn given_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(X_REQUEST_ID)?;
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:".contains(b);
    let fits = (1..=MAX_REQUEST_ID_BYTES).contains(&value.len()) && value.as_bytes().iter().all(plain);
    fits.then(|| value.clone())
}

/// Over TCP only life and readiness are told without the token.
fn may_pass(shared: &Shared, peer: Peer, endpoint: &str, headers: &HeaderMap) -> bool {
    if peer == Peer::Unix || routes::is_open(endpoint) {
        return true;
    }
    let live = shared.live();
    let Some(token) = &live.token else { return false };
    headers.get(AUTHORIZATION).is_some_and(|value| token.admits(value.as_bytes()))
}
