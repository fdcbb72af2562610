//! Which path is which endpoint, and what is answered where there is none.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::routing::{get, post};
use linnet_proto::{ErrorCode, WireError};

use super::answer::Refusal;
use super::state::Shared;
use super::{info, transcriptions};

/// Every path with its methods, for messages and documents.
pub(super) const PATHS: &[(&str, &str)] = &[
    ("POST", "/v1/audio/transcriptions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{id}"),
    ("GET", "/v1/status"),
    ("POST", "/v1/reload"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
];

/// All endpoints.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/audio/transcriptions", post(transcriptions::transcribe))
        .route("/v1/models", get(info::models))
        .route("/v1/models/{id}", get(info::model))
        .route("/v1/status", get(info::status))
        .route("/v1/reload", post(info::reload))
        .route("/healthz", get(info::health))
        .route("/readyz", get(info::ready))
        .route("/metrics", get(info::metrics))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        // Each endpoint that reads a body bounds it itself.
        .layer(DefaultBodyLimit::disable())
        .with_state(shared)
}

/// The endpoint's name in logs: one of a few, whatever a client writes.
pub(super) fn endpoint(path: &str) -> &'static str {
    match path {
        "/v1/audio/transcriptions" => "transcribe",
        "/v1/status" => "status",
        "/v1/reload" => "reload",
        "/healthz" => "health",
        "/readyz" => "ready",
        "/metrics" => "metrics",
        models if models == "/v1/models" || models.starts_with("/v1/models/") => "models",
        _ => "unknown",
    }
}

/// Whether the endpoint runs a model.
pub(super) fn is_task(endpoint: &str) -> bool {
    endpoint == "transcribe"
}

/// Whether TCP answers it without a token.
pub(super) fn is_open(endpoint: &str) -> bool {
    matches!(endpoint, "health" | "ready")
}

fn shown(path: &str) -> String {
    path.chars().take(80).collect()
}

async fn no_such_path(uri: Uri) -> Refusal {
    let paths: Vec<_> = PATHS.iter().map(|(_, path)| *path).collect();
    let message = format!("there is no {:?}; the paths are {}", shown(uri.path()), paths.join(", "));
    Refusal(WireError::new(ErrorCode::NotFound, message))
}

async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    let method: String = method.as_str().chars().take(20).collect();
    let message = format!("{:?} does not take {method}; the header Allow says what it takes", shown(uri.path()));
    Refusal(WireError::new(ErrorCode::MethodNotAllowed, message))
}

#[cfg(test)]
mod tests {
    use linnet_proto::format::ResponseFormat;

    use super::*;
    use crate::transport::options::KNOWN;

    const PAGE: &str = include_str!("../../../docs/http.md");

    #[test]
    fn the_page_for_integrators_names_every_path_option_format_and_code() {
        let named = |word: &str| assert!(PAGE.contains(&format!("`{word}`")), "docs/http.md does not name `{word}`");
        PATHS.iter().for_each(|(_, path)| named(path));
        KNOWN.iter().for_each(|option| named(option));
        ResponseFormat::ALL.iter().for_each(|format| named(format.as_str()));
        for code in ErrorCode::ALL {
            if matches!(code, ErrorCode::Forbidden | ErrorCode::Poisoned | ErrorCode::Cancelled) {
                // MQTT's own, and the one that no caller lives to see.
                continue;
            }
            let row = format!("| {} | ", code.http_status());
            let said = PAGE.lines().any(|l| l.starts_with(&row) && l.contains(&format!("`{}`", code.as_str())));
            assert!(said, "docs/http.md has no row of {} with `{}`", code.http_status(), code.as_str());
        }
    }
}
