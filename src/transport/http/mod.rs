//! HTTP/1.1 on the Unix socket and, where configured, on TCP: OpenAI's endpoints, Linnet's own tasks, health, metrics, status.
//!
//! The way of one request: [`server`] accepts a connection (bounded), [`front`] gives the request its id, its token check
//! and its log line, [`routes`] finds the endpoint, [`transcriptions`] or [`tasks`] reads the body through [`upload`] (bounded in
//! bytes, time and the memory of all requests together), admits the job, and writes the answer whole or as server-sent events. Every refusal is a [`linnet_proto::WireError`] in OpenAI's shape ([`answer`]).
//!
//! `docs/http.md` shows each endpoint with `curl`.

mod answer;
pub mod bounds;
mod effects;
pub mod form;
mod front;
mod info;
mod lingering;
mod models;
mod ollama;
mod patience;
mod routes;
mod server;
mod state;
mod tasks;
mod tls;
mod token;
mod transcriptions;
pub mod upload;

pub use server::{HttpServer, Listeners};
pub use token::{Token, TokenError};

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why HTTP does not start, or why a reload keeps the old settings.
#[derive(Debug, thiserror::Error)]
pub enum HttpStartError {
    /// The bearer token's file is missing or unusable.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A certificate or key cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// One sentence.
        reason: String,
    },
    /// TCP beyond loopback in plain text without the operator's word.
    #[error(
        "http.tcp = \"{0}\" is reachable from other machines: set tls_cert and tls_key, or insecure_plaintext = true, or \
         listen on 127.0.0.1"
    )]
    Exposed(SocketAddr),
    /// A reload cannot move a listener.
    #[error("the TCP listener cannot be added, moved or removed while the daemon runs; restart linnetd")]
    ListenerMoved,
    /// A listener cannot be bound.
    #[error("http.tcp = \"{address}\": {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
}
