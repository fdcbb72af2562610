//! How a device that has nothing but a claim gets its name: one request, signed twice, and one answer, signed once.
//!
//! What is signed travels as text inside of what carries it, so that both sides sign and verify the same bytes and nobody has to agree on
//! how JSON is written. The secret of the claim never travels.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::topic::TopicError;

/// Characters of a [`Fingerprint`]: 128 bits, which nobody can make two keys agree in.
const FINGERPRINT_DIGITS: usize = 32;

/// What a device is called before it has a name: the first 16 bytes of the SHA-256 of its public key, in lower-case hexadecimal digits. It is one
/// level of a topic, and the client id of the connection that asks for a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Checks the form.
    pub fn new(text: impl Into<String>) -> Result<Self, TopicError> {
        let text = text.into();
        let of_form = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
        if text.len() == FINGERPRINT_DIGITS && text.chars().all(of_form) {
            Ok(Self(text))
        } else {
            Err(TopicError::Unknown)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = TopicError;

    fn try_from(text: String) -> Result<Self, TopicError> {
        Self::new(text)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0
    }
}

/// A [`ClaimRequest`] as it travels, on `linnet/fleet/<fleet>/claim/<fingerprint>/request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedRequest {
    /// The request, as JSON.
    pub body: String,
    /// The claim's signature over it, hexadecimal: who asks has the claim.
    pub by_claim: String,
    /// The device's: who asks has the key that is to bear the name.
    pub by_key: String,
}

/// Asks for a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRequest {
    /// [`super::FLEET_WIRE`].
    pub wire: u32,
    /// The fleet.
    pub fleet: String,
    /// Which claim.
    pub claim: String,
    /// The device's public key (Ed25519), hexadecimal.
    pub key: String,
    /// Random, new for each attempt: an answer to another attempt is none.
    pub nonce: String,
    /// The name that the device's own configuration gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// A digest of the machine's id, which says nothing else of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Version of `linnetd`.
    pub linnetd: String,
}

/// A [`ClaimAnswer`] as it travels, on `linnet/fleet/<fleet>/claim/<fingerprint>/answer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedAnswer {
    /// The answer, as JSON.
    pub body: String,
    /// The signature by the key that the claim names, hexadecimal.
    pub by_operator: String,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimAnswer {
    /// [`super::FLEET_WIRE`].
    pub wire: u32,
    /// The fleet.
    pub fleet: String,
    /// Whose request.
    pub to: Fingerprint,
    /// The request's nonce.
    pub nonce: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: ClaimOutcome,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ClaimOutcome {
    /// The device has a name.
    Granted(Grant),
    /// It has none.
    Refused {
        /// Why, as a stable word.
        code: ClaimRefusal,
        /// Why, one sentence for people.
        reason: String,
    },
}

/// What a device is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its name.
    pub device: String,
    /// Groups that it belongs to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How it logs in to the broker from now on.
    #[serde(flatten)]
    pub credentials: Credentials,
}

/// How a device logs in to the broker under its own name; empty where the broker asks for nothing.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// User name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password, one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Certificate chain for the device's key, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("certificate", &self.certificate.is_some())
            .finish()
    }
}

/// Why there is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimRefusal {
    /// The operator knows no such claim.
    UnknownClaim,
    /// A signature is not the claim's, or not the device's.
    Proof,
    /// The claim's time is over.
    Expired,
    /// The operator took the claim back.
    Revoked,
    /// As many devices as it is for have used the claim.
    UsedUp,
    /// The name is another device's, is reserved, or cannot be one.
    Name,
    /// The request is written in a form that the operator's program does not read.
    Form,
    /// The operator's side cannot grant it now; asking again may help.
    Unavailable,
}

