//! MQTT topics as types: what `linnetd` subscribes to and publishes, and what a client needs to talk to it.
//!
//! ```text
//! linnet/<device>/request/<task>[/<id>]   requests, to the daemon
//! linnet/<device>/response/<id>           answers, where the request names no response topic
//! linnet/<device>/status                  `online` or `offline`, retained, the last will
//! linnet/<device>/state                   models, limits, versions; retained JSON
//! linnet/<device>/config/desired          a hint that a new configuration may be published
//! linnet/<device>/config/reported         what the device runs
//! ```
//!
//! What a whole fleet shares lies under `linnet/fleet/` ([`crate::fleet::FleetTopic`]), which is why no device may bear that name.
//!
//! Every value here has passed its rule: a topic that was parsed prints as the same topic again.

use std::fmt;
use std::str::FromStr;

use crate::fleet::RESERVED_DEVICES;

/// First level of every topic that Linnet owns.
pub const ROOT: &str = "linnet";
/// Longest topic that is taken or published, bytes. MQTT allows 65,535; nobody needs them.
pub const MAX_TOPIC_BYTES: usize = 1024;
/// Longest device name, bytes.
pub const MAX_DEVICE_BYTES: usize = 64;
/// Longest request id, bytes.
pub const MAX_ID_BYTES: usize = 128;
/// Longest task name, bytes.
pub const MAX_TASK_BYTES: usize = 32;
/// Response topics that are always allowed.
pub const DEFAULT_RESPONSE_FILTER: &str = "linnet/+/response/#";

/// Why a topic, one of its levels or a filter was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Nothing, or an empty level where a name belongs.
    #[error("the {0} is empty; it needs at least one character")]
    Empty(&'static str),
    /// Longer than its cap.
    #[error("the {what} has {bytes} bytes; at most {max} are taken")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The cap.
        max: usize,
    },
    /// A character that the rule of the part excludes.
    #[error("the {what} holds {character:?}; {rule}")]
    Character {
        /// Which part.
        what: &'static str,
        /// The first one found.
        character: char,
        /// What is allowed.
        rule: &'static str,
    },
    /// Not UTF-8, which MQTT forbids.
    #[error("the topic is not valid UTF-8; MQTT allows nothing else")]
    NotUtf8,
    /// A well-formed topic that is none of Linnet's.
    #[error("the topic is none of Linnet's; see linnet/<device>/request/<task>[/<id>] and its neighbours")]
    Unknown,
    /// `#` that is not the last level, or a wildcard beside other characters.
    #[error("the filter {0:?} is malformed; `+` and `#` stand alone in their level and `#` is the last")]
    Filter(String),
    /// A device's name that means something else.
    #[error("no device may be called `{0}`: `pool` and `fleet` stand for many; choose another name")]
    ReservedDevice(String),
    /// A device's name that programs which are given it would take for an option.
    #[error("`{0}` begins with `-`, which programs take for an option; choose another name")]
    LikeOption(String),
    /// A name that is a directory's to every program that makes a file's name of it.
    #[error("`{0}` is a directory's name to every program; choose another name")]
    LikeDirectory(String),
    /// A response topic that no filter allows.
    #[error("the response topic is not on the allow-list; use {DEFAULT_RESPONSE_FILTER} or have the operator add it")]
    NotAllowed,
    /// A response topic that no configuration can allow.
    #[error("answers are never published there; use a topic that {DEFAULT_RESPONSE_FILTER} matches")]
    Reserved,
}

/// One level of a topic: no separator, no wildcard, no control character.
pub(crate) fn check_level(what: &'static str, level: &str, max: usize) -> Result<(), TopicError> {
    if level.is_empty() {
        return Err(TopicError::Empty(what));
    }
    if level.len() > max {
        return Err(TopicError::TooLong { what, bytes: level.len(), max });
    }
    match level.chars().find(|c| matches!(c, '/' | '+' | '#') || c.is_control()) {
        Some(character) => Err(TopicError::Character {
            what,
            character,
            rule: "it is one topic level, without `/`, `+`, `#` and control characters",
        }),
        None => Ok(()),
    }
}

