//! The demo's client of the local socket: one HTTP request each.

use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use linnet_proto::{ErrorBody, Transcript};
use serde_json::{Value, json};
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

/// The bundled model that translates.
pub const TRANSLATOR: &str = "translate-en-de";
/// The bundled model that writes.
pub const WRITER: &str = "generate-stories";

/// Sends the recording as the body and reads the transcript.
pub async fn transcribe(socket: &Path, audio: Vec<u8>) -> Result<Transcript, DemoError> {
    let path = "/v1/audio/transcriptions?response_format=linnet_json";
    serde_json::from_slice(&post(socket, path, "application/octet-stream", audio).await?).map_err(failed)
}

/// The names of the models that serve or would.
pub async fn models(socket: &Path) -> Result<Vec<String>, DemoError> {
    let request = Request::get("http://localhost/v1/models").body(Full::new(Bytes::new())).map_err(failed)?;
    let answer: Value = serde_json::from_slice(&asked(socket, request).await?).map_err(failed)?;
    let names = answer["data"].as_array().into_iter().flatten().filter_map(|model| model["id"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// Sentences in English, in German.
pub async fn translate(socket: &Path, sentences: &[&str]) -> Result<Vec<String>, DemoError> {
    let request = json!({ "q": sentences, "source": "en", "target": "de" });
    let answer = post(socket, "/translate", "application/json", request.to_string().into_bytes()).await?;
    let answer: Value = serde_json::from_slice(&answer).map_err(failed)?;
    let texts = answer["translatedText"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(texts.map(str::to_owned).collect())
}

/// How a text goes on: the same at each run, since chance has a seed.
pub async fn write(socket: &Path, prompt: &str, max_tokens: u32) -> Result<String, DemoError> {
    let request = json!({
        "model": WRITER, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0.7, "top_p": 0.9, "seed": 1,
    });
    let answer = post(socket, "/v1/completions", "application/json", request.to_string().into_bytes()).await?;
    let answer: Value = serde_json::from_slice(&answer).map_err(failed)?;
    Ok(answer["choices"][0]["text"].as_str().unwrap_or_default().to_owned())
}

async fn post(socket: &Path, path: &str, content: &str, body: Vec<u8>) -> Result<Bytes, DemoError> {
    let request = Request::post(format!("http://localhost{path}"))
        .header("host", "localhost")
        .header("content-type", content)
        .body(Full::new(Bytes::from(body)))
        .map_err(failed)?;
    asked(socket, request).await
}

/// The body of a good answer.
async fn asked(socket: &Path, request: Request<Full<Bytes>>) -> Result<Bytes, DemoError> {
    let (status, body) = tokio::time::timeout(ANSWER_TIMEOUT, send(socket, request))
        .await
        .map_err(|_| failed(format!("none came within {ANSWER_TIMEOUT:?}")))??;
    if status == StatusCode::OK {
        return Ok(body);
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
