//! Bounds of the generations on disk.

/// Space that stays free beside what an update still lacks, bytes: the daemon's own state, answers that wait for the broker, and
/// what a file system takes for names.
pub const FREE_MARGIN_BYTES: u64 = 16 << 20;

/// A download is made durable each time it has grown by so much, bytes. After a power cut less than twice this is fetched again for
/// each file; smaller steps would wear the flash with the file system's own records.
pub const SYNC_EVERY_BYTES: u64 = 1 << 20;

/// Bytes that are read at once where a digest is taken.
pub const DIGEST_PIECE_BYTES: usize = 64 << 10;

/// Largest generation document that is read, bytes: 256 KiB of configuration and 16,384 files with their paths take less.
pub const MAX_GENERATION_BYTES: u64 = 8 << 20;

/// Largest `pointers`, `instance`, `refused.json` and `update.json` that is read, bytes.
pub const MAX_STATE_BYTES: u64 = 64 << 10;

/// Largest `trust.json`, bytes: every role's metadata at the limits that the trust room sets.
pub const MAX_TRUST_BYTES: u64 = 32 << 20;

/// Generations that are remembered as refused; the oldest gives way. Numbers only rise, so that old ones are not offered again.
pub const MAX_REFUSED: usize = 64;
