//! MQTT topics of a push.
//!
//! ```text
//! linnet/fleet/<fleet>/index               what metadata exist; retained, published last
//! linnet/fleet/<fleet>/root/<N>            the root of version N; retained
//! linnet/fleet/<fleet>/metadata/<name>     every other metadata file; retained
//! linnet/fleet/<fleet>/fetch               requests for pieces of files, to who serves the repository
//! linnet/<device>/fetched/<id>             the replies
//! linnet/fleet/<fleet>/claim/<key>/request a device without a name asks for one, by the fingerprint of its key
//! linnet/fleet/<fleet>/claim/<key>/answer  the answer
//! ```

use std::fmt;
use std::str::FromStr;

use super::Fingerprint;
use crate::topic::{DeviceName, FleetName, ROOT, RequestId, TopicError, check_level, check_topic};

/// Longest name of a metadata file, bytes.
const MAX_NAME_BYTES: usize = 64;

/// A topic of a push, beside [`Topic::ConfigDesired`](crate::topic::Topic::ConfigDesired) and
/// [`Topic::ConfigReported`](crate::topic::Topic::ConfigReported).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FleetTopic {
    /// `linnet/fleet/<fleet>/index`
    Index(FleetName),
    /// `linnet/fleet/<fleet>/root/<N>`
    Root {
        /// The fleet.
        fleet: FleetName,
        /// The root's version.
        version: u64,
    },
    /// `linnet/fleet/<fleet>/metadata/<name>`
    Metadata {
        /// The fleet.
        fleet: FleetName,
        /// The file's name in the repository's `metadata` directory; never that of a root.
        name: String,
    },
    /// `linnet/fleet/<fleet>/fetch`
    Fetch(FleetName),
    /// `linnet/<device>/fetched/<id>`
    Fetched {
        /// The device that asked.
        device: DeviceName,
        /// The id that it chose.
        id: RequestId,
    },
    /// `linnet/fleet/<fleet>/claim/<key>/request`
    ClaimRequest {
        /// The fleet.
        fleet: FleetName,
        /// Who asks.
        key: Fingerprint,
    },
    /// `linnet/fleet/<fleet>/claim/<key>/answer`
    ClaimAnswer {
        /// The fleet.
        fleet: FleetName,
        /// Who asked.
        key: Fingerprint,
    },
}

impl FleetTopic {
    /// The topic of a metadata file by its name: a root's has a place of its own.
    pub fn of_file(fleet: &FleetName, name: &str) -> Self {
        let version = name.strip_suffix(".root.json").and_then(|version| version.parse().ok());
        match version {
            Some(version) => Self::Root { fleet: fleet.clone(), version },
            None => Self::Metadata { fleet: fleet.clone(), name: name.to_owned() },
        }
    }

    /// Parses the bytes of a topic as a broker hands them over.
    pub fn from_bytes(topic: &[u8]) -> Result<Self, TopicError> {
        std::str::from_utf8(topic).map_err(|_| TopicError::NotUtf8)?.parse()
    }

    /// The filter of every device's reports.
    pub fn reports_filter() -> String {
        format!("{ROOT}/+/config/reported")
    }

    /// The filter of every request for a name.
    pub fn claims_filter(fleet: &FleetName) -> String {
        format!("{ROOT}/fleet/{fleet}/claim/+/request")
    }

    /// The filter of the replies to one device.
    pub fn fetched_filter(device: &DeviceName) -> String {
        format!("{ROOT}/{device}/fetched/+")
    }
}

impl fmt::Display for FleetTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(fleet) => write!(f, "{ROOT}/fleet/{fleet}/index"),
            Self::Root { fleet, version } => write!(f, "{ROOT}/fleet/{fleet}/root/{version}"),
            Self::Metadata { fleet, name } => write!(f, "{ROOT}/fleet/{fleet}/metadata/{name}"),
            Self::Fetch(fleet) => write!(f, "{ROOT}/fleet/{fleet}/fetch"),
            Self::Fetched { device, id } => write!(f, "{ROOT}/{device}/fetched/{id}"),
            Self::ClaimRequest { fleet, key } => write!(f, "{ROOT}/fleet/{fleet}/claim/{key}/request"),
            Self::ClaimAnswer { fleet, key } => write!(f, "{ROOT}/fleet/{fleet}/claim/{key}/answer"),
        }
    }
}

impl FromStr for FleetTopic {
    type Err = TopicError;

