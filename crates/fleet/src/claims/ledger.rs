//! What the operator's side remembers: claims, and which key bears which name. One file beside the keys, to which lines are only added.
//!
//! Each line is forced to the disk before anybody is answered, so that a name is never given twice, whatever is cut off. Its line feed is written when
//! the rest is on the disk, and makes it one: what a power cut tears has none and is dropped. Whoever adds a line holds the file's lock and has
//! read what others added before, so that `serve`, `push` and `claim` may run at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use linnet_proto::fleet::{Credentials, Fingerprint, Grant};
use serde::{Deserialize, Serialize};

use super::journal::{Journal, Place, RealPlace};
use super::names::{Names, Pattern};
use super::{MAX_LEDGER_BYTES, MAX_USES};

/// Form of the file.
const FORM: u32 = 1;
/// Name of the file in the directory of keys.
pub const LEDGER_FILE: &str = "claims.jsonl";
/// Name of the key that answers are signed with, in the same directory.
pub const ANSWER_KEY_FILE: &str = "claims.pem";

/// A claim, as the operator's side keeps it: without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Its id.
    pub id: String,
    /// Public half of its key, hexadecimal.
    pub key: String,
    /// Devices that it is for.
    pub uses: u64,
    /// When it ends, seconds since 1970-01-01 UTC.
    pub expires_secs: u64,
    /// The names that it gives.
    pub names: Names,
    /// Groups of its devices.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// Labels of its devices.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A name and who bears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granted {
    /// By which claim.
    pub claim: String,
    /// Fingerprint of the device's key.
    pub key: Fingerprint,
    /// The name.
    pub device: String,
    /// Digest of the machine's id, where the device said one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// When, seconds since 1970-01-01 UTC.
    pub at_secs: u64,
    /// What the grant command gave; absent until it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    /// The first line.
    Ledger {
        form: u32,
        fleet: String,
    },
    Claim(Claim),
    Revoked {
        claim: String,
        at_secs: u64,
    },
    Granted(Granted),
    /// What the grant command gave to a key.
    Given {
        key: Fingerprint,
        credentials: Credentials,
    },
    /// A key has no name again, and its claim is a use better off: it came to nothing with this name and asks for another.
    Withdrawn {
        key: Fingerprint,
        at_secs: u64,
    },
    /// A name is free again.
    Released {
        device: String,
        at_secs: u64,
    },
}

/// Why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is none.
    #[error("{path}: there is no ledger of claims; `linnet fleet claim create` makes one, --keys names the directory", path = path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Others than its owner may read it.
    #[error("{path}: others may read the ledger of claims (mode {mode:04o}); `chmod 600` it", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Reading or writing fails.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A line is none of this file's.
    #[error("{path}, line {line}: {reason}; put the line right or take the file from a backup: while it is broken nobody is given a name", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
        /// One sentence.
        reason: String,
    },
    /// What was asked makes no sense with what stands in it.
    #[error("{0}")]
    Refused(String),
}

/// A claim, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The claim.
    pub claim: Claim,
    /// Devices that have used it.
    pub used: u64,
    /// Whether the operator took it back.
    pub revoked: bool,
}

/// The ledger as it was read last.
#[derive(Debug)]
pub struct Ledger {
    /// For messages.
    path: PathBuf,
    place: Box<dyn Place>,
    fleet: String,
    /// Bytes and lines that were read.
    read: (u64, usize),
    claims: BTreeMap<String, Standing>,
    by_key: HashMap<Fingerprint, Granted>,
    by_name: HashMap<String, Fingerprint>,
    /// Names that the operator has freed and nobody bears.
    freed: BTreeSet<String>,
    /// How often a key's name was withdrawn, where it was.
    withdrawn: HashMap<Fingerprint, u32>,
    /// The next number to try, by claim: those below are taken.
    next: HashMap<String, u64>,
}

/// The ledger while nobody else may add to it.
pub(super) struct Held<'a> {
    ledger: &'a mut Ledger,
    file: Box<dyn Journal>,
}

impl Ledger {
    /// Reads the ledger of `fleet` in the directory of keys.
    pub fn open(keys: &Path, fleet: &str) -> Result<Self, LedgerError> {
        let mut ledger = Self::unread(keys, fleet);
        drop(ledger.hold(false)?);
        Ok(ledger)
    }

    /// The same, made where there is none.
    pub fn open_or_make(keys: &Path, fleet: &str) -> Result<Self, LedgerError> {
        let mut ledger = Self::unread(keys, fleet);
        drop(ledger.hold(true)?);
        Ok(ledger)
    }

    fn unread(keys: &Path, fleet: &str) -> Self {
        let path = keys.join(LEDGER_FILE);
        Self::over(Box::new(RealPlace(path.clone())), path, fleet)
    }

    /// The ledger at `place`, of which nothing has been read yet; `path` is its name in messages.
    pub(super) fn over(place: Box<dyn Place>, path: PathBuf, fleet: &str) -> Self {
        Self {
            path,
            place,
            fleet: fleet.to_owned(),
            read: (0, 0),
            claims: BTreeMap::new(),
            by_key: HashMap::new(),
            by_name: HashMap::new(),
            freed: BTreeSet::new(),
            withdrawn: HashMap::new(),
            next: HashMap::new(),
        }
    }

