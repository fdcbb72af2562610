//! The one set of error codes that every transport answers with.

use serde::{Deserialize, Serialize};

/// A stable, small set of reasons. Transports map them in one place to their own status numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request cannot be understood (missing field, broken multipart, bad JSON).
    InvalidRequest,
    /// An option has a value outside its rule (HTTP 422).
    InvalidOption,
    /// The audio cannot be decoded, or its header lies (HTTP 422).
    InvalidAudio,
    /// The audio holds no samples (HTTP 422).
    EmptyAudio,
    /// The container or codec is not one that Linnet reads (HTTP 415).
    UnsupportedMedia,
    /// The payload, the duration, the rate or the channels exceed a limit (HTTP 413).
    TooLarge,
    /// Prompt and answer do not fit into the model's context (HTTP 400, OpenAI's code).
    ContextLengthExceeded,
    /// No model of that name (HTTP 404).
    UnknownModel,
    /// No such endpoint, topic or task (HTTP 404).
    NotFound,
    /// The model does not do that task or language (HTTP 422).
    UnsupportedTask,
    /// The endpoint is there, the method is not (HTTP 405).
    MethodNotAllowed,
    /// The request's own bytes came too slowly (HTTP 408).
    RequestTimeout,
    /// The queue is full; try again after the time that is given (HTTP 429).
    Overloaded,
    /// The deadline passed before an answer was ready (HTTP 504).
    DeadlineExceeded,
    /// The caller went away or asked to stop (HTTP 499, never seen by a live caller).
    Cancelled,
    /// The model is there but failed its load or its canary (HTTP 503).
    ModelFailed,
    /// The daemon starts or drains (HTTP 503).
    Unavailable,
    /// The daemon tries an update, and the request's time was over meanwhile; try again after the time that is given (HTTP 503).
    Updating,
    /// A token is missing or wrong (HTTP 401).
    Unauthorized,
    /// The response topic is not on the allow-list (HTTP 403).
    Forbidden,
    /// The same request was running at two crashes and is not tried again (HTTP 500).
    Poisoned,
    /// The daemon's own fault (HTTP 500).
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of declaration; documents and tests walk it.
    pub const ALL: [Self; 22] = [
        Self::InvalidRequest,
        Self::InvalidOption,
        Self::InvalidAudio,
        Self::EmptyAudio,
        Self::UnsupportedMedia,
        Self::TooLarge,
        Self::ContextLengthExceeded,
        Self::UnknownModel,
        Self::NotFound,
        Self::UnsupportedTask,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::Overloaded,
        Self::DeadlineExceeded,
        Self::Cancelled,
        Self::ModelFailed,
        Self::Unavailable,
        Self::Updating,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Poisoned,
        Self::Internal,
    ];

    /// The code as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidOption => "invalid_option",
            Self::InvalidAudio => "invalid_audio",
            Self::EmptyAudio => "empty_audio",
            Self::UnsupportedMedia => "unsupported_media",
            Self::TooLarge => "too_large",
            Self::ContextLengthExceeded => "context_length_exceeded",
            Self::UnknownModel => "unknown_model",
            Self::NotFound => "not_found",
            Self::UnsupportedTask => "unsupported_task",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::Overloaded => "overloaded",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Cancelled => "cancelled",
            Self::ModelFailed => "model_failed",
            Self::Unavailable => "unavailable",
            Self::Updating => "updating",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Poisoned => "poisoned",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status that belongs to the code.
    pub fn http_status(self) -> u16 {
        match self {
            Self::InvalidRequest | Self::ContextLengthExceeded => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::UnknownModel | Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::TooLarge => 413,
            Self::UnsupportedMedia => 415,
            Self::InvalidOption | Self::InvalidAudio | Self::EmptyAudio | Self::UnsupportedTask => 422,
            Self::Overloaded => 429,
            Self::Cancelled => 499,
            Self::Poisoned | Self::Internal => 500,
            Self::ModelFailed | Self::Unavailable | Self::Updating => 503,
            Self::DeadlineExceeded => 504,
        }
    }

    /// OpenAI's `type` for the code.
    pub fn openai_type(self) -> &'static str {
        match self.http_status() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }
}

/// A refusal or failure: one sentence that names the thing, the rule and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// The stable code.
    pub code: ErrorCode,
    /// For people. Never holds anybody's speech or text.
    pub message: String,
    /// The option or field at fault, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// When to try again, where that helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl WireError {
    /// An error of `code` with a sentence for people.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None, retry_after_ms: None }
    }

    /// Names the option or field at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn with_retry_after_ms(mut self, retry_after_ms: u64) -> Self {
        self.retry_after_ms = Some(retry_after_ms);
        self
    }
}

/// The answer did not turn into JSON, which no input can cause.
pub fn unserializable(error: &serde_json::Error) -> WireError {
    WireError::new(ErrorCode::Internal, format!("the answer cannot be written as JSON: {error}"))
}

/// OpenAI's error envelope: `{"error": {"message", "type", "param", "code"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error itself.
    pub error: ErrorBodyInner,
}

/// The inside of [`ErrorBody`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBodyInner {
    /// For people.
    pub message: String,
    /// OpenAI's class of the error.
    #[serde(rename = "type")]
    pub kind: String,
    /// The option or field at fault.
    pub param: Option<String>,
    /// The stable code.
    pub code: ErrorCode,
    /// When to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl From<WireError> for ErrorBody {
    fn from(e: WireError) -> Self {
        Self {
            error: ErrorBodyInner {
                kind: e.code.openai_type().to_owned(),
                message: e.message,
                param: e.param,
                code: e.code,
                retry_after_ms: e.retry_after_ms,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_codes_is_whole_and_in_order() {
        // `Internal` is declared last, so its number counts the others.
        assert_eq!(ErrorCode::ALL.len(), ErrorCode::Internal as usize + 1);
        for (place, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(place, *code as usize, "{code:?} stands in the wrong place");
        }
    }

    #[test]
    fn a_code_reads_the_same_on_the_wire_and_in_logs() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_string(&code).expect("a code is a string"), format!("\"{}\"", code.as_str()));
        }
    }

    #[test]
    fn every_code_is_a_refusal_or_a_failure_in_http() {
        for code in ErrorCode::ALL {
            assert!((400..600).contains(&code.http_status()), "{code:?}");
        }
    }
}