impl ClaimRefusal {
    /// As it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownClaim => "unknown_claim",
            Self::Proof => "proof",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::UsedUp => "used_up",
            Self::Name => "name",
            Self::Form => "form",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Largest payload of a request that is read, bytes: names, two signatures, a key and a version take a few hundred.
const MAX_REQUEST_BYTES: usize = 4 << 10;
/// Largest payload of an answer that is read, bytes: a certificate chain has a few thousand.
const MAX_ANSWER_BYTES: usize = 64 << 10;

fn parse<'a, T: Deserialize<'a>>(what: &str, payload: &'a [u8], most: usize) -> Result<T, String> {
    if payload.len() > most {
        return Err(format!("{what} of {} bytes; at most {most} are read", payload.len()));
    }
    serde_json::from_slice(payload).map_err(|e| format!("{what} cannot be read: {e}"))
}

impl SignedRequest {
    /// Reads one; a fault is one sentence.
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        parse("a request for a name", payload, MAX_REQUEST_BYTES)
    }

    /// What it says, which nobody has verified.
    pub fn request(&self) -> Result<ClaimRequest, String> {
        parse("a request for a name", self.body.as_bytes(), MAX_REQUEST_BYTES)
    }
}

impl SignedAnswer {
    /// Reads one; a fault is one sentence.
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        parse("an answer", payload, MAX_ANSWER_BYTES)
    }

    /// What it says, which nobody has verified.
    pub fn answer(&self) -> Result<ClaimAnswer, String> {
        parse("an answer", self.body.as_bytes(), MAX_ANSWER_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_thirty_two_lower_case_digits() {
        let right = "0123456789abcdef0123456789abcdef";
        assert_eq!(Fingerprint::new(right).expect("fits").as_str(), right);
        for wrong in
            ["", "0123", "0123456789ABCDEF0123456789abcdef", "0123456789abcdef0123456789abcde/", &"0".repeat(33)]
        {
            Fingerprint::new(wrong).expect_err(wrong);
            serde_json::from_value::<Fingerprint>(wrong.into()).expect_err(wrong);
        }
    }

    #[test]
    fn an_answer_is_flat_and_says_its_outcome_by_name() {
        let to = Fingerprint::new("0".repeat(32)).expect("fits");
        let granted = ClaimOutcome::Granted(Grant {
            device: "kitchen".into(),
            groups: ["beta".to_owned()].into(),
            labels: BTreeMap::new(),
            credentials: Credentials {
                username: Some("kitchen".into()),
                password: Some("secret".into()),
                certificate: None,
            },
        });
        let refused = ClaimOutcome::Refused { code: ClaimRefusal::UsedUp, reason: "it is used up".into() };
        for (outcome, written) in
            [(granted, "\"outcome\":\"granted\",\"device\":\"kitchen\""), (refused, "\"code\":\"used_up\"")]
        {
            let answer = ClaimAnswer { wire: 1, fleet: "home".into(), to: to.clone(), nonce: "n".into(), outcome };
            let text = serde_json::to_string(&answer).expect("JSON");
            assert!(text.contains(written), "{text}");
            assert_eq!(SignedAnswer { body: text, by_operator: String::new() }.answer(), Ok(answer));
        }
    }

    #[test]
    fn a_password_is_not_shown_by_accident() {
        let credentials = Credentials { password: Some("hunter2".into()), ..Credentials::default() };
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }

    #[test]
    fn a_refusal_is_written_as_it_is_named_and_too_much_is_not_read() {
        use ClaimRefusal::*;
        for code in [UnknownClaim, Proof, Expired, Revoked, UsedUp, Name, Form, Unavailable] {
            assert_eq!(serde_json::to_value(code).expect("JSON"), code.as_str());
        }
        let long = vec![b' '; MAX_REQUEST_BYTES + 1];
        assert!(SignedRequest::parse(&long).expect_err("too long").contains("at most"));
        for wrong in ["", "{}", r#"{"body": "", "by_claim": "", "by_key": "", "more": 1}"#] {
            SignedRequest::parse(wrong.as_bytes()).expect_err(wrong);
        }
    }
}
