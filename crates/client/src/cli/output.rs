//! Writing to standard output, where a full disk or a closed pipe is an error and not a panic.

use std::io::Write;

use serde::Serialize;

use crate::ClientError;

/// Writes `text` as it is.
pub(super) fn write(text: &str) -> Result<(), ClientError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(ClientError::Output)
}

/// Writes `value` as JSON on one line.
pub(super) fn json(value: &impl Serialize) -> Result<(), ClientError> {
    let mut line = serde_json::to_string(value).map_err(|e| ClientError::Output(e.into()))?;
    line.push('\n');
    write(&line)
}
