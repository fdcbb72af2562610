//! Bounds of an update.

use std::time::Duration;

/// How often a generation is opened without being confirmed; at the next start the device goes back. systemd's `StartLimitBurst=`
/// must be higher.
pub const MAX_OPENINGS: u32 = 3;

/// Longest judgement of a generation: its document may have to be fetched for it, which waits do not count against.
pub const JUDGE_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Longest fetch within one run of the daemon. Over a link of one kilobyte a second this is a gigabyte.
pub const FETCH_LIMIT: Duration = Duration::from_secs(14 * 24 * 3600);

/// What a probe may take beyond its own limit (`probe_secs`), which ends the child: starting it, and gathering what it said.
pub const PROBE_GRACE: Duration = Duration::from_secs(60);

/// Longest switch to a generation, and back: loading of models within it.
pub const SWITCH_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Longest gap between two looks of a trial that still counts as time under watch: a process that was stopped saw nothing.
pub const MAX_WATCH_GAP: Duration = Duration::from_secs(60);

/// First pause after the disk refused a state, and after an end could not be brought about; it doubles up to the next.
pub const RETRY_FIRST: Duration = Duration::from_secs(5);
/// See [`RETRY_FIRST`].
pub const RETRY_MOST: Duration = Duration::from_secs(15 * 60);

/// Longest pause that an action may ask for.
pub const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// Longest reason that is kept and reported, bytes.
pub const MAX_REASON_BYTES: usize = 1024;

/// Longest code, bytes.
pub const MAX_CODE_BYTES: usize = 64;

/// Longest random wait after a hint, which reaches all devices in the same moment; a twentieth of `refresh_secs` where that is less.
pub const HINT_JITTER_MOST: Duration = Duration::from_secs(30);

/// By how much the interval between two looks varies at random, so that devices that started together drift apart.
pub const LOOK_JITTER_PERCENT: u32 = 10;

/// Pause before the sources are asked again, none of which could be used: a broker that is restarted and a link that broke for a moment are back by then.
/// It doubles up to [`RETRY_MOST`] as long as none gives anything, and ends at the next look.
pub const SOURCE_PAUSE: Duration = Duration::from_secs(2);

/// The same after a file that is another than is signed: a copy that is under way is over some time later. It doubles likewise.
pub const LIE_PAUSE: Duration = Duration::from_secs(30);

/// Pause before a disk that refused is tried again.
pub const DISK_PAUSE: Duration = Duration::from_secs(30);

/// How long others are asked before a source that dripped a file or gave a wrong one; it doubles each time up to the next.
pub const SET_BACK_FIRST: Duration = Duration::from_secs(3600);
/// See [`SET_BACK_FIRST`].
pub const SET_BACK_MOST: Duration = Duration::from_secs(24 * 3600);
/// The same for one that was away when a file was asked of it, or did not have it: a restart, a copy that is under way.
pub const AWAY_FIRST: Duration = Duration::from_secs(60);
/// See [`AWAY_FIRST`].
pub const AWAY_MOST: Duration = Duration::from_secs(3600);

/// Most sources that the status tells of.
pub const MAX_TOLD_SOURCES: usize = 16;

/// Pause between two looks at a generation on trial; a quarter of the trial where that is less.
pub const WATCH_EVERY: Duration = Duration::from_secs(10);

/// How often the models on trial answer their canaries again.
pub const PROVE_AGAIN_EVERY: Duration = Duration::from_secs(5 * 60);

/// How long a broker may be away after its settings were changed before the old ones are tried; half the trial where that is less.
pub const BROKER_PATIENCE: Duration = Duration::from_secs(60);

/// How often the latest known time is written, seconds: once a day spares a flash card.
pub const TIME_MARK_EVERY_SECS: u64 = 24 * 3600;