    /// Claims, by id.
    pub fn claims(&self) -> impl Iterator<Item = &Standing> {
        self.claims.values()
    }

    /// Who bears which name, by name.
    pub fn granted(&self) -> Vec<&Granted> {
        let mut granted: Vec<_> = self.by_name.values().filter_map(|key| self.by_key.get(key)).collect();
        granted.sort_by(|a, b| a.device.cmp(&b.device));
        granted
    }

    pub(super) fn claim(&self, id: &str) -> Option<&Standing> {
        self.claims.get(id)
    }

    pub(super) fn of_key(&self, key: &Fingerprint) -> Option<&Granted> {
        self.by_key.get(key)
    }

    /// Who bears a name.
    pub(super) fn bearer(&self, name: &str) -> Option<&Fingerprint> {
        self.by_name.get(name)
    }

    /// Whether the operator has freed a name and nobody bears it.
    pub(super) fn is_freed(&self, name: &str) -> bool {
        self.freed.contains(name)
    }

    /// How often the name of this key was withdrawn.
    pub(super) fn withdrawn(&self, key: &Fingerprint) -> u32 {
        self.withdrawn.get(key).copied().unwrap_or(0)
    }

    /// Adds a claim.
    pub fn add(&mut self, claim: Claim) -> Result<(), LedgerError> {
        claim.names.check().map_err(LedgerError::Refused)?;
        if claim.uses == 0 || claim.uses > MAX_USES {
            return Err(LedgerError::Refused(format!("a claim is for 1 to {MAX_USES} devices")));
        }
        if matches!(claim.names, Names::One(_)) && claim.uses != 1 {
            return Err(LedgerError::Refused(
                "one name is for one device: give a pattern such as speaker-{n:04}".into(),
            ));
        }
        let mut held = self.hold(false)?;
        if let Names::One(name) = &claim.names
            && held.ledger.by_name.contains_key(name)
        {
            return Err(LedgerError::Refused(format!(
                "the name {name} is borne by a device; `linnet fleet claim release {name}` frees it where that device is gone"
            )));
        }
        held.append(Event::Claim(claim))
    }

    /// Takes a claim back: nobody gets a name by it any more.
    pub fn revoke(&mut self, id: &str, at_secs: u64) -> Result<(), LedgerError> {
        let mut held = self.hold(false)?;
        match held.ledger.claims.get(id) {
            None => Err(LedgerError::Refused(format!("there is no claim {id}; `linnet fleet claim list` names them"))),
            Some(standing) if standing.revoked => Ok(()),
            Some(_) => held.append(Event::Revoked { claim: id.to_owned(), at_secs }),
        }
    }

    /// Frees a name whose device is gone.
    pub fn release(&mut self, name: &str, at_secs: u64) -> Result<(), LedgerError> {
        let mut held = self.hold(false)?;
        if !held.ledger.by_name.contains_key(name) {
            return Err(LedgerError::Refused(format!(
                "no device bears the name {name} by a claim; `linnet fleet claim list --devices` names them"
            )));
        }
        held.append(Event::Released { device: name.to_owned(), at_secs })
    }