/// A whole topic to publish to: not empty, not too long, no wildcard, no control character.
pub(crate) fn check_topic(what: &'static str, topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty(what));
    }
    if topic.len() > MAX_TOPIC_BYTES {
        return Err(TopicError::TooLong { what, bytes: topic.len(), max: MAX_TOPIC_BYTES });
    }
    match topic.chars().find(|c| matches!(c, '+' | '#') || c.is_control()) {
        Some(character) => {
            Err(TopicError::Character { what, character, rule: "wildcards and control characters name no topic" })
        }
        None => Ok(()),
    }
}

macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = TopicError;
            fn from_str(text: &str) -> Result<Self, TopicError> {
                Self::new(text)
            }
        }
    };
}

/// A device's name: one topic level of ASCII letters, digits, `-`, `_` and `.`, as it also names files and metrics. It does not begin with `-`: it is
/// given to programs, such as an operator's grant command.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceName(String);
text_type!(DeviceName);

impl DeviceName {
    /// Checks the rule.
    pub fn new(name: impl Into<String>) -> Result<Self, TopicError> {
        let name = name.into();
        check_name("device name", &name)?;
        if RESERVED_DEVICES.contains(&name.as_str()) {
            return Err(TopicError::ReservedDevice(name));
        }
        if name.starts_with('-') {
            return Err(TopicError::LikeOption(name));
        }
        Ok(Self(name))
    }
}

/// A fleet's name: of the same characters as a device's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FleetName(String);
text_type!(FleetName);

impl FleetName {
    /// Checks the rule.
    pub fn new(name: impl Into<String>) -> Result<Self, TopicError> {
        let name = name.into();
        check_name("fleet's name", &name)?;
        Ok(Self(name))
    }
}

/// The rule of devices' and fleets' names.
fn check_name(what: &'static str, name: &str) -> Result<(), TopicError> {
    check_level(what, name, MAX_DEVICE_BYTES)?;
    if matches!(name, "." | "..") {
        return Err(TopicError::LikeDirectory(name.into()));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
        Some(character) => {
            Err(TopicError::Character { what, character, rule: "ASCII letters, digits, `-`, `_` and `.` are allowed" })
        }
        None => Ok(()),
    }
}

/// A task's name as a topic level (`transcribe`): ASCII lower case, digits and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskName(String);
text_type!(TaskName);

impl TaskName {
    /// Speech to text.
    pub const TRANSCRIBE: &'static str = "transcribe";

    /// Checks the rule; whether the daemon has such a task is another question.
    pub fn new(name: impl Into<String>) -> Result<Self, TopicError> {
        let name = name.into();
        check_level("task", &name, MAX_TASK_BYTES)?;
        match name.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-')) {
            Some(character) => Err(TopicError::Character {
                what: "task",
                character,
                rule: "lower-case ASCII letters, digits and `-` are allowed",
            }),
            None => Ok(Self(name)),
        }
    }
}

/// A request's id as the last level of its topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(String);
text_type!(RequestId);

impl RequestId {
    /// Checks the rule: one topic level of at most [`MAX_ID_BYTES`].
    pub fn new(id: impl Into<String>) -> Result<Self, TopicError> {
        let id = id.into();
        check_level("request id", &id, MAX_ID_BYTES)?;
        Ok(Self(id))
    }
}

/// Every topic that Linnet owns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// `linnet/<device>/request/<task>[/<id>]`
    Request {
        /// The device that is asked.
        device: DeviceName,
        /// What is asked.
        task: TaskName,
        /// The id, where the client speaks MQTT 3.1.1 or wants the default response topic.
        id: Option<RequestId>,
    },
    /// `linnet/<device>/response/<id>`
    Response {
        /// The device that answers.
        device: DeviceName,
        /// The request's id.
        id: RequestId,
    },
    /// `linnet/<device>/status`
    Status(DeviceName),
    /// `linnet/<device>/state`
    State(DeviceName),
    /// `linnet/<device>/config/desired`
    ConfigDesired(DeviceName),
    /// `linnet/<device>/config/reported`
    ConfigReported(DeviceName),
}

impl Topic {
    /// Parses the bytes of a topic as a broker hands them over.
    pub fn from_bytes(topic: &[u8]) -> Result<Self, TopicError> {
        std::str::from_utf8(topic).map_err(|_| TopicError::NotUtf8)?.parse()
    }

