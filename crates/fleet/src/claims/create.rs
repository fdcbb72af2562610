//! Making a claim: its secret goes into the file for devices, its public half into the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use linnet_proto::fleet::FLEET_WIRE;
use linnet_proto::transcribe::MAX_NAME_BYTES;
use rand::TryRngCore;
use zeroize::Zeroizing;

use super::file::ClaimFile;
use super::ledger::{ANSWER_KEY_FILE, Claim, Ledger, LedgerError};
use super::names::Names;
use super::proof::{KEY_BYTES, public};
use super::{MAX_DAYS, MAX_USES};
use crate::keys::{FileKey, KeyError, generate};

const DAY_SECS: u64 = 86_400;

/// What a claim is to be.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Devices that it is for.
    pub uses: u64,
    /// Days that it is good for.
    pub days: u32,
    /// The names that it gives.
    pub names: Names,
    /// Groups of its devices.
    pub groups: BTreeSet<String>,
    /// Labels of its devices.
    pub labels: BTreeMap<String, String>,
    /// The broker, as devices reach it.
    pub url: String,
    /// Who may ask for names there.
    pub username: Option<String>,
    /// His password.
    pub password: Option<String>,
    /// Certificate and key of all devices with this claim, paths on the device.
    pub client_cert: Option<(PathBuf, PathBuf)>,
    /// Authorities of the broker's certificate, PEM.
    pub ca: Option<String>,
    /// The fleet's root, JSON.
    pub root: String,
}

/// Why no claim was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The claim makes no sense; one sentence.
    #[error("{0}")]
    Draft(String),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The key that answers are signed with.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The directory of keys.
    #[error("{path}: {source}", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// Makes a claim of `fleet` and remembers it in the directory `keys`. The file that comes back holds the only copy of its secret.
pub fn create(keys: &Path, fleet: &str, draft: Draft, now_secs: u64) -> Result<ClaimFile, CreateError> {
    if draft.uses == 0 || draft.uses > MAX_USES {
        return Err(CreateError::Draft(format!("a claim is for 1 to {MAX_USES} devices")));
    }
    if draft.days == 0 || draft.days > MAX_DAYS {
        return Err(CreateError::Draft(format!("a claim is good for 1 to {MAX_DAYS} days")));
    }
    draft.names.check().map_err(CreateError::Draft)?;
    let labels = draft.labels.iter().flat_map(|(label, value)| [label, value]);
    if draft
        .groups
        .iter()
        .chain(labels)
        .any(|text| text.is_empty() || text.len() > MAX_NAME_BYTES || text.contains(char::is_control))
    {
        return Err(CreateError::Draft(format!(
            "a group, a label and its value are one line of at most {MAX_NAME_BYTES} bytes each, and not empty"
        )));
    }
    let expires_secs = now_secs.saturating_add(u64::from(draft.days) * DAY_SECS);
    let mut random = Zeroizing::new([0; KEY_BYTES + 8]);
    rand::rngs::OsRng.try_fill_bytes(&mut *random).map_err(|e| KeyError::Random(e.to_string()))?;
    let (client_cert, client_key) = draft.client_cert.unzip();
    let mut file = ClaimFile {
        wire: FLEET_WIRE,
        fleet: fleet.to_owned(),
        claim: hex::encode(&random[KEY_BYTES..]),
        token: hex::encode(&random[..KEY_BYTES]),
        // Stands there until the key does.
        operator: hex::encode([0; KEY_BYTES]),
        expires: date(expires_secs),
        url: draft.url,
        username: draft.username,
        password: draft.password,
        client_cert,
        client_key,
        ca: draft.ca,
        root: draft.root,
    };
    // As a device will, before anything is made.
    let claim = ClaimFile::parse(&file.to_text()).map_err(CreateError::Draft)?;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(keys);
    made.map_err(|source| CreateError::Directory { path: keys.to_owned(), source })?;
    let path = keys.join(ANSWER_KEY_FILE);
    match generate(&path, None) {
        Err(KeyError::Exists { .. }) => {}
        made => made?,
    }
    let answers = FileKey::open(&path, &|_| Err(std::io::Error::other("it must have none")))?;
    file.operator = hex::encode(public(answers.pair()));
    let mut ledger = Ledger::open_or_make(keys, fleet)?;
    ledger.add(Claim {
        id: file.claim.clone(),
        key: hex::encode(public(&claim.key().map_err(CreateError::Draft)?)),
        uses: draft.uses,
        expires_secs,
        names: draft.names,
        groups: draft.groups,
        labels: draft.labels,
    })?;
    Ok(file)
}

/// RFC 3339.
pub fn date(secs: u64) -> String {
    let timestamp = i64::try_from(secs).ok().and_then(|secs| jiff::Timestamp::from_second(secs).ok());
    timestamp.map_or_else(|| format!("second {secs}"), |timestamp| timestamp.to_string())
}
