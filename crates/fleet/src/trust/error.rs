//! Why metadata are refused.

use crate::clock::date;
use crate::source::{DownloadError, SourceFault};

/// A refusal: one variant for each kind, each with a stable word ([`TrustError::code`]) and one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Metadata are past their date (an indefinite freeze, or an operator who has not re-signed).
    #[error("the metadata of {role} expired at {}, and it is {}; the operator must sign newer ones", date(*.expires_secs), date(*.judged_secs))]
    Expired {
        /// The role.
        role: &'static str,
        /// When they expired, seconds since 1970-01-01 UTC.
        expires_secs: u64,
        /// The time by which they were judged.
        judged_secs: u64,
    },
    /// Older than what this device has already trusted.
    #[error("the source gives metadata older than those already trusted: {0}")]
    Rollback(String),
    /// Signed, but by none of the keys that count.
    #[error("the metadata of {role} are signed by none of the keys that count for them")]
    WrongKeys {
        /// The role.
        role: String,
    },
    /// Signed by too few of the keys that count.
    #[error("the metadata of {role} need {threshold} signatures and have {valid} that count")]
    BelowThreshold {
        /// The role.
        role: String,
        /// Signatures that are needed.
        threshold: u64,
        /// Signatures that count.
        valid: u64,
    },
    /// Not signed at all.
    #[error("the metadata of {role} are not signed")]
    Unsigned {
        /// The role.
        role: String,
    },
    /// Larger than what is taken (endless data).
    #[error("{what} is larger than the {cap} bytes that are taken")]
    TooLarge {
        /// The file.
        what: String,
        /// Most bytes.
        cap: u64,
    },
    /// More new roots than one refresh walks through.
    #[error("the source offers more than {0} new roots; newer ones are walked through in a next refresh only")]
    TooManyRoots(u64),
    /// The files do not belong together: digests or versions differ from what signed metadata say.
    #[error("the source's metadata do not belong together: {0}")]
    MixAndMatch(String),
    /// A file that signed metadata name, or that every repository has, is not there.
    #[error("the source has no {name}; its repository is incomplete or being copied")]
    Missing {
        /// The file.
        name: String,
    },
    /// The source could not be reached, or would not answer.
    #[error("{0}")]
    Unreachable(String),
    /// Bytes come more slowly than the least rate (slow retrieval).
    #[error("{0}")]
    TooSlow(String),
    /// What came cannot be read as what it should be.
    #[error("{what} cannot be read: {why}")]
    Garbage {
        /// The file or role.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A role signs for what was never delegated to it, or asks for files that no fleet repository has.
    #[error("{0}")]
    Extraneous(String),
    /// The targets role does not delegate as a fleet repository does.
    #[error("this is no fleet repository: {0}")]
    Shape(String),
    /// The generation is well signed, but for another fleet or under another number.
    #[error("{0}")]
    OtherGeneration(String),
    /// The generation's bytes are not those that were signed for (arbitrary software).
    #[error("generation {number} is not what was signed for: its SHA-256 is {found}")]
    WrongDigest {
        /// The generation.
        number: u64,
        /// The digest of what came.
        found: String,
    },
    /// What this device itself has kept is damaged.
    #[error("the trusted metadata that this device has kept are damaged: {0}; begin again from the shipped root")]
    OwnState(String),
    /// The scratch directory cannot be used.
    #[error("no refresh is possible: {0}")]
    Scratch(String),
}

impl TrustError {
    /// A stable word for reports and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "expired",
            Self::Rollback(_) => "rollback",
            Self::WrongKeys { .. } => "wrong_keys",
            Self::BelowThreshold { .. } => "below_threshold",
            Self::Unsigned { .. } => "unsigned",
            Self::TooLarge { .. } => "too_large",
            Self::TooManyRoots(_) => "too_many_roots",
            Self::MixAndMatch(_) => "mix_and_match",
            Self::Missing { .. } => "missing",
            Self::Unreachable(_) => "unreachable",
            Self::TooSlow(_) => "too_slow",
            Self::Garbage { .. } => "garbage",
            Self::Extraneous(_) => "extraneous",
            Self::Shape(_) => "shape",
            Self::OtherGeneration(_) => "other_generation",
            Self::WrongDigest { .. } => "wrong_digest",
            Self::OwnState(_) => "own_state",
            Self::Scratch(_) => "scratch",
        }
    }

    /// Whether another try, later or at another source, may go well without anybody's doing: nothing was found to be wrong.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Unreachable(_) | Self::TooSlow(_) | Self::Scratch(_))
    }

    pub(crate) fn missing(name: &str) -> Self {
        Self::Missing { name: name.to_owned() }
    }

    pub(crate) fn garbage(what: &str, why: impl std::fmt::Display) -> Self {
        Self::Garbage { what: what.to_owned(), why: why.to_string() }
    }

    /// A source's fault while `what` was fetched.
    pub(crate) fn of_source(what: &str, fault: SourceFault) -> Self {
        match fault {
            SourceFault::NotThere => Self::missing(what),
            SourceFault::Unreachable(why) => Self::Unreachable(format!("{what} could not be fetched: {why}")),
            SourceFault::TooLarge { cap } => Self::TooLarge { what: what.to_owned(), cap },
            SourceFault::TooSlow(why) => Self::TooSlow(format!("{what} comes too slowly: {why}")),
            SourceFault::Lied(why) => Self::garbage(what, why),
        }
    }

    /// A download's fault.
    pub(crate) fn of_download(number: u64, error: DownloadError) -> Self {
        match error {
            DownloadError::Source { path, fault, .. } => Self::of_source(&path, fault),
            DownloadError::Digest { found, .. } => Self::WrongDigest { number, found },
            DownloadError::Sink { .. } | DownloadError::Ahead { .. } => Self::Scratch(error.to_string()),
        }
    }
}
