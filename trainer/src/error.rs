//! How a command fails: one sentence for a person and one exit code for a script.

use std::fmt;
use std::path::Path;

/// Result of every command.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a command stopped. The message names the thing, the rule and the way out; the kind chooses the exit code (`sysexits.h`).
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
}

/// Classes of failure, one for each exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line asks for something that does not exist (64).
    Usage,
    /// Input that was read is wrong (65).
    Data,
    /// An input is absent or unreadable (66).
    NoInput,
    /// A program or service that is needed is absent (69).
    Unavailable,
    /// A mistake of this program (70).
    Software,
    /// An output cannot be made, a full disk among others (73).
    CantCreate,
    /// Reading or writing failed half-way (74).
    Io,
    /// A gate said no: accuracy lost, a canary that fails (76).
    Refused,
    /// Stopped by Ctrl-C or SIGTERM after saving (75: try again, it goes on from there).
    Interrupted,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// [`Kind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// [`Kind::Data`].
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Kind::Data, message)
    }

    /// [`Kind::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// [`Kind::Software`].
    pub fn software(message: impl Into<String>) -> Self {
        Self::new(Kind::Software, message)
    }

    /// [`Kind::Refused`].
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// A file that cannot be read.
    pub fn read(path: &Path, error: std::io::Error) -> Self {
        Self::new(Kind::NoInput, format!("{}: {error}", path.display()))
    }

    /// A file that cannot be written; a full disk is said as such.
    pub fn write(path: &Path, error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::StorageFull {
            let message =
                format!("{}: the disk is full; free some space and start the same command again", path.display());
            return Self::new(Kind::CantCreate, message);
        }
        Self::new(Kind::CantCreate, format!("{}: {error}", path.display()))
    }

    /// What kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 64,
            Kind::Data => 65,
            Kind::NoInput => 66,
            Kind::Unavailable => 69,
            Kind::Software => 70,
            Kind::CantCreate => 73,
            Kind::Io => 74,
            Kind::Interrupted => 75,
            Kind::Refused => 76,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Kind::Io, error.to_string())
    }
}
