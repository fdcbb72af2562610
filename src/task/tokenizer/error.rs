//! Why a text is not encoded.

use crate::limits::MAX_TEXT_BYTES;

/// A text that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Larger than any text may be.
    #[error("the text has {bytes} bytes; a text may have {MAX_TEXT_BYTES}: send it in parts")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// More tokens than the caller takes.
    #[error("the text has more than {most} tokens; shorten it, or send it in parts")]
    TooLong {
        /// The most that there may be.
        most: usize,
    },
    /// A language that the model does not have.
    #[error("{0}")]
    Language(String),
    /// The tokenizer itself gave up, which its file brings about.
    #[error("the tokenizer cannot encode the text: {0}")]
    Failed(String),
}
