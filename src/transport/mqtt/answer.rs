//! An answer as bytes: what a task gives, in the format that was asked for, or an error as a JSON object.

use bytes::Bytes;
use linnet_proto::{ErrorBody, ErrorCode, WireError};

use super::bounds::DEFAULT_RETRY_AFTER_MS;

/// An answer's payload and what it is. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// UTF-8 text.
    pub payload: Bytes,
    /// MIME type.
    pub content_type: String,
    /// The error's code; `None` for a result.
    pub error: Option<ErrorCode>,
}

impl Body {
    /// A refusal or failure: the error object that HTTP answers with, too.
    pub fn of_error(mut error: WireError) -> Self {
        if error.code == ErrorCode::Overloaded {
            error.retry_after_ms.get_or_insert(DEFAULT_RETRY_AFTER_MS);
        }
        let code = error.code;
        // An object of strings and numbers always serializes.
        let text = serde_json::to_string(&ErrorBody::from(error)).unwrap_or_else(|_| "{}".to_owned());
        Self { payload: Bytes::from(text), content_type: "application/json".to_owned(), error: Some(code) }
    }

    /// Whether a repeat of the request would be answered the same: results, and refusals that lie in the request itself.
    pub fn is_final(&self) -> bool {
        use ErrorCode::*;
        match self.error {
            None => true,
            Some(InvalidRequest | InvalidOption | InvalidAudio | EmptyAudio | UnsupportedMedia) => true,
            Some(TooLarge | ContextLengthExceeded | Poisoned) => true,
            Some(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_the_object_that_http_answers_with() {
        let body = Body::of_error(WireError::new(ErrorCode::Overloaded, "full"));
        let parsed: ErrorBody = serde_json::from_slice(&body.payload).expect("an object");
        assert_eq!((parsed.error.code, parsed.error.retry_after_ms), (ErrorCode::Overloaded, Some(1000)));
        assert_eq!(body.content_type, "application/json");
    }

    #[test]
    fn what_may_go_better_next_time_is_not_final() {
        for code in [ErrorCode::Overloaded, ErrorCode::Unavailable, ErrorCode::DeadlineExceeded, ErrorCode::Internal] {
            assert!(!Body::of_error(WireError::new(code, "no")).is_final(), "{code:?}");
        }
        for code in [ErrorCode::InvalidAudio, ErrorCode::Poisoned] {
            assert!(Body::of_error(WireError::new(code, "no")).is_final(), "{code:?}");
        }
    }
}
