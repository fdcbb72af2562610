//! The one place where the client reads the wall clock.

use std::time::SystemTime;

/// Seconds since 1970-01-01 UTC; 0 on a machine whose clock stands before that.
#[allow(clippy::disallowed_methods)] // This is the client's one clock.
pub(crate) fn now_secs() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
