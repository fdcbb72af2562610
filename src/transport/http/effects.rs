//! Headers that every task shares: who goes first, and which options of the request did nothing.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use linnet_proto::{ErrorCode, WireError};

use crate::job::Priority;

/// Who goes first: the option `priority` for clients that build the body themselves.
pub(super) const PRIORITY: HeaderName = HeaderName::from_static("linnet-priority");
/// Names the options of the request that did nothing.
const WITHOUT_EFFECT: HeaderName = HeaderName::from_static("linnet-without-effect");

/// The priority of a request's head.
pub(super) fn priority_of(headers: &HeaderMap) -> Result<Priority, WireError> {
    let Some(value) = headers.get(PRIORITY) else { return Ok(Priority::default()) };
    let priority = value.to_str().ok().map(str::trim).and_then(Priority::parse);
    priority.ok_or_else(|| {
        let names = Priority::ALL.map(Priority::as_str).join(", ");
        let message = format!("the header Linnet-Priority must be one of {names}");
        WireError::new(ErrorCode::InvalidOption, message).with_param("Linnet-Priority")
    })
}

/// Says in the answer's head which of the request's options did nothing.
pub(super) fn naming(without_effect: &[&'static str], mut response: Response) -> Response {
    // Names of options are visible ASCII; an empty list needs no header.
    if !without_effect.is_empty()
        && let Ok(names) = HeaderValue::from_str(&without_effect.join(", "))
    {
        response.headers_mut().insert(WITHOUT_EFFECT, names);
    }
    response
}
