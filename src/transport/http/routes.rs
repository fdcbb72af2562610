//! Which path is which endpoint, and what is answered where there is none.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::routing::{get, post};
use linnet_proto::{ErrorCode, WireError};

use super::answer::Refusal;
use super::state::Shared;
use super::{info, models, ollama, tasks, transcriptions};
use crate::transport::ask::Kind;

/// Tasks that take JSON.
pub(super) const TASKS: &[(&str, Kind)] = &[
    ("/v1/completions", Kind::Completion),
    ("/v1/chat/completions", Kind::Chat),
    ("/v1/embeddings", Kind::Embeddings),
    ("/v1/fill-mask", Kind::Fill),
    ("/v1/classify", Kind::Classify),
    ("/v1/tag", Kind::Tag),
    ("/v1/answer", Kind::Answer),
    ("/v1/intent", Kind::Intent),
    ("/v1/words", Kind::Words),
    ("/v1/summarize", Kind::Summarize),
    ("/v1/raw", Kind::Raw),
    ("/translate", Kind::Translate),
    ("/detect", Kind::Detect),
    ("/api/generate", Kind::OllamaGenerate),
    ("/api/chat", Kind::OllamaChat),
    ("/api/embed", Kind::OllamaEmbed),
    ("/api/embeddings", Kind::OllamaEmbeddings),
];

/// Every other path.
const OTHERS: &[&str] = &[
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/languages",
    "/api/tags",
    "/api/ps",
    "/api/show",
    "/api/version",
    "/v1/models",
    "/v1/models/{id}",
    "/v1/status",
    "/v1/reload",
    "/healthz",
    "/readyz",
    "/metrics",
];

/// Every path, for messages and documents.
fn paths() -> impl Iterator<Item = &'static str> {
    TASKS.iter().map(|(path, _)| *path).chain(OTHERS.iter().copied())
}

/// All endpoints.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for (path, kind) in TASKS.iter().copied() {
        router = router.route(path, post(move |shared, ticket, request| tasks::ask(kind, shared, ticket, request)));
    }
    router
        .route("/v1/audio/transcriptions", post(|s, t, r| transcriptions::hear(false, s, t, r)))
        .route("/v1/audio/translations", post(|s, t, r| transcriptions::hear(true, s, t, r)))
        .route("/languages", get(info::languages))
        .route("/api/tags", get(ollama::tags))
        .route("/api/ps", get(ollama::running))
        .route("/api/show", post(ollama::show))
        .route("/api/version", get(ollama::version))
        .route("/v1/models", get(info::models).post(models::add))
        .route("/v1/models/{id}", get(info::model).delete(models::remove))
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
    if let Some((_, kind)) = TASKS.iter().find(|(task, _)| *task == path) {
        return kind.task();
    }
    match path {
        "/v1/audio/transcriptions" => "transcribe",
        "/v1/audio/translations" => "translate-speech",
        "/languages" => "languages",
        "/api/tags" | "/api/ps" | "/api/show" | "/api/version" => "models",
        "/v1/status" => "status",
        "/v1/reload" => "reload",
        "/healthz" => "health",
        "/readyz" => "ready",
        "/metrics" => "metrics",
        path if path == "/v1/models" || path.starts_with("/v1/models/") => "models",
        _ => "unknown",
    }
}

/// Whether the endpoint runs a model.
pub(super) fn is_task(endpoint: &str) -> bool {
    matches!(endpoint, "transcribe" | "translate-speech") || Kind::of_task(endpoint).is_some()
}

/// Whether TCP answers it without a token.
pub(super) fn is_open(endpoint: &str) -> bool {
    matches!(endpoint, "health" | "ready")
}

/// Whether the endpoint looks for TCP's token itself, since it may stand in the query or in the body (LibreTranslate's
/// `api_key`).
pub(super) fn looks_for_token(endpoint: &str) -> bool {
    matches!(endpoint, "translate" | "detect" | "languages")
}

fn shown(path: &str) -> String {
    path.chars().take(80).collect()
}

async fn no_such_path(uri: Uri) -> Refusal {
    let paths: Vec<_> = paths().collect();
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
        paths().for_each(named);
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

    #[test]
    fn the_page_says_which_models_its_examples_find_and_how_to_get_the_others() {
        let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        for model in std::fs::read_dir(models).expect("the bundled models").map(|entry| entry.expect("one")) {
            let name = model.file_name();
            let named = format!("`{}`", name.to_string_lossy());
            assert!(PAGE.contains(&named), "docs/http.md does not say that {named} is bundled");
        }
        for example in ["/v1/chat/completions", "/v1/embeddings", "/v1/fill-mask", "/v1/classify"] {
            let (_, after) = PAGE.split_once(&format!("http://localhost{example}")).expect("an example");
            let after = after.split("\n## ").next().unwrap_or_default();
            assert!(after.contains("none is bundled ("), "docs/http.md does not say that {example} needs a model");
        }
        for name in ["chat", "embed", "fill", "nli", "de-en", "whisper"] {
            assert!(PAGE.contains(&format!("--name {name} ")), "docs/http.md does not say how to get `{name}`");
        }
    }
}
