//! Refusals and answers as HTTP responses, in one place.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use linnet_proto::libretranslate::PlainError;
use linnet_proto::{ErrorBody, ErrorCode, WireError};

use super::bounds::DEFAULT_RETRY_AFTER_MS;

/// OpenAI's clients prefer this over `Retry-After`: the same in milliseconds.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// A refusal on its way out: OpenAI's error object under the status of its code.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) WireError);

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        refuse(self.0, |error| serde_json::to_string(&ErrorBody::from(error)))
    }
}

/// A refusal as LibreTranslate and Ollama have it: a text under `error`.
pub(super) fn plain(error: WireError) -> Response {
    refuse(error, |error| serde_json::to_string(&PlainError::from(error)))
}

fn refuse(mut error: WireError, body: impl Fn(WireError) -> serde_json::Result<String>) -> Response {
    if error.code == ErrorCode::Overloaded {
        error.retry_after_ms.get_or_insert(DEFAULT_RETRY_AFTER_MS);
    }
    let (code, retry_after_ms) = (error.code, error.retry_after_ms);
    let mut response = json(body(error).unwrap_or_else(|_| "{}".into()));
    // 499 and the others are all valid numbers; a code can only name 400 to 599.
    *response.status_mut() = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some(ms) = retry_after_ms {
        headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000).max(1)));
        headers.insert(RETRY_AFTER_MS, HeaderValue::from(ms));
    }
    if code == ErrorCode::Unauthorized {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"linnet\""));
    }
    response
}

/// A body that is JSON already.
pub(super) fn json(body: String) -> Response {
    typed("application/json", body)
}

/// A body of a fixed type.
pub(super) fn typed(content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_when_to_come_back_in_whole_seconds_and_milliseconds() {
        let error = WireError::new(ErrorCode::Overloaded, "full").with_retry_after_ms(1200);
        let response = Refusal(error).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert_eq!(response.headers()["retry-after-ms"], "1200");
    }

    #[test]
    fn every_code_has_its_status() {
        for code in ErrorCode::ALL {
            let response = Refusal(WireError::new(code, "no")).into_response();
            assert_eq!(response.status().as_u16(), code.http_status());
            assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
            assert_eq!(response.headers().contains_key(RETRY_AFTER), code == ErrorCode::Overloaded);
        }
    }
}
