//! The keys that sign a repository: in files, in files under a passphrase, or behind a command.
//!
//! `tough` has a trait for sources of keys, too. It cannot be implemented without naming its cryptographic library, and it opens
//! every key for each signature, which would ask for a passphrase again and again; so signing is done here and what was signed is
//! verified by `tough`'s own rules before it is written.

mod command;
mod file;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tough::schema::key::Key;
use zeroize::Zeroizing;

pub use command::CommandKey;
pub use file::{FileKey, MAX_KEY_BYTES, generate, new_pem};

/// Signs by one key.
pub trait Signer: fmt::Debug + Send + Sync {
    /// The public half, as metadata name it.
    fn public(&self) -> &Key;

    /// The signature of `bytes`. A command may wait for a person to touch a token.
    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, KeyError>;
}

/// Where a key is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Locator {
    /// A file: PEM, PKCS#8, Ed25519, mode 0600; its content says whether it needs a passphrase.
    File(PathBuf),
    /// A program and its first arguments: [`CommandKey`] has the protocol.
    Command(Vec<String>),
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Command(words) => write!(f, "`{}`", words.join(" ")),
        }
    }
}

/// Why a key cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("the key {path}: {source}; is the medium that holds it plugged in?")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Others than its owner may read it.
    #[error(
        "the key {path} has mode {mode:04o}, so that others may read it; `chmod 600 {path}`, and rotate it if they did"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no key of a form that is read.
    #[error("the key {path}: {reason}; an Ed25519 key as PEM (PKCS#8) is read, as `linnet fleet init` makes it")]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No passphrase, or the wrong one.
    #[error("the key {path} is under a passphrase: {reason}")]
    Passphrase {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A key is there already.
    #[error("{path} is there already; a key is never overwritten")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("the key {path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The machine gives no random numbers.
    #[error("no random numbers for a new key: {0}")]
    Random(String),
    /// The command did not do its part of the protocol.
    #[error("the key command `{command}`: {reason}")]
    Command {
        /// The command.
        command: String,
        /// What is wrong.
        reason: String,
    },
}

/// Gives the passphrase of the key at a path; asked once for each key.
pub type AskPassphrase<'a> = dyn Fn(&Path) -> std::io::Result<Zeroizing<String>> + Send + Sync + 'a;

/// Keys that were opened, each once.
pub struct Keys<'a> {
    ask: &'a AskPassphrase<'a>,
    open: HashMap<Locator, Arc<dyn Signer>>,
}

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("open", &self.open.keys()).finish_non_exhaustive()
    }
}

/// For programs that have nobody to ask.
fn nobody(_: &Path) -> std::io::Result<Zeroizing<String>> {
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "there is nobody to ask for it"))
}

impl Default for Keys<'static> {
    fn default() -> Self {
        Keys::new(&nobody)
    }
}

impl<'a> Keys<'a> {
    /// No key is opened yet.
    pub fn new(ask: &'a AskPassphrase<'a>) -> Self {
        Self { ask, open: HashMap::new() }
    }

    /// The key at `locator`.
    pub fn get(&mut self, locator: &Locator) -> Result<Arc<dyn Signer>, KeyError> {
        if let Some(open) = self.open.get(locator) {
            return Ok(open.clone());
        }
        let signer: Arc<dyn Signer> = match locator {
            Locator::File(path) => Arc::new(FileKey::open(path, self.ask)?),
            Locator::Command(words) => Arc::new(CommandKey::open(words)?),
        };
        self.open.insert(locator.clone(), signer.clone());
        Ok(signer)
    }
}
