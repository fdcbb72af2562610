//! The file that a device is given: everything that it needs to become one of a fleet.

use std::fmt;
use std::path::{Path, PathBuf};

use linnet_proto::fleet::FLEET_WIRE;
use linnet_proto::topic::FleetName;
use ring::signature::Ed25519KeyPair;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::MAX_CLAIM_BYTES;
use super::proof::{KEY_BYTES, key_of_hex};
use crate::trust::Trusted;

/// Most characters of a claim's id.
const MAX_ID: usize = 64;
/// Schemes of a broker.
const SCHEMES: [&str; 4] = ["mqtt://", "mqtts://", "ws://", "wss://"];

/// A claim, as it lies on a device: TOML, one file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimFile {
    /// Form of the file: [`FLEET_WIRE`].
    pub wire: u32,
    /// The fleet.
    pub fleet: String,
    /// Which claim.
    pub claim: String,
    /// The secret: the seed of the claim's Ed25519 key, hexadecimal.
    pub token: String,
    /// The key that answers are signed with, hexadecimal.
    pub operator: String,
    /// When it ends, for people; the operator's clock decides.
    pub expires: String,
    /// The broker.
    pub url: String,
    /// User of the broker who may ask for names and do nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// His password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// A certificate of all devices with this claim, a path on the device; a relative one begins at this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,
    /// Its key, a path on the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// Authorities that the broker's certificate may come from, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The fleet's root of trust, as its `root.json` has it.
    pub root: String,
}

impl fmt::Debug for ClaimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimFile").field("fleet", &self.fleet).field("claim", &self.claim).finish_non_exhaustive()
    }
}

/// Why a claim cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// It cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is no claim.
    #[error("{path}: {reason}; copy the file again that `linnet fleet claim create` wrote", path = path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// One sentence.
        reason: String,
    },
}

impl ClaimFile {
    /// Reads one from a device's disk; its relative paths become absolute.
    pub fn read(path: &Path) -> Result<Self, ClaimError> {
        use std::io::Read;
        let unread = |source| ClaimError::Read { path: path.to_owned(), source };
        let form = |reason: String| ClaimError::Form { path: path.to_owned(), reason };
        let mut text = Zeroizing::new(String::new());
        let file = std::fs::File::open(path).map_err(unread)?;
        match file.take(MAX_CLAIM_BYTES + 1).read_to_string(&mut text) {
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => return Err(form("it is not UTF-8 text".into())),
            read => read.map_err(unread)?,
        };
        let mut claim = Self::parse(&text).map_err(form)?;
        let whole = std::path::absolute(path).map_err(unread)?;
        let base = whole.parent().unwrap_or(Path::new("/"));
        for file in [&mut claim.client_cert, &mut claim.client_key].into_iter().flatten() {
            *file = base.join(&*file);
        }
        Ok(claim)
    }

    /// Reads the text of one; a fault is one sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() as u64 > MAX_CLAIM_BYTES {
            return Err(format!("a claim has at most {} KiB", MAX_CLAIM_BYTES >> 10));
        }
        // Before anything else, so that a newer form is called so and not wrong. The parser's own message would show the line, secret and all.
        let table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| format!("it is no TOML: {}", e.message()))?;
        match table.get("wire").and_then(toml::Value::as_integer) {
            Some(wire) if wire == i64::from(FLEET_WIRE) => {}
            Some(wire) => return Err(format!("it is written in form {wire}, this linnetd reads form {FLEET_WIRE}")),
            None => return Err("it is no claim: `wire` is missing".into()),
        }
        let claim: Self = table.try_into().map_err(|e: toml::de::Error| e.message().to_owned())?;
        claim.check()?;
        Ok(claim)
    }

    /// Its text, with a word to who finds it.
    pub fn to_text(&self) -> String {
        let values = toml::to_string_pretty(self).unwrap_or_default();
        format!(
            "# A claim of the fleet `{}`: whoever has this file can become one of its devices until {},\n# or until it is used up or revoked. Treat it as a password.\n{values}",
            self.fleet, self.expires
        )
    }

    fn check(&self) -> Result<(), String> {
        FleetName::new(self.fleet.as_str()).map_err(|e| format!("fleet: {e}"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if self.claim.is_empty() || self.claim.len() > MAX_ID || !self.claim.chars().all(plain) {
            return Err("claim: an id has at most 64 letters, digits and `-`".into());
        }
        let of_key = |name: &str| format!("{name}: a key has {} hexadecimal digits", 2 * KEY_BYTES);
        key_of_hex(&self.token).ok_or_else(|| of_key("token"))?;
        key_of_hex(&self.operator).ok_or_else(|| of_key("operator"))?;
        if !SCHEMES.iter().any(|scheme| self.url.starts_with(scheme)) || self.url.contains(['@', ' ', '"']) {
            return Err("url: a broker is mqtt://HOST, mqtts://HOST, ws://HOST/PATH or wss://HOST/PATH; its user stands in `username`".into());
        }
        if self.is_encrypted() && self.ca.is_none() {
            return Err("ca: TLS needs the authorities that the broker's certificate may come from".into());
        }
        if self.client_cert.is_some() != self.client_key.is_some() {
            return Err("client_cert and client_key belong together".into());
        }
        let one_line = |text: &Option<String>| text.as_ref().is_none_or(|text| !text.contains(char::is_control));
        if !one_line(&self.username) || !one_line(&self.password) {
            return Err("username and password are one line each".into());
        }
        Trusted::begin(self.root.as_bytes()).map(drop).map_err(|e| format!("root: {e}"))
    }

    /// Whether the broker is reached by TLS.
    pub fn is_encrypted(&self) -> bool {
        self.url.starts_with("mqtts://") || self.url.starts_with("wss://")
    }

    /// The claim's key.
    pub fn key(&self) -> Result<Ed25519KeyPair, String> {
        let seed = key_of_hex(&self.token).map(Zeroizing::new).ok_or("token: it is no key")?;
        Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|e| format!("token: {e}"))
    }

    /// The key that answers are signed with.
    pub fn operator_key(&self) -> Result<[u8; KEY_BYTES], String> {
        key_of_hex(&self.operator).ok_or_else(|| "operator: it is no key".into())
    }
}
