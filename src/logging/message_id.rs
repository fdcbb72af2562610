//! `MESSAGE_ID` of events that an operator may want to find again (`journalctl MESSAGE_ID=…`), as `systemd-id128 new` makes
//! them. A number never changes its meaning.

/// The daemon takes requests.
pub const READY: &str = "ed1b3aca88884bcebdef4f0db67a50d8";
/// The daemon takes no more requests, and ends when the running ones have.
pub const DRAINING: &str = "4f4299e910944fa8b9f4b20468cf3c33";
/// The daemon has ended.
pub const ENDED: &str = "a9497cc949b749318024b949439cdfa0";
/// A loop stands still; the watchdog is no longer fed.
pub const STANDS_STILL: &str = "a82dbb2c9f74dbfd7f49e6e37e4437c9";
/// Every loop lives again.
pub const LIVES_AGAIN: &str = "ce0aee04fa48a7d0611e030dcff333dd";
/// A new configuration serves.
pub const RELOADED: &str = "1d1f037a3c67474dabe861a1b5db48fd";
/// Another generation serves.
pub const GENERATION_SERVES: &str = "209b3e50bd1062f92fc9fb72fe457023";
/// The daemon ends its work and begins anew in the same process.
pub const RESTARTING: &str = "2167d15910e9f6b30b67d2c433d0fc15";
/// A new configuration, or a key of it, was refused.
pub const RELOAD_REFUSED: &str = "fc346f76be5c4fb9b98389997dbf5ece";