    /// The device that the topic belongs to.
    pub fn device(&self) -> &DeviceName {
        match self {
            Self::Request { device, .. }
            | Self::Response { device, .. }
            | Self::Status(device)
            | Self::State(device)
            | Self::ConfigDesired(device)
            | Self::ConfigReported(device) => device,
        }
    }

    /// The filter of every request to `device`; an unknown task or a missing id is thereby seen and can be answered.
    pub fn requests_filter(device: &DeviceName) -> String {
        format!("{ROOT}/{device}/request/#")
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { device, task, id: None } => write!(f, "{ROOT}/{device}/request/{task}"),
            Self::Request { device, task, id: Some(id) } => write!(f, "{ROOT}/{device}/request/{task}/{id}"),
            Self::Response { device, id } => write!(f, "{ROOT}/{device}/response/{id}"),
            Self::Status(device) => write!(f, "{ROOT}/{device}/status"),
            Self::State(device) => write!(f, "{ROOT}/{device}/state"),
            Self::ConfigDesired(device) => write!(f, "{ROOT}/{device}/config/desired"),
            Self::ConfigReported(device) => write!(f, "{ROOT}/{device}/config/reported"),
        }
    }
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(topic: &str) -> Result<Self, TopicError> {
        check_topic("topic", topic)?;
        let mut levels = topic.split('/');
        if levels.next() != Some(ROOT) {
            return Err(TopicError::Unknown);
        }
        let device = DeviceName::new(levels.next().ok_or(TopicError::Unknown)?)?;
        let kind = levels.next().ok_or(TopicError::Unknown)?;
        let rest: Vec<&str> = levels.collect();
        match (kind, rest.as_slice()) {
            ("request", [task]) => Ok(Self::Request { device, task: TaskName::new(*task)?, id: None }),
            ("request", [task, id]) => {
                Ok(Self::Request { device, task: TaskName::new(*task)?, id: Some(RequestId::new(*id)?) })
            }
            ("response", [id]) => Ok(Self::Response { device, id: RequestId::new(*id)? }),
            ("status", []) => Ok(Self::Status(device)),
            ("state", []) => Ok(Self::State(device)),
            ("config", ["desired"]) => Ok(Self::ConfigDesired(device)),
            ("config", ["reported"]) => Ok(Self::ConfigReported(device)),
            _ => Err(TopicError::Unknown),
        }
    }
}

/// An MQTT topic filter (`+` for one level, `#` for the rest).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicFilter(String);

impl TopicFilter {
    /// Checks the rules of MQTT 5 section 4.7.1 and the length cap.
    pub fn new(filter: impl Into<String>) -> Result<Self, TopicError> {
        let filter = filter.into();
        if filter.is_empty() {
            return Err(TopicError::Empty("topic filter"));
        }
        if filter.len() > MAX_TOPIC_BYTES {
            return Err(TopicError::TooLong { what: "topic filter", bytes: filter.len(), max: MAX_TOPIC_BYTES });
        }
        if filter.chars().any(char::is_control) {
            return Err(TopicError::Filter(filter));
        }
        let levels: Vec<&str> = filter.split('/').collect();
        let last = levels.len() - 1;
        let sound = levels.iter().enumerate().all(|(i, level)| match *level {
            "+" => true,
            "#" => i == last,
            other => !other.contains(['+', '#']),
        });
        if sound { Ok(Self(filter)) } else { Err(TopicError::Filter(filter)) }
    }

