//! What the daemon is asked over its socket that changes its models.

use std::io;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use linnet_proto::WireError;
use linnet_proto::models::{AddModel, AddedModel, RemovedModel};
use tokio::sync::mpsc;

/// A tar of a model's files, piece by piece as it comes; an error is the sender's or the connection's.
pub type Archive = mpsc::Receiver<Result<Bytes, io::Error>>;

/// Adds models and removes them while the daemon serves. Dropping a future before its end takes back what it has begun, as far as it can be
/// taken back: a model that has taken its place stays, and a removal that has begun goes on.
pub trait ChangeModels: Send + Sync + 'static {
    /// Takes the model in [`AddModel::path`] into the daemon's own directory of models, and serves it.
    fn add(&self, asked: AddModel) -> BoxFuture<'static, Result<AddedModel, WireError>>;
    /// The same with a model whose files come with the request.
    fn receive(&self, asked: AddModel, archive: Archive) -> BoxFuture<'static, Result<AddedModel, WireError>>;
    /// Lets go of a model after what runs on it, and removes its files.
    fn remove(&self, name: String) -> BoxFuture<'static, Result<RemovedModel, WireError>>;
}