    fn from_str(topic: &str) -> Result<Self, TopicError> {
        check_topic("topic", topic)?;
        let levels: Vec<&str> = topic.split('/').collect();
        match levels.as_slice() {
            [ROOT, "fleet", fleet, "index"] => Ok(Self::Index(FleetName::new(*fleet)?)),
            [ROOT, "fleet", fleet, "fetch"] => Ok(Self::Fetch(FleetName::new(*fleet)?)),
            [ROOT, "fleet", fleet, "root", version] => {
                let number = version.parse().ok().filter(|n: &u64| n.to_string() == *version);
                Ok(Self::Root { fleet: FleetName::new(*fleet)?, version: number.ok_or(TopicError::Unknown)? })
            }
            [ROOT, "fleet", fleet, "metadata", name] => {
                check_level("metadata file's name", name, MAX_NAME_BYTES)?;
                match Self::of_file(&FleetName::new(*fleet)?, name) {
                    Self::Root { .. } => Err(TopicError::Unknown),
                    topic => Ok(topic),
                }
            }
            [ROOT, "fleet", fleet, "claim", key, what] => {
                let (fleet, key) = (FleetName::new(*fleet)?, Fingerprint::new(*key)?);
                match *what {
                    "request" => Ok(Self::ClaimRequest { fleet, key }),
                    "answer" => Ok(Self::ClaimAnswer { fleet, key }),
                    _ => Err(TopicError::Unknown),
                }
            }
            [ROOT, device, "fetched", id] => {
                Ok(Self::Fetched { device: DeviceName::new(*device)?, id: RequestId::new(*id)? })
            }
            _ => Err(TopicError::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Topic;

    #[test]
    fn every_topic_prints_as_it_was_parsed() {
        let fleet = FleetName::new("home").unwrap();
        let key = Fingerprint::new("0f".repeat(16)).unwrap();
        let topics = [
            FleetTopic::ClaimRequest { fleet: fleet.clone(), key: key.clone() },
            FleetTopic::ClaimAnswer { fleet: fleet.clone(), key },
            FleetTopic::Index(fleet.clone()),
            FleetTopic::Root { fleet: fleet.clone(), version: 3 },
            FleetTopic::Metadata { fleet: fleet.clone(), name: "timestamp.json".into() },
            FleetTopic::Metadata { fleet: fleet.clone(), name: "7.snapshot.json".into() },
            FleetTopic::Fetch(fleet.clone()),
            FleetTopic::Fetched { device: DeviceName::new("kitchen").unwrap(), id: RequestId::new("a-1").unwrap() },
        ];
        for topic in topics {
            let text = topic.to_string();
            assert_eq!(text.parse::<FleetTopic>().unwrap(), topic, "{text}");
            assert_eq!(FleetTopic::from_bytes(text.as_bytes()).unwrap(), topic);
            assert!(text.parse::<Topic>().is_err(), "{text} is no topic of one device's requests and state");
        }
        assert_eq!(
            FleetTopic::of_file(&fleet, "12.root.json"),
            FleetTopic::Root { fleet: fleet.clone(), version: 12 },
            "a root has a place of its own"
        );
    }

    #[test]
    fn a_topic_that_is_not_one_of_a_push_is_refused() {
        for topic in [
            "",
            "linnet/fleet",
            "linnet/fleet/home",
            "linnet/fleet/home/index/x",
            "linnet/fleet/home/root/01",
            "linnet/fleet/home/root/-1",
            "linnet/fleet/home/metadata/1.root.json",
            "linnet/fleet//index",
            "linnet/fleet/a b/index",
            "linnet/fleet/home/claim/x/request",
            "linnet/fleet/home/claim/0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f/granted",
            "linnet/kitchen/fetched",
            "linnet/kitchen/fetched/a/b",
            "linnet/kitchen/fetched/+",
            "linnet/pool/fetched/1",
            "linnet/kitchen/response/1",
            "other/fleet/home/index",
        ] {
            assert!(topic.parse::<FleetTopic>().is_err(), "{topic}");
        }
        assert_eq!(FleetTopic::from_bytes(b"linnet/fleet/\xff/index"), Err(TopicError::NotUtf8));
        let long = format!("linnet/fleet/home/metadata/{}", "x".repeat(MAX_NAME_BYTES + 1));
        assert!(matches!(long.parse::<FleetTopic>(), Err(TopicError::TooLong { .. })));
    }
}
