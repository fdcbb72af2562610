//! The bounds of HTTP that no setting changes. The others stand in [`crate::config::transport`].

use std::time::Duration;

/// Read buffer and largest head of one connection, bytes. Hyper starts with 8 KiB and grows it while a body comes fast; a
/// thousand connections hold a thousand of them, so it stays small.
pub const MAX_CONNECTION_BUFFER_BYTES: usize = 16 * 1024;

/// After `idle_timeout` a body must have come at this rate on average, bytes per second (a 16 kbit/s Opus stream that is
/// recorded while it is sent takes four times as much).
pub const MIN_BODY_BYTES_PER_SEC: u64 = 500;

/// How long an upload may count on the place in the queue that was free when it came. Whoever sends more slowly (a recording
/// that is sent while it is made) is looked at again when it is whole.
pub const FORESEEN_FOR: Duration = Duration::from_secs(1);

/// How long a refused request's body is still read and thrown away, so that its sender gets to read the refusal.
pub const LINGER: Duration = Duration::from_secs(2);

/// How much of a refused body is thrown away before the connection is closed, bytes.
pub const LINGER_BYTES: u64 = 64 * 1024 * 1024;

/// A job answers by its own deadline; the transport waits this much longer before it answers in its stead.
pub const REPLY_SLACK: Duration = Duration::from_secs(1);

/// How often a silent event stream says that it lives.
pub const EVENT_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Wait after `accept` failed for want of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time between two lines in the log about connections that could not be accepted; those in between are counted.
pub const ACCEPT_LINE_EVERY: Duration = Duration::from_secs(10);

/// Longest `x-request-id` that is taken over, bytes.
pub const MAX_REQUEST_ID_BYTES: usize = 64;

/// Largest file of a bearer token, bytes.
pub const MAX_TOKEN_BYTES: u64 = 4096;

/// Memory of uploads is counted in pieces of this size, bytes.
pub const BUDGET_UNIT_BYTES: u64 = 1024;

/// An upload reserves memory in steps of this size, as it comes, bytes.
pub const BUDGET_STEP_BYTES: u64 = 64 * 1024;

/// An upload grows only where so much more memory can be had beside it, bytes: what answers and refuses needs some, too.
pub const MEMORY_LEFT_BYTES: usize = 16 * 1024 * 1024;

/// A body up to this length, bytes, is not asked for [`MEMORY_LEFT_BYTES`].
pub const SMALL_BODY_BYTES: usize = 1024 * 1024;

/// `Retry-After` of a refusal that names no time, milliseconds.
pub const DEFAULT_RETRY_AFTER_MS: u64 = 1000;

/// How long a caller waits for a reload, which may load models.
pub(super) const RELOAD_PATIENCE: Duration = Duration::from_secs(120);

/// Pieces of a model's files that may wait to be written; each is at most what a connection reads at once.
pub(super) const ARCHIVE_PIECES: usize = 16;

/// Largest body of JSON, bytes: the largest prompt with every character escaped, or twenty minutes of speech in MP3. What is built
/// of it in memory is bounded apart ([`linnet_proto::json::MAX_VALUES`]).
pub const MAX_JSON_BYTES: u64 = 32 * 1024 * 1024;

/// Largest body of a request over TCP whose token stands in the body itself, bytes: it is read before anybody is known.
pub const MAX_UNADMITTED_JSON_BYTES: u64 = 1024 * 1024;
