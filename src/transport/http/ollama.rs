//! What Ollama's clients ask about models.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use linnet_proto::error::unserializable;
use linnet_proto::ollama::{Details, Tag, capabilities, model_name};
use linnet_proto::status::{ModelState, ModelStatus};
use linnet_proto::{ErrorCode, WireError, json};
use serde_json::{Value, json};

use super::answer;
use super::answer::plain;
use super::state::Shared;
use super::tasks::little;

/// Packages carry no date.
const NO_DATE: &str = "1970-01-01T00:00:00Z";

fn written(value: &Value) -> Response {
    serde_json::to_string(value).map_or_else(|e| plain(unserializable(&e)), answer::json)
}

fn tag(model: &ModelStatus) -> Tag {
    let name = format!("{}:latest", model.name);
    Tag {
        model: name.clone(),
        name,
        modified_at: NO_DATE.to_owned(),
        size: model.memory_mib << 20,
        digest: String::new(),
        details: Details::of(&model.family),
    }
}

fn serves(model: &ModelStatus) -> bool {
    !matches!(model.state, ModelState::Failed { .. })
}

/// The models that serve.
pub(super) async fn tags(State(shared): State<Arc<Shared>>) -> Response {
    let models = shared.status.status().models;
    let tags: Vec<_> = models.iter().filter(|model| serves(model)).map(tag).collect();
    written(&json!({ "models": tags }))
}

/// Those of them that are in memory.
pub(super) async fn running(State(shared): State<Arc<Shared>>) -> Response {
    let models = shared.status.status().models;
    let tags: Vec<_> = models.iter().filter(|model| model.state == ModelState::Ready).map(tag).collect();
    written(&json!({ "models": tags }))
}

/// What one model is.
pub(super) async fn show(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let body = match little(&shared, request.into_body()).await.and_then(|body| json::object(&body)) {
        Ok(body) => body,
        Err(error) => return plain(error),
    };
    let asked = body.get("model").or_else(|| body.get("name")).and_then(Value::as_str).unwrap_or_default();
    let asked = model_name(asked);
    let models = shared.status.status().models;
    match models.iter().find(|m| m.name == asked || m.aliases.iter().any(|a| a == asked)) {
        Some(model) => written(&json!({
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": Details::of(&model.family),
            "model_info": {"general.architecture": model.family, "general.languages": model.languages},
            "capabilities": capabilities(&model.tasks),
            "modified_at": NO_DATE,
        })),
        None => {
            let shown: String = asked.chars().take(80).collect();
            plain(WireError::new(ErrorCode::UnknownModel, format!("model {shown:?} not found")).with_param("model"))
        }
    }
}

/// `linnetd`'s own version.
pub(super) async fn version() -> Response {
    written(&json!({ "version": env!("CARGO_PKG_VERSION") }))
}
