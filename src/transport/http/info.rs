//! Endpoints that say what the daemon is and has. None of them waits for a worker.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use linnet_proto::error::unserializable;
use linnet_proto::libretranslate::Language;
use linnet_proto::status::{ModelState, ModelStatus};
use linnet_proto::{ErrorCode, WireError};
use serde::Serialize;

use super::answer::{Refusal, json, plain, typed};
use super::bounds::RELOAD_PATIENCE;
use super::front::{Peer, Ticket};
use super::state::Shared;
use super::tasks::little;

type Answered = Result<Response, Refusal>;

/// What `prometheus-client` writes.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// OpenAI's model object, with what Linnet knows beside it.
#[derive(Serialize)]
struct Model {
    id: String,
    object: &'static str,
    /// OpenAI's clients want a number; packages carry no date.
    created: u64,
    owned_by: &'static str,
    aliases: Vec<String>,
    tasks: Vec<String>,
    languages: Vec<String>,
    ready: bool,
}

impl From<ModelStatus> for Model {
    fn from(model: ModelStatus) -> Self {
        Self {
            id: model.name,
            object: "model",
            created: 0,
            owned_by: "linnet",
            aliases: model.aliases,
            tasks: model.tasks,
            languages: model.languages,
            ready: !matches!(model.state, ModelState::Failed { .. }),
        }
    }
}

#[derive(Serialize)]
struct ModelList {
    object: &'static str,
    data: Vec<Model>,
}

fn as_json(value: &impl Serialize) -> Answered {
    serde_json::to_string(value).map(json).map_err(|e| Refusal(unserializable(&e)))
}

pub(super) async fn models(State(shared): State<Arc<Shared>>) -> Answered {
    let data = shared.status.status().models.into_iter().map(Model::from).collect();
    as_json(&ModelList { object: "list", data })
}

pub(super) async fn model(State(shared): State<Arc<Shared>>, id: Result<Path<String>, PathRejection>) -> Answered {
    let Ok(Path(id)) = id else {
        return Err(Refusal(WireError::new(ErrorCode::UnknownModel, "the model's name is not UTF-8")));
    };
    let named = |m: &ModelStatus| m.name == id || m.aliases.contains(&id);
    let models = shared.status.status().models;
    match models.iter().position(named) {
        Some(at) => as_json(&models.into_iter().nth(at).map(Model::from)),
        None => {
            let names: Vec<_> = models.into_iter().map(|m| m.name).collect();
            let shown: String = id.chars().take(80).collect();
            let message = format!("there is no model {shown:?}; there is: {}", names.join(", "));
            Err(Refusal(WireError::new(ErrorCode::UnknownModel, message).with_param("model")))
        }
    }
}

/// LibreTranslate's list: what can be translated to what, over a third language, too.
pub(super) async fn languages(
    State(shared): State<Arc<Shared>>,
    Extension(ticket): Extension<Arc<Ticket>>,
    request: Request,
) -> Response {
    if !ticket.admitted && !brings_key(&shared, request).await {
        let message = "TCP needs the bearer token of http.token_file: send `Authorization: Bearer …`, or ?api_key=…";
        return plain(WireError::new(ErrorCode::Unauthorized, message).with_param("api_key"));
    }
    let translations = shared.admit.offers().translations();
    let list = translations.into_iter().map(|(code, targets)| Language::new(&code, targets.into_iter().collect()));
    as_json(&list.collect::<Vec<_>>()).unwrap_or_else(|refusal| plain(refusal.0))
}

/// Whether TCP's token stands in the query, or in the form that LibreTranslate's own client sends even here.
async fn brings_key(shared: &Shared, request: Request) -> bool {
    let live = shared.live();
    if live.knows_key_of_query(request.uri().query()) {
        return true;
    }
    let form = little(shared, request.into_body()).await.unwrap_or_default();
    std::str::from_utf8(&form).is_ok_and(|form| live.knows_key_of_query(Some(form)))
}

pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Answered {
    as_json(&shared.status.status())
}

/// 200 as long as the process answers at all.
pub(super) async fn health() -> Response {
    json(r#"{"status":"ok"}"#.into())
}

/// 200 while requests are taken and some model can answer them; else 503. Nobody is answered before the start is over.
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Answered {
    if shared.status.is_ready() {
        return Ok(json(r#"{"status":"ready"}"#.into()));
    }
    let message = "linnetd is not ready: it drains, no worker answers, or no model serves; /v1/status says more";
    Err(Refusal(WireError::new(ErrorCode::Unavailable, message).with_retry_after_ms(1000)))
}

pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    typed(METRICS_TYPE, shared.status.metrics())
}

/// Reads configuration and models again and answers with the status when that is done. Over the Unix socket only: whoever may
/// write to it may as well send a signal.
pub(super) async fn reload(State(shared): State<Arc<Shared>>, Extension(ticket): Extension<Arc<Ticket>>) -> Answered {
    if ticket.peer != Peer::Unix {
        let message = "a reload is granted over the Unix socket only";
        return Err(Refusal(WireError::new(ErrorCode::Forbidden, message)));
    }
    let granted = match shared.status.reloads() {
        Some(reloads) => tokio::time::timeout(RELOAD_PATIENCE, reloads.reload()).await.unwrap_or(false),
        None => false,
    };
    if !granted {
        let message = "the reload did not end in time, or linnetd ends; its log says more";
        return Err(Refusal(WireError::new(ErrorCode::Unavailable, message).with_retry_after_ms(5000)));
    }
    as_json(&shared.status.status())
}
