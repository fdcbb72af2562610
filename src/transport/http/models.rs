//! `POST /v1/models` and `DELETE /v1/models/{id}`: models come and go while the daemon serves. Over the Unix socket only: who may write to it
//! is admitted by file mode and group, and a token for TCP is one for asking, not for changing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, BodyDataStream};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use linnet_proto::error::unserializable;
use linnet_proto::models::AddModel;
use linnet_proto::{ErrorCode, WireError};
use serde::Serialize;
use tokio::sync::mpsc;

use super::answer::{Refusal, json};
use super::bounds::ARCHIVE_PIECES;
use super::front::{Peer, Ticket};
use super::state::Shared;
use super::tasks::little;
use crate::status::ChangeModels;

/// The type of a body that holds a model's files.
const TAR: &[u8] = b"application/x-tar";

/// Adds a model: from a directory that the daemon can read (JSON), or from files that come with the request (tar).
pub(super) async fn add(
    State(shared): State<Arc<Shared>>,
    Extension(ticket): Extension<Arc<Ticket>>,
    request: Request,
) -> Result<Response, Refusal> {
    let changes = allowed(&shared, &ticket)?;
    let (head, body) = request.into_parts();
    let content_type = head.headers.get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    let added = if content_type == TAR {
        let asked = of_query(head.uri.query().unwrap_or_default())?;
        let patience = shared.live().http.idle_timeout;
        let (pieces, archive) = mpsc::channel(ARCHIVE_PIECES);
        // Whoever unpacks may refuse before the end; then nobody wants the rest.
        let (added, ()) = tokio::join!(changes.receive(asked, archive), pump(body, pieces, patience));
        added?
    } else {
        let asked: AddModel = serde_json::from_slice(&little(&shared, body).await?).map_err(|e| {
            let message =
                format!("the body must be an object with `path` (application/json), or a tar (application/x-tar): {e}");
            WireError::new(ErrorCode::InvalidRequest, message)
        })?;
        if asked.path.is_empty() {
            let message = "`path` is missing: the model's directory, from the root of the file system on";
            return Err(WireError::new(ErrorCode::InvalidRequest, message).with_param("path").into());
        }
        changes.add(asked).await?
    };
    ticket.answered_by(&added.name);
    as_json(&added)
}

/// Removes a model.
pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    Extension(ticket): Extension<Arc<Ticket>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let changes = allowed(&shared, &ticket)?;
    let Ok(Path(id)) = id else {
        return Err(WireError::new(ErrorCode::UnknownModel, "the model's name is not UTF-8").into());
    };
    as_json(&changes.remove(id).await?)
}

fn allowed(shared: &Shared, ticket: &Ticket) -> Result<Arc<dyn ChangeModels>, WireError> {
    if ticket.peer != Peer::Unix {
        let message = "models are added and removed over the Unix socket only";
        return Err(WireError::new(ErrorCode::Forbidden, message));
    }
    let nobody = || WireError::new(ErrorCode::Unavailable, "nobody here changes models");
    shared.status.change_models().ok_or_else(nobody)
}

/// The options of a model whose files come in the body.
fn of_query(query: &str) -> Result<AddModel, WireError> {
    let mut asked = AddModel::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = value.into_owned();
        match &*name {
            "name" => asked.name = Some(value),
            "directory" => asked.directory = Some(value),
            "alias" => asked.aliases.push(value),
            "dtype" => asked.dtype = Some(value),
            "replace" if value == "true" => asked.replace = true,
            "replace" if value == "false" => asked.replace = false,
            _ => {
                let shown: String = name.chars().take(40).collect();
                let message = format!(
                    "{shown:?} is no option; there is name, directory, alias, dtype and replace (true or false)"
                );
                return Err(WireError::new(ErrorCode::InvalidOption, message).with_param(shown));
            }
        }
    }
    Ok(asked)
}

/// Hands the body on as fast as it is taken. What stands still for `patience` is given up.
async fn pump(body: Body, pieces: mpsc::Sender<Result<Bytes, io::Error>>, patience: Duration) {
    let mut stream: BodyDataStream = body.into_data_stream();
    loop {
        let piece = match tokio::time::timeout(patience, stream.next()).await {
            Ok(None) => return,
            Ok(Some(Ok(piece))) => Ok(piece),
            Ok(Some(Err(e))) => Err(io::Error::other(e)),
            Err(_) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {} s", patience.as_secs())))
            }
        };
        let ended = piece.is_err();
        if pieces.send(piece).await.is_err() || ended {
            return;
        }
    }
}

fn as_json(value: &impl Serialize) -> Result<Response, Refusal> {
    serde_json::to_string(value).map(json).map_err(|e| Refusal(unserializable(&e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_in_the_query_and_an_unknown_one_is_named() {
        let asked = of_query("name=en-de&alias=a&alias=b%20c&dtype=int8&replace=true").expect("right");
        assert_eq!(
            (asked.name.as_deref(), asked.aliases, asked.replace),
            (Some("en-de"), vec!["a".into(), "b c".into()], true)
        );
        for (query, named) in [("nmae=x", "nmae"), ("replace=yes", "replace"), ("path=/etc", "path")] {
            assert_eq!(of_query(query).expect_err(query).param.as_deref(), Some(named));
        }
    }
}
