//! Why audio was refused.

/// Why audio was refused. Each names the thing, the rule and the way out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AudioError {
    /// Not a container or codec that Linnet reads.
    #[error("{0}")]
    Unsupported(String),
    /// The bytes are broken or the header lies.
    #[error("{0}")]
    Malformed(String),
    /// No samples.
    #[error("the audio holds no samples; send at least one")]
    Empty,
    /// A limit is exceeded.
    #[error("{0}")]
    TooLarge(String),
    /// A rate or a number of channels outside the rule.
    #[error("{0}")]
    OutOfRange(String),
}
