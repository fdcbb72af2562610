//! Figures of the simulated world: what devices, links and the operator are like where no argument says it.

use std::time::Duration;

/// Devices where no number is given.
pub const DEVICES: u32 = 1000;

/// Most devices; each takes about two kilobytes.
pub const MAX_DEVICES: u32 = 1_000_000;

/// Highest loss, millionths: above it no device gets through within its patience.
pub const MAX_LOSS: u64 = 500_000;

/// Longest `--wait`, seconds.
pub const MAX_WAIT_SECS: u64 = 24 * 3600;

/// Virtual time that every run lasts at least, so that devices of small and of large fleets look equally often.
pub const SPAN: Duration = Duration::from_secs(6 * 3600);

/// Virtual time after which a run is given up, and counts as not converged.
pub const MOST: Duration = Duration::from_secs(7 * 24 * 3600);

/// When the first and the last of the devices that are away come back, after the push began.
pub const BACK: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(4 * 3600));

/// How often the operator's side takes in reports and decides.
pub const TICK: Duration = Duration::from_secs(5);

/// The same when it has nothing left to decide.
pub const TICK_AT_REST: Duration = Duration::from_secs(60);

/// How long after a pause for silence the operator looks whether enough devices have been heard of to go on.
pub const RESUME_AFTER: Duration = Duration::from_secs(10 * 60);

/// How often it is taken up again; then the push counts as halted.
pub const MAX_RESUMED: u32 = 12;

/// How often a device looks for metadata (`fleet.refresh_secs`), and by how many per cent each pause differs at random.
pub const REFRESH: Duration = Duration::from_secs(3600);
/// See [`REFRESH`].
pub const REFRESH_JITTER_PERCENT: u64 = 10;

/// Longest random wait after a hint.
pub const HINT_JITTER: Duration = Duration::from_secs(30);

/// Pause after a source that could not be used; half to one and a half of it at random.
pub const SOURCE_PAUSE: Duration = Duration::from_secs(30);

/// How long a generation is watched (`fleet.trial_secs`), how long a probe may take (`fleet.probe_secs`), and the pause between looks.
pub const TRIAL: Duration = Duration::from_secs(600);
/// See [`TRIAL`].
pub const PROBE: Duration = Duration::from_secs(600);
/// See [`TRIAL`].
pub const WATCH_EVERY: Duration = Duration::from_secs(10);

/// How long a probe, a switch, a start of the process take, and after how long on trial a device that fails there does.
pub const PROBE_TAKES: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(90));
/// See [`PROBE_TAKES`].
pub const SWITCH_TAKES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));
/// See [`PROBE_TAKES`].
pub const START_TAKES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(40));
/// See [`PROBE_TAKES`].
pub const TRIAL_FAILS_AFTER: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(400));

/// Of so many devices one cannot switch live and restarts.
pub const RESTARTS_ONE_OF: u64 = 8;

/// A link's latency in one direction, and its rate, bytes per second; each device has its own, spread evenly over the orders of magnitude.
pub const LATENCY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(800));
/// See [`LATENCY`].
pub const BYTES_PER_SEC: (u64, u64) = (8 << 10, 1 << 20);

/// Bytes of each message beside its payload: topic, MQTT, TCP and IP.
pub const OVERHEAD: u64 = 100;

/// Wait before a message that got no answer is sent again; it doubles.
pub const REPEAT_AFTER: Duration = Duration::from_secs(2);

/// How often a question is sent before the source counts as not reached.
pub const MOST_TRIES: u32 = 6;

/// Bytes of the file that changes between the two generations, and of the one that does not.
pub const MODEL_BYTES: (usize, usize) = (192 << 10, 64 << 10);

/// Bytes of a hint.
pub const HINT_BYTES: u64 = 64;

/// Over a broker: devices where no number is given, and most; each takes two connections while it fetches, and 1024 open files are usual.
pub const BROKER_DEVICES: u32 = 200;
/// See [`BROKER_DEVICES`].
pub const MAX_BROKER_DEVICES: u32 = 350;

/// Over a broker: how many seconds of the simulation pass in a second, and at most. What a device may take for an action shrinks with it, so
/// that a higher one would find fault with the machine that plays the devices.
pub const SPEED: u32 = 60;
/// See [`SPEED`].
pub const MAX_SPEED: u32 = 300;

/// Shortest pause between two looks of the operator at the reports.
pub const LEAST_TICK: Duration = Duration::from_millis(50);

/// How long the broker may take with a connection of the operator's, with all devices' connections, and with what was published.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// See [`CONNECT_PATIENCE`].
pub const GATHER_PATIENCE: Duration = Duration::from_secs(60);
/// See [`CONNECT_PATIENCE`].
pub const FLUSH_PATIENCE: Duration = Duration::from_secs(30);

/// How long the broker may be away before a run is given up, and the pause between two attempts to reach it.
pub const AWAY_PATIENCE: Duration = Duration::from_secs(10);
/// See [`AWAY_PATIENCE`].
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// How long a device may take to say goodbye to the broker.
pub const FAREWELL_PATIENCE: Duration = Duration::from_secs(5);

/// A device that has nothing to ask for so long lets go of the connection that it fetches over.
pub const FETCH_IDLE: Duration = Duration::from_secs(1);

/// How long the last reports are waited for when every device has come to its end.
pub const LAST_REPORTS: Duration = Duration::from_secs(5);

/// Packets that wait for the operator's connection, and requests for pieces that wait to be answered; more are told to ask again after so many
/// milliseconds.
pub const WAITING_PACKETS: usize = 64;
/// See [`WAITING_PACKETS`].
pub const WAITING_PIECES: usize = 256;
/// See [`WAITING_PACKETS`].
pub const BUSY_MS: u64 = 500;
