//! Where a message comes from and where its answer goes, read before its payload is looked at.

use bytes::Bytes;
use linnet_proto::topic::{DeviceName, RequestId, ResponseTopic, ResponseTopics, TaskName, Topic, TopicError};
use linnet_proto::{ErrorCode, WireError};

use super::fingerprint::Key;
use super::request::tasks;

/// Where an answer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Topic.
    pub topic: ResponseTopic,
    /// Handed back as it came.
    pub correlation: Option<Bytes>,
}

/// A message that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Where the answer goes.
    pub target: Target,
    /// Who asks.
    pub key: Key,
    /// The task, or why there is none to do.
    pub task: Result<TaskName, WireError>,
    /// The task in metrics and logs: one that this daemon knows, whatever the topic says, or [`UNKNOWN`].
    pub label: &'static str,
}

/// The label of what names no task that this daemon knows.
pub const UNKNOWN: &str = "unknown";

/// A message that nobody can be told about: it names neither an id nor a response topic that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// No id and no response topic.
    #[error("it has neither a response topic nor an id as last level of its topic")]
    Nowhere,
    /// No id, and a response topic that is refused.
    #[error("{0}")]
    ResponseTopic(TopicError),
    /// No response topic, and a request topic without a sound id.
    #[error("{0}")]
    RequestTopic(TopicError),
}

/// Reads topic, response topic and correlation data as a broker handed them over.
pub fn read(
    device: &DeviceName,
    allowed: &ResponseTopics,
    topic: &[u8],
    response_topic: Option<&str>,
    correlation: Option<Bytes>,
) -> Result<Envelope, Unanswerable> {
    let (task, id) = match Topic::from_bytes(topic) {
        Ok(Topic::Request { task, id, .. }) => (known(task), id),
        Ok(_) => (Err(not_found(&TopicError::Unknown)), None),
        Err(error) => (Err(not_found(&error)), None),
    };
    let label = task.as_ref().ok().and_then(|task| tasks().find(|known| *known == task.as_str())).unwrap_or(UNKNOWN);
    let by_id = |id: &RequestId| ResponseTopic::default_for(device, id);
    let (topic, task) = match (response_topic, &id) {
        (Some(asked), id) => match (allowed.check(asked), id) {
            (Ok(topic), _) => (topic, task),
            // The client can still be told where it may not be answered.
            (Err(error), Some(id)) => (by_id(id), Err(forbidden(&error))),
            (Err(error), None) => return Err(Unanswerable::ResponseTopic(error)),
        },
        (None, Some(id)) => (by_id(id), task),
        (None, None) => {
            return Err(match Topic::from_bytes(topic) {
                Err(error) => Unanswerable::RequestTopic(error),
                Ok(_) => Unanswerable::Nowhere,
            });
        }
    };
    let key = match id {
        Some(id) => Key::Id(id.to_string()),
        None => Key::Reply(topic.to_string(), correlation.as_deref().unwrap_or_default().to_vec()),
    };
    Ok(Envelope { target: Target { topic, correlation }, key, task, label })
}

fn known(task: TaskName) -> Result<TaskName, WireError> {
    if tasks().any(|known| known == task.as_str()) {
        return Ok(task);
    }
    let known = tasks().collect::<Vec<_>>().join(", ");
    let message = format!("there is no task called {task:?}; this daemon knows {known}", task = task.as_str());
    Err(WireError::new(ErrorCode::NotFound, message))
}

fn not_found(error: &TopicError) -> WireError {
    WireError::new(ErrorCode::NotFound, format!("{error}; send to linnet/<device>/request/<task>[/<id>]"))
}

fn forbidden(error: &TopicError) -> WireError {
    WireError::new(ErrorCode::Forbidden, error.to_string()).with_param("response_topic")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(topic: &[u8], response_topic: Option<&str>, correlation: Option<&str>) -> Result<Envelope, Unanswerable> {
        let device = DeviceName::new("k").expect("a name");
        let allowed = ResponseTopics::new(&["site/#"]).expect("filters");
        read(&device, &allowed, topic, response_topic, correlation.map(|c| Bytes::copy_from_slice(c.as_bytes())))
    }

    #[test]
    fn the_response_topic_is_honoured_and_the_correlation_data_handed_back() {
        let envelope = of(b"linnet/k/request/transcribe", Some("site/a"), Some("c")).expect("answerable");
        assert_eq!(envelope.target.topic.as_str(), "site/a");
        assert_eq!(envelope.target.correlation.as_deref(), Some(&b"c"[..]));
        assert_eq!(envelope.key, Key::Reply("site/a".into(), b"c".to_vec()));
        assert!(envelope.task.is_ok());
        let bare = of(b"linnet/k/request/transcribe", Some("site/a"), None).expect("missing correlation data is fine");
        assert_eq!(bare.target.correlation, None);
    }

    #[test]
    fn without_a_response_topic_the_id_leads_the_answer_home() {
        let envelope = of(b"linnet/k/request/transcribe/42", None, None).expect("answerable");
        assert_eq!(envelope.target.topic.as_str(), "linnet/k/response/42");
        assert_eq!(envelope.key, Key::Id("42".into()));
        let both = of(b"linnet/k/request/transcribe/42", Some("site/a"), None).expect("answerable");
        assert_eq!((both.target.topic.as_str(), both.key), ("site/a", Key::Id("42".into())));
    }

    #[test]
    fn a_forbidden_response_topic_is_told_where_an_id_allows_it() {
        for topic in ["site/+/x", "linnet/k/request/transcribe", "elsewhere", "$SYS/x", "homeassistant/x"] {
            let told = of(b"linnet/k/request/transcribe/7", Some(topic), None).expect("answerable");
            assert_eq!(told.target.topic.as_str(), "linnet/k/response/7", "{topic}");
            assert_eq!((told.task.expect_err(topic).code, told.label), (ErrorCode::Forbidden, "transcribe"));
            let untold = of(b"linnet/k/request/transcribe", Some(topic), None);
            assert!(matches!(untold, Err(Unanswerable::ResponseTopic(_))), "{topic}");
        }
    }

    #[test]
    fn an_unknown_task_or_a_broken_topic_is_answered_where_it_can_be() {
        for topic in [
            &b"linnet/k/request/dance"[..],
            b"linnet/k/request/Transcribe",
            b"linnet/k/request/a/b/c",
            b"linnet/k/\xff",
        ] {
            let envelope = of(topic, Some("site/a"), None).expect("answerable");
            assert_eq!((envelope.task.expect_err("no task").code, envelope.label), (ErrorCode::NotFound, UNKNOWN));
        }
        assert_eq!(of(b"linnet/k/request/transcribe", None, None), Err(Unanswerable::Nowhere));
        assert_eq!(of(b"linnet/k/\xff", None, None), Err(Unanswerable::RequestTopic(TopicError::NotUtf8)));
        assert!(matches!(of(b"linnet/k/request/transcribe/a/b", None, None), Err(Unanswerable::RequestTopic(_))));
    }
}