    /// Locks the file, reads what was added, and drops a last line that a crash cut off: nobody was answered for it.
    pub(super) fn hold(&mut self, make: bool) -> Result<Held<'_>, LedgerError> {
        let path = self.path.clone();
        let failed = |source| LedgerError::Io { path: path.clone(), source };
        let mut file = self.place.open(make).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => LedgerError::Missing { path: path.clone() },
            _ => failed(e),
        })?;
        let (bytes, mode) = (file.bytes().map_err(failed)?, file.mode().map_err(failed)?);
        if mode & 0o077 != 0 {
            return Err(LedgerError::Open { path: path.clone(), mode });
        }
        if bytes > MAX_LEDGER_BYTES || bytes < self.read.0 {
            let reason = if bytes > MAX_LEDGER_BYTES { "it is too large" } else { "it has become shorter" };
            return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidData, reason)));
        }
        let added = file.read_from(self.read.0).map_err(failed)?;
        let whole = added.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole > 0 {
            // Whoever added it may have been killed before this, and what is read here is acted upon.
            file.sync().map_err(failed)?;
        }
        for line in added[..whole].split_inclusive(|byte| *byte == b'\n') {
            let number = self.read.1 + 1;
            let of_line = |reason: String| LedgerError::Line { path: path.clone(), line: number, reason };
            let event = serde_json::from_slice(line).map_err(|e| of_line(e.to_string()))?;
            self.take(event).map_err(of_line)?;
            self.read.1 += 1;
            self.read.0 += line.len() as u64;
        }
        if whole < added.len() {
            // Should it come back with a power cut, it has no line feed either.
            file.cut(self.read.0).map_err(failed)?;
        }
        let fleet = self.fleet.clone();
        let is_new = self.read.1 == 0;
        let mut held = Held { ledger: self, file };
        if is_new {
            // Before there is a line in it: a file with one has a name that stays.
            held.file.sync_name().map_err(failed)?;
            held.append(Event::Ledger { form: FORM, fleet })?;
        }
        Ok(held)
    }

    fn take(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Ledger { form, .. } if form != FORM => {
                return Err(format!("it is written in form {form}, this linnet reads form {FORM}"));
            }
            Event::Ledger { fleet, .. } if fleet != self.fleet => {
                return Err(format!("it is the ledger of the fleet {fleet}, not of {}", self.fleet));
            }
            Event::Ledger { .. } => {}
            _ if self.read.1 == 0 => return Err("the first line must say whose ledger it is".into()),
            Event::Claim(claim) => {
                self.claims.insert(claim.id.clone(), Standing { claim, used: 0, revoked: false });
            }
            Event::Revoked { claim, .. } => {
                if let Some(standing) = self.claims.get_mut(&claim) {
                    standing.revoked = true;
                }
            }
            Event::Granted(granted) => {
                if let Some(standing) = self.claims.get_mut(&granted.claim) {
                    standing.used += 1;
                }
                // A key bears one name: the one that it was given last.
                if let Some(before) = self.by_key.get(&granted.key) {
                    self.by_name.remove(&before.device);
                }
                self.freed.remove(&granted.device);
                self.by_name.insert(granted.device.clone(), granted.key.clone());
                self.by_key.insert(granted.key.clone(), granted);
            }
            Event::Given { key, credentials } => {
                if let Some(granted) = self.by_key.get_mut(&key) {
                    granted.credentials = Some(credentials);
                }
            }
            Event::Withdrawn { key, .. } => {
                if let Some(granted) = self.by_key.remove(&key) {
                    self.by_name.remove(&granted.device);
                    if let Some(standing) = self.claims.get_mut(&granted.claim) {
                        standing.used = standing.used.saturating_sub(1);
                    }
                    *self.withdrawn.entry(key).or_default() += 1;
                }
            }
            Event::Released { device, .. } => {
                if let Some(key) = self.by_name.remove(&device) {
                    self.by_key.remove(&key);
                    self.freed.insert(device);
                }
            }
        }
        Ok(())
    }
}

impl Held<'_> {
    pub(super) fn ledger(&self) -> &Ledger {
        self.ledger
    }

    /// The first name of the claim's pattern that nobody bears, by grant or by what `is_borne` says.
    pub(super) fn next_name(
        &mut self,
        claim: &str,
        pattern: &str,
        is_borne: &dyn Fn(&str) -> bool,
    ) -> Result<String, String> {
        let pattern = Pattern::parse(pattern)?;
        let from = self.ledger.next.get(claim).copied().unwrap_or(1);
        for n in from..from.saturating_add(MAX_USES) {
            let name = pattern.name(n);
            if !self.ledger.by_name.contains_key(&name) && !is_borne(&name) {
                self.ledger.next.insert(claim.to_owned(), n);
                return Ok(name);
            }
        }
        Err("every name of the pattern is borne".into())
    }

    /// Remembers a grant, on the disk before this returns.
    pub(super) fn grant(&mut self, granted: Granted) -> Result<(), LedgerError> {
        self.append(Event::Granted(granted))
    }

    /// Takes a grant back that came to nothing, on the disk before this returns.
    pub(super) fn withdraw(&mut self, key: &Fingerprint, at_secs: u64) -> Result<(), LedgerError> {
        self.append(Event::Withdrawn { key: key.clone(), at_secs })
    }

    /// Remembers what the grant command gave.
    pub(super) fn give(&mut self, key: &Fingerprint, credentials: Credentials) -> Result<(), LedgerError> {
        self.append(Event::Given { key: key.clone(), credentials })
    }

    fn append(&mut self, event: Event) -> Result<(), LedgerError> {
        let failed = |source| LedgerError::Io { path: self.ledger.path.clone(), source };
        let line = serde_json::to_vec(&event).map_err(|e| failed(e.into()))?;
        let mut written = Ok(());
        for part in [&line[..], b"\n"] {
            written = written.and_then(|()| self.file.append(part)).and_then(|()| self.file.sync());
        }
        if let Err(e) = written {
            // Half a line would make the next one unreadable. Where even that fails, the next who locks the file drops it.
            let _ = self.file.cut(self.ledger.read.0);
            return Err(failed(e));
        }
        self.ledger.take(event).map_err(LedgerError::Refused)?;
        self.ledger.read = (self.ledger.read.0 + line.len() as u64 + 1, self.ledger.read.1 + 1);
        Ok(())
    }
}

impl Granted {
    /// What the device is given, by the claim that gave it.
    pub(super) fn grant(&self, claim: Option<&Claim>) -> Grant {
        Grant {
            device: self.device.clone(),
            groups: claim.map(|claim| claim.groups.clone()).unwrap_or_default(),
            labels: claim.map(|claim| claim.labels.clone()).unwrap_or_default(),
            credentials: self.credentials.clone().unwrap_or_default(),
        }
    }
}

/// Words of a device, for the operator's terminal.
pub(super) fn plain(text: &str) -> String {
    linnet_proto::words::plain(text, 64)
}
