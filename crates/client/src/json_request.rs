//! Requests of any task as JSON, over the socket or a broker.

use linnet_proto::topic::TaskName;
use serde_json::{Map, Value};

use crate::mqtt::Remote;
use crate::{ClientError, Local, Terms};

/// A task: its path over HTTP and its name over MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// `/v1/classify`
    pub path: &'static str,
    /// `classify`
    pub name: &'static str,
}

impl Task {
    /// Text that follows a prompt.
    pub const GENERATE: Self = Self { path: "/v1/completions", name: "generate" };
    /// The next message of a conversation.
    pub const CHAT: Self = Self { path: "/v1/chat/completions", name: "chat" };
    /// Vectors of texts.
    pub const EMBED: Self = Self { path: "/v1/embeddings", name: "embed" };
    /// Words for masks.
    pub const FILL: Self = Self { path: "/v1/fill-mask", name: "fill" };
    /// Labels of a text.
    pub const CLASSIFY: Self = Self { path: "/v1/classify", name: "classify" };
    /// Entities in a text.
    pub const TAG: Self = Self { path: "/v1/tag", name: "tag" };
    /// An answer from a text.
    pub const ANSWER: Self = Self { path: "/v1/answer", name: "answer" };
    /// What somebody wants.
    pub const INTENT: Self = Self { path: "/v1/intent", name: "intent" };
    /// Neighbours of words.
    pub const WORDS: Self = Self { path: "/v1/words", name: "words" };
    /// A shorter text.
    pub const SUMMARIZE: Self = Self { path: "/v1/summarize", name: "summarize" };
    /// Text in another language.
    pub const TRANSLATE: Self = Self { path: "/translate", name: "translate" };
    /// Which language a text is in.
    pub const DETECT: Self = Self { path: "/detect", name: "detect" };
}

/// A daemon, wherever it is.
#[derive(Debug, Clone)]
pub enum Daemon {
    /// On this machine.
    Local(Local),
    /// Behind a broker.
    Remote(Remote),
}

impl Daemon {
    /// Asks and waits for the whole answer. Without a deadline in `terms` the daemon's own default counts.
    pub async fn ask(&self, task: Task, mut body: Map<String, Value>, terms: Terms) -> Result<Value, ClientError> {
        add(terms, &mut body);
        match self {
            Self::Local(local) => local.post(task.path, &body).await,
            Self::Remote(remote) => {
                let name = TaskName::new(task.name).map_err(|e| ClientError::Broken(e.to_string()))?;
                let payload = Value::Object(body).to_string().into_bytes();
                remote.ask(name, "application/json", Vec::new(), payload.into(), terms).await
            }
        }
    }

    /// Asks and hands on every event of the answer. Over MQTT the last one is the whole answer, whatever came before, and says so: `final`.
    pub async fn stream(
        &self,
        task: Task,
        mut body: Map<String, Value>,
        terms: Terms,
        mut each: impl FnMut(Value) -> Result<(), ClientError> + Send,
    ) -> Result<(), ClientError> {
        body.insert("stream".to_owned(), true.into());
        add(terms, &mut body);
        match self {
            Self::Local(local) => local.events(task.path, &body, each).await,
            Self::Remote(remote) => {
                let name = TaskName::new(task.name).map_err(|e| ClientError::Broken(e.to_string()))?;
                let payload = Value::Object(body).to_string().into_bytes();
                let whole = remote.stream(name, payload.into(), terms, &mut each).await?;
                each(whole)
            }
        }
    }
}

/// Deadline and priority as members of a body.
fn add(terms: Terms, body: &mut Map<String, Value>) {
    if let Some(timeout) = terms.timeout {
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        body.insert("timeout_ms".to_owned(), ms.into());
    }
    if let Some(priority) = terms.priority {
        body.insert("priority".to_owned(), priority.as_str().into());
    }
}
