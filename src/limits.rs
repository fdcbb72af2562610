//! Bounds that no setting changes and that more than one room knows, each with its reason; those of the rooms that have many of their
//! own appear here under the room's name. Bounds that an operator may want to change are keys of the configuration
//! (`config/linnet.toml`), and their own ranges stand in [`crate::config::keys`]. What only one module understands stands in that module.

pub use crate::engine::tract::{MAX_ONNX_BYTES, MAX_SPECIAL_PLANS, MAX_TENSOR_BYTES};
pub use crate::provision::bounds as provision;
pub use crate::push::bounds as push;
pub use crate::scheduler::bounds as scheduler;
pub use crate::store::generations::bounds as generations;
pub use crate::store::{
    MAX_CONFIG_BYTES as MAX_MODEL_CONFIG_BYTES, MAX_FILES as MAX_PACKAGE_FILES, MAX_MANIFEST_BYTES,
};
pub use crate::task::decode::text::bounds as decoding;
pub use crate::transport::http::bounds as http;
pub use crate::transport::mqtt::bounds as mqtt;
pub use linnet_proto::topic::{MAX_DEVICE_BYTES, MAX_ID_BYTES, MAX_TASK_BYTES, MAX_TOPIC_BYTES};

use std::time::Duration;

/// Largest configuration file, bytes: a hundred times what all keys with their comments take.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Largest generation that is read, bytes: its configuration has at most 256 KiB, and each of at most 16,384 files takes some hundred.
pub const MAX_GENERATION_BYTES: u64 = 8 << 20;

/// Largest text that is encoded at once, bytes. A megabyte of one character takes a second and some hundred megabytes; longer
/// documents are cut by their pipeline.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// Largest `tokenizer.json`, `vocab.json` or SentencePiece model, bytes: Gemma 3's has 33 million.
pub const MAX_TOKENIZER_FILE_BYTES: u64 = 128 << 20;

/// Largest `tokenizer_config.json`, `special_tokens_map.json` or `added_tokens.json`, bytes: Llama 3's has 55,000, and models
/// that list thousands of added tokens have a million.
pub const MAX_TOKENIZER_CONFIG_BYTES: u64 = 8 << 20;

/// What a chat template may do with an empty conversation, in instructions; each pays for 64 bytes of data, too. The largest
/// of the published ones take a few thousand.
pub const CHAT_TEMPLATE_FUEL: u64 = 50_000;

/// What it may do more for each value of the conversation (a message has three or more).
pub const CHAT_TEMPLATE_FUEL_PER_VALUE: u64 = 200;

/// What it may do at most: a second's work, and 64 megabytes of data.
pub const MAX_CHAT_TEMPLATE_FUEL: u64 = 1_000_000;

/// Largest chat template, bytes: published ones have up to 30,000.
pub const MAX_CHAT_TEMPLATE_BYTES: usize = 64 << 10;

/// Most branches by `elif` of a chat template: reading nests as deeply.
pub const MAX_CHAT_TEMPLATE_BRANCHES: usize = 1000;

/// Named chat templates of a package that are read.
pub const MAX_CHAT_TEMPLATES: usize = 32;

/// Longest path of the local socket, bytes. The kernel takes 107; the name beside it that is renamed into place needs the
/// rest.
pub const MAX_SOCKET_PATH_BYTES: usize = 100;

/// Connections that may wait in the kernel for the daemon to accept them; `net.core.somaxconn` is 4096 on Linux.
pub const SOCKET_BACKLOG: i32 = 1024;

/// Largest `/etc/group` that is searched for the socket's group, bytes.
pub const MAX_GROUP_FILE_BYTES: u64 = 4 << 20;

/// Workers when `scheduler.workers` is 0: more would hold more sessions in memory than a small machine wants.
pub const MAX_AUTO_WORKERS: usize = 8;

/// Threads of the transports' runtime. Models run on threads of their own, so these only move bytes.
pub const RUNTIME_THREADS: usize = 2;

/// Threads of the runtime for blocking file work (uploads, state), which end after a while without any.
pub const RUNTIME_BLOCKING_THREADS: usize = 8;

/// How long a blocking thread without work is kept: idle threads cost memory.
pub const BLOCKING_THREAD_IDLE: Duration = Duration::from_secs(5);

/// Shortest pause between two marks of life to systemd, however short its watchdog is.
pub const MIN_WATCHDOG_PAUSE: Duration = Duration::from_millis(10);

/// How often systemd is told that models are still being loaded.
pub const LOADING_TOLD_EVERY: Duration = Duration::from_secs(10);

/// By how much each time extends what is left of the start.
pub const LOADING_EXTENDED_BY: Duration = Duration::from_secs(30);

/// After so long it is no longer believed that models are being loaded, and the unit's own limit counts.
pub const MAX_LOADING: Duration = Duration::from_secs(15 * 60);

/// After so long a caller may try again who came while an update was tried.
pub const UPDATING_RETRY: Duration = Duration::from_secs(5);

/// Most that the proof of a generation may write, bytes: some hundred for each of at most 256 packages.
pub const MAX_PROBE_OUTPUT_BYTES: u64 = 256 << 10;

/// How often a proof that runs is looked at.
pub const PROBE_LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the process of a proof takes beside the model, MiB.
pub const PROBE_OWN_MIB: u64 = 64;

/// Addresses that it may reserve without using them, MiB: the program, stacks, the allocator's arenas, files that are mapped.
pub const PROBE_ADDRESSES_MIB: u64 = 4096;

/// How long a model that is added or removed over the socket may take, with the wait for other changes: files may come over the socket,
/// and a large model is loaded twice.
pub const CHANGE_MODELS_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// After so long a caller may try again whose change of models was given up.
pub const CHANGE_MODELS_RETRY: Duration = Duration::from_secs(5);

/// How often a loop that must never stand still gives a sign of life. It wakes the processor, so it is no more often than
/// [`STANDSTILL`] needs.
pub const BEAT_EVERY: Duration = Duration::from_secs(10);

/// A loop without a sign of life for so long stands still, and systemd's watchdog is no longer fed. A machine that swaps or
/// reads a slow card is silent for seconds. A shorter `WatchdogSec=` shortens it.
pub const STANDSTILL: Duration = Duration::from_secs(30);

/// However short the watchdog is: a loop that was silent for less than this was only late.
pub const MIN_STANDSTILL: Duration = Duration::from_secs(1);

/// How long the scheduler's state may be locked by others before the one who asks after its health gives up.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// How long the transports may take to close after the jobs have ended, or when there is no time to drain.
pub const CLOSE_GRACE: Duration = Duration::from_secs(2);
