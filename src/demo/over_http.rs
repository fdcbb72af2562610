//! The demo's client of the local socket: one HTTP request each.

use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use linnet_proto::{ErrorBody, Transcript};
use tokio::net::UnixStream;

use super::{ANSWER_TIMEOUT, DemoError};

fn failed(reason: impl ToString) -> DemoError {
    DemoError::Answer { transport: "the socket", reason: reason.to_string() }
}

/// Whether `/readyz` answers 200.
pub async fn is_ready(socket: &Path) -> bool {
    let request = Request::get("http://localhost/readyz").body(Full::new(Bytes::new()));
    match request {
        Ok(request) => send(socket, request).await.is_ok_and(|(status, _)| status == StatusCode::OK),
        Err(_) => false,
    }
}

/// Sends the recording as the body and reads the transcript.
pub async fn transcribe(socket: &Path, audio: Vec<u8>) -> Result<Transcript, DemoError> {
    let request = Request::post("http://localhost/v1/audio/transcriptions?response_format=linnet_json")
        .header("host", "localhost")
        .header("content-type", "application/octet-stream")
        .body(Full::new(Bytes::from(audio)))
        .map_err(failed)?;
    let (status, body) = tokio::time::timeout(ANSWER_TIMEOUT, send(socket, request))
        .await
        .map_err(|_| failed(format!("none came within {ANSWER_TIMEOUT:?}")))??;
    if status == StatusCode::OK {
        return serde_json::from_slice(&body).map_err(failed);
    }
    match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(refused) => Err(failed(refused.error.message)),
        Err(_) => Err(failed(status)),
    }
}

async fn send(socket: &Path, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), DemoError> {
    let stream = UnixStream::connect(socket).await.map_err(failed)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(failed)?.to_bytes();
        Ok((status, body))
    }
    .await;
    driver.abort();
    answer
}
