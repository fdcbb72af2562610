//! The bounds of MQTT that no setting changes. The others stand in [`crate::config::transport`].

use std::time::Duration;

/// Payloads above this are decoded and digested off the link's task, so that keep-alive and answers go on, bytes.
pub const INLINE_PAYLOAD_BYTES: usize = 64 * 1024;

/// Payloads above [`INLINE_PAYLOAD_BYTES`] that come under overload and may be repeats, in memory at once, bytes: two of the largest
/// packets by default. They are digested at the speed of memory; whatever more comes at once is answered `overloaded`.
pub const MAX_DOUBTFUL_BYTES: usize = 32 * 1024 * 1024;

/// All user properties of one message together, names and values, bytes. The longest prompt fits twice.
pub const MAX_USER_PROPERTY_BYTES: usize = 32 * 1024;

/// The CONNECT packet allows packets this many times the largest that is taken, so that a broker lets a somewhat larger
/// one through and it is answered `too_large` instead of vanishing.
pub const PACKET_HEADROOM: u32 = 2;

/// Largest packet that MQTT can express (section 1.5.5: four bytes of remaining length), bytes.
pub const MAX_PROTOCOL_PACKET_BYTES: u32 = 268_435_455;

/// Largest packet over WebSocket: the client library takes no larger frame, bytes.
pub const MAX_WEBSOCKET_PACKET_BYTES: u32 = 16 * 1024 * 1024;

/// Smallest `max_packet_bytes`: a refusal and `state` must always fit.
pub const MIN_PACKET_BYTES: u32 = 16 * 1024;

/// Packets between the transport and the client library: acknowledgements and answers in flight.
pub const CLIENT_CHANNEL: usize = 64;

/// Answers that await the broker's acknowledgement at once.
pub const MAX_IN_FLIGHT: u16 = 32;

/// Longest wait for TCP, TLS, WebSocket and CONNACK together, seconds.
pub const CONNECT_TIMEOUT_SECS: u64 = 10;

/// Longest wait for SUBACK.
pub const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that stayed up for this long starts the backoff anew when it is lost.
pub const STEADY: Duration = Duration::from_secs(10);

/// After this many connections in a row that ended with a packet that cannot be read, or with a panic, the session is thrown away once,
/// since the broker would send the same packet for ever.
pub const MALFORMED_BEFORE_CLEAN_START: u32 = 3;

/// `state` is published at most this often.
pub const STATE_INTERVAL: Duration = Duration::from_secs(1);

/// An answer that the broker has not acknowledged for this long is written to disk. Until then the request itself, which
/// is unacknowledged at the broker, is the durable copy.
pub const SPILL_AFTER: Duration = Duration::from_secs(1);

/// Pause before an answer is sent again that the broker refused for a reason that may pass.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// How often an answer is sent that the broker refuses for a reason that may pass.
pub const MAX_REFUSALS: u32 = 5;

/// A job answers by its own deadline; the transport waits this much longer before it answers in its stead.
pub const REPLY_SLACK: Duration = Duration::from_secs(1);

/// Memory of kept answers, bytes.
pub const MAX_KEPT_BYTES: usize = 8 * 1024 * 1024;

/// Memory of the outbox beyond which QoS 0 requests are dropped, bytes.
pub const MAX_OUTBOX_BYTES: usize = 32 * 1024 * 1024;

/// Entries of the outbox beyond the requests in flight before QoS 0 requests are dropped.
pub const OUTBOX_SPARE: usize = 1024;

/// Kept answers that are read from disk at once; the rest stays there until most of these are delivered.
pub const MAX_LOT_ENTRIES: usize = 512;

/// Files of kept answers that are read from disk at once, bytes: half of what makes the outbox full.
pub const MAX_LOT_BYTES: u64 = MAX_OUTBOX_BYTES as u64 / 2;

/// How long the link waits at its start, and after a panic, for what lies on disk. Then it goes on, and that comes later.
pub const OPEN_PATIENCE: Duration = Duration::from_secs(5);

/// How long the daemon's end waits until answers and marks are on disk as they should be. It is a part of the unit's
/// `TimeoutStopSec`.
pub const SAVE_PATIENCE: Duration = Duration::from_secs(5);

/// Most kept answers that may lie on disk at start: as many as an outbox can come to hold (Receive Maximum is 16 bits).
pub const MOST_KEPT: usize = u16::MAX as usize + OUTBOX_SPARE;

/// Largest file of the outbox that is read at start, bytes.
pub const MAX_OUTBOX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Requests with a record of crashes at once.
pub const MAX_LEDGER_RECORDS: usize = 1024;

/// Largest file of a record, bytes; none takes a tenth of it.
pub const MAX_MARK_BYTES: u64 = 1024;

/// How long a record of crashes is kept.
pub const LEDGER_KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// A request that was running at this many crashes is not run again.
pub const MAX_CRASHES: u32 = 2;

/// Largest file of a password, bytes.
pub const MAX_PASSWORD_BYTES: u64 = 4096;

/// `retry_after_ms` of an `overloaded` that names no time.
pub const DEFAULT_RETRY_AFTER_MS: u64 = 1000;

/// Pause between two tries to write to a state directory that could not be written.
pub const SPILL_PAUSE: Duration = Duration::from_secs(5);

/// What is written to see whether the state directory has room again, bytes: an answer and a mark or two.
pub const PROBE_BYTES: usize = 64 * 1024;

/// Bounds of the pause before a link that panicked is started again.
pub const PANIC_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Memory of payloads is counted in pieces of this size, bytes.
pub const BUDGET_UNIT_BYTES: u64 = 1024;

/// Requests in flight beyond the queue's bound and the workers, so that `overloaded` can be answered.
pub const RECEIVE_SPARE: usize = 16;

/// Longest wait for the broker to take `offline` at the end or before a reconnect.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// Pieces of one answer that may wait to be published: what a model writes meanwhile is joined to the next one.
pub const PIECES_PER_JOB: usize = 4;

/// Calls that may wait in the connection that an update fetches over.
pub const EXCHANGE_CHANNEL: usize = 16;

/// Largest packet of it, bytes: metadata are bounded further by who asks, pieces have 128 KiB and their head.
pub const EXCHANGE_PACKET_BYTES: u32 = 4 << 20;

/// How long the broker may take to accept it, or a subscription of it.
pub const EXCHANGE_PATIENCE: Duration = Duration::from_secs(20);

/// How long who serves the repository may take with a piece.
pub const EXCHANGE_ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// After a subscription is acknowledged, what the broker retains has come within this time, or there is nothing.
pub const EXCHANGE_RETAINED_GRACE: Duration = Duration::from_secs(3);

/// A connection that was not used for so long is made anew: nobody has sent its pings meanwhile.
pub const EXCHANGE_FRESH: Duration = Duration::from_secs(4);

/// After so many connections in a row that the broker dropped right away, another client is taken to use the same client id.
pub const CONTEST_DROPS: u32 = 3;

/// A connection that was up for so long was not dropped right away.
pub const CONTEST_QUICK: Duration = Duration::from_secs(30);

/// What speaks for another client is forgotten when nothing has for so long.
pub const CONTEST_WINDOW: Duration = Duration::from_secs(3600);

/// How long one of them then leaves it to the other, before jitter: each serves for minutes in turn, and the broker has peace.
pub const CONTEST_PAUSE: Duration = Duration::from_secs(300);