    /// The filter's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `topic` matches. A topic that starts with `$` is never matched by a wildcard in the first level
    /// (MQTT 5, 4.7.2).
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = topic.split('/');
        for wanted in self.0.split('/') {
            if wanted == "#" {
                return true;
            }
            match levels.next() {
                Some(level) if wanted == "+" || wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

/// A topic that an answer may be published to; made by [`ResponseTopics`] only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResponseTopic(String);

impl ResponseTopic {
    /// `linnet/<device>/response/<id>`, which is always allowed.
    pub fn default_for(device: &DeviceName, id: &RequestId) -> Self {
        Self(Topic::Response { device: device.clone(), id: id.clone() }.to_string())
    }

    /// The topic's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResponseTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The allow-list of response topics. A request names where its answer goes, so without a list any client that may
/// send requests could make the daemon publish anywhere that its own account may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseTopics(Vec<TopicFilter>);

impl ResponseTopics {
    /// [`DEFAULT_RESPONSE_FILTER`] and what the configuration adds.
    pub fn new<S: AsRef<str>>(extra: &[S]) -> Result<Self, TopicError> {
        std::iter::once(DEFAULT_RESPONSE_FILTER)
            .chain(extra.iter().map(AsRef::as_ref))
            .map(TopicFilter::new)
            .collect::<Result<Vec<_>, _>>()
            .map(Self)
    }

    /// The topic when answers may go there. Linnet's own other topics, Home Assistant's and Hermes' and the broker's
    /// (`$…`) are never allowed, whatever the configuration says.
    pub fn check(&self, topic: &str) -> Result<ResponseTopic, TopicError> {
        check_topic("response topic", topic)?;
        if is_reserved(topic) {
            return Err(TopicError::Reserved);
        }
        if self.0.iter().any(|filter| filter.matches(topic)) {
            Ok(ResponseTopic(topic.to_owned()))
        } else {
            Err(TopicError::NotAllowed)
        }
    }
}

/// Topics where an answer would be taken for a command or for the state of something.
fn is_reserved(topic: &str) -> bool {
    let mut levels = topic.split('/');
    match levels.next().unwrap_or_default() {
        "homeassistant" | "hermes" => true,
        ROOT => match levels.next() {
            Some("fleet") => true,
            _ => matches!(levels.next(), Some("request" | "config" | "status" | "state" | "fetched")),
        },
        first => first.starts_with('$'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> DeviceName {
        DeviceName::new("kitchen-1").unwrap()
    }

    #[test]
    fn every_topic_prints_as_it_was_parsed() {
        let (device, task) = (device(), TaskName::new("transcribe").unwrap());
        let id = RequestId::new("Ä 42.wav").unwrap();
        let topics = [
            Topic::Request { device: device.clone(), task: task.clone(), id: None },
            Topic::Request { device: device.clone(), task, id: Some(id.clone()) },
            Topic::Response { device: device.clone(), id },
            Topic::Status(device.clone()),
            Topic::State(device.clone()),
            Topic::ConfigDesired(device.clone()),
            Topic::ConfigReported(device.clone()),
        ];
        for topic in topics {
            let text = topic.to_string();
            assert_eq!(text.parse::<Topic>().unwrap(), topic, "{text}");
            assert_eq!(Topic::from_bytes(text.as_bytes()).unwrap(), topic);
            assert_eq!(topic.device(), &device);
        }
    }

    #[test]
    fn a_topic_that_is_not_ours_is_refused_with_its_reason() {
        for (topic, wanted) in [
            ("", TopicError::Empty("topic")),
            ("zigbee/lamp/set", TopicError::Unknown),
            ("linnet", TopicError::Unknown),
            ("linnet/k", TopicError::Unknown),
            ("linnet//status", TopicError::Empty("device name")),
            ("linnet/k/request", TopicError::Unknown),
            ("linnet/k/request/", TopicError::Empty("task")),
            ("linnet/k/request/transcribe/", TopicError::Empty("request id")),
            ("linnet/k/request/transcribe/a/b", TopicError::Unknown),
            ("linnet/k/status/x", TopicError::Unknown),
            ("linnet/k/config", TopicError::Unknown),
            ("Linnet/k/status", TopicError::Unknown),
        ] {
            assert_eq!(topic.parse::<Topic>(), Err(wanted), "{topic:?}");
        }
        assert_eq!(Topic::from_bytes(b"linnet/\xff/status"), Err(TopicError::NotUtf8));
        for bad in ["linnet/k/request/Transcribe", "linnet/k/request/+/x", "linnet/k\u{0}/status", "linnet/kü/state"] {
            assert!(matches!(bad.parse::<Topic>(), Err(TopicError::Character { .. })), "{bad:?}");
        }
    }

    #[test]
    fn names_longer_than_their_cap_are_refused_and_at_the_cap_taken() {
        for reserved in RESERVED_DEVICES {
            assert_eq!(DeviceName::new(reserved), Err(TopicError::ReservedDevice(reserved.into())));
        }
        for name in ["-", "-kitchen", "--all"] {
            assert_eq!(DeviceName::new(name), Err(TopicError::LikeOption(name.into())));
        }
        for name in [".", ".."] {
            assert_eq!(DeviceName::new(name), Err(TopicError::LikeDirectory(name.into())));
            assert_eq!(FleetName::new(name), Err(TopicError::LikeDirectory(name.into())));
        }
        assert!(DeviceName::new("...").is_ok());
        assert!(DeviceName::new("_-").is_ok() && format!("linnet/{}/status", "-k").parse::<Topic>().is_err());
        assert!(DeviceName::new("d".repeat(MAX_DEVICE_BYTES)).is_ok());
        assert!(matches!(DeviceName::new("d".repeat(MAX_DEVICE_BYTES + 1)), Err(TopicError::TooLong { .. })));
        assert!(RequestId::new("i".repeat(MAX_ID_BYTES)).is_ok());
        assert!(matches!(RequestId::new("i".repeat(MAX_ID_BYTES + 1)), Err(TopicError::TooLong { .. })));
        assert!(matches!(TaskName::new("t".repeat(MAX_TASK_BYTES + 1)), Err(TopicError::TooLong { .. })));
        let long = format!("linnet/k/response/{}", "x/".repeat(MAX_TOPIC_BYTES));
        assert!(matches!(long.parse::<Topic>(), Err(TopicError::TooLong { .. })));
        let allowed = ResponseTopics::new::<&str>(&[]).unwrap();
        assert!(matches!(allowed.check(&long), Err(TopicError::TooLong { .. })));
        let longest_id = ResponseTopic::default_for(
            &DeviceName::new("d".repeat(MAX_DEVICE_BYTES)).unwrap(),
            &RequestId::new("i".repeat(MAX_ID_BYTES)).unwrap(),
        );
        assert!(allowed.check(longest_id.as_str()).is_ok(), "a default response topic is always allowed");
    }

    #[test]
    fn filters_match_as_the_mqtt_specification_says() {
        for (filter, topic, wanted) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("a/+/c", "a/b/c", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$SYS/broker", false),
            ("+/broker", "$SYS/broker", false),
            ("$SYS/#", "$SYS/broker", true),
            ("linnet/+/response/#", "linnet/k/response/a/b", true),
            ("linnet/+/response/#", "linnet/k/request/a", false),
        ] {
            assert_eq!(TopicFilter::new(filter).unwrap().matches(topic), wanted, "{filter} on {topic}");
        }
        for bad in ["", "a/#/b", "a#", "a/b+", "+a", "a\u{7}"] {
            assert!(TopicFilter::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn answers_go_only_where_the_allow_list_says() {
        let list = ResponseTopics::new(&["site/+/answers", "linnet/#", "#"]).unwrap();
        for good in ["linnet/k/response/1", "linnet/other/response/a/b", "site/7/answers", "linnet/k/response/state"] {
            assert_eq!(list.check(good).unwrap().as_str(), good);
        }
        for reserved in [
            "linnet/k/request/transcribe",
            "linnet/k/config/desired",
            "linnet/k/status",
            "linnet/k/state",
            "linnet/k/fetched/1",
            "linnet/fleet/home/index",
            "homeassistant/sensor/x/config",
            "hermes/asr/textCaptured",
            "$SYS/broker",
            "$share/g/linnet/k/response/1",
        ] {
            assert_eq!(list.check(reserved), Err(TopicError::Reserved), "{reserved}");
        }
        let narrow = ResponseTopics::new::<&str>(&[]).unwrap();
        assert_eq!(narrow.check("site/7/answers"), Err(TopicError::NotAllowed));
        assert_eq!(narrow.check("linnet/k/responses/1"), Err(TopicError::NotAllowed));
        for wildcard in ["linnet/k/response/+", "linnet/k/response/#", "linnet/k/response/\n"] {
            assert!(matches!(narrow.check(wildcard), Err(TopicError::Character { .. })), "{wildcard:?}");
        }
        assert!(ResponseTopics::new(&["a/#/b"]).is_err());
    }
}
