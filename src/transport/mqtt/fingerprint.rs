//! What makes two messages the same request: the same id, or the same response topic and correlation data, **and** the
//! same payload and options. Another payload under the same id is another request, so that nobody gets another's words.

use std::fmt;

use sha2::{Digest, Sha256};

/// Who asks: the first half of a request's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The id in the request's topic.
    Id(String),
    /// The response topic and the correlation data.
    Reply(String, Vec<u8>),
}

/// SHA-256 over the key, the task, the options and the payload. It names files, too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a request. `content_type` and `user_properties` are its options as they came.
    pub fn of(
        key: &Key,
        task: &str,
        content_type: Option<&str>,
        user_properties: &[(String, String)],
        payload: &[u8],
    ) -> Self {
        let mut hash = Sha256::new();
        // Each field goes in behind its length, so that no two requests run into each other.
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        match key {
            Key::Id(id) => {
                field(b"id");
                field(id.as_bytes());
            }
            Key::Reply(topic, correlation) => {
                field(b"reply");
                field(topic.as_bytes());
                field(correlation);
            }
        }
        field(task.as_bytes());
        field(content_type.unwrap_or_default().as_bytes());
        field(&(user_properties.len() as u64).to_le_bytes());
        for (name, value) in user_properties {
            field(name.as_bytes());
            field(value.as_bytes());
        }
        field(payload);
        Self(hash.finalize().into())
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str, content_type: Option<&str>, properties: &[(&str, &str)], payload: &[u8]) -> Fingerprint {
        let properties: Vec<_> = properties.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Fingerprint::of(&Key::Id(id.into()), "transcribe", content_type, &properties, payload)
    }

    #[test]
    fn every_part_of_a_request_counts() {
        let base = of("1", Some("audio/wav"), &[("a", "b")], b"x");
        assert_eq!(base, of("1", Some("audio/wav"), &[("a", "b")], b"x"));
        for other in [
            of("2", Some("audio/wav"), &[("a", "b")], b"x"),
            of("1", None, &[("a", "b")], b"x"),
            of("1", Some("audio/wav"), &[("a", "bx")], b""),
            of("1", Some("audio/wav"), &[], b"x"),
            of("1", Some("audio/wav"), &[("a", "b")], b"y"),
            Fingerprint::of(&Key::Reply("1".into(), vec![]), "transcribe", Some("audio/wav"), &[], b"x"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let reply = |topic: &str, correlation: &[u8]| {
            Fingerprint::of(&Key::Reply(topic.into(), correlation.to_vec()), "transcribe", None, &[], b"")
        };
        assert_ne!(reply("ab", b"c"), reply("a", b"bc"));
    }

    #[test]
    fn the_name_of_a_file_gives_the_fingerprint_back() {
        let fingerprint = of("1", None, &[], b"x");
        assert_eq!(Fingerprint::parse(&fingerprint.to_string()), Some(fingerprint));
        for not_one in ["", "00", "zz", ".writing-x", &"0".repeat(65)] {
            assert_eq!(Fingerprint::parse(not_one), None, "{not_one}");
        }
    }
}
