//! A request body that is thrown away, not cut off, when nobody reads it to its end.
//!
//! An early refusal (413, 401, 429 …) comes while the client still sends. Closing at once would make its next write fail
//! before it has read the answer; so the rest is read and dropped for a short while ([`LINGER`], [`LINGER_BYTES`]), and
//! a body that ends within it leaves the connection usable.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::bounds::{LINGER, LINGER_BYTES};

/// See the module.
pub(super) struct Lingering {
    /// `None` once it has ended.
    body: Option<Incoming>,
    /// False for a client that waits for `100 Continue`: it has sent nothing, and reading would call for it.
    discard: bool,
}

impl Lingering {
    pub(super) fn new(body: Incoming, expects_continue: bool) -> Self {
        Self { body: (!body.is_end_stream()).then_some(body), discard: !expects_continue }
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        // Reading has begun: `100 Continue` is out and the client sends.
        self.discard = true;
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        if !self.discard || body.is_end_stream() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(LINGER, throw_away(body)));
        }
    }
}

async fn throw_away(mut body: Incoming) {
    let mut left = LINGER_BYTES;
    while left > 0
        && let Some(Ok(frame)) = body.frame().await
    {
        left = left.saturating_sub(frame.data_ref().map_or(0, |d| d.len() as u64));
    }
}
