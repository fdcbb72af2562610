//! Bounds of a device without a name.

use std::time::Duration;

/// Waits between attempts: the first and the longest. A batch that is switched on at once while nobody answers asks some ten times an hour each.
pub const ATTEMPTS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));

/// How long an answer is waited for: the operator's grant command has twenty seconds, and others may be before.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// Largest `/etc/machine-id` that is read, bytes: 32 digits and a line feed.
pub const MAX_MACHINE_ID_BYTES: u64 = 128;
